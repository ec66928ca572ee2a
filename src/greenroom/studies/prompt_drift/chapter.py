"""The chapter of prompt drift: the share of rules kept by turn, and the differences that it comes down to."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.charts import INK, QUIET, Spec, band, end_notes, layout, level, line, points
from greenroom.report.format import between, in_points, number, said
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Results, Table, chapter
from greenroom.report.tables import missing, named, table_of
from greenroom.studies.prompt_drift.findings import kept_rules

DASHES = {"own": "solid", "reminder": "dash", "partner": "dot"}
HEIGHT = 230  # of the plot in pixels, for names that would overlap


def chapters(results: Results) -> list[Chapter]:
    text, curve = results.words["chapters"]["main"], results.series("by_round", "probe", "round").sort("round")
    answers = results.answers
    notes = [] if answers is None else [missing(kept_rules(answers))]
    more: dict[str, Any] = {"notes": notes, "open_heading": text["measures"], "open_table": _differences(results)}
    first = next(iter(results.measures.filter(pl.col("part") == "").head(1).to_dicts()), None)
    if first is None or first["grade"] == VOID:
        finding = said(results.words["sentences"]["void"], model=results.model, reason=first["reason"] if first else "")
        return [chapter(results, "main", finding, grade=VOID, headline=finding, **more)]
    rounds, shown = int(curve["round"].max()), [name for name in DASHES if name in set(curve["probe"])]  # type: ignore[arg-type]
    told = [_told(results, curve, name) for name in shown]
    exhibit = Exhibit(
        text["caption"].format(rules=curve["n"].max()),
        panels=(
            Panel(
                id="prompt-drift-by-round",
                alt=text["alt"].format(rounds=rounds, list="; ".join(told)),
                spec=_figure(results, curve, shown),
            ),
        ),
        table=table_of(
            curve.sort("probe", "round"),
            {"probe": None, "round": 0, "estimate": 2, "low": 2, "high": 2, "n": 0},
            results,
        ),
    )
    more["notes"] = [first["reason"], *notes]
    headline, *rest = _sentences(results, curve, rounds)
    return [
        chapter(results, "main", " ".join([headline, *rest]), exhibit, grade=first["grade"], headline=headline, **more)
    ]


def _at(curve: pl.DataFrame, probe: str, number_of: int) -> dict[str, Any] | None:
    found = curve.filter((pl.col("probe") == probe) & (pl.col("round") == number_of))
    return found.row(0, named=True) if found.height else None


def _sentences(results: Results, curve: pl.DataFrame, rounds: int) -> list[str]:
    """How much is kept before and after, how sure the change is, what passes anyway, and what the reminder does."""
    text = results.words["sentences"]
    start, end, control = (_at(curve, *place) for place in (("own", 0), ("own", rounds), ("control", 0)))
    shares = [number(one["estimate"] if one else None, 0, percent=True) for one in (start, end, control)]
    found = [said(text["headline"], model=results.model, start=shares[0], end=shares[1], rounds=rounds)]
    lost, remedy = results.measure("lost"), results.measure("remedy")
    if lost is not None and lost["estimate"] is not None:
        rises = (lost["high"] or 0.0) < 0
        sure = "rises" if rises else "falls" if (lost["low"] or 0.0) > 0 else "unsure"
        found.append(said(text[sure], n=lost["n"], **in_points(_turned(lost) if rises else lost)))
    found.append(said(text["control"], control=shares[2]))
    if remedy is not None and remedy["estimate"] is not None:
        found.append(said(text["remedy"], **in_points(remedy)))
    return found


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    """The same difference the other way round."""
    turned = {"estimate": row["estimate"], "low": row["high"], "high": row["low"]}
    return {name: None if value is None else -value for name, value in turned.items()}


def _told(results: Results, curve: pl.DataFrame, probe: str) -> str:
    own = curve.filter(pl.col("probe") == probe)
    return results.words["chapters"]["main"]["line"].format(
        name=named("probe", probe, results.words), first=number(own["estimate"][0]), last=number(own["estimate"][-1])
    )


def _figure(results: Results, curve: pl.DataFrame, shown: list[str]) -> Spec:
    """A line a probe with its interval, the control as a level."""
    text = results.words["chapters"]["main"]
    data: list[Spec] = []
    ends: list[tuple[float, str]] = []
    last = int(curve["round"].max())  # type: ignore[arg-type]
    for probe in reversed(shown):
        own = curve.filter(pl.col("probe") == probe).drop_nulls("estimate")
        x, y, low, high = (own[name].to_list() for name in ("round", "estimate", "low", "high"))
        lead, name = probe == "own", named("probe", probe, results.words)
        if None not in (*low, *high):
            data.append(band(x, low, high, "var(--band)" if lead else "var(--band-faint)"))
        data.append(line(x, y, color=INK if lead else QUIET, width=2.5 if lead else 1.5, dash=DASHES[probe]))
        hover = [[between(row)] for row in own.iter_rows(named=True)]
        template = f"{name}, {text['x']} %{{x}}: %{{customdata[0]}}<extra></extra>"
        data.append({**points(x, y, y, y, filled=lead, hover=template, custom=hover)})
        ends.append((y[-1], name))
    control = _at(curve, "control", 0)
    shapes = []
    if control is not None and control["estimate"] is not None:
        shapes.append(level(control["estimate"], dash="dashdot"))
        ends.append((control["estimate"], named("probe", "control", results.words)))
    return {
        "data": data,
        "layout": layout(
            x={"title": {"text": text["x"]}, "range": [-0.2, last + 0.2], "dtick": 1, "zeroline": False},
            y={"title": {"text": text["y"]}, "range": [0, 1.1], "tickvals": [0, 0.25, 0.5, 0.75, 1], "zeroline": False},
            notes=end_notes(last + 0.2, ends, HEIGHT),
            shapes=shapes,
            margin={"l": 48, "r": 130, "t": 8, "b": 38},
        ),
    }


def _differences(results: Results) -> Table:
    """Every measure that stands by itself, those of a void study withheld."""
    own = results.measures.filter(pl.col("part") == "")
    return table_of(
        own,
        {"name": None, "estimate": 3, "low": 3, "high": 3, "n": 0, "unit": None, "grade": None},
        results,
    )
