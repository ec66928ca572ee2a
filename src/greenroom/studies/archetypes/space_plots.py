"""The plots of persona space: characters in the plane, distances against distances, directions, numbers tried."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from greenroom.report.charts import AXIS_SCALE, INK, QUIET, STONE, Spec, band, layout, level, line, note
from greenroom.report.format import kind_of, number
from greenroom.report.parts import words
from greenroom.studies.persona_map.map_plot import SYMBOLS


def plane(frame: pl.DataFrame, axes: tuple[str, str], unit: str) -> Spec:
    """Characters in the plane: only their distances mean anything, so a bar of known length takes the axes' place."""
    rows = frame.drop_nulls(list(axes)).to_dicts()
    xs, ys = (np.array([row[axis] for row in rows], float) for axis in axes)
    known = [row["axis_sd"] for row in rows if row["axis_sd"] is not None]
    span = max([1e-9, *(-value for value in known)])
    hover = "<b>%{customdata[0]}</b>  %{customdata[1]}<extra></extra>"
    marks: Spec = {
        "type": "scatter", "mode": "markers", "name": "roles", "x": xs.tolist(), "y": ys.tolist(),
        "customdata": [[_named(row), number(row["axis_sd"], 1) + " sd" if row["axis_sd"] is not None else ""] for row in rows],
        "hovertemplate": hover, "marker": _marker(rows, span),
    }  # fmt: skip
    wide = max(float(np.ptp(xs)), float(np.ptp(ys)), 1e-9)
    bar = _round(0.25 * wide)
    left, low = float(xs.min()) - 0.05 * wide, float(ys.min()) - 0.24 * wide
    ranges = [[left, float(xs.max()) + 0.05 * wide], [low - 0.06 * wide, float(ys.max()) + 0.08 * wide]]
    drawn = _bare(ranges)
    drawn["shapes"] = [
        {"type": "line", "x0": left, "x1": left + bar, "y0": low, "y1": low, "line": {"color": QUIET, "width": 2}}
    ]
    digits = max(0, -math.floor(math.log10(bar)))
    drawn["annotations"] = [note(left + bar, low, f"{number(bar, digits)} {unit}", anchor="left", x_shift=6)]
    order = sorted(rows, key=lambda row: (row["kind"] != "default", -math.hypot(row[axes[0]], row[axes[1]])))
    labels = [
        {
            "x": row[axes[0]],
            "y": row[axes[1]],
            "text": _named(row),
            "style": "default" if row["kind"] == "default" else "role",
        }
        for row in order
    ]
    return {"data": [marks], "layout": drawn, "names": labels}


def pairs(frame: pl.DataFrame, floor: float | None) -> Spec:
    """Every pair of characters: bits a token over distance between role vectors, and what rewording costs."""
    text = words()["chapters"]["behaviour"]
    half = frame.filter(pl.col("role") < pl.col("reader"))
    x, y = half["activation_distance"].to_list(), half["bits"].to_list()
    custom = [[f"{kind_of('role', row['role'])}, {kind_of('role', row['reader'])}"] for row in half.to_dicts()]
    marks: Spec = {
        "type": "scatter", "mode": "markers", "x": x, "y": y, "customdata": custom,
        "hovertemplate": "<b>%{customdata[0]}</b><br>%{y:.2f} bits a token<extra></extra>",
        "marker": {"size": 5, "color": STONE, "opacity": 0.75},
    }  # fmt: skip
    shapes, notes = [level(0.0)], []
    if floor is not None:
        shapes.append(level(floor, dash="dot"))
        # At the left: few characters lie so close together inside.
        notes.append(note(0.0, floor, text["floor"], anchor="left", shift=8, x_shift=3))
    return {
        "data": [marks],
        "layout": layout(
            x={"title": {"text": text["x_pairs"]}, "zeroline": False, "rangemode": "tozero"},
            y={"title": {"text": text["y_pairs"]}, "zeroline": False},
            notes=notes, shapes=shapes,
        ),
    }  # fmt: skip


def arrows(places: pl.DataFrame, directions: pl.DataFrame, stable: set[str]) -> Spec:
    """Roles on the first two components, and the directions found; dashed ones are not stable."""
    text = words()["chapters"]["archetypes"]
    rows, colours = places.to_dicts(), axis_places(places)
    marker = _marker([{**row, "axis_sd": colours.get(row["role"])} for row in rows], 1.0)
    traces: list[Spec] = []
    labels: list[Spec] = []
    for one in directions.to_dicts():
        tip = (one["length"] * one["pc1"], one["length"] * one["pc2"])
        sure = one["archetype"] in stable
        method, _, count = one["archetype"].partition("_")
        name = text["short"][method].format(number=count)
        traces.append(
            line([0.0, tip[0]], [0.0, tip[1]], color=INK if sure else QUIET, width=2, dash="solid" if sure else "dot")
        )
        labels.append({"x": tip[0], "y": tip[1], "text": name, "style": "default" if sure else "axis"})
    traces.append(
        {"type": "scatter", "mode": "markers", "name": "roles", "x": [row["pc1"] for row in rows],
         "y": [row["pc2"] for row in rows], "customdata": [[_named(row), kind_of("kind", row["kind"])] for row in rows],
         "hovertemplate": "<b>%{customdata[0]}</b>  %{customdata[1]}<extra></extra>", "marker": marker}
    )  # fmt: skip
    order = sorted(rows, key=lambda row: (row["kind"] != "default", -math.hypot(row["pc1"], row["pc2"])))
    labels += [{"x": row["pc1"], "y": row["pc2"], "text": _named(row), "style": "role"} for row in order]
    xs, ys = (
        np.array([*(row[axis] for row in rows), *(label[end] for label in labels)], float)
        for axis, end in (("pc1", "x"), ("pc2", "y"))
    )
    pad = 0.06 * max(float(np.ptp(xs)), float(np.ptp(ys)), 1e-9)
    drawn = _bare([[float(axis.min()) - pad, float(axis.max()) + pad] for axis in (xs, ys)])
    drawn["xaxis"]["title"]["text"], drawn["yaxis"]["title"]["text"] = text["x"], text["y"]
    drawn["margin"] = {"l": 28, "r": 8, "t": 8, "b": 30}
    return {"data": traces, "layout": drawn, "names": labels}


def choice(frame: pl.DataFrame, y_title: str) -> Spec:
    """The score of every number tried, the standard error of its distance to the best, and the number chosen."""
    text = words()["chapters"]["archetypes"]
    x, y, error = (frame[name].to_list() for name in ("count", "score", "behind_se"))
    # Scores of clusters are mean log-densities and distances to the best are in their unit; so are factors', in shares.
    low, high = ([a + sign * e for a, e in zip(y, error, strict=True)] for sign in (-1, 1))
    own = frame.filter("chosen").to_dicts()[0]
    hover = f"{text['x_choice']} %{{x}}: %{{y:.3f}}<extra></extra>"
    ring = {"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2.5}}
    data = [
        band(x, low, high, "var(--band)"),
        {**line(x, y, color=INK, width=2), "hoverinfo": "all", "hovertemplate": hover},
        {"type": "scatter", "mode": "markers", "x": [own["count"]], "y": [own["score"]], "hoverinfo": "skip", "marker": ring},
    ]  # fmt: skip
    return {
        "data": data,
        "layout": layout(
            x={"title": {"text": text["x_choice"]}, "tickvals": x, "zeroline": False},
            y={"title": {"text": y_title}, "zeroline": False, "nticks": 5},
            margin={"l": 58, "r": 16, "t": 12, "b": 38},
        ),
    }  # fmt: skip


def axis_places(places: pl.DataFrame) -> dict[str, float]:
    """Role → place on the axis from 0 (the default character) to −1 (the farthest); empty without an axis."""
    known = places.drop_nulls("axis") if "axis" in places.columns else places.clear()
    own = known.filter(pl.col("kind") == "default")
    if known.is_empty() or own.is_empty():
        return {}
    zero = float(own["axis"][0])
    span = max(zero - min(known["axis"].to_list()), 1e-9)
    return {row["role"]: (row["axis"] - zero) / span for row in known.to_dicts()}


def _marker(rows: list[dict[str, Any]], span: float) -> Spec:
    """Shape is the kind, colour the axis; the default character is a ring."""
    default = [row["kind"] == "default" for row in rows]
    found: Spec = {
        "symbol": ["circle-open" if own else SYMBOLS.get(row["kind"], "circle") for row, own in zip(rows, default, strict=True)],
        "size": [16 if own else 9 for own in default],
        "line": {"width": [3 if own else 1 for own in default], "color": ["var(--teal)" if own else "var(--paper)" for own in default]},
    }  # fmt: skip
    if all(row["axis_sd"] is None for row in rows):
        return {**found, "color": STONE}
    colour = [0.0 if row["axis_sd"] is None else row["axis_sd"] for row in rows]
    return {**found, "color": colour, "colorscale": AXIS_SCALE, "cmin": -span, "cmax": 0}


def _bare(ranges: list[list[float]]) -> Spec:
    """A layout whose two axes have one scale and no ticks."""
    plain = {"showticklabels": False, "zeroline": False, "showgrid": False}
    return layout(
        x={**plain, "range": ranges[0]}, y={**plain, "range": ranges[1], "scaleanchor": "x"},
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )  # fmt: skip


def _named(row: dict[str, Any]) -> str:
    return words()["chapters"]["map"]["default"] if row["kind"] == "default" else kind_of("role", row["role"])


def _round(length: float) -> float:
    """1, 2 or 5 times a power of ten, at most the length."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length)
