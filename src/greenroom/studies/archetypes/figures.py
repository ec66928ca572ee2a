"""The figures of the search: the directions found among the roles, and the score of every number tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from greenroom.report.charts import INK, QUIET, Placed, Spec, band, characters, layout, line, names, plane, ring


def arrows(placed: Sequence[Placed], directions: pl.DataFrame, called: Mapping[str, str], stable: set[str],
           text: Mapping[str, Any]) -> Spec:  # fmt: skip
    """Roles on the first two components, and the directions found; dotted ones are not stable.

    directions: archetype, pc1, pc2, length; called: the short name of each.
    """
    traces: list[Spec] = []
    labels: list[Spec] = []
    for one in directions.to_dicts():
        tip = (one["length"] * one["pc1"], one["length"] * one["pc2"])
        sure = one["archetype"] in stable
        traces.append(
            line([0.0, tip[0]], [0.0, tip[1]], color=INK if sure else QUIET, width=2, dash="solid" if sure else "dot")
        )
        labels.append(
            {"x": tip[0], "y": tip[1], "text": called[one["archetype"]], "style": "default" if sure else "axis"}
        )
    labels += [{**label, "style": "role"} for label in names(placed)]
    xs, ys = (np.array([label[axis] for label in labels], float) for axis in ("x", "y"))
    pad = 0.06 * max(float(np.ptp(xs)), float(np.ptp(ys)), 1e-9)
    ranges = [[float(axis.min()) - pad, float(axis.max()) + pad] for axis in (xs, ys)]
    drawn = plane(*ranges, x=text["x"], y=text["y"])
    return {"data": [*traces, characters(placed)], "layout": drawn, "names": labels}


def scores(frame: pl.DataFrame, chosen: int, y: str, text: Mapping[str, Any]) -> Spec:
    """The score of every number tried, the standard error of its distance to the best, and the number chosen.

    frame: count, estimate, low, high.
    """
    x, score, low, high = (frame[name].to_list() for name in ("count", "estimate", "low", "high"))
    hover = f"{text['x_choice']} %{{x}}: %{{y:.3f}}<extra></extra>"
    data = [
        band(x, low, high, "var(--band)"),
        {**line(x, score, color=INK, width=2), "hoverinfo": "all", "hovertemplate": hover},
        ring(chosen, score[x.index(chosen)]),
    ]
    return {
        "data": data,
        "layout": layout(
            x={"title": {"text": text["x_choice"]}, "tickvals": x, "zeroline": False},
            y={"title": {"text": y}, "zeroline": False, "nticks": 5},
            margin={"l": 58, "r": 16, "t": 12, "b": 38},
        ),
    }
