"""Frames as tables for people, and the chapter that says which measures to trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from greenroom.measures.validity import in_words
from greenroom.report.format import between, counted, number, plain
from greenroom.report.parts import VOID, Chapter, Exhibit, Results, Table, words
from greenroom.report.results import RunResults

SMALL = 20  # cases, below which a verdict says how many there were
GRADES = ("A", "B", "C", VOID)


def named(column: str, value: str, own: Mapping[str, Any] | None = None) -> str:
    """A stored value as said to people: by the words of the study (`values`), else those of all pages, else without
    underscores."""
    known = {**words()["values"].get(column, {}), **(((own or {}).get("values") or {}).get(column) or {})}
    if column in ("reason", "grade"):
        return value
    return known.get(value, plain(value))


def table_of(frame: pl.DataFrame, columns: Mapping[str, int | None], results: Results | None = None) -> Table:
    """A table for people: the columns asked for that exist, floats at the digits given, void rows without numbers. A column
    whose bounds (`<name>_low`, `<name>_high`) are not asked for is shown with them in one cell.

    Headings and values are in the words of the study (`columns`, `values` of its words.yaml) or of all pages.
    """
    own = results.words if results is not None else {}
    headings = {**words()["columns"], **(own.get("columns") or {})}
    shown = [name for name in columns if name in frame.columns]
    numeric = frozenset(index for index, name in enumerate(shown) if frame.schema[name].is_numeric())
    grades = frame["grade"].to_list() if "grade" in frame.columns else [None] * frame.height
    void = frozenset(index for index, grade in enumerate(grades) if grade == VOID)
    first = next((name for name in shown if frame.schema[name].is_float()), None)
    bounded = {name for name in shown if f"{name}_low" in frame.columns and f"{name}_low" not in shown}

    def cell(name: str, row: Mapping[str, Any], hidden: bool) -> str:
        value = row[name]
        if hidden and frame.schema[name].is_numeric():
            return words()["page"]["withheld"] if name == first else ""
        if isinstance(value, bool):
            return words()["page"]["yes" if value else "no"]
        if name in bounded:
            return between(row, name, columns[name] or 0)
        if isinstance(value, (int, float)):
            return number(value, columns[name] or 0)
        if isinstance(value, list):
            return ", ".join(plain(str(one)) for one in value)
        if value is None:
            return "–" if frame.schema[name].is_numeric() else ""
        return named(name, str(value), own)

    rows = tuple(
        tuple(cell(name, row, index in void) for name in shown) for index, row in enumerate(frame.iter_rows(named=True))
    )
    return Table(tuple(headings.get(name, plain(name)) for name in shown), rows, numeric, void)


def missing(answers: pl.DataFrame | None, column: str = "missing") -> str:
    """How many answers could not be read, and why, in words; every mean stands beside this count."""
    if answers is None:
        return ""
    text = words()["page"]
    reasons = answers.filter(pl.col(column).is_not_null())[column].value_counts(sort=True)
    if reasons.is_empty():
        return text["none_missing"].format(n=f"{answers.height:,}")
    listing = ", ".join(f"{reason} {count}" for reason, count in reasons.iter_rows())
    return text["missing"].format(missing=reasons["count"].sum(), n=f"{answers.height:,}", reasons=listing)


def tally(measures: pl.DataFrame) -> list[tuple[str, int]]:
    """How many measures have each grade, best first, grades without any left out."""
    given = measures["grade"].to_list()
    return [(grade, given.count(grade)) for grade in GRADES if grade in given]


def headline_measures(run: RunResults) -> pl.DataFrame:
    """The measures that count: those of no part, since a series of points is one finding."""
    return run.measures.filter(pl.col("part") == "").with_columns(
        measure=pl.concat_str("study", "name", "paradigm", separator=" · ", ignore_nulls=True).str.replace_all("_", " ")
    )


def verdict(run: RunResults, studies: Sequence[Results]) -> str:
    """How far the run's main figures can be used, in one sentence, and of a single one why; "" where there is none."""
    primary, text = run.measures.filter("primary"), words()["verdict"]
    if primary.is_empty():
        return ""
    if primary.height == 1:
        row = primary.row(0, named=True)
        reason = row["reason"][:1].lower() + row["reason"][1:].rstrip(".")
        told = text["one"].format(measure=plain(row["name"]), grade=in_words(row["grade"]), reason=reason)
        small = row["grade"] != VOID and 0 < (row["n"] or 0) < SMALL
        return f"{told} {text['small'].format(cases=counted(row['n'], 'case'))}" if small else told
    titles = {one.name: str(one.words["title"]).lower() for one in studies}
    found: dict[str, list[str]] = {}
    for grade in GRADES:
        for study in primary.filter(pl.col("grade") == grade)["study"]:
            found.setdefault(in_words(grade), []).append(titles.get(study, plain(study)))  # type: ignore[arg-type]
    parts = [text["part"].format(grade=grade, n=len(own), studies=", ".join(own)) for grade, own in found.items()]
    return text["many"].format(n=primary.height, parts=", ".join(parts))


def validity(run: RunResults) -> Chapter | None:
    """Every measure with its grade; the weak and void ones stand open on the page, all of them behind the fold."""
    frame, text = headline_measures(run), words()["validity"]
    if frame.is_empty():
        return None
    counts = tally(frame)
    by = dict(counts)
    finding = text["finding"].format(
        n=frame.height, good=by.get("A", 0) + by.get("B", 0), weak=by.get("C", 0), void=by.get(VOID, 0)
    )
    columns = {"measure": None, "grade": None, "estimate": 2, "low": 2, "high": 2, "n": 0, "reason": None}
    weak = frame.filter(pl.col("grade").is_in(["C", VOID])).sort("grade", descending=True, maintain_order=True)
    shares = [(grade, n, round(100 * n / frame.height, 2), words()["grades"].get(grade, "")) for grade, n in counts]
    exhibit = Exhibit(
        text["caption"],
        kind="tally",
        table=table_of(frame, columns),
        extra={"alt": text["alt"].format(counts=", ".join(f"{n} {grade}" for grade, n in counts)), "shares": shares},
    )
    return Chapter(
        "validity",
        text["title"],
        text["contents"],
        finding,
        text["reading"].strip(),
        (exhibit,),
        notes=() if weak.height else (text["all_good"],),
        open_heading=text["open_heading"] if weak.height else "",
        open_table=table_of(weak, columns) if weak.height else None,
    )
