"""The chapters of drift.html, from the tables and the summary of a run."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.charts import QUIET, Spec, end_notes, line
from greenroom.report.format import number, tint
from greenroom.report.parts import Chapter, Exhibit, Panel, Quote, Results
from greenroom.studies.drift.findings import ALL
from greenroom.studies.dynamics_parts import (
    SPAN,
    axis_line,
    listed,
    named,
    padded,
    row_figure,
    scale_of,
    table,
    turn_layout,
)
from greenroom.studies.dynamics_words import dynamics


def drift_chapters(results: Results) -> list[Chapter]:
    """Every chapter that the run's tables can fill, in order; none where nothing was read."""
    if results.summary["reading"] is None:
        return []
    made = (_turns(results), _drift(results), _ways(results), _prediction(results), _replies(results))
    return [chapter for chapter in made if chapter is not None]


def _chapter(name: str, finding: str, *exhibits: Exhibit, notes: tuple[str, ...] = (), **more: Any) -> Chapter:
    text = dynamics()["drift"]["chapters"][name]
    reading = more.pop("reading", text["reading"]).strip()
    return Chapter(name, text["title"], text["contents"], finding, reading, exhibits, notes=notes, **more)


def _turns(results: Results) -> Chapter | None:
    curve, text = _own(results, "curve"), dynamics()["drift"]["chapters"]["turns"]
    if curve is None:
        return None
    pooled = curve.filter(pl.col("user") == ALL)
    bounds = padded([*pooled["low"], *pooled["high"], *curve["axis_sd"]], least=1.0)
    last = float(curve["turn"].max() or 1)  # type: ignore[arg-type]
    panels = []
    for domain in pooled["domain"].unique(maintain_order=True):
        rows = pooled.filter(pl.col("domain") == domain).sort("turn").to_dicts()
        data, notes = axis_line(rows, text["x"]), []
        if domain == ALL:
            others, ends = _by_user(curve)
            data, notes = [*others, *data], end_notes(last, ends, 250 / (bounds[1] - bounds[0]))
        alt = text["alt"].format(
            domain=named("domain", domain), first=number(rows[0]["axis_sd"], 1), last=number(rows[-1]["axis_sd"], 1),
            turn=rows[-1]["turn"],
        )  # fmt: skip
        spec = {
            "data": data,
            "layout": turn_layout(
                text["x"], text["y"], (0.0, last), bounds, notes=notes, right=120 if domain == ALL else 16
            ),
        }
        panels.append(
            Panel(f"turns-{domain}".replace("_", "-"), alt, spec, title=named("domain", domain), headline=domain == ALL)
        )
    said = results.said("drift") or results.said("headline") or ""
    exhibit = Exhibit(
        text["caption"].format(reading=named("reading", results.summary["reading"])), panels=tuple(panels),
        kind="multiples", table=table(curve, {"domain": None, "user": None, "turn": 0, "axis_sd": 2, "n": 0}),
    )  # fmt: skip
    return _chapter("turns", said, exhibit)


def _by_user(curve: pl.DataFrame) -> tuple[list[Spec], list[tuple[float, str]]]:
    """The lines of scripted and of simulated users over all domains, and their names at the ends."""
    lines: list[Spec] = []
    ends: list[tuple[float, str]] = []
    for user, dash in (("scripted", "dash"), ("simulated", "dot")):
        own = curve.filter((pl.col("domain") == ALL) & (pl.col("user") == user)).sort("turn").drop_nulls("axis_sd")
        if own.height:
            lines.append(line(own["turn"], own["axis_sd"], color=QUIET, width=1.5, dash=dash))
            ends.append((own["axis_sd"][-1], named("user", user)))
    return lines, ends


def _drift(results: Results) -> Chapter | None:
    frame, text = _own(results, "drift"), dynamics()["drift"]["chapters"]["drift"]
    if frame is None:
        return None
    rows = [(named("domain", row["domain"]), row) for row in frame.to_dicts()]
    scale = scale_of([row for _, row in rows], "drift_sd", low=-0.5, high=0.5, reach=6.0)
    figure = row_figure(
        "drift-rows", rows, "drift_sd", scale, alt=text["alt"].format(list=listed(rows, "drift_sd")), signed=True,
        mark=0.0, ticks=_ticks(scale),
    )  # fmt: skip
    found = results.summary[results.summary["reading"]]
    caption = text["caption"].format(
        reading=named("reading", results.summary["reading"]),
        **{moment: number(found[f"{moment}_sd"], 2, signed=True) for moment in ("fresh", "before", "after")},
    )
    exhibit = Exhibit(
        caption, rows=(figure,), kind="rows",
        table=table(frame, {"domain": None, "drift_sd": 2, "slope_sd_per_turn": 3, "n": 0, "missing": None}),
    )  # fmt: skip
    return _chapter("drift", results.said("headline") or "", exhibit)


def _ways(results: Results) -> Chapter | None:
    frame, text = _own(results, "ways"), dynamics()["drift"]["chapters"]["ways"]
    if frame is None:
        return None
    rows = [(named("arm", row["arm"]), row) for row in frame.filter(pl.col("domain") == ALL).to_dicts()]
    scale = scale_of([row for _, row in rows], "undone", low=-0.2, high=1.2, reach=1.5)
    undone = row_figure(
        "undone", rows, "undone", scale, alt=text["alt_undone"].format(list=listed(rows, "undone")),
        title=text["undone"], mark=1.0, ticks=((0.0, text["marks"]["zero"]), (1.0, text["marks"]["one"])),
    )  # fmt: skip
    scale = scale_of([row for _, row in rows], "left_sd", low=-0.5, high=0.5, reach=6.0)
    left = row_figure(
        "left", rows, "left_sd", scale, alt=text["alt_left"].format(list=listed(rows, "left_sd")),
        title=text["left"], signed=True, mark=0.0, ticks=_ticks(scale),
    )  # fmt: skip
    caption = text["caption_undone"].format(reading=named("reading", results.summary["reading"]))
    exhibit = Exhibit(
        f"{caption} {text['caption_left']}", rows=(undone, left), kind="rows",
        table=table(frame, {"domain": None, "arm": None, "undone": 2, "beyond": 2, "left_sd": 2, "n": 0, "missing": None}),
    )  # fmt: skip
    return _chapter(
        "ways",
        results.said("ways") or "",
        exhibit,
        reading=text["reading"].format(returns=results.summary["return_turns"]),
    )


def _prediction(results: Results) -> Chapter | None:
    frame, text = _own(results, "predicted"), dynamics()["drift"]["chapters"]["prediction"]
    if frame is None:
        return None
    rows = [
        (f"{named('of', row['of'])}, {named('by', row['by'])}", row | {"missing": "few"}) for row in frame.to_dicts()
    ]
    scale = scale_of([row for _, row in rows], "r2", low=-0.1, high=1.0, reach=0.4)
    figure = row_figure(
        "r2", rows, "r2", scale, alt=text["alt"].format(list=listed(rows, "r2")), mark=0.0,
        ticks=((0.0, "0"), (0.5, "0.5"), (1.0, "1")),
    )  # fmt: skip
    exhibit = Exhibit(
        text["caption"].format(reading=named("reading", results.summary["reading"])), rows=(figure,), kind="rows",
        table=table(frame, {"of": None, "by": None, "r2": 2, "n": 0}),
    )  # fmt: skip
    return _chapter("prediction", results.said("prediction") or "", exhibit)


def _replies(results: Results) -> Chapter | None:
    """The probe that moved most in the conversation that moved most: before, after, and after a way back."""
    frame, text = results.table("replies"), dynamics()["drift"]["chapters"]["replies"]
    column = f"axis_sd_{results.summary['reading']}"
    if frame is None:
        return None
    asked = frame.filter(pl.col("moment").is_in(["before", "after"])).drop_nulls(column)
    pairs = asked.pivot("moment", index=["conversation", "place"], values=column, aggregate_function="first")
    if not {"before", "after"} <= set(pairs.columns) or pairs.is_empty():
        return None
    pairs = pairs.with_columns((pl.col("before") - pl.col("after")).alias("moved")).drop_nulls("moved")
    if pairs.is_empty():
        return None
    means = (
        pairs.group_by("conversation", maintain_order=True)
        .agg(pl.col("moved").mean())
        .sort("moved", maintain_order=True)
    )
    chosen = means["conversation"][-1]
    probe = pairs.filter(pl.col("conversation") == chosen).sort("moved", maintain_order=True)["place"][-1]
    own = frame.filter((pl.col("conversation") == chosen) & (pl.col("place") == probe))
    tried = own.filter(pl.col("moment") == "back")["arm"].to_list()
    arm = "topic" if "topic" in tried else next((one for one in tried if one != "none"), "none")
    quotes = []
    for moment, name in (("before", text["before"]), ("after", text["after"]), ("back", text["back"])):
        rows = own.filter((pl.col("moment") == moment) & ((pl.col("arm") == arm) if moment == "back" else True))
        for row in rows.head(1).to_dicts():
            quotes.append(
                Quote(
                    name.format(arm=named("arm", arm)), f"{number(row[column], 1, signed=True)} sd", tint(row[column], SPAN),
                    row["message"], row["reply"].strip() or dynamics()["nothing"], text["cut"] if row["cut"] else "",
                )
            )  # fmt: skip
    told = own.row(0, named=True)
    finding = text["finding"].format(domain=named("domain", told["domain"]), user=named("user", told["user"]))
    return _chapter("replies", finding, quotes=tuple(quotes))


def _own(results: Results, name: str) -> pl.DataFrame | None:
    """A table's rows in the headline reading; None without any."""
    frame = results.table(name)
    own = None if frame is None else frame.filter(pl.col("reading") == results.summary["reading"])
    return None if own is None or own.is_empty() else own


def _ticks(scale: tuple[float, float]) -> list[tuple[float, str]]:
    """Whole sd on the scale, and 0."""
    step = next(step for step in (0.5, 1.0, 2.0, 5.0) if (scale[1] - scale[0]) / step <= 8 or step == 5.0)
    first, last = int(scale[0] / step), int(scale[1] / step)
    return [(step * index, number(step * index, 1 if step < 1 else 0, signed=True)) for index in range(first, last + 1)]
