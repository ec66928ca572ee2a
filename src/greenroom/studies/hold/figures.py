"""The figure of hold: the effect of one pressure by turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from greenroom.report.charts import AXIS_SCALE, INK, QUIET, Spec, band, end_notes, layout, level, wrapped
from greenroom.report.format import number


def shared_range(effects: pl.DataFrame) -> tuple[float, float]:
    """The range that the panels share: every interval, and half an sd on either side of neutral."""
    known = [float(value) for name in ("estimate", "low", "high") for value in effects[name].drop_nulls()]
    low, high = min([-0.5, *known]), max([0.5, *known])
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def by_turn(
    frame: pl.DataFrame, replies: Mapping[int, str], bounds: tuple[float, float], span: float, text: Mapping[str, Any]
) -> Spec:
    """One pressure: its effect on the axis by turn, hot (solid) and cold (dashed), against the neutral line at 0.

    frame: turn, reading, estimate, low, high; replies: turn to a sample reply; bounds: the range that all panels share;
    span: where the colours end, as on the persona map (0 sd is teal there too); text: the words of the chapter.
    """
    last = int(frame["turn"].max() or 1)  # type: ignore[arg-type]
    traces: list[Spec] = []
    ends: list[tuple[float, str]] = []
    for reading, dash, color, shade in (
        ("cold", "dash", QUIET, "var(--band-faint)"),
        ("hot", "solid", INK, "var(--band)"),
    ):
        own = frame.filter(reading=reading).sort("turn").drop_nulls("estimate")
        if own.is_empty():
            continue
        known = own.drop_nulls(["low", "high"])
        if known.height:
            traces.append(band(known["turn"].to_list(), known["low"].to_list(), known["high"].to_list(), shade))
        x, y = own["turn"].to_list(), own["estimate"].to_list()
        marker = {"size": 7, "color": y, "colorscale": AXIS_SCALE, "cmin": -span, "cmax": 0}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": x,
                "y": y,
                "customdata": [
                    [number(row["low"], 1), number(row["high"], 1), wrapped(replies.get(row["turn"], ""), 44)]
                    for row in own.iter_rows(named=True)
                ],
                "line": {"color": color, "width": 2, "dash": dash},
                "marker": {**marker, "line": {"width": 1, "color": INK}},
                "hovertemplate": f"<b>{text[reading]}</b>, {text['x']} %{{x}}: %{{y:.1f}} sd "
                "(%{customdata[0]} – %{customdata[1]})<br>%{customdata[2]}<extra></extra>",
            }
        )
        ends.append((y[-1], text[reading]))
    return {
        "data": traces,
        "layout": layout(
            x={
                "title": {"text": text["x"]},
                "range": [0.7, last + 0.3],
                "dtick": 1,
                "zeroline": False,
                "showgrid": False,
            },
            y={"title": {"text": text["y"]}, "range": list(bounds), "zeroline": False},
            notes=end_notes(last, [*ends, (0.0, text["neutral"])], 200 / (bounds[1] - bounds[0])),
            shapes=[level(0.0, width=1.5, color=INK, span=(0.7, last))],
            margin={"l": 48, "r": 54, "t": 8, "b": 38},
        ),
    }
