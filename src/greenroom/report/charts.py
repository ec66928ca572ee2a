"""The pieces that every Plotly figure of the report is made of, as plain dictionaries.

Colours are CSS variables ("var(--teal)"); report.js replaces them by the theme's values when it draws, and draws
again when the theme is switched. Teal, stone and rust are kept for places on the assistant axis; all else is ink.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from greenroom.report.format import snippet
from greenroom.report.parts import words

INK, QUIET, RULE, STONE, CLEAR = (f"var(--{name})" for name in ("ink", "quiet", "rule", "stone", "clear"))
AXIS_SCALE = [[0.0, "var(--rust)"], [0.5, STONE], [1.0, "var(--teal)"]]
Spec = dict[str, Any]
# The mark of a character in a figure, by the kind that the library gives it.
CHARACTER_SYMBOLS = {
    "everyday": "circle",
    "professional": "square",
    "fictional": "diamond",
    "nonhuman": "triangle-up",
    "ai": "hexagon",
    "archetype": "star",
}


def layout(
    *, x: Spec, y: Spec, notes: Sequence[Spec] = (), shapes: Sequence[Spec] = (), margin: Spec | None = None
) -> Spec:
    axis = {"color": QUIET, "gridcolor": RULE, "linecolor": RULE, "ticks": "", "fixedrange": True, "automargin": False}
    return {
        "autosize": True,
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "margin": margin or {"l": 48, "r": 16, "t": 8, "b": 38},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": INK},
        "hoverlabel": {
            "bgcolor": "var(--raised)",
            "bordercolor": QUIET,
            "align": "left",
            "font": {"color": INK, "size": 12},
        },
        "xaxis": {**axis, **x, "title": {"standoff": 8, "font": {"size": 12, "color": QUIET}, **x.get("title", {})}},
        "yaxis": {**axis, **y, "title": {"standoff": 6, "font": {"size": 12, "color": QUIET}, **y.get("title", {})}},
        "annotations": list(notes),
        "shapes": list(shapes),
    }


def plane(x_range: Sequence[float], y_range: Sequence[float], *, x: str = "", y: str = "") -> Spec:
    """The layout of a plane: both axes on one scale, without ticks. x, y: what they are, where that means anything."""
    plain = {"showticklabels": False, "zeroline": False, "showgrid": False}
    margin = {"l": 28, "r": 8, "t": 8, "b": 30} if x or y else {"l": 8, "r": 8, "t": 8, "b": 8}
    return layout(
        x={**plain, "title": {"text": x}, "range": list(x_range)},
        y={**plain, "title": {"text": y}, "range": list(y_range), "scaleanchor": "x"},
        margin=margin,
    )


class Placed(NamedTuple):
    """A character on a plane. axis: its place on the assistant axis, from 0 (the default character, which is drawn as a
    ring) to -1 (the farthest); None where it is not known. more: shown beside its name when it is pointed at."""

    name: str
    kind: str
    x: float
    y: float
    axis: float | None
    more: str = ""
    default: bool = False


def characters(placed: Sequence[Placed]) -> Spec:
    """A trace of characters: shape is the kind, colour the place on the axis."""
    marker: Spec = {
        "symbol": ["circle-open" if one.default else CHARACTER_SYMBOLS.get(one.kind, "circle") for one in placed],
        "size": [16 if one.default else 9 for one in placed],
        "line": {
            "width": [3 if one.default else 1 for one in placed],
            "color": ["var(--teal)" if one.default else "var(--paper)" for one in placed],
        },
    }
    if all(one.axis is None for one in placed):
        marker |= {"color": STONE}
    else:
        marker |= {"color": [one.axis or 0.0 for one in placed], "colorscale": AXIS_SCALE, "cmin": -1, "cmax": 0}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [one.x for one in placed],
        "y": [one.y for one in placed],
        "customdata": [[one.name, one.more] for one in placed],
        "hovertemplate": "<b>%{customdata[0]}</b>  %{customdata[1]}<extra></extra>",
        "marker": marker,
    }


def names(placed: Sequence[Placed]) -> list[Spec]:
    """The names of characters in the order in which they get a place: the default one, then the farthest out."""
    ordered = sorted(placed, key=lambda one: (not one.default, -math.hypot(one.x, one.y)))
    return [
        {"x": one.x, "y": one.y, "text": one.name, "style": "default" if one.default else "role"} for one in ordered
    ]


def ring(x: float, y: float) -> Spec:
    """A ring around the point of a line that was chosen."""
    marker = {"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2.5}}
    return {"type": "scatter", "mode": "markers", "x": [x], "y": [y], "hoverinfo": "skip", "marker": marker}


def line(x: Any, y: Any, *, color: str, width: float, dash: str = "solid") -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(map(float, x)),
        "y": list(map(float, y)),
        "hoverinfo": "skip",
        "line": {"color": color, "width": width, "dash": dash},
    }


def band(x: Sequence[float], low: Sequence[float], high: Sequence[float], color: str) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *reversed(x)],
        "y": [*high, *reversed(low)],
        "fill": "toself",
        "fillcolor": color,
        "line": {"width": 0, "color": CLEAR},
        "hoverinfo": "skip",
    }


def points(
    x: Sequence[float],
    y: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    *,
    filled: bool,
    hover: str,
    custom: list[list[Any]] | None = None,
) -> Spec:
    """Dots with their intervals; an open bound is drawn to the edge of the figure's range of 0 to 1."""
    up = [(1.0 if bound is None else bound) - value for value, bound in zip(y, high, strict=True)]
    down = [value - (0.0 if bound is None else bound) for value, bound in zip(y, low, strict=True)]
    marker = {"size": 7, "color": INK if filled else "var(--paper)", "line": {"color": INK, "width": 1.5}}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "marker": marker,
        "customdata": custom,
        "hovertemplate": hover,
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": up,
            "arrayminus": down,
            "color": INK,
            "thickness": 1.2,
            "width": 0,
        },
    }


def note(x: float, y: float, text: str, *, anchor: str, shift: float = 0, x_shift: float = 0) -> Spec:
    return {
        "x": x,
        "y": y,
        "text": text,
        "showarrow": False,
        "xanchor": anchor,
        "yanchor": "middle",
        "yshift": shift,
        "xshift": x_shift,
        "font": {"size": 12, "color": QUIET},
    }


def level(
    y: float, *, dash: str = "solid", width: float = 1, color: str = QUIET, span: tuple[float, float] | None = None
) -> Spec:
    """A line across at y, over the whole figure or from one x to another."""
    return {
        "type": "line",
        "xref": "x" if span else "paper",
        "x0": span[0] if span else 0,
        "x1": span[1] if span else 1,
        "y0": y,
        "y1": y,
        "layer": "below",
        "line": {"color": color, "width": width, "dash": dash},
    }


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers that hold low … high between them, in steps of 1, 2 or 5 of some power of ten; at most about `most`."""
    span = max(high - low, 1e-9)
    power = 10.0 ** np.floor(np.log10(span / most))
    step = next((size * power for size in (1, 2, 5) if span / (size * power) <= most), 10 * power)
    marks = np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step
    return [float(np.round(mark, 12)) for mark in marks]


def voided(x: tuple[float, float], y: tuple[float, float]) -> tuple[Spec, Spec]:
    """The hatching of a figure that is void, over these ranges, and the word on it."""
    hatch = {"shape": "/", "fgcolor": "var(--hatch)", "bgcolor": CLEAR, "size": 9, "solidity": 0.16}
    label = {"font": {"size": 26, "color": QUIET}, "bgcolor": "var(--paper)", "borderpad": 5}
    word = note(sum(x) / 2, sum(y) / 2, words()["page"]["void"].upper(), anchor="center") | label
    return {**band(list(x), [y[0]] * 2, [y[1]] * 2, CLEAR), "fillpattern": hatch}, word


def end_notes(x: float, ends: Sequence[tuple[float, str]], scale: float, x_shift: float = 8) -> list[Spec]:
    """Names at the right end of lines, lifted where they would overlap. ends: (y, name); scale: pixels a unit."""
    notes: list[Spec] = []
    floor = -np.inf
    for y, name in sorted(ends):
        floor = max(y * scale, floor + 14)
        notes.append(note(x, y, name, anchor="left", shift=floor - y * scale, x_shift=x_shift))
    return notes


def wrapped(text: str, width: int = 52) -> str:
    """A reply's beginning in lines, escaped for Plotly's hover text."""
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(snippet(text), width))
