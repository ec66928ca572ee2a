"""The figures of the persona map: roles on the first two components of persona space, and the AUC by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from greenroom.report.charts import (
    AXIS_SCALE,
    CHARACTER_SYMBOLS,
    INK,
    QUIET,
    Spec,
    band,
    layout,
    level,
    line,
    note,
    plane,
    points,
    ring,
    wrapped,
)
from greenroom.report.format import number


def map_of_roles(
    frame: pl.DataFrame,
    default: dict[str, Any] | None,
    samples: dict[str, dict[str, Any]],
    span: float,
    shares: Sequence[float],
    text: Mapping[str, Any],
) -> Spec:
    """Roles on the first two components, coloured by axis_sd from -span (rust) to 0 (teal).

    frame: the roles; default: the default character's row; samples: role to {question, reply}; shares: explained
    variance of the components, 0..1, may be empty; text: the words of the chapter. The x axis is turned so that the assistant side is on the right.
    `map` carries the labels in order of importance, and the aspect at which both components have one scale.
    """
    rows = frame.to_dicts()
    placed = [*rows, *([default] if default else [])]
    points = np.array([[row["pc1"], row["pc2"]] for row in placed], float)
    xs, ys = points[:, 0], points[:, 1]
    toward = _toward(points[:-1], points[-1]) if default else None
    traces: list[Spec] = []
    far = points[0]
    if toward is not None:
        reach = (points - points[-1]) @ toward / float(toward @ toward)
        far = points[-1] + toward * float(reach.min())
        traces.append(line([far[0], points[-1][0]], [far[1], points[-1][1]], color=QUIET, width=1, dash="dot"))
    marker: Spec = {"symbol": [CHARACTER_SYMBOLS.get(row["kind"], "circle") for row in rows], "size": 10}
    marker |= {"color": [row["axis_sd"] for row in rows], "colorscale": AXIS_SCALE, "cmin": -span, "cmax": 0}
    marker["line"] = {"width": 1, "color": "var(--paper)"}
    traces.append(_marks("roles", rows, samples, marker, text))
    if default:
        gap = default["axis_sd"] - float(frame["axis_sd"].mean() or 0.0)  # type: ignore[arg-type]
        if toward is not None and gap > 0 and default.get("axis_sd_low") is not None:
            # The axis is default minus the mean of roles, so that way is `gap` sd long on the map too.
            ends = [default[bound] - default["axis_sd"] for bound in ("axis_sd_low", "axis_sd_high")]
            bar = [points[-1] + toward / gap * end for end in ends]
            traces.append(line([p[0] for p in bar], [p[1] for p in bar], color="var(--teal)", width=3))
        ring = {"symbol": "circle-open", "size": 20, "color": "var(--teal)"}
        ring["line"] = {"width": 3, "color": "var(--teal)"}
        traces.append(_marks("default", [default], samples, ring, text))
    share = [
        text["share"].format(percent=number(100 * value, 0)) for value in [*shares, None, None][:2] if value is not None
    ]
    share += [""] * (2 - len(share))
    spread = max(float(np.ptp(xs)), float(np.ptp(ys)), 1e-9)
    x_range = [float(xs.min()) - 0.06 * spread, float(xs.max()) + 0.06 * spread]
    y_range = [float(ys.min()) - 0.06 * spread, float(ys.max()) + 0.06 * spread]
    turned = toward is not None and toward[0] < 0
    titles = {axis: text[axis].format(share=one) for axis, one in zip("xy", share, strict=False)}
    drawn = plane(x_range[::-1] if turned else x_range, y_range, **titles)
    drawn["dragmode"] = "zoom"
    for name in ("xaxis", "yaxis"):
        drawn[name]["fixedrange"] = False
    labels = _labels(rows, default, points, text["default"])
    if toward is not None:
        labels.insert(1, {"x": float(far[0]), "y": float(far[1]), "text": text["away"], "style": "axis"})
        labels[1] |= {"along": [float(value) for value in 0.5 * (points[-1] - far)]}
    wide = (x_range[1] - x_range[0]) / (y_range[1] - y_range[0])
    return {"data": traces, "layout": drawn, "map": {"labels": labels, "aspect": round(min(max(wide, 1.2), 2.0), 2)}}


def _marks(
    name: str, rows: list[dict[str, Any]], samples: dict[str, dict[str, Any]], marker: Spec, text: Mapping[str, Any]
) -> Spec:
    """A trace of roles; pointing at one shows its name, its place on the axis and a sample reply."""
    said = [
        [
            text["default"] if row["kind"] == "default" else row["role"].replace("_", " "),
            text["hover_axis"].format(axis=number(row["axis_sd"], 1)),
            wrapped(samples.get(row["role"], {}).get("reply", "")),
        ]
        for row in rows
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row["pc1"] for row in rows],
        "y": [row["pc2"] for row in rows],
        "customdata": said,
        "hovertemplate": "<b>%{customdata[0]}</b>  %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        "marker": marker,
    }


def _toward(roles: np.ndarray, default: np.ndarray) -> np.ndarray | None:
    """The assistant axis as it falls on the map: from the mean of the roles to the default character. (2,)"""
    way = default - roles.mean(0)
    return way if float(np.linalg.norm(way)) > 0 else None


def _labels(rows: list[dict[str, Any]], default: dict[str, Any] | None, points: np.ndarray, name: str) -> list[Spec]:
    """Names in the order in which they get a place: default, the ends of the axis, then the most outlying."""
    by_axis = sorted(rows, key=lambda row: row["axis_sd"])
    centre = points.mean(0)
    outlying = sorted(rows, key=lambda row: -float(np.hypot(row["pc1"] - centre[0], row["pc2"] - centre[1])))
    ordered = {row["role"]: row for row in [*by_axis[:5], *by_axis[-5:], *outlying]}
    first = [{"x": default["pc1"], "y": default["pc2"], "text": name, "style": "default"}] if default else []
    return first + [
        {"x": row["pc1"], "y": row["pc2"], "text": row["role"].replace("_", " "), "style": "role"}
        for row in ordered.values()
    ]


def layers(frame: pl.DataFrame, held_out: Mapping[str, Any], null: float, block: int, text: Mapping[str, Any]) -> Spec:
    """Selection AUC by block with its standard error, the chosen block, and the held-out AUC with its interval.

    frame: layer, estimate, low, high; held_out: the measure `axis_auc`; null: what 95 % of shuffled labels stay below.
    """
    frame = frame.sort("layer")
    x, y, low, high = (frame[name].to_list() for name in ("layer", "estimate", "low", "high"))
    hover = f"{text['x']} %{{x}}: %{{y:.3f}}<extra></extra>"
    traces = [
        band(x, low, high, "var(--band)"),
        {**line(x, y, color=INK, width=2), "hoverinfo": "all", "hovertemplate": hover},
    ]
    bottom = min([0.5, *low])
    notes = [note(x[0], 0.5, text["chance"], anchor="left", shift=8)]
    shapes = [level(0.5)]
    shapes.append(level(null, dash="dot"))
    notes.append(note(x[-1], null, text["null_line"], anchor="right", shift=8))
    value = y[x.index(block)]
    traces.append(ring(block, value))
    notes.append(note(block, value, text["chosen"].format(layer=block), anchor="center", shift=-20))
    if held_out["estimate"] is not None:
        held = x[-1] + 0.06 * (x[-1] - x[0])  # beside the blocks: it is no block's selection figure
        notes.append(note(held, held_out["estimate"], text["held_out"], anchor="center", shift=-22))
        hover = f"{text['held_out']}: %{{y:.3f}}<extra></extra>"
        own = [held_out["estimate"]], [held_out["low"]], [held_out["high"]]
        traces.append(points([held], *own, filled=True, hover=hover))
    return {
        "data": traces,
        "layout": layout(
            x={
                "title": {"text": text["x"]},
                "range": [x[0] - 0.6, x[-1] + 0.12 * (x[-1] - x[0]) + 0.6],
                "tickvals": [one for one in x if one % max(1, len(x) // 6) == 0],
                "zeroline": False,
            },
            y={
                "title": {"text": text["y"]},
                "range": [bottom - 0.05, 1.03],
                "tickformat": ".1f",
                "dtick": 0.1,
                "zeroline": False,
            },
            notes=notes,
            shapes=shapes,
        ),
    }
