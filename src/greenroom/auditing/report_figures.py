"""The Plotly figures of the report, as plain dictionaries.

Colours are CSS variables ("var(--teal)"); report.js replaces them by the theme's values when it draws, and draws
again when the theme is switched. Teal, stone and rust are kept for places on the assistant axis; all else is ink.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from greenroom.auditing.report_parts import number, snippet, words

INK, QUIET, RULE, STONE, CLEAR = (f"var(--{name})" for name in ("ink", "quiet", "rule", "stone", "clear"))
AXIS_SCALE = [[0.0, "var(--rust)"], [0.5, STONE], [1.0, "var(--teal)"]]
SYMBOLS = {
    "everyday": "circle",
    "professional": "square",
    "fictional": "diamond",
    "nonhuman": "triangle-up",
    "ai": "hexagon",
    "archetype": "star",
}
Spec = dict[str, Any]


def persona_map(frame: pl.DataFrame, default: dict[str, Any] | None, samples: dict[str, dict[str, Any]], span: float,
                shares: Sequence[float]) -> Spec:  # fmt: skip
    """Roles on the first two components, coloured by axis_sd from -span (rust) to 0 (teal).

    frame: the roles; default: the default character's row; samples: role to {question, reply}; shares: explained
    variance of the components, 0..1, may be empty. The x axis is turned so that the assistant side is on the right.
    `map` carries what report.js needs for labels (in order of importance), search and the reading panel.
    """
    text = words()["chapters"]["map"]
    rows = frame.to_dicts()
    placed = [*rows, *([default] if default else [])]
    xs, ys, axis = (np.array([row[name] for row in placed], float) for name in ("pc1", "pc2", "axis_sd"))
    slope, origin = _axis_line(xs, ys, axis)
    traces: list[Spec] = []
    if slope is not None:
        along = (np.stack([xs, ys], 1) - origin) @ slope / np.linalg.norm(slope)
        ends = np.array([origin + slope / np.linalg.norm(slope) * reach for reach in (along.min(), along.max())])
        traces.append(_line(ends[:, 0], ends[:, 1], color=QUIET, width=1, dash="dot"))
    custom = [
        [row["role"].replace("_", " "), text["hover_axis"].format(axis=number(row["axis_sd"], 1)),
         _wrapped(samples.get(row["role"], {}).get("reply", ""))] for row in rows
    ]  # fmt: skip
    traces.append({
        "type": "scatter", "mode": "markers", "name": "roles", "x": [row["pc1"] for row in rows], "y": [row["pc2"] for row in rows],
        "customdata": custom, "hovertemplate": "<b>%{customdata[0]}</b>  %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        "marker": {"symbol": [SYMBOLS.get(row["kind"], "circle") for row in rows], "size": 10, "color": [row["axis_sd"] for row in rows],
                   "colorscale": AXIS_SCALE, "cmin": -span, "cmax": 0, "line": {"width": 1, "color": "var(--paper)"}},
    })  # fmt: skip
    if default:
        if slope is not None and default.get("axis_sd_low") is not None:
            step = slope / float(slope @ slope)  # one sd along the axis, in the units of the components
            at = np.array([default["pc1"], default["pc2"]])
            bar = [at + step * (default[bound] - default["axis_sd"]) for bound in ("axis_sd_low", "axis_sd_high")]
            traces.append(_line([p[0] for p in bar], [p[1] for p in bar], color="var(--teal)", width=3))
        traces.append({
            "type": "scatter", "mode": "markers", "name": "default", "x": [default["pc1"]], "y": [default["pc2"]],
            "customdata": [[text["default"], text["hover_axis"].format(axis=number(default["axis_sd"], 1)),
                            _wrapped(samples.get("default", {}).get("reply", ""))]],
            "hovertemplate": "<b>%{customdata[0]}</b>  %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            "marker": {"symbol": "circle-open", "size": 20, "color": "var(--teal)", "line": {"width": 3, "color": "var(--teal)"}},
        })  # fmt: skip
    share = [text["share"].format(percent=number(100 * value, 0)) for value in [*shares, None, None][:2] if value is not None]
    share += [""] * (2 - len(share))
    spread = max(float(np.ptp(xs)), float(np.ptp(ys)), 1e-9)
    x_range = [float(xs.min()) - 0.06 * spread, float(xs.max()) + 0.06 * spread]
    y_range = [float(ys.min()) - 0.06 * spread, float(ys.max()) + 0.06 * spread]
    turned = slope is not None and slope[0] < 0
    layout = _layout(
        x={"title": {"text": text["x"].format(share=share[0])}, "range": x_range[::-1] if turned else x_range,
           "showticklabels": False, "zeroline": False},
        y={"title": {"text": text["y"].format(share=share[1])}, "range": y_range, "scaleanchor": "x", "showticklabels": False,
           "zeroline": False},
        margin={"l": 28, "r": 8, "t": 8, "b": 30},
    )  # fmt: skip
    layout["dragmode"] = "zoom"
    for name in ("xaxis", "yaxis"):
        layout[name]["fixedrange"] = False
    labels = _labels(rows, default, np.stack([xs, ys], 1))
    if slope is not None:
        far, near = (ends[0], ends[1])
        labels[1:1] = [{"x": float(near[0]), "y": float(near[1]), "text": text["toward"], "style": "axis"},
                       {"x": float(far[0]), "y": float(far[1]), "text": text["away"], "style": "axis"}]  # fmt: skip
    return {"data": traces, "layout": layout, "map": {"labels": labels}}


def layers(frame: pl.DataFrame, summary: dict[str, Any]) -> Spec:
    """Selection AUC by block with its standard error, the chosen block, and the held-out AUC with its interval."""
    text = words()["chapters"]["layers"]
    frame = frame.sort("layer")
    x, y = frame["layer"].to_list(), frame["auc_selection"].to_list()
    error = frame["auc_se"].fill_null(0.0).to_list() if "auc_se" in frame.columns else [0.0] * len(x)
    low, high = [a - e for a, e in zip(y, error, strict=True)], [min(a + e, 1.0) for a, e in zip(y, error, strict=True)]
    hover = f"{text['x']} %{{x}}: %{{y:.3f}}<extra></extra>"
    traces = [_band(x, low, high, "var(--band)"), {**_line(x, y, color=INK, width=2), "hoverinfo": "all", "hovertemplate": hover}]
    bottom = min([0.5, *low])
    notes = [_note(x[0], 0.5, text["chance"], anchor="left", shift=8)]
    shapes = [_level(0.5)]
    null = summary.get("axis_auc_null_p95")
    if null is not None:
        shapes.append(_level(null, dash="dot"))
        notes.append(_note(x[-1], null, text["null"], anchor="right", shift=8))
    chosen = frame.filter(pl.col("chosen"))
    if not chosen.is_empty():
        at, value = chosen["layer"][0], chosen["auc_selection"][0]
        traces.append({"type": "scatter", "mode": "markers", "x": [at], "y": [value], "hoverinfo": "skip",
                       "marker": {"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2.5}}})  # fmt: skip
        right = at > (x[0] + x[-1]) / 2
        notes.append(_note(at, value, text["chosen"].format(layer=at), anchor="right" if right else "left", shift=-20))
        auc = summary.get("axis_auc")
        if auc is not None:
            held = at + (0.035 if not right else -0.035) * (x[-1] - x[0])
            traces.append(_points([held], [auc], [summary.get("axis_auc_low")], [summary.get("axis_auc_high")], filled=True,
                                  hover=f"{text['held_out']}: %{{y:.3f}}<extra></extra>"))  # fmt: skip
    return {"data": traces, "layout": _layout(
        x={"title": {"text": text["x"]}, "range": [x[0] - 0.6, x[-1] + 0.6], "zeroline": False},
        y={"title": {"text": text["y"]}, "range": [bottom - 0.05, 1.03], "tickformat": ".1f", "dtick": 0.1, "zeroline": False},
        notes=notes, shapes=shapes)}  # fmt: skip


def hold(frame: pl.DataFrame, replies: dict[int, str], bounds: tuple[float, float], last: int) -> Spec:
    """One pressure: its effect on the axis by turn, hot (solid) and cold (dashed), against the neutral line at 0.

    frame: turn, reading, effect_sd, low, high; replies: turn to a sample reply; bounds: the range all panels share.
    """
    text = words()["chapters"]["hold"]
    traces: list[Spec] = []
    ends: list[tuple[float, str]] = []
    for reading, dash, band in (("cold", "dash", "var(--band-faint)"), ("hot", "solid", "var(--band)")):
        part = frame.filter(pl.col("reading") == reading).sort("turn").drop_nulls("effect_sd")
        if part.is_empty():
            continue
        x, y = part["turn"].to_list(), part["effect_sd"].to_list()
        known = part.drop_nulls(["low", "high"])
        if known.height:
            traces.append(_band(known["turn"].to_list(), known["low"].to_list(), known["high"].to_list(), band))
        custom = [[number(row["low"], 1), number(row["high"], 1), _wrapped(replies.get(row["turn"], ""), 44)]
                  for row in part.iter_rows(named=True)]  # fmt: skip
        reach = max(abs(bound) for bound in bounds)
        traces.append({
            "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "customdata": custom,
            "line": {"color": INK if reading == "hot" else QUIET, "width": 2, "dash": dash},
            "marker": {"size": 7, "color": y, "colorscale": AXIS_SCALE, "cmin": -reach, "cmax": reach, "line": {"width": 1, "color": INK}},
            "hovertemplate": f"<b>{text[reading]}</b>, {text['x']} %{{x}}: %{{y:.1f}} sd (%{{customdata[0]}} – %{{customdata[1]}})"
                             "<br>%{customdata[2]}<extra></extra>",
        })  # fmt: skip
        ends.append((y[-1], text[reading]))
    notes = [_note(last, value, name, anchor="left", shift=shift, x_shift=8)
             for (value, name), shift in zip(ends, _apart([end[0] for end in ends], 0.07 * (bounds[1] - bounds[0])), strict=True)]  # fmt: skip
    notes.append(_note(1, 0, text["neutral"], anchor="left", shift=8))
    return {"data": traces, "layout": _layout(
        x={"title": {"text": text["x"]}, "range": [0.7, last + 0.3], "dtick": 1, "zeroline": False, "showgrid": False},
        y={"title": {"text": text["y"]}, "range": list(bounds), "zeroline": False}, notes=notes, shapes=[_level(0.0, width=1.5, color=INK)],
        margin={"l": 48, "r": 40, "t": 8, "b": 38})}  # fmt: skip


def dose(frame: pl.DataFrame, *, void: bool, breaking: tuple[float, float | None, float | None] | None) -> Spec:
    """One paradigm: adherence by stake, observed (filled) and unobserved (open), with the fit; hatched when void.

    frame: observed, stake, adherence, low, high, n, fit; breaking: breaking point with its bounds, on the headline only.
    """
    text = words()["chapters"]["sacrifice"]
    traces: list[Spec] = []
    shapes, notes = [_level(0.5, dash="dot")], []
    stakes = frame["stake"].cast(float)
    top = float(stakes.max() or 4.0)  # type: ignore[arg-type]
    if void:
        traces.append({**_band([0, top], [0, 0], [1, 1], CLEAR), "fillpattern": {
            "shape": "/", "fgcolor": "var(--hatch)", "bgcolor": CLEAR, "size": 9, "solidity": 0.16}})  # fmt: skip
    if breaking is not None and not void:
        at, low, high = breaking
        shapes.append({"type": "rect", "x0": 0 if low is None else low, "x1": top if high is None else high, "y0": 0, "y1": 1,
                       "line": {"width": 0}, "fillcolor": "var(--band-faint)", "layer": "below"})  # fmt: skip
        shapes.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"color": INK, "width": 1.5}})
        notes.append(_note(at, 0.03, text["breaking_label"], anchor="left" if at < top / 2 else "right", x_shift=5 if at < top / 2 else -5))
    ends: list[tuple[float, str]] = []
    for observed, offset in ((True, -0.04), (False, 0.04)):
        part = frame.filter(pl.col("observed") == observed).sort("stake").drop_nulls("adherence")
        if part.is_empty():
            continue
        name = text["observed"] if observed else text["unobserved"]
        x, y = [value + offset for value in part["stake"].cast(float)], part["adherence"].to_list()
        fitted = "fit" in part.columns and part["fit"].null_count() == 0
        curve = part["fit"].to_list() if fitted else y
        traces.append({**_line(x, curve, color=STONE if void else INK, width=2, dash="solid" if observed else "dash"), "line": {
            "color": STONE if void else INK, "width": 2, "dash": "solid" if observed else "dash",
            "shape": "spline" if fitted else "linear", "smoothing": 0.8}})  # fmt: skip
        if not void:
            hover = f"<b>{name}</b>, %{{y:.2f}} (%{{customdata[0]}} – %{{customdata[1]}}), n %{{customdata[2]}}<extra></extra>"
            traces.append(_points(x, y, part["low"].to_list(), part["high"].to_list(), filled=observed, hover=hover,
                                  custom=[[number(r["low"]), number(r["high"]), r["n"]] for r in part.iter_rows(named=True)]))  # fmt: skip
        ends.append((curve[-1], name))
    if void:
        notes.append({**_note(top / 2, 0.5, words()["page"]["void"].upper(), anchor="center"), "font": {"size": 26, "color": QUIET},
                      "bgcolor": "var(--paper)", "borderpad": 5})  # fmt: skip
    else:
        for (value, name), shift in zip(ends, _apart([end[0] for end in ends], 0.08), strict=True):
            notes.append(_note(top, value, name, anchor="left", shift=shift, x_shift=10))
    return {"data": traces, "layout": _layout(
        x={"title": {"text": text["x"]}, "range": [-0.25, top + 0.15], "dtick": 1, "zeroline": False, "showgrid": False},
        y={"title": {"text": text["y"]}, "range": [-0.03, 1.03], "tickformat": ".1f", "dtick": 0.25, "zeroline": False},
        notes=notes, shapes=shapes, margin={"l": 48, "r": 24 if void else 78, "t": 8, "b": 38})}  # fmt: skip


def _axis_line(xs: np.ndarray, ys: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The direction on the map in which axis_sd rises (least squares; sd a unit of each component), and the centre."""
    points = np.stack([xs, ys], 1)
    origin = points.mean(0)
    if len(points) < 4 or not np.isfinite(axis).all():
        return None, origin
    slope = np.linalg.lstsq(points - origin, axis - axis.mean(), rcond=None)[0]
    return (slope if np.linalg.norm(slope) > 0 else None), origin


def _labels(rows: list[dict[str, Any]], default: dict[str, Any] | None, points: np.ndarray) -> list[Spec]:
    """Names in the order in which they get a place: default, the ends of the axis, then the most outlying."""
    by_axis = sorted(rows, key=lambda row: row["axis_sd"])
    centre = points.mean(0)
    outlying = sorted(rows, key=lambda row: -float(np.hypot(row["pc1"] - centre[0], row["pc2"] - centre[1])))
    ordered = {row["role"]: row for row in [*by_axis[:5], *by_axis[-5:], *outlying]}
    first = [{"x": default["pc1"], "y": default["pc2"], "text": words()["chapters"]["map"]["default"], "style": "default"}] if default else []
    return first + [{"x": row["pc1"], "y": row["pc2"], "text": row["role"].replace("_", " "), "style": "role"} for row in ordered.values()]


def _layout(*, x: Spec, y: Spec, notes: Sequence[Spec] = (), shapes: Sequence[Spec] = (), margin: Spec | None = None) -> Spec:
    axis = {"color": QUIET, "gridcolor": RULE, "linecolor": RULE, "ticks": "", "fixedrange": True, "automargin": False}
    return {
        "autosize": True, "showlegend": False, "hovermode": "closest", "dragmode": False,
        "paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR, "margin": margin or {"l": 48, "r": 16, "t": 8, "b": 38},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": INK},
        "hoverlabel": {"bgcolor": "var(--raised)", "bordercolor": QUIET, "align": "left", "font": {"color": INK, "size": 12}},
        "xaxis": {**axis, **x, "title": {"standoff": 8, "font": {"size": 12, "color": QUIET}, **x.get("title", {})}},
        "yaxis": {**axis, **y, "title": {"standoff": 6, "font": {"size": 12, "color": QUIET}, **y.get("title", {})}},
        "annotations": list(notes), "shapes": list(shapes),
    }  # fmt: skip


def _line(x: Any, y: Any, *, color: str, width: float, dash: str = "solid") -> Spec:
    return {"type": "scatter", "mode": "lines", "x": list(map(float, x)), "y": list(map(float, y)), "hoverinfo": "skip",
            "line": {"color": color, "width": width, "dash": dash}}  # fmt: skip


def _band(x: Sequence[float], low: Sequence[float], high: Sequence[float], color: str) -> Spec:
    return {"type": "scatter", "mode": "lines", "x": [*x, *reversed(x)], "y": [*high, *reversed(low)], "fill": "toself",
            "fillcolor": color, "line": {"width": 0, "color": CLEAR}, "hoverinfo": "skip"}  # fmt: skip


def _points(x: Sequence[float], y: Sequence[float], low: Sequence[float | None], high: Sequence[float | None], *, filled: bool,
            hover: str, custom: list[list[Any]] | None = None) -> Spec:  # fmt: skip
    """Dots with their intervals; an open bound is drawn to the edge of the figure's range of 0 to 1."""
    up = [(1.0 if bound is None else bound) - value for value, bound in zip(y, high, strict=True)]
    down = [value - (0.0 if bound is None else bound) for value, bound in zip(y, low, strict=True)]
    marker = {"size": 8, "color": INK if filled else "var(--paper)", "line": {"color": INK, "width": 1.5}}
    return {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "marker": marker, "customdata": custom,
            "hovertemplate": hover, "error_y": {"type": "data", "symmetric": False, "array": up, "arrayminus": down,
                                                "color": INK, "thickness": 1.2, "width": 0}}  # fmt: skip


def _note(x: float, y: float, text: str, *, anchor: str, shift: float = 0, x_shift: float = 0) -> Spec:
    return {"x": x, "y": y, "text": text, "showarrow": False, "xanchor": anchor, "yanchor": "middle", "yshift": shift,
            "xshift": x_shift, "font": {"size": 12, "color": QUIET}}  # fmt: skip


def _level(y: float, *, dash: str = "solid", width: float = 1, color: str = QUIET) -> Spec:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "layer": "below",
            "line": {"color": color, "width": width, "dash": dash}}  # fmt: skip


def _apart(values: Sequence[float], least: float) -> list[float]:
    """Shifts in pixels that keep two end labels from overlapping when their lines end closer than `least`."""
    if len(values) != 2 or abs(values[0] - values[1]) >= least:
        return [0.0] * len(values)
    return [8.0, -8.0] if values[0] >= values[1] else [-8.0, 8.0]


def _wrapped(text: str, width: int = 52) -> str:
    """A reply's beginning in lines, escaped for Plotly's hover text."""
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(snippet(text), width))
