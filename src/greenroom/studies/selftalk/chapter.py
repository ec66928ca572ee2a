"""The chapters of self-talk: where talks go, attractors, whether they come together, and how they end."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from greenroom.directions.cast import DEFAULT
from greenroom.report.charts import AXIS_SCALE, INK, STONE, Spec, band, end_notes, layout, line, wrapped
from greenroom.report.format import number, plain, tint
from greenroom.report.parts import Chapter, Exhibit, Panel, Quote, Results, Table, chapter
from greenroom.report.rows import Estimates, in_words, row_figure
from greenroom.report.tables import named, table_of
from greenroom.report.turns import SPAN, axis_by_turn, padded, turn_layout
from greenroom.studies.selftalk.ends import LOOP
from greenroom.studies.selftalk.sentences import basin_line, gone, headline, tested, together

OUTER = 8  # roles named because they lie farthest out
HEIGHT = 250  # of a plot in pixels, for names that would overlap


def chapters(results: Results) -> list[Chapter]:
    """Every chapter that can be filled, in order."""
    messages, talks, attractors = (results.table(name) for name in ("messages", "talks", "attractors"))
    assert messages is not None
    assert talks is not None
    assert attractors is not None
    ends = _ends(messages, talks)
    made = (
        _where(results, messages, talks, attractors, ends),
        _basins(results, attractors),
        _together(results),
        _replies(results, messages, attractors, ends),
    )
    return [one for one in made if one is not None]


def _ends(messages: pl.DataFrame, talks: pl.DataFrame) -> pl.DataFrame:
    """One row a talk that could be placed: talk, end, its place early and late (first and last third of its messages)."""
    axes = _axes(messages)
    third = max(1, int(messages["turn"].max() or 1) // 3)  # type: ignore[arg-type]
    places = (
        messages.sort("talk", "turn")
        .group_by("talk", maintain_order=True)
        .agg(
            *(pl.col(name).head(third).mean().alias(f"{name}_early") for name in axes),
            *(pl.col(name).tail(third).mean() for name in axes),
            pl.col("message").last().alias("last"),
        )
    )
    return talks.join(places, on="talk", how="left", maintain_order="left").drop_nulls([*axes, "pc1_early"])


def _axes(messages: pl.DataFrame) -> list[str]:
    return [name for name in messages.columns if name.startswith("pc")]


def _where(
    results: Results, messages: pl.DataFrame, talks: pl.DataFrame, attractors: pl.DataFrame, ends: pl.DataFrame
) -> Chapter:
    roles, text = results.table("places"), results.words["chapters"]["main"]
    explained = results.part("space")["explained"]
    told = in_words(_basin_rows(results, attractors), digits=0, percent=True)
    caption = text["caption"].format(
        talks=talks.height, openings=talks["opening"].n_unique(), messages=messages["turn"].max(),
        share=number(sum(explained[:2]), 0, percent=True),
    )  # fmt: skip
    columns = {"talk": None, "opening": None, "end": None, "loop_onset": 0, "axis_sd_start": 2, "axis_sd_end": 2}
    panels = ()
    if roles is not None and "pc2" in roles.columns and ends.height:
        spec = _space(roles, ends, attractors, results, text)
        panels = (Panel(id="where-plot", alt=text["alt"].format(list=told), spec=spec),)
    exhibit = Exhibit(caption, panels=panels, kind="tall", table=table_of(talks, columns, results))
    opening, grade = headline(results), (results.measure("attractors") or {}).get("grade")
    return chapter(
        results, "main", f"{opening} {gone(results, messages)}", exhibit, headline=opening, grade=grade,
        warnings=_warnings(results),
    )  # fmt: skip


def _warnings(results: Results) -> tuple[str, ...]:
    text, answers = results.words["sentences"], results.answers
    failed = 0 if answers is None else answers.filter(pl.col("wording").is_null()).height
    unreliable = () if results.part("ends")["reliable"] else (text["unreliable"],)
    return (*unreliable, *((text["failed"].format(n=failed),) if failed else ()))


def _space(
    roles: pl.DataFrame, ends: pl.DataFrame, attractors: pl.DataFrame, results: Results, text: dict[str, Any]
) -> Spec:
    cast, default = roles.filter(pl.col("role") != DEFAULT), roles.filter(pl.col("role") == DEFAULT)
    rows = ends.to_dicts()
    ways: Spec = {
        "type": "scatter", "mode": "lines", "hoverinfo": "skip", "line": {"color": "var(--band)", "width": 1.5},
        "x": [value for row in rows for value in (row["pc1_early"], row["pc1"], None)],
        "y": [value for row in rows for value in (row["pc2_early"], row["pc2"], None)],
    }  # fmt: skip
    spots: Spec = {
        "type": "scatter", "mode": "markers", "x": cast["pc1"].to_list(), "y": cast["pc2"].to_list(),
        "text": [plain(role) for role in cast["role"]], "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": 5, "color": STONE, "opacity": 0.55},
    }  # fmt: skip
    marks: Spec = {
        "type": "scatter", "mode": "markers", "x": ends["pc1"].to_list(), "y": ends["pc2"].to_list(),
        "customdata": [
            [row["opening"], number(row["axis_sd_end"], 1, signed=True), wrapped(row["last"])] for row in rows
        ],
        "hovertemplate": "<b>%{customdata[0]}</b>  %{customdata[1]} sd<br>%{customdata[2]}<extra></extra>",
        "marker": {
            "size": 9, "symbol": ["x" if end == LOOP else "circle" for end in ends["end"]],
            "color": ends["axis_sd_end"].fill_null(0.0).to_list(), "colorscale": AXIS_SCALE, "cmin": -SPAN, "cmax": 0,
            "line": {"width": 1, "color": "var(--paper)"},
        },
    }  # fmt: skip
    ring: Spec = {
        "type": "scatter", "mode": "markers", "x": default["pc1"].to_list(), "y": default["pc2"].to_list(), "hoverinfo": "skip",
        "marker": {"symbol": "circle-open", "size": 18, "color": "var(--teal)", "line": {"width": 3, "color": "var(--teal)"}},
    }  # fmt: skip
    hidden: Spec = {"zeroline": False, "showgrid": False, "showticklabels": False}
    drawn = layout(
        x={"title": {"text": text["x"]}, **hidden}, y={"title": {"text": text["y"]}, **hidden},
        margin={"l": 28, "r": 8, "t": 8, "b": 30},
    )  # fmt: skip
    names = _names(cast, default, ends, attractors, results)
    return {"data": [spots, ways, marks, ring], "layout": drawn, "names": names}


def _names(
    cast: pl.DataFrame, default: pl.DataFrame, ends: pl.DataFrame, attractors: pl.DataFrame, results: Results
) -> list[Spec]:
    """Names in order of importance: the default character, the attractors, the roles near them, those farthest out."""
    text = results.words["chapters"]
    labels: list[Spec] = [
        {"x": row["pc1"], "y": row["pc2"], "text": text["main"]["default"], "style": "default"}
        for row in default.to_dicts()
    ]
    centres = [name for name in attractors["attractor"] if name != LOOP]
    for name in centres if len(centres) > 1 else ():
        spot = ends.filter(end=name).select(pl.col("pc1", "pc2").mean()).row(0, named=True)
        said = text["basins"]["attractor"].format(name=name)
        labels.append({"x": spot["pc1"], "y": spot["pc2"], "text": said, "style": "role"})
    near = attractors["roles"].explode().drop_nulls().to_list()
    far = cast.sort(pl.col("pc1") ** 2 + pl.col("pc2") ** 2, descending=True)
    shown = [*cast.filter(pl.col("role").is_in(near)).to_dicts(), *far.head(OUTER).to_dicts()]
    labels += [
        {"x": row["pc1"], "y": row["pc2"], "text": plain(row["role"]), "style": "role"}
        for row in {row["role"]: row for row in shown}.values()
    ]
    return labels


def _labels(results: Results, attractors: pl.DataFrame) -> dict[str, str]:
    """End → what it is called."""
    text, names = results.words["chapters"]["basins"], attractors["attractor"].to_list()
    alone = sum(name != LOOP for name in names) == 1
    return {
        name: text["loop"] if name == LOOP else text["cloud"] if alone else text["attractor"].format(name=name)
        for name in names
    }


def _basin_rows(results: Results, attractors: pl.DataFrame) -> Estimates:
    labels = _labels(results, attractors)
    return [(labels[row["end"]], row) for row in results.series("basin", "end").to_dicts()]


def _basins(results: Results, attractors: pl.DataFrame) -> Chapter:
    text, rows = results.words["chapters"]["basins"], _basin_rows(results, attractors)
    shown: dict[str, Any] = {"digits": 0, "percent": True}
    figure = row_figure(
        "basins-rows", rows, (0.0, 1.0), alt=text["alt"].format(list=in_words(rows, **shown)),
        ticks=[(share, number(share, **shown)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)], **shown,
    )  # fmt: skip
    columns = {"attractor": None, "basin": 2, "talks": 0, "openings": 0, "axis_sd": 2, "roles": None, "words": None}
    exhibit = Exhibit(text["caption"], rows=(figure,), kind="rows", table=table_of(attractors, columns, results))
    lines = tuple(basin_line(results, row) for row in attractors.to_dicts())
    grade = (results.measure("loop_share") or {}).get("grade")
    return chapter(results, "basins", tested(results), exhibit, grade=grade, lines=lines)


def _together(results: Results) -> Chapter | None:
    text, spread = results.words["chapters"]["together"], results.series("spread", "turn").drop_nulls("estimate")
    if spread.is_empty():
        return None
    turns, top = spread["turn"].to_list(), max(*spread["estimate"], *spread["high"])
    first, last = (number(spread["estimate"][place]) for place in (0, -1))
    drawn = [
        band(turns, spread["low"].to_list(), spread["high"].to_list(), "var(--band-faint)"),
        {**line(turns, spread["estimate"], color=INK, width=2), "hoverinfo": "all", "hovertemplate": text["x"] + " %{x}: %{y:.2f}<extra></extra>"},
    ]  # fmt: skip
    middle = float(spread["low"][-1] + spread["high"][-1]) / 2
    apart = Panel(
        id="spread", alt=text["alt_spread"].format(first=first, last=last, turn=turns[-1]), title=text["spread"],
        headline=True, spec={"data": drawn, "layout": turn_layout(
            text["x"], text["y_spread"], (1.0, float(turns[-1])), (0.0, 1.08 * top), right=96, origin=False,
            notes=end_notes(turns[-1], [(middle, text["shuffled"])], HEIGHT / max(top, 1e-9)),
        )},
    )  # fmt: skip
    rows = results.series("axis_by_turn", "turn").sort("turn").to_dicts()
    bounds = padded([row[end] for row in rows for end in ("estimate", "low", "high")], least=1.0)
    first, last = (number(rows[place]["estimate"], 1) for place in (0, -1))
    place = Panel(
        id="axis-by-turn", alt=text["alt_axis"].format(first=first, last=last, turn=rows[-1]["turn"]),
        title=text["axis"], headline=True, spec={
            "data": axis_by_turn(rows, text["x"]),
            "layout": turn_layout(text["x"], text["y_axis"], (1.0, float(turns[-1])), bounds),
        },
    )  # fmt: skip
    exhibit = Exhibit(text["caption"], panels=(apart, place), kind="multiples", table=_tests(results, text))
    grade = (results.measure("spread_ratio") or {}).get("grade")
    return chapter(results, "together", together(results), exhibit, grade=grade)


def _tests(results: Results, text: dict[str, Any]) -> Table:
    """One row a test of coming together: with all talks, and without those in a loop."""
    own = results.measures.filter(pl.col("part") == "contraction").select("name", "estimate", "low", "high", "n", "p")
    rows = []
    for row in own.to_dicts():
        whose, test = row["name"].split("/")
        high = number(row["high"])
        rows.append(
            {"test": test, "whose": text["talks"].format(whose=named("whose", whose, results.words), n=row["n"]),
             "value": row["estimate"], "p": row["p"],
             "chance": high if row["low"] is None else text["chance"].format(low=number(row["low"]), high=high)}
        )  # fmt: skip
    strings = dict.fromkeys(("test", "whose", "chance"), pl.String)
    frame = pl.DataFrame(rows, schema={**strings, "value": pl.Float64, "p": pl.Float64})
    return table_of(frame, {"test": None, "whose": None, "value": 2, "chance": None, "p": 3}, results)


def _replies(results: Results, messages: pl.DataFrame, attractors: pl.DataFrame, ends: pl.DataFrame) -> Chapter | None:
    """The last two messages of the talk in the middle of each attractor, and of the loop that began first."""
    text, quotes = results.words["chapters"]["replies"], []
    for name, label in _labels(results, attractors).items():
        mine = ends.filter(end=name)
        if mine.is_empty():
            continue
        spots = mine.select(_axes(messages)).to_numpy()
        middle = int(np.linalg.norm(spots - spots.mean(axis=0), axis=1).argmin())
        row = (mine.sort("loop_onset", maintain_order=True) if name == LOOP else mine[middle:]).row(0, named=True)
        last = messages.filter(talk=row["talk"]).sort("turn").row(-1, named=True)
        at = number(row["axis_sd_end"], 1, signed=True)
        note = "" if row["loop_onset"] is None else text["stuck"].format(turn=row["loop_onset"])
        quotes.append(
            Quote(
                row["talk"], text["place"].format(end=label, opening=row["opening"], axis=at),
                tint(row["axis_sd_end"], SPAN), last["answers"], last["message"].strip(), note,
            )
        )  # fmt: skip
    return chapter(results, "replies", text["finding"], quotes=tuple(quotes)) if quotes else None
