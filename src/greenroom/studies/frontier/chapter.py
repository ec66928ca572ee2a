"""The chapters of a frontier: what each setting does and costs, what it takes away, and how one question is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenroom.report.charts import voided
from greenroom.report.format import NO_BREAK, between, number, plain, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Quote, Results, Table, chapter
from greenroom.studies.frontier.figures import Spot, by_strength
from greenroom.studies.frontier.sentences import Row, Spoken, capital, rows_of

# Columns of the table: digits, and whether it is a share, shown in per cent.
COLUMNS = {
    "effect": (2, False), "cloze_shift": (2, False), "capability_loss": (1, True), "perplexity": (1, False),
    "repetition": (1, True), "degenerate_share": (1, True), "leakage": (2, False), "topic_shift": (0, True),
}  # fmt: skip
SIGNED = ("effect", "cloze_shift", "leakage", "topic_shift")
TOLD = ("effect", "capability_loss", "perplexity", "degenerate_share", "leakage")  # in the terminal


def chapters(results: Results) -> list[Chapter]:
    rows = rows_of(results)
    return [_main(results, rows), _families(results, rows), _replies(results, rows)]


def _main(results: Results, rows: Sequence[Row]) -> Chapter:
    """Effect, price, coherence and leakage of every setting."""
    text, spoken = results.words["chapters"]["main"], Spoken(results, list(rows))
    panels = []
    for name, own in text["panels"].items():
        spots = [_spot(row, _measure(row, name), 100 if COLUMNS[name][1] else 1) for row in rows]
        spec = by_strength(
            spots, text, own["y"].format(score=spoken.score["axis"]), log=name == "perplexity",
            share=name == "degenerate_share", budget=100 * spoken.budget if name == "capability_loss" else None,
        )  # fmt: skip
        panels.append(_panel(name, own["title"], own["alt"], spots, spec, [_measure(row, name) for row in rows]))
    headings = [results.words["columns"][name] for name in ("setting", *COLUMNS)]
    lines = [[row.name, *(_cell(row, name) for name in COLUMNS)] for row in rows]
    exhibit = Exhibit(
        text["caption"].format(direction=spoken.direction), panels=tuple(panels), kind="multiples",
        table=_table(headings, lines),
    )  # fmt: skip
    headline, details = spoken.headline(), spoken.details()
    unsure = said(spoken.text["unreliable"], direction=capital(spoken.direction))
    crossing = results.measure("crossing_up") or results.measure("crossing_down") or {}
    return chapter(
        results, "main", headline, exhibit, headline=headline, grade=crossing.get("grade"),
        notes=(" ".join(details), spoken.about()), lines=(*details, *_terminal(results, rows)),
        warnings=() if results.part("capability")["reliable"] else (unsure,),
    )  # fmt: skip


def _families(results: Results, rows: Sequence[Row]) -> Chapter:
    """The loss by kind of task."""
    text, main = results.words["chapters"]["families"], results.words["chapters"]["main"]
    kinds, budget = list(rows[0].families), 100 * results.part("settings")["budget"]
    panels = []
    for kind in kinds:
        spots = [_spot(row, row.families[kind], 100) for row in rows]
        spec = by_strength(spots, main, main["panels"]["capability_loss"]["y"], budget=budget)
        alt = text["alt"].format(family=plain(kind), list="{list}")
        panels.append(
            _panel(f"family-{kind}", capital(plain(kind)), alt, spots, spec, [row.families[kind] for row in rows])
        )
    headings = [results.words["columns"]["setting"], *map(plain, kinds)]
    lines = [
        [row.name, *(_bare(between(row.families[kind], digits=1, percent=True)) for kind in kinds)] for row in rows
    ]
    exhibit = Exhibit(text["caption"], panels=tuple(panels), kind="multiples", table=_table(headings, lines))
    far = max(rows, key=lambda row: abs(row.strength or 0))
    known = {kind: own for kind, own in far.families.items() if own["grade"] != VOID}
    if not known:
        return chapter(results, "families", text["finding_void"], exhibit)
    least, *_, most = sorted(known, key=lambda kind: known[kind]["estimate"]) * 2
    finding = said(
        text["finding"], setting=far.name, most=plain(most), most_loss=between(known[most], digits=1, percent=True),
        least=plain(least), least_loss=between(known[least], digits=1, percent=True),
    )  # fmt: skip
    return chapter(results, "families", finding, exhibit)


def _replies(results: Results, rows: Sequence[Row]) -> Chapter:
    """One question under every setting."""
    text, readings = results.words["chapters"]["replies"], results.table("readings")
    assert readings is not None
    asked = readings.filter(place="effect").unique("setting", keep="first", maintain_order=True)
    replies = {reply["setting"]: reply for reply in asked.to_dicts()}
    quotes = tuple(
        Quote(
            row.name,
            text["place"].format(score=number(replies[row.stored]["score"])),
            "var(--stone)",
            replies[row.stored]["prompt"],
            replies[row.stored]["reply"].strip() or text["nothing"],
            text["cut"] if replies[row.stored]["finish"] == "length" else "",
        )
        for row in rows
    )
    return chapter(results, "replies", text["finding"], quotes=quotes)


def _measure(row: Row, name: str) -> Mapping[str, Any]:
    """A quantity of a setting as a measure; one that only describes has no interval."""
    return row.measures.get(name) or {"estimate": row.described[name], "low": None, "high": None}


def _spot(row: Row, own: Mapping[str, Any], scale: float) -> Spot:
    ends = [None if own[key] is None else scale * own[key] for key in ("estimate", "low", "high")]
    return Spot(row.name, row.strength, row.floor, *ends)


def _panel(
    name: str, title: str, alt: str, spots: Sequence[Spot], spec: dict[str, Any], measures: Sequence[Mapping[str, Any]]
) -> Panel:
    void = str(measures[0]["reason"]) if all(own.get("grade") == VOID for own in measures) else None
    if void is not None:
        drawn = spec["layout"]
        hatching, word = voided(tuple(drawn["xaxis"]["range"]), tuple(drawn["yaxis"]["range"]))
        spec = {"data": [hatching], "layout": {**drawn, "annotations": [word]}}
    listing = "; ".join(f"{spot.name} {spot.said}" for spot in spots)
    id = f"frontier-{name}".replace("_", "-")
    return Panel(id=id, title=title, alt=alt.format(list=listing), spec=spec, headline=name == "effect", void=void)


def _cell(row: Row, name: str) -> str:
    (digits, share), own = COLUMNS[name], _measure(row, name)
    if name in row.measures:
        return _bare(between(own, digits=digits, signed=name in SIGNED, percent=share))
    return _bare(number(own["estimate"], digits, percent=share))


def _bare(text: str) -> str:
    """Without its sign of per cent, which the heading has."""
    return text.replace(f"{NO_BREAK}%", "")


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    return Table(tuple(headings), tuple(map(tuple, lines)), frozenset(range(1, len(headings))))


def _terminal(results: Results, rows: Sequence[Row]) -> list[str]:
    """The most telling columns, one line a setting."""
    heads = [results.words["columns"][name] for name in ("setting", *TOLD)]
    lines = [heads, *([row.name, *(_cell(row, name) for name in TOLD)] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
