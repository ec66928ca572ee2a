"""frontier.html: one self-contained page with a sentence, the pictures, and the numbers behind a fold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import yaml
from markupsafe import Markup

from greenroom.runs.tables import read_table
from greenroom.store import read_json, write_text
from greenroom.studies.frontier.words import TEMPLATES, about, findings, named, number, rows_shown, strength_name, words

Spec = dict[str, Any]
INK, QUIET, RULE, BAND, AMBER, CLEAR = (f"var(--{name})" for name in ("ink", "quiet", "rule", "band", "amber", "clear"))
SPLIT = (0.7, 0.78)  # strengths to the left of the first, cap floors to the right of the second, of the width


def write_page(folder: Path) -> Path:
    """Writes `folder`/frontier.html from the tables and the summary in `folder`, and returns its path. Atomic."""
    frame, families = (read_table(folder / "tables" / f"{name}.parquet") for name in ("frontier", "capability"))
    summary, text = read_json(folder / "summary.json"), words()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((TEMPLATES / "page.html.j2").read_text(encoding="utf-8"))
    specs = figures(frame, summary)
    heads, rows = rows_shown(frame.to_dicts())
    from plotly.offline import get_plotlyjs

    data = json.dumps(specs, allow_nan=False).replace("</", "<\\/")
    page = template.render(
        text=text, title=text["title"].format(direction=named(summary["direction"])), model=summary["model"],
        findings=findings(summary), about=about(summary), heads=heads, rows=rows, figures=specs,
        families=_families(families), colours=yaml.safe_load((TEMPLATES / "colours.yaml").read_text(encoding="utf-8")),
        data=Markup(data), plotly=Markup(get_plotlyjs()),
        script=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
    )  # fmt: skip
    write_text(folder / "frontier.html", page)
    return folder / "frontier.html"


def figures(frame: pl.DataFrame, summary: dict[str, Any]) -> list[Spec]:
    """One Plotly figure a quantity: strengths as a line with its band, cap floors as points beside it."""
    text = words()
    score = text["score_names"].get(summary["score_kind"], summary["score"])
    plans: tuple[tuple[str, str, float, bool], ...] = (
        ("effect", "effect", 1, True), ("price", "capability_loss", 100, True), ("perplexity", "perplexity", 1, False),
        ("degenerate", "degenerate_share", 100, False), ("leakage", "leakage", 1, True),
    )  # fmt: skip
    found = []
    for name, column, scale, bounded in plans:
        own = text["figures"][name]
        spec = _figure(frame, column, scale, bounded)
        if name == "price":
            _budget(spec, 100 * summary["budget"])
        if name == "perplexity":
            marks = [step * 10**power for power in range(7) for step in (1, 2, 3, 5)]
            spec["layout"]["yaxis"] |= {"type": "log", "tickmode": "array", "tickvals": marks}
        if name == "degenerate":  # a share: where there are none, an automatic axis would go below zero
            top = 1.05 * max([10.0, *(scale * share for share in frame[column].drop_nulls())])
            spec["layout"]["yaxis"] |= {"range": [-0.03 * top, top]}
        said = own["y"].format(score=score, unit=summary["effect_unit"])
        found.append({"id": name, "title": own["title"], "said": said, "alt": own["alt"], **spec})
    return found


def _figure(frame: pl.DataFrame, column: str, scale: float, bounded: bool) -> Spec:
    text = words()
    steer = frame.filter(pl.col("strength").is_not_null() & pl.col(column).is_not_null()).sort("strength")
    caps = frame.filter((pl.col("intervention") == "cap") & pl.col(column).is_not_null())
    data: list[Spec] = []
    x, values = steer["strength"].to_list(), [scale * value for value in steer[column]]
    if bounded:
        known = steer.filter(pl.col(f"{column}_low").is_not_null() & pl.col(f"{column}_high").is_not_null())
        at, low, high = (
            known["strength"].to_list(),
            *([scale * v for v in known[f"{column}_{end}"]] for end in ("low", "high")),
        )
        data.append(
            {"type": "scatter", "mode": "lines", "x": [*at, *reversed(at)], "y": [*high, *reversed(low)],
             "fill": "toself", "fillcolor": BAND, "line": {"width": 0, "color": CLEAR}, "hoverinfo": "skip"}
        )  # fmt: skip
    hover = [
        f"{strength_name(s)} sd: {_between(row, column, scale, bounded)}"
        for s, row in zip(x, steer.to_dicts(), strict=True)
    ]
    data.append(
        {"type": "scatter", "mode": "lines+markers", "x": x, "y": values, "line": {"color": INK, "width": 2},
         "marker": {"color": INK, "size": 6}, "hovertext": hover, "hoverinfo": "text"}
    )  # fmt: skip
    if caps.height:
        rows = caps.to_dicts()
        point: Spec = {
            "type": "scatter", "mode": "markers", "x": [row["floor"].replace("default:", "").replace("rollouts:", "r ") for row in rows],
            "y": [scale * row[column] for row in rows], "xaxis": "x2", "marker": {"color": INK, "size": 8, "symbol": "diamond"},
            "hovertext": [f"{row['floor']}: {_between(row, column, scale, bounded)}" for row in rows], "hoverinfo": "text",
        }  # fmt: skip
        if bounded and all(row[f"{column}_{end}"] is not None for row in rows for end in ("low", "high")):
            point["error_y"] = {
                "type": "data", "symmetric": False, "color": INK, "thickness": 1.4, "width": 0,
                "array": [scale * (row[f"{column}_high"] - row[column]) for row in rows],
                "arrayminus": [scale * (row[column] - row[f"{column}_low"]) for row in rows],
            }  # fmt: skip
        data.append(point)
    axis = {"color": QUIET, "gridcolor": RULE, "linecolor": RULE, "zeroline": False, "fixedrange": True, "ticks": ""}
    layout: Spec = {
        "autosize": True, "showlegend": False, "hovermode": "closest", "dragmode": False, "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR, "margin": {"l": 56, "r": 12, "t": 8, "b": 42}, "height": 260,
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "hoverlabel": {"bgcolor": "var(--raised)", "bordercolor": QUIET, "font": {"color": INK}},
        "xaxis": {**axis, "title": {"text": text["x"], "standoff": 6}, "domain": [0, SPLIT[0] if caps.height else 1]},
        "yaxis": axis,
        "shapes": [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"color": QUIET, "width": 1}},
            {"type": "line", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "line": {"color": QUIET, "width": 1, "dash": "dot"}},
        ],
        "annotations": [],
    }  # fmt: skip
    if column == "perplexity":
        del layout["shapes"][0]  # a logarithmic axis has no zero
    if caps.height:
        layout["xaxis2"] = {
            **axis,
            "type": "category",
            "title": {"text": text["floors"], "standoff": 6},
            "tickangle": 0,
            "tickfont": {"size": 10},
            "domain": [SPLIT[1], 1],
        }
    return {"data": data, "layout": layout}


def _budget(spec: Spec, percent: float) -> None:
    """The budget as a line with its name."""
    line = {"color": AMBER, "width": 1.5, "dash": "dash"}
    spec["layout"]["shapes"].append(
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": percent, "y1": percent, "line": line}
    )
    spec["layout"]["annotations"].append(
        {"xref": "paper", "x": 0, "xanchor": "left", "y": percent, "yanchor": "bottom", "showarrow": False,
         "text": words()["budget_line"], "font": {"color": "var(--amber-ink)", "size": 12}}
    )  # fmt: skip


def _between(row: dict[str, Any], column: str, scale: float, bounded: bool) -> str:
    value = number(scale * row[column])
    low, high = (row[f"{column}_{end}"] if bounded else None for end in ("low", "high"))
    if low is None or high is None:
        return value
    return f"{value} ({number(scale * low)} to {number(scale * high)})"


def _families(frame: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Loss by family: heads and one line a setting."""
    kinds = [name for name in frame["family"].unique(maintain_order=True) if name != "all"]
    lines = []
    for (setting,), part in frame.partition_by("setting", as_dict=True, maintain_order=True).items():
        loss = {row["family"]: row for row in part.to_dicts()}
        cells = [
            f"{number(loss[kind]['capability_loss'], 1, percent=True)} ≤ {number(loss[kind]['capability_loss_high'], 1, percent=True)}"
            if loss[kind]["capability_loss"] is not None
            else words()["missing"]
            for kind in kinds
        ]
        lines.append([str(setting).replace("-", "−"), *cells])
    return [words()["family_columns"]["setting"], *kinds], lines
