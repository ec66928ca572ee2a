"""Figures by turn: a mean place on the assistant axis with its interval, turn after turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenroom.report.charts import AXIS_SCALE, INK, Spec, band, layout, level
from greenroom.report.format import interval

SPAN = 3.0  # sd below the default character at which colours are all rust, where no persona map sets it


def axis_by_turn(rows: Sequence[Mapping[str, Any]], hover: str) -> list[Spec]:
    """Band, line and marks of the mean place by turn. rows: turn, estimate, low, high; hover: what a turn is called."""
    known = [row for row in rows if row["estimate"] is not None]
    sure = [row for row in known if row["low"] is not None and row["high"] is not None]
    shade = band(
        [row["turn"] for row in sure], [row["low"] for row in sure], [row["high"] for row in sure], "var(--band)"
    )
    marker = {
        "size": 7, "color": [row["estimate"] for row in known], "colorscale": AXIS_SCALE, "cmin": -SPAN, "cmax": 0,
        "line": {"width": 1, "color": INK},
    }  # fmt: skip
    bounds = [interval(row["low"], row["high"]) for row in known]
    drawn: Spec = {
        "type": "scatter", "mode": "lines+markers", "x": [row["turn"] for row in known],
        "y": [row["estimate"] for row in known], "line": {"color": INK, "width": 2}, "marker": marker,
        "customdata": [[ends["low"], ends["high"]] for ends in bounds],
        "hovertemplate": hover + " %{x}: %{y:.2f} sd (%{customdata[0]} to %{customdata[1]})<extra></extra>",
    }  # fmt: skip
    return [*([shade] if sure else []), drawn]


def turn_layout(
    x: str,
    y: str,
    turns: tuple[float, float],
    bounds: tuple[float, float],
    *,
    notes: Sequence[Spec] = (),
    right: int = 16,
    origin: bool = True,
) -> Spec:
    """The layout of a figure by turn. turns: the first and the last; bounds: of the y axis; right: pixels left free for
    names; origin: 0, the default character, is marked."""
    first, last = turns[0] - 0.4, turns[1] + 0.4
    return layout(
        x={
            "title": {"text": x}, "range": [first, last], "dtick": 2 if turns[1] <= 12 else 4, "zeroline": False,
            "showgrid": False,
        },
        y={"title": {"text": y}, "range": list(bounds), "zeroline": False}, notes=notes,
        shapes=[level(0.0, width=1.5, color=INK, span=(first, last))] if origin else (),
        margin={"l": 48, "r": right, "t": 8, "b": 38},
    )  # fmt: skip


def padded(values: Sequence[float | None], least: float) -> tuple[float, float]:
    """A range that holds 0 and all values, at least `least` wide, with a margin."""
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    spare = max(0.08 * (high - low), (least - (high - low)) / 2)
    return low - spare, high + spare
