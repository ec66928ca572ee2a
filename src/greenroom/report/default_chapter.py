"""The chapter of a study that brings none of its own: what was asked, what came out, how sure, what it does not show."""

from __future__ import annotations

import polars as pl

from greenroom.report.format import between, interval, number, plain
from greenroom.report.parts import VOID, Chapter, Exhibit, Quote, Results, Row, Rows, words
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
    known = [float(row[end]) for row in rows for end in ("estimate", "low", "high") if row[end] is not None]  # type: ignore[arg-type]
    low, high = min([0.0, *known]), max([0.0, *known, 1e-9])

    def place(value: object) -> float | None:
        return None if value is None else round(100 * (float(value) - low) / (high - low), 2)  # type: ignore[arg-type]

    lines = []
    for row in rows:
        label = named("name", str(row["name"]), results.words)
        if row["paradigm"]:
            label += f", {named('paradigm', str(row['paradigm']))}"
        if row["grade"] == VOID or row["estimate"] is None:
            lines.append(Row(label, void=str(row["reason"] or "")))
            continue
        lines.append(
            Row(label, start=place(0.0), end=place(row["estimate"]), dot=place(row["estimate"]), low=place(row["low"]),
                high=place(row["high"]), value=between(row), strong=bool(row["primary"]))
        )  # fmt: skip
    listing = "; ".join(f"{line.label} {line.value or VOID}" for line in lines)
    ends = interval(low, high)
    ticks = tuple(
        (place(value) or 0.0, shown) for value, shown in ((low, ends["low"]), (0.0, number(0.0)), (high, ends["high"]))
    )
    return Rows(id=f"{results.name}-measures".replace("_", "-"), alt=words()["default_chapter"]["alt"].format(list=listing),
                rows=tuple(lines), ticks=tuple(dict(ticks).items()))  # fmt: skip


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
