"""The chapter of costly sacrifice: adherence by stake, a panel for each paradigm.

The first paradigm that is not void leads; a void one is hatched and gives its reason, never a number.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.asking.readings import readings
from greenroom.measures import PARADIGM_ORDER
from greenroom.report.charts import INK, Spec, end_notes, layout, level, line, note, points, voided
from greenroom.report.format import interval, number, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Results, chapter
from greenroom.report.tables import missing, named, table_of
from greenroom.studies.costly_sacrifice import STAKES
from greenroom.studies.costly_sacrifice.findings import adhering, fitted

TABLE = {
    "paradigm": None,
    "arm": None,
    "stake": 0,
    "adherence": 2,
    "low": 2,
    "high": 2,
    "n": 0,
    "fit": 2,
    "grade": None,
}


def chapters(results: Results) -> list[Chapter]:
    text = results.words["chapters"]["main"]
    keys = ["arm", "stake", "paradigm"]
    fit = results.series("fit", "arm", "stake").select(*keys, fit="estimate")
    curve = results.series("by_stake", "arm", "stake").join(fit, on=keys, maintain_order="left")
    curve = curve.rename({"estimate": "adherence"})
    slopes = {row["paradigm"]: row for row in results.measures.filter(pl.col("name") == "slope").to_dicts()}
    breaking = results.measures.filter(pl.col("name") == "breaking_point").row(0, named=True)
    leading = breaking["paradigm"]
    # A stable sort: the rest keep their order.
    order = sorted(slopes, key=lambda name: (name != leading, slopes[name]["grade"] == VOID))
    answers = results.table("answers")
    assert answers is not None
    read = readings(answers)
    asked_by = named("paradigm", leading) if leading else ""
    sentences, notes = (
        results.words["sentences"],
        [missing(pl.concat([adhering(read, name) for name in PARADIGM_ORDER]))],
    )
    finding = sentences["void"]
    if leading and breaking["estimate"] is not None:
        finding = said(sentences["break"], at=breaking["estimate"], paradigm=asked_by)
    elif leading:
        reason = fitted(read, leading).reason or ""
        finding = said(sentences["no_break"], paradigm=asked_by, reason=reason)
        notes.insert(0, said(text["no_breaking"], reason=reason))
    letter = slopes["letter"]
    lines = (said(sentences["letter_void"], reason=letter["reason"]),) if letter["grade"] == VOID else ()
    panels = tuple(_panel(results, name, curve, slopes[name], breaking, text) for name in order)
    exhibit = Exhibit(text["caption"], panels=panels, kind="multiples", table=table_of(curve, TABLE, results))
    grade = slopes[leading]["grade"] if leading else VOID
    return [chapter(results, "main", finding, exhibit, notes=notes, grade=grade, lines=lines)]


def _panel(
    results: Results,
    name: str,
    curve: pl.DataFrame,
    slope: dict[str, Any],
    breaking: dict[str, Any],
    text: dict[str, Any],
) -> Panel:
    part, void, asked_by = curve.filter(pl.col("paradigm") == name), slope["grade"] == VOID, named("paradigm", name)
    leads = name == breaking["paradigm"]
    notes = []
    if not void and slope["estimate"] is not None:
        bounds = interval(slope["low"], slope["high"])
        notes.append(text["slope"].format(slope=number(slope["estimate"], signed=True), **bounds))
        if (gap := results.measure("observed_gap", name)) is not None:
            bounds = interval(gap["low"], gap["high"])
            notes.append(text["gap"].format(gap=number(gap["estimate"], signed=True), **bounds))
        if leads and breaking["estimate"] is not None:
            bounds = interval(breaking["low"], breaking["high"])
            notes.append(text["breaking"].format(at=number(breaking["estimate"]), **bounds))
    if void:
        alt = text["alt_void"].format(paradigm=asked_by, reason=slope["reason"])
    else:
        seen = part.filter(pl.col("arm") == "observed").sort("stake").drop_nulls("adherence")
        ends = (seen if seen.height else part.sort("stake"))[[0, -1]].to_dicts()
        alt = text["alt" if seen.height else "alt_unobserved"].format(
            paradigm=asked_by, first=number(ends[0]["adherence"]), low_stake=ends[0]["stake"],
            last=number(ends[1]["adherence"]), high_stake=ends[1]["stake"], note="; ".join(notes),
        )  # fmt: skip
    return Panel(
        id=f"dose-{name}".replace("_", "-"), alt=alt, spec=_dose(part, void, breaking if leads else {}, text),
        title=asked_by, grade=slope["grade"], note="; ".join(notes), void=slope["reason"] if void else None, headline=leads,
    )  # fmt: skip


def _dose(part: pl.DataFrame, void: bool, breaking: dict[str, Any], text: dict[str, Any]) -> Spec:
    """Adherence by stake, observed (filled) and unobserved (open), with the fit; hatched when void."""
    top = float(STAKES - 1)
    traces, notes, shapes = list[Spec](), list[Spec](), [level(0.5, dash="dot")]
    if void:
        hatching, word = voided((0.0, top), (0.0, 1.0))
        traces.append(hatching)
        notes.append(word)
    elif (at := breaking.get("estimate")) is not None:
        low, high = (end if bound is None else bound for bound, end in ((breaking["low"], 0), (breaking["high"], top)))
        box = {"y0": 0, "y1": 1, "line": {"width": 0}, "fillcolor": "var(--band-faint)", "layer": "below"}
        shapes.append({"type": "rect", "x0": low, "x1": high, **box})
        shapes.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": {"color": INK, "width": 1.5}})
        side = ("left", 5) if at < top / 2 else ("right", -5)
        notes.append(note(at, 0.03, text["breaking_label"], anchor=side[0], x_shift=side[1]))
    ends: list[tuple[float, str]] = []
    for arm, offset, dash in (("observed", -0.04, "solid"), ("unobserved", 0.04, "dash")):
        own = part.filter(pl.col("arm") == arm).sort("stake").drop_nulls("adherence")
        if own.is_empty():
            continue
        x, y = [stake + offset for stake in own["stake"]], own["adherence"].to_list()
        curved = own["fit"].null_count() == 0
        along = own["fit"].to_list() if curved else y
        drawn = line(x, along, color=INK, width=2, dash=dash)
        drawn["line"] |= {"shape": "spline" if curved else "linear", "smoothing": 0.8}
        hover = f"<b>{text[arm]}</b>, %{{y:.2f}} (%{{customdata[0]}} – %{{customdata[1]}}), n %{{customdata[2]}}<extra></extra>"
        custom = [[number(row["low"]), number(row["high"]), row["n"]] for row in own.iter_rows(named=True)]
        bounds = own["low"].to_list(), own["high"].to_list()
        traces += [drawn, points(x, y, *bounds, filled=arm == "observed", hover=hover, custom=custom)]
        ends.append((along[-1], text[arm]))
    axis = {
        "zeroline": False,
        "title": {"text": text["x"]},
        "range": [-0.25, top + 0.15],
        "dtick": 1,
        "showgrid": False,
    }
    upright = {
        "title": {"text": text["y"]},
        "range": [-0.03, 1.03],
        "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "zeroline": False,
    }
    margin = {"l": 48, "r": 24 if void else 90, "t": 8, "b": 38}
    notes += end_notes(top, ends, 200, x_shift=12)
    upright["ticktext"] = ["0", "", "0.5", "", "1"]
    return {"data": traces, "layout": layout(x=axis, y=upright, notes=notes, shapes=shapes, margin=margin)}
