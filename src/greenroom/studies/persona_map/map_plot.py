"""The persona map: roles on the first two components of persona space (Assistant Axis, arXiv 2601.10387)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from greenroom.report.charts import AXIS_SCALE, QUIET, Spec, layout, line, wrapped
from greenroom.report.format import number
from greenroom.report.parts import words

SYMBOLS = {
    "everyday": "circle",
    "professional": "square",
    "fictional": "diamond",
    "nonhuman": "triangle-up",
    "ai": "hexagon",
    "archetype": "star",
}


def persona_map(
    frame: pl.DataFrame,
    default: dict[str, Any] | None,
    samples: dict[str, dict[str, Any]],
    span: float,
    shares: Sequence[float],
) -> Spec:
    """Roles on the first two components, coloured by axis_sd from -span (rust) to 0 (teal).

    frame: the roles; default: the default character's row; samples: role to {question, reply}; shares: explained
    variance of the components, 0..1, may be empty. The x axis is turned so that the assistant side is on the right.
    `map` carries the labels in order of importance, and the aspect at which both components have one scale.
    """
    text = words()["chapters"]["map"]
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
    marker: Spec = {"symbol": [SYMBOLS.get(row["kind"], "circle") for row in rows], "size": 10}
    marker |= {"color": [row["axis_sd"] for row in rows], "colorscale": AXIS_SCALE, "cmin": -span, "cmax": 0}
    marker["line"] = {"width": 1, "color": "var(--paper)"}
    traces.append(_marks("roles", rows, samples, marker))
    if default:
        gap = default["axis_sd"] - float(frame["axis_sd"].mean() or 0.0)  # type: ignore[arg-type]
        if toward is not None and gap > 0 and default.get("axis_sd_low") is not None:
            # The axis is default minus the mean of roles, so that way is `gap` sd long on the map too.
            ends = [default[bound] - default["axis_sd"] for bound in ("axis_sd_low", "axis_sd_high")]
            bar = [points[-1] + toward / gap * end for end in ends]
            traces.append(line([p[0] for p in bar], [p[1] for p in bar], color="var(--teal)", width=3))
        ring = {"symbol": "circle-open", "size": 20, "color": "var(--teal)"}
        ring["line"] = {"width": 3, "color": "var(--teal)"}
        traces.append(_marks("default", [default], samples, ring))
    share = [
        text["share"].format(percent=number(100 * value, 0)) for value in [*shares, None, None][:2] if value is not None
    ]
    share += [""] * (2 - len(share))
    spread = max(float(np.ptp(xs)), float(np.ptp(ys)), 1e-9)
    x_range = [float(xs.min()) - 0.06 * spread, float(xs.max()) + 0.06 * spread]
    y_range = [float(ys.min()) - 0.06 * spread, float(ys.max()) + 0.06 * spread]
    turned = toward is not None and toward[0] < 0
    drawn = layout(
        x={
            "title": {"text": text["x"].format(share=share[0])},
            "range": x_range[::-1] if turned else x_range,
            "showticklabels": False,
            "zeroline": False,
            "showgrid": False,
        },
        y={
            "title": {"text": text["y"].format(share=share[1])},
            "range": y_range,
            "scaleanchor": "x",
            "showticklabels": False,
            "zeroline": False,
            "showgrid": False,
        },
        margin={"l": 28, "r": 8, "t": 8, "b": 30},
    )
    drawn["dragmode"] = "zoom"
    for name in ("xaxis", "yaxis"):
        drawn[name]["fixedrange"] = False
    labels = _labels(rows, default, points)
    if toward is not None:
        labels.insert(1, {"x": float(far[0]), "y": float(far[1]), "text": text["away"], "style": "axis"})
        labels[1] |= {"along": [float(value) for value in 0.5 * (points[-1] - far)]}
    wide = (x_range[1] - x_range[0]) / (y_range[1] - y_range[0])
    return {"data": traces, "layout": drawn, "map": {"labels": labels, "aspect": round(min(max(wide, 1.2), 2.0), 2)}}


def _marks(name: str, rows: list[dict[str, Any]], samples: dict[str, dict[str, Any]], marker: Spec) -> Spec:
    """A trace of roles; pointing at one shows its name, its place on the axis and a sample reply."""
    text = words()["chapters"]["map"]
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


def _labels(rows: list[dict[str, Any]], default: dict[str, Any] | None, points: np.ndarray) -> list[Spec]:
    """Names in the order in which they get a place: default, the ends of the axis, then the most outlying."""
    by_axis = sorted(rows, key=lambda row: row["axis_sd"])
    centre = points.mean(0)
    outlying = sorted(rows, key=lambda row: -float(np.hypot(row["pc1"] - centre[0], row["pc2"] - centre[1])))
    ordered = {row["role"]: row for row in [*by_axis[:5], *by_axis[-5:], *outlying]}
    first = (
        [{"x": default["pc1"], "y": default["pc2"], "text": words()["chapters"]["map"]["default"], "style": "default"}]
        if default
        else []
    )
    return first + [
        {"x": row["pc1"], "y": row["pc2"], "text": row["role"].replace("_", " "), "style": "role"}
        for row in ordered.values()
    ]
