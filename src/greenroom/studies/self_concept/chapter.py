"""The chapter of self-concept: which boundary it identifies with, a panel for each paradigm."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.measures import PARADIGM_ORDER
from greenroom.report.format import between, number, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Results, Row, Rows, chapter
from greenroom.report.tables import missing, named, table_of
from greenroom.studies.self_concept.findings import WORDINGS, boundaries_of, leader

TABLE = {"paradigm": None, "boundary": None, "estimate": 2, "low": 2, "high": 2, "n": 0, "grade": None}


def chapters(results: Results) -> list[Chapter]:
    text, sentences = results.words["chapters"]["main"], results.words["sentences"]
    measures = results.measures.with_columns(boundary="name")
    taken = {name: measures.filter(pl.col("paradigm") == name).to_dicts() for name in PARADIGM_ORDER}
    leading = next((name for name, own in taken.items() if own[0]["grade"] != VOID), None)
    head = leader(taken[leading]) if leading else None
    finding = sentences["none" if leading else "void"]
    if head is not None:
        finding = said(sentences["leader"], boundary=named("boundary", head, results.words))
    order = sorted(taken, key=lambda name: (name != leading, taken[name][0]["grade"] == VOID))
    panels = tuple(_panel(results, name, taken[name], head if name == leading else None, text) for name in order)
    exhibit = Exhibit(text["caption"], rows=panels, kind="rows", table=table_of(measures, TABLE, results))
    answers = results.table("answers")
    assert answers is not None
    read = boundaries_of(answers).filter(pl.col("wording").is_in(WORDINGS))
    # A row is a boundary of an answer; a rating is about one boundary, any other answer about all of them.
    read = read.filter((pl.col("paradigm") == "rating") | (pl.col("option") == pl.col("option").first()))
    grade = taken[leading][0]["grade"] if leading else VOID
    return [chapter(results, "main", finding, exhibit, notes=[missing(read)], grade=grade)]


def _panel(results: Results, paradigm: str, own: list[dict[str, Any]], head: str | None, text: dict[str, Any]) -> Rows:
    void, asked_by = own[0]["grade"] == VOID, named("paradigm", paradigm)
    rows = tuple(_row(one, named("boundary", one["name"], results.words), len(own), one["name"] == head) for one in own)
    listing = ", ".join(f"{row.label} {row.value}" for row in rows)
    alt = text["alt_void" if void else "alt"].format(paradigm=asked_by, list=listing, reason=own[0]["reason"])
    return Rows(
        id=f"self-{paradigm}".replace("_", "-"), alt=alt, rows=rows, title=asked_by, grade=own[0]["grade"],
        ticks=() if void else ((0.0, "0"), (50.0, number(0.5, 1)), (100.0, "1")), void=own[0]["reason"] if void else None,
    )  # fmt: skip


def _row(one: dict[str, Any], label: str, of: int, strong: bool) -> Row:
    if one["estimate"] is None:
        return Row(label, void="")
    end, low, high = (None if one[name] is None else 100 * one[name] for name in ("estimate", "low", "high"))
    return Row(label, start=0.0, end=end, dot=end, mark=100 / of, strong=strong, low=low, high=high, value=between(one))
