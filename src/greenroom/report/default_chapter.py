"""The chapter of a study that brings none of its own: what was asked, what came out, how sure, what it does not show."""

from __future__ import annotations

import polars as pl

from greenroom.report.format import between, interval, number, plain
from greenroom.report.parts import VOID, Chapter, Exhibit, Quote, Results, Rows, words
from greenroom.report.rows import in_words, row_figure, scale_of
from greenroom.report.tables import missing, named, table_of

QUOTES = 4


def default_chapter(results: Results) -> Chapter:
    """One line a measure, the primary one in the sentence, and some replies."""
    own, text = results.words, words()["default_chapter"]
    measures = results.measures.filter(pl.col("part") == "")
    rows = measures.to_dicts()
    first = next((row for row in rows if row["primary"]), None)
    label = own.get("primary") or (plain(first["name"]) if first else "")
    void = first is None or first["grade"] == VOID
    finding = text["finding_void" if void else "finding"].format(
        title=own["title"], primary=label, estimate=between(first), reason=first["reason"] if first else ""
    )
    table = measures.select("name", "paradigm", "estimate", "low", "high", "n", "grade", "reason")
    columns = {
        "name": None,
        "paradigm": None,
        "estimate": 2,
        "low": 2,
        "high": 2,
        "n": 0,
        "grade": None,
        "reason": None,
    }
    exhibit = Exhibit(
        text["caption"], rows=(_figure(results, rows),), kind="rows", table=table_of(table, columns, results)
    )
    answers = results.answers
    notes = [missing(answers), text["not_shown"].format(text=own["not_shown"]) if own.get("not_shown") else ""]
    return Chapter(
        results.name.replace("_", "-"), own["title"], own.get("contents") or text["contents"], finding,
        own.get("reading") or text["reading"], (exhibit,), quotes=_quotes(answers), grade=first["grade"] if first else None,
        notes=tuple(note for note in notes if note), headline=finding,
    )  # fmt: skip


def _figure(results: Results, rows: list[dict[str, object]]) -> Rows:
    lines = [(_label(results, row), row) for row in rows]
    low, high = scale_of(lines, 0.0, 1e-9, float("inf"))
    ends = interval(low, high)
    return row_figure(
        f"{results.name}-measures".replace("_", "-"), lines, (low, high),
        alt=words()["default_chapter"]["alt"].format(list=in_words(lines)),
        ticks=((low, ends["low"]), (0.0, number(0.0)), (high, ends["high"])),
        strong=next((label for label, row in lines if row["primary"]), ""),
    )  # fmt: skip


def _label(results: Results, row: dict[str, object]) -> str:
    label = named("name", str(row["name"]), results.words)
    return f"{label}, {named('paradigm', str(row['paradigm']))}" if row["paradigm"] else label


def _quotes(answers: pl.DataFrame | None) -> tuple[Quote, ...]:
    """A few replies as they came, from different clusters."""
    if answers is None:
        return ()
    said = answers.filter(pl.col("reply").is_not_null() & (pl.col("reply").str.strip_chars() != ""))
    rows = said.unique("cluster", keep="first", maintain_order=True).head(QUOTES).to_dicts()
    return tuple(
        Quote(plain(row["item"]), row["wording"] or "", "var(--stone)", row["message"] or "", row["reply"].strip())
        for row in rows
    )
