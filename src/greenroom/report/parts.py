"""What a page is made of: chapters of findings, figures, tables and replies. Nothing here knows which chapters exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

from greenroom.report.results import Results

TEMPLATES = resources.files("greenroom.report") / "templates"
VOID = "void"


@cache
def words() -> dict[str, Any]:
    """Every word that all pages share, from templates/report.yaml."""
    text = (TEMPLATES / "report.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text.replace(" %", "\N{NO-BREAK SPACE}%"))


@cache
def palette() -> dict[str, Any]:
    """Colours by name as [light, dark], and the pairs whose contrast is tested, from templates/palette.yaml."""
    return yaml.safe_load((TEMPLATES / "palette.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; `numeric` marks columns set in tabular figures, `void` rows that are hatched."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    void: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What all figures have. alt: the figure in words; void: why it is hatched."""

    id: str
    alt: str
    title: str = ""
    grade: str | None = None
    void: str | None = None


@dataclass(frozen=True, kw_only=True)
class Panel(Figure):
    """One plot. spec: a Plotly figure with CSS variables for colours."""

    spec: dict[str, Any] = field(default_factory=dict)
    note: str = ""
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


@dataclass(frozen=True, kw_only=True)
class Rows(Figure):
    """A figure of rows that share one scale; `ticks` are (place in per cent, text). long: labels of several words."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...] = ()
    poles: bool = False
    long: bool = False


@dataclass(frozen=True)
class Strip:
    """The first picture of a page: ticks on one line, and a ring with its interval. Places are per cent."""

    alt: str
    ticks: tuple[tuple[float, str], ...]
    ring: float
    bar: tuple[float, float] | None
    scale: tuple[tuple[float, str], ...]
    away: str
    toward: str
    farthest: str = ""
    nearest: str = ""


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
    """A section of the report: first a sentence, then a picture, then a table.

    headline: the sentence that may open the whole page. lines: what the terminal says below the finding. warnings: what
    a reader must know before any number counts. strip: the page's first picture, if this chapter leads it.
    """

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
    headline: str = ""
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    strip: Strip | None = None


def chapter(results: Results, name: str, finding: str, *exhibits: Exhibit, notes: Any = (), **more: Any) -> Chapter:
    """A chapter in the words of `chapters.<name>` of the study's words.yaml; its id is that of the study and the name."""
    text = results.words["chapters"][name]
    id = results.name if name == "main" else f"{results.name}-{name}"
    return Chapter(
        id.replace("_", "-"),
        text["title"],
        text["contents"],
        finding.replace(" %", "\N{NO-BREAK SPACE}%"),
        text["reading"].strip(),
        exhibits,
        notes=tuple(note for note in notes if note),
        **more,
    )
