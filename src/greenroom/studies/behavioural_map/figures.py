"""The figures of the behavioural map: characters in the plane, and distances against distances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from greenroom.report.charts import QUIET, STONE, Placed, Spec, characters, layout, level, names, note, plane
from greenroom.report.format import number


def distances(placed: Sequence[Placed], unit: str) -> Spec:
    """Characters in the plane: only their distances mean anything, so a bar of known length takes the axes' place."""
    xs, ys = (np.array([one[axis] for one in placed], float) for axis in (2, 3))
    wide = max(float(np.ptp(xs)), float(np.ptp(ys)), 1e-9)
    bar = _round(0.25 * wide)
    left, low = float(xs.min()) - 0.05 * wide, float(ys.min()) - 0.24 * wide
    drawn = plane([left, float(xs.max()) + 0.05 * wide], [low - 0.06 * wide, float(ys.max()) + 0.08 * wide])
    drawn["shapes"] = [
        {"type": "line", "x0": left, "x1": left + bar, "y0": low, "y1": low, "line": {"color": QUIET, "width": 2}}
    ]
    digits = max(0, -math.floor(math.log10(bar)))
    drawn["annotations"] = [note(left + bar, low, f"{number(bar, digits)} {unit}", anchor="left", x_shift=6)]
    return {"data": [characters(placed)], "layout": drawn, "names": names(placed)}


def pairs(frame: pl.DataFrame, said: Sequence[str], floor: float | None, text: Mapping[str, str]) -> Spec:
    """Every pair of characters: bits a token over distance between role vectors, and what rewording costs.

    frame: activation_distance, bits; said: what each pair is called.
    """
    marks: Spec = {
        "type": "scatter",
        "mode": "markers",
        "x": frame["activation_distance"].to_list(),
        "y": frame["bits"].to_list(),
        "customdata": [[one] for one in said],
        "hovertemplate": f"<b>%{{customdata[0]}}</b><br>%{{y:.2f}} {text['y_pairs']}<extra></extra>",
        "marker": {"size": 5, "color": STONE, "opacity": 0.75},
    }
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
            notes=notes,
            shapes=shapes,
        ),
    }


def _round(length: float) -> float:
    """1, 2 or 5 times a power of ten, at most the length."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length)
