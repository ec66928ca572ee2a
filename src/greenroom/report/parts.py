"""What a report is made of: the run that is read, its words, and the parts that a page shows.

A chapter is a finding in a sentence, exhibits (figure, caption, table) and sometimes replies. Nothing here knows
which chapters there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from greenroom.runs.tables import read_table
from greenroom.store import read_json

TEMPLATES = resources.files("greenroom.report") / "templates"


VOID = "void"


@cache
def words() -> dict[str, Any]:
    """Every word of the report that is not a result, from templates/report.yaml."""
    text = (TEMPLATES / "report.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text.replace(" %", "\N{NO-BREAK SPACE}%"))


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
        return None if frame is None or frame.is_empty() else frame.fill_nan(None)

    def part(self, kind: str) -> Results | None:
        """The results of a study of this model: this run's own where it is one, else those in its folder of that name
        (computed with it, or kept from a run of the same weights)."""
        if self.manifest.get("kind") == kind:
            return self
        folder = self.folder / kind
        found = folder / "summary.json"
        return Results(folder, {}, read_json(found)) if found.is_file() else None

    @property
    def model(self) -> str:
        """The subject's name, as the reader should see it."""
        return str(self.summary.get("model") or self.manifest.get("subject") or "the model")

    def said(self, chapter: str) -> str | None:
        """The finding in plain words that the audit wrote for a chapter."""
        found = (self.summary.get("sentences") or {}).get(chapter)
        return None if found is None else found.replace(" %", "\N{NO-BREAK SPACE}%")

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
    """One plot. `spec` is a Plotly figure with CSS variables for colours; `void` says why it is hatched."""

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


def chapter(name: str, finding: str, *exhibits: Exhibit, notes: Any = (), **more: Any) -> Chapter:
    text = words()["chapters"][name]
    kept = tuple(note for note in notes if note)
    return Chapter(
        name.replace("_", "-"),
        text["title"],
        text["contents"],
        finding,
        text["reading"].strip(),
        exhibits,
        notes=kept,
        **more,
    )
