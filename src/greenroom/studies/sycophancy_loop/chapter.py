"""The chapter of the sycophancy loop: whether agreement feeds itself, and who gives in when."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from greenroom.report.charts import INK, QUIET, Spec, band, end_notes, layout, line
from greenroom.report.format import in_points, interval, number, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Results, Table, chapter
from greenroom.report.rows import in_words, row_figure, scale_of
from greenroom.report.tables import missing, named, table_of
from greenroom.studies.sycophancy_loop import SCRIPTED
from greenroom.studies.sycophancy_loop.findings import NOT_HELD, agreements

GAINS = ("gain", "total_gain", "closed_gain")
LINES = {
    "pressure": {"color": INK, "width": 2.5},
    "asking_false": {"color": INK, "width": 1.5, "dash": "dash"},
    "evidence": {"color": QUIET, "width": 2.5},
    "insistence": {"color": QUIET, "width": 1.5, "dash": "dot"},
    "asking_true": {"color": QUIET, "width": 1.5, "dash": "dash"},
}
HEIGHT = 230  # of the plot in pixels, for names that would overlap


def chapters(results: Results) -> list[Chapter]:
    text, answers = results.words["chapters"]["main"], results.answers
    asked = None if answers is None else agreements(answers).filter(pl.col("missing").fill_null("") != NOT_HELD)
    more: dict[str, Any] = {
        "notes": [missing(asked)],
        "open_heading": text["measures"],
        "open_table": _numbers(results),
    }
    first = next(iter(results.measures.filter(pl.col("part") == "").head(1).to_dicts()), None)
    if first is None or first["grade"] == VOID:
        finding = said(results.words["sentences"]["void"], model=results.model, reason=first["reason"] if first else "")
        return [chapter(results, "main", finding, grade=VOID, headline=finding, **more)]
    more["notes"] = [first["reason"], *more["notes"]]
    headline, *rest = _sentences(results)
    exhibits = [made for made in (_gains(results), _curves(results)) if made is not None]
    finding = " ".join([headline, *rest])
    return [chapter(results, "main", finding, *exhibits, grade=first["grade"], headline=headline, **more)]


def _measure(results: Results, name: str) -> dict[str, Any] | None:
    found = results.measure(name, "letter_logodds")
    return None if found is None or found["estimate"] is None else found


def _sentences(results: Results) -> list[str]:
    """The gain with its interval against one, and what pressure does that asking again does not."""
    text, found = results.words["sentences"], []
    gain, excess, heard = (_measure(results, name) for name in ("gain", "pressure_excess", "evidence_heard"))
    if gain is not None:
        low, high = gain["low"], gain["high"]
        sure = "runaway" if low is not None and low > 1 else "stable" if high is not None and high < 1 else "unsure"
        found.append(
            said(text[sure], model=results.model, gain=number(gain["estimate"]), n=gain["n"], **interval(low, high))
        )
    for name, one in (("excess", excess), ("heard", heard)):
        if one is not None:
            found.append(said(text[name], **in_points(one, signed=True)))
    return found or [said(text["nothing"], model=results.model)]


def _gains(results: Results) -> Exhibit | None:
    """The gains on one scale, one marked: above it a nudge grows."""
    text = results.words["chapters"]["main"]
    rows = [
        (named("name", name, results.words), found) for name in GAINS if (found := _measure(results, name)) is not None
    ]
    if not rows:
        return None
    figure = row_figure(
        "sycophancy-loop-gains", rows, scale_of(rows, 0.0, 1.2, math.inf), alt=text["alt_gains"].format(list=in_words(rows)),
        ticks=[(value, number(value, 0)) for value in (0.0, 1.0)], mark=1.0, strong=named("name", "gain", results.words),
    )  # fmt: skip
    return Exhibit(text["caption_gains"], rows=(figure,), kind="rows", table=_separation(results))


def _separation(results: Results) -> Table | None:
    """How far apart the two copies are at each turn, and what the open loop predicts."""
    found = results.series("separation", "turn")
    if found.is_empty():
        return None
    predicted = results.series("predicted", "turn").select("turn", predicted="estimate")
    both = found.join(predicted, on="turn", how="left").rename({"estimate": "separation"}).sort("turn")
    return table_of(both, {"turn": 0, "separation": 2, "low": 2, "high": 2, "n": 0, "predicted": 2}, results)


def _curves(results: Results) -> Exhibit | None:
    """The share that has not given in, by turn and arm."""
    text, curves = results.words["chapters"]["main"], results.series("survival", "arm", "turn").sort("turn")
    shown = [arm for arm in SCRIPTED if arm in set(curves["arm"])] if curves.height else []
    if not shown:
        return None
    data: list[Spec] = []
    ends: list[tuple[float, str]] = []
    last = int(curves["turn"].max())  # type: ignore[arg-type]
    for arm in reversed(shown):
        own = curves.filter(pl.col("arm") == arm)
        known = own.drop_nulls(["low", "high"])
        x, y = [0, *own["turn"]], [1.0, *own["estimate"]]
        if arm == "pressure" and known.height > 1:
            data.append(band(known["turn"].to_list(), known["low"].to_list(), known["high"].to_list(), "var(--band)"))
        label = named("arm", arm, results.words)
        hover = f"{label}, {text['x']} %{{x}}: %{{y:.2f}}<extra></extra>"
        data.append({**line(x, y, **LINES[arm]), "hoverinfo": "all", "hovertemplate": hover})
        ends.append((y[-1], label))
    told = "; ".join(
        text["line"].format(name=named("arm", arm, results.words), last=number(own["estimate"][-1]), n=own["n"][0])
        for arm in shown
        for own in [curves.filter(pl.col("arm") == arm)]
    )
    spec = {
        "data": data,
        "layout": layout(
            x={"title": {"text": text["x"]}, "range": [-0.1, last + 0.1], "dtick": 1, "zeroline": False},
            y={"title": {"text": text["y"]}, "range": [0, 1.1], "tickvals": [0, 0.25, 0.5, 0.75, 1], "zeroline": False},
            notes=end_notes(last + 0.1, ends, HEIGHT),
            margin={"l": 48, "r": 170, "t": 8, "b": 38},
        ),
    }
    columns = {"arm": None, "turn": 0, "estimate": 2, "low": 2, "high": 2, "n": 0}
    panel = Panel(id="sycophancy-loop-survival", alt=text["alt_curves"].format(turns=last, list=told), spec=spec)
    return Exhibit(
        text["caption_curves"], panels=(panel,), table=table_of(curves.sort("arm", "turn"), columns, results)
    )


def _numbers(results: Results) -> Table:
    own = results.measures.filter(pl.col("part") == "")
    columns = {"name": None, "estimate": 2, "low": 2, "high": 2, "n": 0, "grade": None}
    return table_of(own, columns, results)
