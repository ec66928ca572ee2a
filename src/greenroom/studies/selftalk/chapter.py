"""The chapters of selftalk.html, from the tables and the summary of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from greenroom.directions.cast import DEFAULT
from greenroom.measures.intervals import bootstrap_mean
from greenroom.report.charts import (
    AXIS_SCALE,
    INK,
    STONE,
    Spec,
    band,
    end_notes,
    layout,
    line,
    wrapped,
)
from greenroom.report.format import number, tint
from greenroom.report.parts import Chapter, Exhibit, Panel, Quote, Results
from greenroom.studies.dynamics_parts import SPAN, axis_line, listed, padded, row_figure, table, turn_layout
from greenroom.studies.dynamics_words import dynamics
from greenroom.studies.selftalk.findings import LOOP

OUTER = 8  # roles named because they lie farthest out


def selftalk_chapters(results: Results) -> list[Chapter]:
    """Every chapter that the run's tables can fill, in order."""
    made = (_where(results), _basins(results), _together(results), _replies(results))
    return [chapter for chapter in made if chapter is not None]


def _chapter(name: str, finding: str, *exhibits: Exhibit, **more: Any) -> Chapter:
    text = dynamics()["selftalk"]["chapters"][name]
    return Chapter(name, text["title"], text["contents"], finding, text["reading"].strip(), exhibits, **more)


def _ends(results: Results) -> pl.DataFrame:
    """One row a talk that could be placed: talk, end, its place early and late (first and last third of its messages)."""
    messages, talks = results.table("messages"), results.table("talks")
    if messages is None or talks is None or "pc1" not in messages.columns:
        return pl.DataFrame()
    axes = [name for name in messages.columns if name.startswith("pc")]
    third = max(1, int(messages["turn"].max() or 1) // 3)  # type: ignore[arg-type]
    ordered = messages.sort("talk", "turn")
    places = ordered.group_by("talk", maintain_order=True).agg(
        *(pl.col(name).head(third).mean().alias(f"{name}_early") for name in axes),
        *(pl.col(name).tail(third).mean() for name in axes),
        pl.col("message").last().alias("last"),
    )
    return talks.join(places, on="talk", how="left", maintain_order="left").drop_nulls([*axes, "pc1_early"])


def _where(results: Results) -> Chapter | None:
    roles, ends, text = results.table("places"), _ends(results), dynamics()["selftalk"]["chapters"]["where"]
    if roles is None or ends.is_empty() or "pc2" not in roles.columns:
        return None
    summary = results.summary
    alt = text["alt"].format(list=listed(_basin_rows(results), "basin", percent=True))
    caption = text["caption"].format(
        talks=summary["talks"], openings=summary["openings"], messages=summary["messages"],
        share=number(100 * sum(summary["explained"][:2]), 0) + "\N{NO-BREAK SPACE}%",
    )  # fmt: skip
    shown = {"talk": None, "opening": None, "end": None, "loop_onset": 0, "axis_sd_start": 2, "axis_sd_end": 2}
    talks = results.table("talks")
    exhibit = Exhibit(
        caption, panels=(Panel("where-plot", alt, _space(roles, ends, results, text)),), kind="tall",
        table=None if talks is None else table(talks, shown),
    )  # fmt: skip
    return _chapter("where", results.said("where") or "", exhibit)


def _space(roles: pl.DataFrame, ends: pl.DataFrame, results: Results, text: dict[str, Any]) -> Spec:
    cast, default = roles.filter(pl.col("role") != DEFAULT), roles.filter(pl.col("role") == DEFAULT)
    ways: Spec = {
        "type": "scatter", "mode": "lines", "hoverinfo": "skip", "line": {"color": "var(--band)", "width": 1.5},
        "x": [value for row in ends.to_dicts() for value in (row["pc1_early"], row["pc1"], None)],
        "y": [value for row in ends.to_dicts() for value in (row["pc2_early"], row["pc2"], None)],
    }  # fmt: skip
    spots: Spec = {
        "type": "scatter", "mode": "markers", "x": cast["pc1"].to_list(), "y": cast["pc2"].to_list(),
        "text": [role.replace("_", " ") for role in cast["role"]], "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 5, "color": STONE, "opacity": 0.55},
    }  # fmt: skip
    marks: Spec = {
        "type": "scatter", "mode": "markers", "x": ends["pc1"].to_list(), "y": ends["pc2"].to_list(),
        "customdata": [
            [row["opening"], number(row["axis_sd_end"], 1, signed=True), wrapped(row["last"])] for row in ends.to_dicts()
        ],
        "hovertemplate": "<b>%{customdata[0]}</b>  %{customdata[1]} sd<br>%{customdata[2]}<extra></extra>",
        "marker": {
            "size": 9, "symbol": ["x" if end == LOOP else "circle" for end in ends["end"]],
            "color": [value if value is not None else 0.0 for value in ends["axis_sd_end"]], "colorscale": AXIS_SCALE,
            "cmin": -SPAN, "cmax": 0, "line": {"width": 1, "color": "var(--paper)"},
        },
    }  # fmt: skip
    ring: Spec = {
        "type": "scatter", "mode": "markers", "x": default["pc1"].to_list(), "y": default["pc2"].to_list(),
        "hoverinfo": "skip", "marker": {"symbol": "circle-open", "size": 18, "color": "var(--teal)", "line": {"width": 3, "color": "var(--teal)"}},
    }  # fmt: skip
    hidden: Spec = {"zeroline": False, "showgrid": False, "showticklabels": False}
    drawn = layout(
        x={"title": {"text": text["x"]}, **hidden}, y={"title": {"text": text["y"]}, **hidden},
        margin={"l": 28, "r": 8, "t": 8, "b": 30},
    )  # fmt: skip
    return {"data": [spots, ways, marks, ring], "layout": drawn, "names": _names(cast, default, ends, results, text)}


def _names(
    cast: pl.DataFrame, default: pl.DataFrame, ends: pl.DataFrame, results: Results, text: dict[str, Any]
) -> list[Spec]:
    """Names in order of importance: the default character, the attractors, the roles near them, those farthest out."""
    labels: list[Spec] = [
        {"x": row["pc1"], "y": row["pc2"], "text": text["default"], "style": "default"} for row in default.to_dicts()
    ]
    basins = {name: one for name, one in results.summary["basins"].items() if name != LOOP}
    for name in basins if len(basins) > 1 else ():
        mine = ends.filter(pl.col("end") == name)
        spot = {axis: float(mine[axis].mean()) for axis in ("pc1", "pc2")}  # type: ignore[arg-type]
        labels.append({"x": spot["pc1"], "y": spot["pc2"], "text": text["centre"].format(name=name), "style": "role"})
    near = {role for one in basins.values() for role in one["roles"]}
    far = cast.with_columns((pl.col("pc1") ** 2 + pl.col("pc2") ** 2).alias("out")).sort("out", descending=True)
    named = [*cast.filter(pl.col("role").is_in(list(near))).to_dicts(), *far.head(OUTER).to_dicts()]
    labels += [
        {"x": row["pc1"], "y": row["pc2"], "text": row["role"].replace("_", " "), "style": "role"}
        for row in {row["role"]: row for row in named}.values()
    ]
    return labels


def _basin_rows(results: Results) -> list[tuple[str, dict[str, Any]]]:
    text, basins = dynamics()["selftalk"]["chapters"]["basins"], results.summary["basins"]
    alone = sum(name != LOOP for name in basins) == 1
    return [
        (text["loop"] if name == LOOP else text["cloud"] if alone else text["attractor"].format(name=name), one)
        for name, one in basins.items()
    ]


def _basins(results: Results) -> Chapter | None:
    frame, text = results.table("attractors"), dynamics()["selftalk"]["chapters"]["basins"]
    rows = _basin_rows(results)
    if frame is None:
        return None
    ticks = [(0.25 * step, f"{25 * step}\N{NO-BREAK SPACE}%") for step in range(5)]
    figure = row_figure(
        "basins-rows", rows, "basin", (0.0, 1.0), alt=text["alt"].format(list=listed(rows, "basin", percent=True)),
        ticks=ticks, percent=True, digits=0,
    )  # fmt: skip
    columns: dict[str, int | None] = {
        "attractor": None, "basin": 2, "talks": 0, "openings": 0, "axis_sd": 2, "roles": None, "words": None
    }  # fmt: skip
    exhibit = Exhibit(text["caption"], rows=(figure,), kind="rows", table=table(frame, columns))
    return _chapter("basins", results.said("basins") or "", exhibit)


def _together(results: Results) -> Chapter | None:
    spread, text = results.table("spread"), dynamics()["selftalk"]["chapters"]["together"]
    messages = results.table("messages")
    if spread is None or messages is None:
        return None
    turns = spread["turn"].to_list()
    top = max(*spread["spread"], *spread["high"])
    lines = [
        band(turns, spread["low"].to_list(), spread["high"].to_list(), "var(--band-faint)"),
        {**line(turns, spread["spread"], color=INK, width=2), "hoverinfo": "all", "hovertemplate": text["x"] + " %{x}: %{y:.2f}<extra></extra>"},
    ]  # fmt: skip
    ends = [(float(spread["low"][-1] + spread["high"][-1]) / 2, text["shuffled"])]
    notes = end_notes(turns[-1], ends, 250 / max(top, 1e-9))
    apart = Panel(
        "spread", text["alt_spread"].format(first=number(spread["spread"][0]), last=number(spread["spread"][-1]), turn=turns[-1]),
        {"data": lines, "layout": layout(
            x={"title": {"text": text["x"]}, "range": [0.6, turns[-1] + 0.4], "zeroline": False, "showgrid": False},
            y={"title": {"text": text["y_spread"]}, "range": [0, 1.08 * top], "zeroline": False},
            notes=notes, margin={"l": 48, "r": 96, "t": 8, "b": 38})},
        title=text["spread"], headline=True,
    )  # fmt: skip
    rows = _axis_by_turn(messages, int(results.summary["seed"]))
    bounds = padded([row[end] for row in rows for end in ("axis_sd", "low", "high")], least=1.0)
    place = Panel(
        "axis-by-turn",
        text["alt_axis"].format(first=number(rows[0]["axis_sd"], 1), last=number(rows[-1]["axis_sd"], 1), turn=rows[-1]["turn"]),
        {"data": axis_line(rows, text["x"]), "layout": turn_layout(text["x"], text["y_axis"], (1.0, float(turns[-1])), bounds)},
        title=text["axis"], headline=True,
    )  # fmt: skip
    exhibit = Exhibit(
        text["caption"], panels=(apart, place), kind="multiples", table=table(_tests(results), {"measure": None, "talks": None, "value": 2, "chance": None, "p": 3})
    )  # fmt: skip
    return _chapter("together", results.said("together") or "", exhibit)


def _axis_by_turn(messages: pl.DataFrame, seed: int) -> list[dict[str, Any]]:
    rows = []
    for (turn,), part in messages.sort("turn", maintain_order=True).group_by("turn", maintain_order=True):
        values = part["axis_sd_cold"].cast(pl.Float64).to_numpy()
        mean = bootstrap_mean(values, part["opening"].to_list(), seed=seed)
        rows.append({"turn": turn, "axis_sd": mean.estimate, "low": mean.low, "high": mean.high})
    return rows


def _tests(results: Results) -> pl.DataFrame:
    """One row a test of coming together: with all talks, and without those in a loop."""
    text, rows = dynamics()["contraction"], []
    for key, whose in (("contraction", "all"), ("contraction_without_loops", "without_loops")):
        found = results.summary[key]
        for name in ("spread_ratio", "step_ratio", "memory_early", "memory_late"):
            low, high = found.get(f"{name}_null_low"), found[f"{name}_null_high"]
            chance = number(high) if low is None else f"{number(low)} to {number(high)}"
            rows.append(
                {"measure": text[name], "talks": f"{text[whose]} ({found['talks']})", "value": found[name], "chance": chance, "p": found[f"{name}_p"]}
            )  # fmt: skip
    schema = {"measure": pl.String, "talks": pl.String, "value": pl.Float64, "chance": pl.String, "p": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


def _replies(results: Results) -> Chapter | None:
    """The last two messages of the talk in the middle of each attractor, and of the loop that began first."""
    ends, messages = _ends(results), results.table("messages")
    text = dynamics()["selftalk"]["chapters"]["replies"]
    if ends.is_empty() or messages is None:
        return None
    axes = [name for name in messages.columns if name.startswith("pc")]
    labels = dict(zip(results.summary["basins"], (label for label, _ in _basin_rows(results)), strict=True))
    quotes = []
    for name in labels:
        mine = ends.filter(pl.col("end") == name)
        if mine.is_empty():
            continue
        spots = mine.select(axes).to_numpy()
        middle = int(np.linalg.norm(spots - spots.mean(axis=0), axis=1).argmin())
        row = (
            mine.sort("loop_onset", maintain_order=True).row(0, named=True)
            if name == LOOP
            else mine.row(middle, named=True)
        )
        said = messages.filter(pl.col("talk") == row["talk"]).sort("turn").tail(1).row(0, named=True)
        place = text["place"].format(
            end=labels[name], opening=row["opening"], axis=number(row["axis_sd_end"], 1, signed=True)
        )
        note = text["stuck"].format(turn=row["loop_onset"]) if row["loop_onset"] is not None else ""
        quotes.append(
            Quote(row["talk"], place, tint(row["axis_sd_end"], SPAN), said["answers"], said["message"].strip(), note)
        )
    return _chapter("replies", text["finding"], quotes=tuple(quotes)) if quotes else None
