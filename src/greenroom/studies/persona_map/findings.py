"""From the map's tables to its measures."""

from __future__ import annotations

import polars as pl

from greenroom.directions.cast import DEFAULT
from greenroom.measures import Measure
from greenroom.measures.intervals import bootstrap_mean
from greenroom.measures.validity import Check, Grade, Validity
from greenroom.report.format import said
from greenroom.studies import about
from greenroom.studies.study import Found

# The gate of definitions.md on held-out roles that are not everyday.
GATE = 0.95


def conclude(found: Found) -> list[Measure]:
    """`axis_auc`, the AUC by block, and every character's place on the axis (sd; intervals over questions)."""
    numbers = found.results("map")
    estimate, low, null = numbers["axis_auc"], numbers["axis_auc_low"], numbers["axis_auc_null_p95"]
    # A: the interval lies above the gate; B: the estimate does; C: above what shuffled labels reach; else void.
    grade: Grade = "void"
    if estimate is not None and low is not None and low > null:
        grade = "A" if low >= GATE else "B" if estimate >= GATE else "C"
    text = about("persona_map")["sentences"]
    reason = said(text["axis_void" if grade == "void" else "axis_valid"], null=null)
    valid = Validity(grade, (Check("held_out_auc", estimate, grade, reason),))
    measures = [Measure("axis_auc", estimate, low, numbers["axis_auc_high"], numbers["n_roles"], valid, unit="AUC")]
    described = Validity("A", (Check("held_out_auc", estimate, "A", ""),))
    for row in found.table("layers").to_dicts():
        at, se = row["auc_selection"], row["auc_se"] or 0.0
        ends = (at - se, min(at + se, 1.0))
        measures.append(
            Measure(str(row["layer"]), at, *ends, numbers["n_roles"], described, part="by_block", unit="AUC, 1 se")
        )
    replies = found.table("replies")
    for place in found.table("places")["role"]:
        own = replies.filter(pl.col("role") == place)
        spot = bootstrap_mean(own["axis_sd"].to_numpy(), own["question"].to_list(), seed=found.seed)
        part = "by_role"
        measures.append(Measure(place, spot.estimate, spot.low, spot.high, own.height, described, part=part, unit="sd"))
    return measures


def gap(by_role: pl.DataFrame) -> float:
    """How far the average role lies from the default character, sd. by_role: role, estimate."""
    default = by_role.filter(pl.col("role") == DEFAULT)["estimate"].item()
    return default - float(by_role.filter(pl.col("role") != DEFAULT)["estimate"].mean())  # type: ignore[arg-type]
