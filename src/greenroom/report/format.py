"""Numbers, names, colours and tables as they are printed."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from greenroom.report.parts import VOID, Table, words


def number(value: Any, digits: int = 2, *, signed: bool = False) -> str:
    """A number as printed: a true minus sign, no negative zero; a dash for a missing one."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: Any, high: Any, digits: int = 2) -> dict[str, str]:
    """Both bounds as printed, an open one by its word."""
    open_word = words()["chapters"]["sacrifice"]["open"]
    return {
        name: open_word if bound is None else number(bound, digits) for name, bound in (("low", low), ("high", high))
    }


def tint(axis_sd: float | None, span: float) -> str:
    """CSS colour of a place on the axis: teal at 0 sd, stone half-way, rust at -span and beyond."""
    if axis_sd is None or span <= 0:
        return "var(--stone)"
    place = min(max(1 + axis_sd / span, 0.0), 1.0)
    side, share = ("teal", 2 * place - 1) if place >= 0.5 else ("rust", 1 - 2 * place)
    return f"color-mix(in srgb, var(--{side}) {share:.0%}, var(--stone))"


def table_of(frame: pl.DataFrame, columns: dict[str, int | None]) -> Table:
    """A table for people: the columns asked for that exist, floats at the digits given, void rows without numbers."""
    headings = words()["columns"]
    shown = [name for name in columns if name in frame.columns]
    numeric = frozenset(index for index, name in enumerate(shown) if frame.schema[name].is_numeric())
    grades = frame["grade"].to_list() if "grade" in frame.columns else [None] * frame.height
    void = frozenset(index for index, grade in enumerate(grades) if grade == VOID)
    withheld = words()["page"]["withheld"]

    def cell(name: str, value: Any, hidden: bool) -> str:
        if hidden and frame.schema[name].is_numeric():
            return withheld if name in ("estimate", "estimate_pole", "adherence", "probability") else ""
        if isinstance(value, bool):
            return headings["yes"] if value else headings["no"]
        if isinstance(value, (int, float)):
            return number(value, columns[name] or 0)
        return "" if value is None else kind_of(name, str(value))

    rows = tuple(
        tuple(cell(name, row[name], index in void) for name in shown)
        for index, row in enumerate(frame.iter_rows(named=True))
    )
    return Table(tuple(headings.get(name, name) for name in shown), rows, numeric, void)


def kind_of(column: str, value: str) -> str:
    """A stored name as said to people: kinds, paradigms, boundaries by their words, others without underscores."""
    text = words()
    known = {
        "kind": text["kinds"],
        "paradigm": text["paradigms"],
        "boundary": text["boundaries"],
        "pressure": text["chapters"]["hold"]["pressures"],
    }.get(column, {})
    if column == "measure":
        return " · ".join(part.replace("_", " ") for part in value.split("."))
    if column in ("reason", "grade", "reading"):
        return value
    return known.get(value, value.replace("_", " "))


def snippet(text: str, length: int = 150) -> str:
    """The beginning of a reply on one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + " …"
