"""What a report is made of: the run that is read, its words, and the parts that a page shows.

A chapter is a finding in a sentence, exhibits (figure, caption, table) and sometimes replies. Chapters are built in
`report_chapters`, plots in `report_figures`; nothing here knows which chapters there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from greenroom.runs.tables import read_table
from greenroom.store import read_json

TEMPLATES = resources.files("greenroom.auditing") / "templates"
VOID = "void"


@cache
def words() -> dict[str, Any]:
    """Every word of the report that is not a result, from templates/report.yaml."""
    return yaml.safe_load((TEMPLATES / "report.yaml").read_text(encoding="utf-8"))


@cache
def palette() -> dict[str, Any]:
    """Colours by name as [light, dark], and the pairs whose contrast is tested, from templates/palette.yaml."""
    return yaml.safe_load((TEMPLATES / "palette.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Results:
    """A finished run as the report reads it: run.json, summary.json and the tables that are there."""

    folder: Path
    manifest: dict[str, Any]
    summary: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> Results:
        """Reads the two JSON files; raises GreenroomError when one is missing or broken."""
        return cls(folder, read_json(folder / "run.json"), read_json(folder / "summary.json"))

    def table(self, name: str) -> pl.DataFrame | None:
        """The table, or None where this run has none or an empty one."""
        path = self.folder / "tables" / f"{name}.parquet"
        frame = read_table(path) if path.exists() else None
        return None if frame is None or frame.is_empty() else frame

    @property
    def model(self) -> str:
        """The subject's name, as the reader should see it."""
        return str(self.summary.get("model") or self.manifest.get("subject") or "the model")

    def said(self, chapter: str) -> str | None:
        """The finding in plain words that the audit wrote for a chapter."""
        return (self.summary.get("sentences") or {}).get(chapter)

    def grade(self, measure: str) -> str | None:
        """The validity grade of a measure by name; None where it was not graded."""
        frame = self.table("measures")
        found = frame.filter(pl.col("measure") == measure) if frame is not None else None
        return None if found is None or found.is_empty() else found["grade"][0]


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; `numeric` marks columns set in tabular figures, `void` rows that are hatched."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    void: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Panel:
    """One plot of an exhibit. `spec` is a Plotly figure whose colours are CSS variables; `void` the reason it is hatched."""

    id: str
    alt: str
    spec: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    grade: str | None = None
    note: str = ""
    void: str | None = None
    headline: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a row figure; places are per cent of the track's width. A void row has only its label and reason."""

    label: str
    start: float | None = None
    end: float | None = None
    dot: float | None = None
    low: float | None = None
    high: float | None = None
    mark: float | None = None
    left: str = ""
    right: str = ""
    value: str = ""
    note: str = ""
    void: str | None = None
    strong: bool = False


@dataclass(frozen=True)
class Rows:
    """A figure of rows that share one scale; `ticks` are (place in per cent, text)."""

    id: str
    alt: str
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    title: str = ""
    grade: str | None = None
    void: str | None = None
    poles: bool = False


@dataclass(frozen=True)
class Exhibit:
    """A numbered figure: panels or row figures, its caption, and the numbers behind a fold."""

    caption: str
    panels: tuple[Panel, ...] = ()
    rows: tuple[Rows, ...] = ()
    table: Table | None = None
    kind: str = "plot"
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Quote:
    """A reply shown as a turn: who spoke, where the reply lies on the axis, what was asked and said."""

    role: str
    place: str
    tint: str
    question: str
    reply: str
    note: str = ""


@dataclass(frozen=True)
class Chapter:
    """A section of the report: first a sentence, then a picture, then a table."""

    id: str
    title: str
    contents: str
    finding: str
    reading: str
    exhibits: tuple[Exhibit, ...] = ()
    quotes: tuple[Quote, ...] = ()
    grade: str | None = None
    notes: tuple[str, ...] = ()
    open_heading: str = ""
    open_table: Table | None = None


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
    """A stored name as it is said to people: kinds, paradigms and pressures by their words, others without underscores."""
    text = words()
    known = {
        "kind": text["kinds"],
        "paradigm": text["paradigms"],
        "pressure": text["chapters"]["hold"]["pressures"],
    }.get(column, {})
    if column in ("reason", "grade", "reading"):
        return value
    return known.get(value, value.replace("_", " "))


def snippet(text: str, length: int = 150) -> str:
    """The beginning of a reply on one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + " …"
