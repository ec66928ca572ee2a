"""Tables and row figures that the pages of drift and of self-talk share, in the words of templates/dynamics.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from greenroom.report.charts import AXIS_SCALE, INK, Spec, band, layout, level
from greenroom.report.format import number
from greenroom.report.parts import Row, Rows, Table
from greenroom.studies.dynamics_words import between, dynamics

SPAN = 3.0  # sd below the default character at which colours are all rust, as on the reader's page
# Columns whose values are names, and where their words are.
NAMED = {"domain": "domains", "arm": "arms", "reading": "readings", "user": "users", "of": "of", "by": "by", "missing": "missing"}  # fmt: skip


def named(column: str, value: str) -> str:
    """A stored name as said to people."""
    return dynamics()[NAMED[column]].get(value, value.replace("_", " ")) if column in NAMED else value


def table(frame: pl.DataFrame, columns: dict[str, int | None]) -> Table:
    """A table for people: columns with their digits; one that has bounds is shown with them in one cell."""
    headings = dynamics()["columns"]
    numeric = frozenset(index for index, name in enumerate(columns) if frame.schema[name].is_numeric())
    rows: list[tuple[str, ...]] = []
    for row in frame.to_dicts():
        cells: list[str] = []
        for name, digits in columns.items():
            value = row[name]
            if isinstance(value, float) and f"{name}_low" in row:
                cells.append(between(row, name, digits or 0))
            elif isinstance(value, (int, float)):
                cells.append(number(value, digits or 0))
            elif isinstance(value, list):
                cells.append(", ".join(one.replace("_", " ") for one in value))
            else:
                cells.append(dynamics()["nothing"] if value is None and name in columns and frame.schema[name].is_numeric() else named(name, value or ""))  # fmt: skip
        rows.append(tuple(cells))
    void = frozenset(index for index, row in enumerate(frame.to_dicts()) if row.get("missing"))
    return Table(tuple(headings.get(name, name) for name in columns), tuple(rows), numeric, void)


def scale_of(
    rows: Sequence[dict[str, Any]], name: str, *, low: float, high: float, reach: float
) -> tuple[float, float]:
    """A scale that holds low … high and the rows' intervals, which are cut `reach` beyond these."""
    values = [row[f"{name}{end}"] for row in rows for end in ("", "_low", "_high")]
    known = [value for value in values if value is not None]
    return max(min([low, *known]), low - reach), min(max([high, *known]), high + reach)


def row_figure(
    id: str,
    rows: Sequence[tuple[str, dict[str, Any]]],
    name: str,
    scale: tuple[float, float],
    *,
    alt: str,
    title: str = "",
    ticks: Sequence[tuple[float, str]],
    mark: float | None = None,
    signed: bool = False,
    percent: bool = False,
    digits: int = 2,
) -> Rows:
    """One line for each (label, row): the estimate `name` with its interval from 0; void, with the reason, without one.

    mark: a place that is dashed on every line.
    """
    left, right = scale[0] - 0.02 * (scale[1] - scale[0]), scale[1] + 0.02 * (scale[1] - scale[0])

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (min(max(value, left), right) - left) / (right - left), 2)

    lines: list[Row] = []
    for label, row in rows:
        at = place(row[name])
        if at is None:
            lines.append(Row(label, void=named("missing", row.get("missing") or "")))
            continue
        lines.append(
            Row(
                label, start=place(0.0), end=at, dot=at, low=place(row[f"{name}_low"]), high=place(row[f"{name}_high"]),
                mark=place(mark), value=between(row, name, digits, signed=signed, percent=percent),
            )
        )  # fmt: skip
    shown = tuple((place(value) or 0.0, text) for value, text in ticks if left <= value <= right)
    return Rows(id, alt, tuple(lines), shown, title=title)


def listed(rows: Sequence[tuple[str, dict[str, Any]]], name: str, *, percent: bool = False) -> str:
    """The numbers of a row figure in words, for those who do not see it."""
    return "; ".join(f"{label} {between(row, name, 0 if percent else 2, percent=percent)}" for label, row in rows)


def axis_line(rows: Sequence[dict[str, Any]], hover: str) -> list[Spec]:
    """Band, line and marks of the mean place on the assistant axis by turn. rows: turn, axis_sd, low, high."""
    known = [row for row in rows if row["axis_sd"] is not None]
    sure = [row for row in known if row["low"] is not None and row["high"] is not None]
    shade = [band([row["turn"] for row in sure], [row["low"] for row in sure], [row["high"] for row in sure], "var(--band)")]  # fmt: skip
    marker = {
        "size": 7, "color": [row["axis_sd"] for row in known], "colorscale": AXIS_SCALE, "cmin": -SPAN, "cmax": 0,
        "line": {"width": 1, "color": INK},
    }  # fmt: skip
    drawn: Spec = {
        "type": "scatter", "mode": "lines+markers", "x": [row["turn"] for row in known],
        "y": [row["axis_sd"] for row in known], "line": {"color": INK, "width": 2}, "marker": marker,
        "customdata": [[number(row["low"]), number(row["high"])] for row in known],
        "hovertemplate": hover + " %{x}: %{y:.2f} sd (%{customdata[0]} to %{customdata[1]})<extra></extra>",
    }  # fmt: skip
    return [*(shade if sure else []), drawn]


def turn_layout(
    x: str,
    y: str,
    turns: tuple[float, float],
    bounds: tuple[float, float],
    *,
    notes: Sequence[Spec] = (),
    right: int = 16,
) -> Spec:
    """The layout of a figure by turn; the default character (0) is marked."""
    last = turns[1]
    return layout(
        x={"title": {"text": x}, "range": [turns[0] - 0.4, last + 0.4], "dtick": 2 if last <= 12 else 4, "zeroline": False, "showgrid": False},
        y={"title": {"text": y}, "range": list(bounds), "zeroline": False},
        notes=notes, shapes=[level(0.0, width=1.5, color=INK, span=(turns[0] - 0.4, last + 0.4))],
        margin={"l": 48, "r": right, "t": 8, "b": 38},
    )  # fmt: skip


def padded(values: Sequence[float | None], *, least: float) -> tuple[float, float]:
    """A range that holds 0 and all values, `least` wide."""
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    spare = max(0.08 * (high - low), (least - (high - low)) / 2)
    return low - spare, high + spare
