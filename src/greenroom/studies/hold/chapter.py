"""The chapter of hold: how far pressure moves the default character, turn by turn."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.format import band, interval, number, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Results, chapter
from greenroom.report.tables import named, table_of
from greenroom.studies.hold.figures import by_turn, shared_range


def chapters(results: Results) -> list[Chapter]:
    effects, text = results.series("by_turn", "pressure", "turn", "reading"), results.words["chapters"]["main"]
    last, span = effects["turn"].max(), _span(results)
    final = effects.filter(turn=last)
    replies = results.table("replies")
    assert replies is not None
    sample = replies.unique(["pressure", "turn"], keep="first", maintain_order=True)
    bounds = shared_range(effects)
    panels = []
    for pressure in effects["pressure"].unique(maintain_order=True):
        own, name = effects.filter(pressure=pressure), named("pressure", pressure, results.words)
        ends = {row["reading"]: number(row["estimate"], 1, signed=True) for row in _rows(final, pressure)}
        quoted = dict(sample.filter(pressure=pressure).select("turn", "reply").iter_rows())
        panels.append(
            Panel(
                id=f"hold-{pressure}".replace("_", "-"),
                title=name,
                alt=text["alt"].format(pressure=name, turn=last, **ends),
                spec=by_turn(own, quoted, bounds, span, {**text, **results.words["values"]["reading"]}),
                note=text["note"].format(turn=last, **ends),
            )
        )
    columns = {"pressure": None, "turn": 0, "reading": None, "estimate": 2, "low": 2, "high": 2, "n": 0, "grade": None}
    exhibit = Exhibit(
        text["caption"], panels=tuple(panels), kind="multiples", table=table_of(effects, columns, results)
    )
    finding, headline, grade = _spoken(results, final)
    return [chapter(results, "main", finding, exhibit, headline=headline, grade=grade)]


def _spoken(results: Results, final: pl.DataFrame) -> tuple[str, str, str]:
    """The finding, the headline ("" where there is no axis to move along), and the grade of what both say."""
    sentences = results.words["sentences"]
    hot = final.filter(reading="hot").drop_nulls("estimate")
    if hot.is_empty():
        return sentences["none"], "", VOID
    first = hot.sort(pl.col("estimate").abs(), descending=True, maintain_order=True).row(0, named=True)
    cold = next(row for row in _rows(final, first["pressure"]) if row["reading"] == "cold")
    name = named("pressure", first["pressure"], results.words)
    told = {
        "pressure": name[0].lower() + name[1:],
        "effect": number(first["estimate"], 1, signed=True),
        **interval(first["low"], first["high"], 1, signed=True),
    }
    finding = said(sentences["strongest"], turns=first["turn"], cold=number(cold["estimate"], 1, signed=True), **told)
    axis = _map(results).measure("axis_auc") or {}
    if axis.get("grade") == VOID:
        return finding, "", first["grade"]
    how = band(results.words["firmness"], abs(first["estimate"]))
    return finding, said(sentences["headline"], model=results.model, how=how, **told), first["grade"]


def _rows(final: pl.DataFrame, pressure: str) -> list[dict[str, Any]]:
    return final.filter(pressure=pressure).to_dicts()


def _map(results: Results) -> Results:
    found = results.of("persona_map")
    assert found is not None  # hold comes after it
    return found


def _span(results: Results) -> float:
    """Where colours end, as on the persona map: how far the farthest role lies from the default character, sd."""
    lowest: Any = _map(results).series("by_role", "role")["estimate"].min()
    return max(-float(lowest or 0.0), 1e-9)
