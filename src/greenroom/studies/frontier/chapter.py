"""The chapter of what turning the assistant axis does, and what it costs."""

from __future__ import annotations

from greenroom.report.parts import Chapter, Exhibit, Panel, Results, Table, chapter, words
from greenroom.studies.frontier.page import figures
from greenroom.studies.frontier.words import about, findings, rows_shown


def frontier(results: Results) -> Chapter | None:
    """Effect, price, coherence and leakage by strength, as `greenroom frontier` measured them."""
    found, text = results.part("frontier"), words()["chapters"]["frontier"]
    frame = None if found is None else found.table("frontier")
    if found is None or frame is None:
        return None
    panels = []
    for spec in figures(frame, found.summary):
        drawn = {"data": spec["data"], "layout": {**spec["layout"]}}
        drawn["layout"].pop("height", None)  # the panel has one
        panels.append(
            Panel(f"frontier-{spec['id']}", spec["alt"], drawn, title=spec["title"], headline=spec["id"] == "effect")
        )
    heads, rows = rows_shown(frame.to_dicts())
    table = Table(tuple(heads), tuple(tuple(row) for row in rows), frozenset(range(1, len(heads))))
    first, *rest = findings(found.summary)
    exhibit = Exhibit(text["caption"], panels=tuple(panels), kind="multiples", table=table)
    notes = [" ".join([*rest, about(found.summary)]), kept_note(results, found, "frontier")]
    return chapter("frontier", first, exhibit, notes=notes)


def kept_note(results: Results, found: Results, kind: str) -> str:
    """Where the results of a study came from, when they are not this run's own: what was only brought has no run.json."""
    if found is results or (found.folder / "run.json").is_file():
        return ""
    text = words()["studies"]
    return text["kept"].format(command=text["commands"][kind], seed=found.summary.get("seed", "–"))
