"""The chapters read from answers: costly sacrifice and self-concept, a panel for each paradigm.

The first paradigm that is not void leads; a void one is hatched and gives its reason, never a number.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.measures.intervals import bootstrap_mean
from greenroom.report.format import interval, kind_of, number, table_of
from greenroom.report.parts import VOID, Chapter, Exhibit, Panel, Results, Row, Rows, chapter, words
from greenroom.studies.persona_map import plots

CURVE = {
    "paradigm": None,
    "observed": None,
    "stake": 0,
    "adherence": 2,
    "low": 2,
    "high": 2,
    "n": 0,
    "fit": 2,
    "grade": None,
}


def sacrifice(results: Results) -> Chapter | None:
    """Adherence by stake, a panel for each paradigm; the leading one carries the breaking point."""
    frame, text, summary = results.table("sacrifice_curve"), words()["chapters"]["sacrifice"], results.summary
    if frame is None:
        return None
    graded: dict[str, Any] = summary.get("sacrifice") or {}
    present = frame["paradigm"].unique(maintain_order=True).to_list()
    order = [name for name in graded if name in present] + [name for name in present if name not in graded]
    grades = {name: (graded.get(name) or {}).get("grade") for name in order}
    leading = next((name for name in order if grades[name] != VOID), None)
    order.sort(key=lambda name: (name != leading, grades[name] == VOID))  # a stable sort: the rest keep their order
    at = summary.get("breaking_point")
    breaking = None if at is None else (at, summary.get("breaking_point_low"), summary.get("breaking_point_high"))
    panels = []
    for name in order:
        one, void, said = graded.get(name) or {}, grades[name] == VOID, kind_of("paradigm", name)
        part = frame.filter(pl.col("paradigm") == name)
        reason = str(one.get("reason") or words()["grades"][VOID])
        note = ""
        if not void and one.get("slope") is not None:
            note = text["note"].format(
                slope=number(one["slope"], signed=True), **interval(one.get("slope_low"), one.get("slope_high"))
            )
            if one.get("observed_gap") is not None:
                bounds = interval(one.get("observed_gap_low"), one.get("observed_gap_high"))
                note += "; " + text["gap"].format(gap=number(one["observed_gap"], signed=True), **bounds)
            if name == leading and breaking is not None:
                note += "; " + text["breaking"].format(at=number(at), **interval(*breaking[1:]))
        alt = text["alt_void"].format(paradigm=said, reason=reason) if void else _dose_alt(part, said, note)
        spec = plots.dose(part, void=void, breaking=breaking if name == leading else None)
        panels.append(
            Panel(
                f"dose-{name}".replace("_", "-"),
                alt,
                spec,
                title=said,
                grade=grades[name],
                note=note,
                void=reason if void else None,
                headline=name == leading,
            )
        )
    table = frame.with_columns(
        pl.col("paradigm").replace_strict(grades, default=None, return_dtype=pl.String).alias("grade")
    )
    exhibit = Exhibit(text["caption"], panels=tuple(panels), kind="multiples", table=table_of(table, CURVE))
    notes = [_missing(results.table("sacrifice"), "adherence", text)]
    if at is None and summary.get("breaking_point_reason"):
        notes.insert(0, text["no_breaking"].format(reason=summary["breaking_point_reason"]))
    return chapter(
        "sacrifice",
        results.said("sacrifice") or text["finding"],
        exhibit,
        notes=notes,
        grade=grades.get(leading or "", VOID),
    )


def self_concept(results: Results) -> Chapter | None:
    """Which boundary it identifies with (The Artificial Self, arXiv 2603.11353), a panel for each paradigm."""
    graded, text = results.summary.get("self_concept") or {}, words()["chapters"]["self_concept"]
    frame = results.table("self_concept")
    if not graded or frame is None:
        return None
    leading = next((name for name in graded if graded[name].get("grade") != VOID), None)
    panels, stored = [], []
    for paradigm, one in sorted(graded.items(), key=lambda item: (item[0] != leading, item[1].get("grade") == VOID)):
        said, void = kind_of("paradigm", paradigm), one.get("grade") == VOID
        probabilities: dict[str, float | None] = one.get("probabilities") or {}
        items = frame.filter(pl.col("paradigm") == paradigm)
        boundaries = list(probabilities) or items["boundary"].unique(maintain_order=True).to_list()
        headline = results.summary.get("self_concept_headline") if paradigm == leading else None
        rows = []
        for boundary in boundaries:
            answers = items.filter(pl.col("boundary") == boundary).drop_nulls("probability")
            span = bootstrap_mean(answers["probability"].to_list(), answers["item"].to_list())
            value, label = probabilities.get(boundary, span.estimate), kind_of("boundary", boundary)
            stored.append(
                {
                    "paradigm": paradigm,
                    "boundary": boundary,
                    "probability": value,
                    "low": span.low,
                    "high": span.high,
                    "n": answers.height,
                    "grade": one.get("grade"),
                }
            )
            if void or value is None:
                rows.append(Row(label, void=""))
                continue
            low, high = interval(span.low, span.high).values()
            rows.append(
                Row(
                    label,
                    start=0.0,
                    end=100 * value,
                    dot=100 * value,
                    mark=100 / len(boundaries),
                    strong=boundary == headline,
                    low=None if span.low is None else 100 * span.low,
                    high=None if span.high is None else 100 * span.high,
                    value=f"{number(value)} ({low} to {high})",
                )
            )
        reason = str(one.get("reason") or words()["grades"][VOID])
        listed = ", ".join(f"{row.label} {row.value}" for row in rows)
        alt = (text["alt_void"] if void else text["alt"]).format(paradigm=said, list=listed, reason=reason)
        ticks = () if void else ((0.0, "0"), (50.0, "0.5"), (100.0, "1"))
        panels.append(
            Rows(
                f"self-{paradigm}".replace("_", "-"),
                alt,
                tuple(rows),
                ticks,
                title=said,
                grade=one.get("grade"),
                void=reason if void else None,
            )
        )
    columns = {"paradigm": None, "boundary": None, "probability": 2, "low": 2, "high": 2, "n": 0, "grade": None}
    exhibit = Exhibit(
        text["caption"],
        rows=tuple(panels),
        table=table_of(pl.DataFrame(stored, infer_schema_length=None), columns),
        kind="rows",
    )
    grade = graded[leading].get("grade") if leading else VOID
    # A row is a boundary of an answer; a rating is about one boundary, any other answer about all of them.
    answers = frame.filter((pl.col("paradigm") == "rating") | (pl.col("boundary") == pl.col("boundary").first()))
    notes = [_missing(answers, "probability", text)]
    return chapter("self_concept", results.said("self_concept") or text["finding"], exhibit, notes=notes, grade=grade)


def _dose_alt(part: pl.DataFrame, paradigm: str, note: str) -> str:
    seen = (
        part.filter(pl.col("observed")).sort("stake").drop_nulls("adherence").to_dicts()
        or part.sort("stake").to_dicts()
    )
    first, last = seen[0], seen[-1]
    return words()["chapters"]["sacrifice"]["alt"].format(
        paradigm=paradigm,
        first=number(first["adherence"]),
        low_stake=first["stake"],
        last=number(last["adherence"]),
        high_stake=last["stake"],
        note=note,
    )


def _missing(items: pl.DataFrame | None, column: str, text: dict[str, Any]) -> str:
    """How many answers could not be read, and why; every mean stands beside this count."""
    if items is None or "missing" not in items.columns:
        return ""
    reasons = items.filter(pl.col(column).is_null())["missing"].fill_null("unknown").value_counts(sort=True)
    if reasons.is_empty():
        return text["none_missing"].format(n=f"{items.height:,}")
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.iter_rows())
    return text["missing"].format(missing=reasons["count"].sum(), n=f"{items.height:,}", reasons=listed)
