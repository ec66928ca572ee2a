"""The plots of the report that show a line with its interval: AUC by block, effect by turn, adherence by stake."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.charts import (
    AXIS_SCALE,
    CLEAR,
    INK,
    QUIET,
    STONE,
    Spec,
    band,
    end_notes,
    layout,
    level,
    line,
    note,
    points,
    wrapped,
)
from greenroom.report.format import number
from greenroom.report.parts import words


def layers(frame: pl.DataFrame, summary: dict[str, Any]) -> Spec:
    """Selection AUC by block with its standard error, the chosen block, and the held-out AUC with its interval."""
    text = words()["chapters"]["layers"]
    frame = frame.sort("layer")
    x, y = frame["layer"].to_list(), frame["auc_selection"].to_list()
    error = frame["auc_se"].fill_null(0.0).to_list() if "auc_se" in frame.columns else [0.0] * len(x)
    low, high = [a - e for a, e in zip(y, error, strict=True)], [min(a + e, 1.0) for a, e in zip(y, error, strict=True)]
    hover = f"{text['x']} %{{x}}: %{{y:.3f}}<extra></extra>"
    traces = [
        band(x, low, high, "var(--band)"),
        {**line(x, y, color=INK, width=2), "hoverinfo": "all", "hovertemplate": hover},
    ]
    bottom = min([0.5, *low])
    notes = [note(x[0], 0.5, text["chance"], anchor="left", shift=8)]
    shapes = [level(0.5)]
    null = summary.get("axis_auc_null_p95")
    if null is not None:
        shapes.append(level(null, dash="dot"))
        notes.append(note(x[-1], null, text["null_line"], anchor="right", shift=8))
    chosen = frame.filter(pl.col("chosen"))
    if not chosen.is_empty():
        at, value = chosen["layer"][0], chosen["auc_selection"][0]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [at],
                "y": [value],
                "hoverinfo": "skip",
                "marker": {"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2.5}},
            }
        )
        notes.append(note(at, value, text["chosen"].format(layer=at), anchor="center", shift=-20))
        auc = summary.get("axis_auc")
        if auc is not None:
            held = x[-1] + 0.06 * (x[-1] - x[0])  # beside the blocks: it is no block's selection figure
            notes.append(note(held, auc, text["held_out"], anchor="center", shift=-22))
            traces.append(
                points(
                    [held],
                    [auc],
                    [summary.get("axis_auc_low")],
                    [summary.get("axis_auc_high")],
                    filled=True,
                    hover=f"{text['held_out']}: %{{y:.3f}}<extra></extra>",
                )
            )
    return {
        "data": traces,
        "layout": layout(
            x={
                "title": {"text": text["x"]},
                "range": [x[0] - 0.6, x[-1] + 0.12 * (x[-1] - x[0]) + 0.6],
                "tickvals": [block for block in x if block % max(1, len(x) // 6) == 0],
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


def hold(frame: pl.DataFrame, replies: dict[int, str], bounds: tuple[float, float], last: int, span: float) -> Spec:
    """One pressure: its effect on the axis by turn, hot (solid) and cold (dashed), against the neutral line at 0.

    frame: turn, reading, effect_sd, low, high; replies: turn to a sample reply; bounds: the range all panels share;
    span: where the colours end, as on the persona map (0 sd is teal there too).
    """
    text = words()["chapters"]["hold"]
    traces: list[Spec] = []
    ends: list[tuple[float, str]] = []
    for reading, dash, shade in (("cold", "dash", "var(--band-faint)"), ("hot", "solid", "var(--band)")):
        part = frame.filter(pl.col("reading") == reading).sort("turn").drop_nulls("effect_sd")
        if part.is_empty():
            continue
        x, y = part["turn"].to_list(), part["effect_sd"].to_list()
        known = part.drop_nulls(["low", "high"])
        if known.height:
            traces.append(band(known["turn"].to_list(), known["low"].to_list(), known["high"].to_list(), shade))
        custom = [
            [number(row["low"], 1), number(row["high"], 1), wrapped(replies.get(row["turn"], ""), 44)]
            for row in part.iter_rows(named=True)
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": x,
                "y": y,
                "customdata": custom,
                "line": {"color": INK if reading == "hot" else QUIET, "width": 2, "dash": dash},
                "marker": {
                    "size": 7,
                    "color": y,
                    "colorscale": AXIS_SCALE,
                    "cmin": -span,
                    "cmax": 0,
                    "line": {"width": 1, "color": INK},
                },
                "hovertemplate": f"<b>{text[reading]}</b>, {text['x']} %{{x}}: %{{y:.1f}} sd "
                "(%{customdata[0]} – %{customdata[1]})<br>%{customdata[2]}<extra></extra>",
            }
        )
        ends.append((y[-1], text[reading]))
    notes = end_notes(last, [*ends, (0.0, text["neutral"])], 200 / (bounds[1] - bounds[0]))
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
            notes=notes,
            shapes=[level(0.0, width=1.5, color=INK, span=(0.7, last))],
            margin={"l": 48, "r": 54, "t": 8, "b": 38},
        ),
    }


def dose(frame: pl.DataFrame, *, void: bool, breaking: tuple[float, float | None, float | None] | None) -> Spec:
    """One paradigm: adherence by stake, observed (filled) and unobserved (open), with the fit; hatched when void.

    frame: observed, stake, adherence, low, high, n, fit; breaking: point and bounds, headline only.
    """
    text = words()["chapters"]["sacrifice"]
    traces: list[Spec] = []
    shapes, notes = [level(0.5, dash="dot")], []
    stakes = frame["stake"].cast(float)
    top = float(stakes.max() or 4.0)  # type: ignore[arg-type]
    if void:
        traces.append(
            {
                **band([0, top], [0, 0], [1, 1], CLEAR),
                "fillpattern": {"shape": "/", "fgcolor": "var(--hatch)", "bgcolor": CLEAR, "size": 9, "solidity": 0.16},
            }
        )
    if breaking is not None and not void:
        at, low, high = breaking
        shapes.append(
            {
                "type": "rect",
                "x0": 0 if low is None else low,
                "x1": top if high is None else high,
                "y0": 0,
                "y1": 1,
                "line": {"width": 0},
                "fillcolor": "var(--band-faint)",
                "layer": "below",
            }
        )
        shapes.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"color": INK, "width": 1.5}})
        notes.append(
            note(
                at,
                0.03,
                text["breaking_label"],
                anchor="left" if at < top / 2 else "right",
                x_shift=5 if at < top / 2 else -5,
            )
        )
    ends: list[tuple[float, str]] = []
    for observed, offset in ((True, -0.04), (False, 0.04)):
        part = frame.filter(pl.col("observed") == observed).sort("stake").drop_nulls("adherence")
        if part.is_empty():
            continue
        name = text["observed"] if observed else text["unobserved"]
        x, y = [value + offset for value in part["stake"].cast(float)], part["adherence"].to_list()
        fitted = "fit" in part.columns and part["fit"].null_count() == 0
        curve = part["fit"].to_list() if fitted else y
        traces.append(
            {
                **line(x, curve, color=STONE if void else INK, width=2, dash="solid" if observed else "dash"),
                "line": {
                    "color": STONE if void else INK,
                    "width": 2,
                    "dash": "solid" if observed else "dash",
                    "shape": "spline" if fitted else "linear",
                    "smoothing": 0.8,
                },
            }
        )
        if not void:
            bounds = "(%{customdata[0]} – %{customdata[1]}), n %{customdata[2]}"
            hover = f"<b>{name}</b>, %{{y:.2f}} {bounds}<extra></extra>"
            traces.append(
                points(
                    x,
                    y,
                    part["low"].to_list(),
                    part["high"].to_list(),
                    filled=observed,
                    hover=hover,
                    custom=[[number(r["low"]), number(r["high"]), r["n"]] for r in part.iter_rows(named=True)],
                )
            )
        ends.append((curve[-1], name))
    if void:
        notes.append(
            {
                **note(top / 2, 0.5, words()["page"]["void"].upper(), anchor="center"),
                "font": {"size": 26, "color": QUIET},
                "bgcolor": "var(--paper)",
                "borderpad": 5,
            }
        )
    else:
        notes += end_notes(top, ends, 200, x_shift=12)
    return {
        "data": traces,
        "layout": layout(
            x={
                "title": {"text": text["x"]},
                "range": [-0.25, top + 0.15],
                "dtick": 1,
                "zeroline": False,
                "showgrid": False,
            },
            y={
                "title": {"text": text["y"]},
                "range": [-0.03, 1.03],
                "tickvals": [0, 0.25, 0.5, 0.75, 1],
                "ticktext": ["0", "", "0.5", "", "1"],
                "zeroline": False,
            },
            notes=notes,
            shapes=shapes,
            margin={"l": 48, "r": 24 if void else 90, "t": 8, "b": 38},
        ),
    }
