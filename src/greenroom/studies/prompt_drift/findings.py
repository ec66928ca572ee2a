"""From the answers of prompt drift to its measures: which rules were kept when, and what follows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from greenroom.measures import validity
from greenroom.measures.intervals import Interval, bootstrap_difference, bootstrap_mean
from greenroom.measures.repetition import own_words
from greenroom.measures.validity import Check, Measure, assess, measures_of
from greenroom.measures.within import within_slope
from greenroom.measures.wording import sentence
from greenroom.studies import about
from greenroom.studies.prompt_drift import PRIMARY, PROBES
from greenroom.studies.prompt_drift.scripts import stimuli
from greenroom.studies.study import Found


def conclude(found: Found) -> list[Measure]:
    return measures(kept_rules(found.answers))


def stability(answers: pl.DataFrame) -> float:
    """The share of rounds in which the agent's own rule is kept (0..1); NaN where none could be judged."""
    kept = kept_rules(answers).filter((pl.col("probe") == "own") & (pl.col("round") > 0))["kept"].mean()
    return math.nan if kept is None else float(kept)  # type: ignore[arg-type]


def kept_rules(answers: pl.DataFrame) -> pl.DataFrame:
    """Every probe, one row each: case, rule, kind, partner, round (0: before the talk), probe (own, partner, reminder;
    control at round 0), kept, missing, reply. `kept` is null with a reason where a cut reply leaves it open; a talk that
    failed is missing at round 0."""
    rules = stimuli().by_id
    found: list[dict[str, Any]] = []
    for row in answers.filter((pl.col("paradigm") == "probe") | pl.col("wording").is_null()).to_dicts():
        probe, _, number = (row["wording"] or "own/0").partition("/")
        rule = rules[row["partner"] if probe == "partner" else row["cluster"]]
        kept = None if row["missing"] else rule.checker(row["reply"], row["cut"])
        missing = row["missing"] or (None if kept is not None else "cut off")
        case = {"case": row["case"], "rule": row["cluster"], "kind": row["kind"], "partner": row["partner"]}
        found.append(
            {**case, "round": int(number), "probe": probe, "kept": kept, "missing": missing, "reply": row["reply"]}
        )
    return pl.DataFrame(found, schema=KEPT)


KEPT: dict[str, Any] = {
    "case": pl.String,
    "rule": pl.String,
    "kind": pl.String,
    "partner": pl.String,
    "round": pl.Int64,
    "probe": pl.String,
    "kept": pl.Boolean,
    "missing": pl.String,
    "reply": pl.String,
}


def measures(frame: pl.DataFrame) -> list[Measure]:
    """What follows from `kept_rules`; rules are resampled whole, with all their rounds and probes.

    own_over_control: own rule at the last round minus what the checkers pass without it; followed: the same before the
    talk; <probe>_slope: change of the share a round; lost: own rule, round 0 minus last; adopted: the partner's rule,
    last minus round 0; own_over_partner: at the last round; remedy: reminder minus own after the talk began. Series:
    by_round (`probe/round`: share kept) and by_kind (`kind/moment`: of own rules in the control, at the start, later).
    """
    last = int(frame["round"].max() or 0)  # pyright: ignore[reportArgumentType]
    followed = _difference(frame, ("own", 0), ("control", 0))
    valid = assess(
        [
            _followed(followed),
            validity.readable(frame.filter(pl.col("probe") == "own")["missing"].is_null().to_list()),
            *_own_worded(frame.filter(pl.col("round") == last)),
        ]
    )
    asked = [name for name in PROBES if name in set(frame["probe"])]
    differences = {
        "own_over_control": _difference(frame, ("own", last), ("control", 0)),
        "lost": _difference(frame, ("own", 0), ("own", last)),
        "adopted": _difference(frame, ("partner", last), ("partner", 0)),
        "own_over_partner": _difference(frame, ("own", last), ("partner", last)),
        "remedy": _difference(frame, ("reminder", None), ("own", None)),
        "followed": followed,
    }
    slopes = {f"{name}_slope": _slope(frame.filter(pl.col("probe") == name)) for name in asked}
    return [
        *measures_of(differences, valid, PRIMARY, unit="share"),
        *measures_of(slopes, valid, PRIMARY, unit="share a round"),
        *measures_of(_by_round(frame), valid, PRIMARY, unit="share", part="by_round"),
        *measures_of(_by_kind(frame), valid, PRIMARY, unit="share", part="by_kind"),
    ]


def _by_round(frame: pl.DataFrame) -> dict[str, Interval]:
    return {
        f"{probe}/{number}": _share(own) for (probe, number), own in frame.sort("probe", "round").group_by("probe", "round", maintain_order=True)
    }  # fmt: skip


def _by_kind(frame: pl.DataFrame) -> dict[str, Interval]:
    own, start = pl.col("probe") == "own", pl.col("round") == 0
    moments = {"control": pl.col("probe") == "control", "start": own & start, "later": own & ~start}
    return {
        f"{kind}/{moment}": _share(rows.filter(at))
        for (kind,), rows in frame.group_by("kind", maintain_order=True)
        for moment, at in moments.items()
    }


def _share(frame: pl.DataFrame) -> Interval:
    return bootstrap_mean(_kept(frame), list(frame["rule"]))


def _kept(frame: pl.DataFrame) -> np.ndarray:
    return frame["kept"].cast(pl.Float64).to_numpy()


def _slope(frame: pl.DataFrame) -> Interval:
    return within_slope(_kept(frame), frame["round"].to_numpy(), list(frame["rule"]))


def _difference(frame: pl.DataFrame, first: tuple[str, int | None], second: tuple[str, int | None]) -> Interval:
    """Share kept in the first arm minus in the second, paired by rule; an arm is (probe, round), None: all after 0.

    Only rules that were judged in both arms count, so that cut replies do not change who is compared.
    """
    arms: list[pl.DataFrame] = []
    for probe, number in (first, second):
        at = pl.col("round") > 0 if number is None else pl.col("round") == number
        arms.append(frame.filter((pl.col("probe") == probe) & at & pl.col("kept").is_not_null()))
    both = set(arms[0]["rule"]) & set(arms[1]["rule"])
    arms = [arm.filter(pl.col("rule").is_in(list(both))) for arm in arms]
    return bootstrap_difference(_kept(arms[0]), _kept(arms[1]), list(arms[0]["rule"]), list(arms[1]["rule"]))


def _followed(difference: Interval) -> Check:
    """Void unless the system prompt makes rules kept: A when the interval lies above 0 over 20 rules, B over 10."""
    reasons, value = about("prompt_drift")["reasons"], difference.estimate
    if value is None:
        return Check("followed", None, "void", sentence(reasons["unasked"]))
    if difference.low is None or difference.low <= 0:
        return Check("followed", value, "void", sentence(reasons["unfollowed"].format(value=value, n=difference.n)))
    grade = validity.allowed(difference.n)
    return Check("followed", value, grade, sentence(reasons["followed"].format(value=value, n=difference.n)))


def _own_worded(frame: pl.DataFrame) -> list[Check]:
    """Whether the agent still answers what it is asked: replies to its own and to the partner's question differ.

    Read at one round, the last, where loops are likeliest; no check where one of the two is not asked.
    """
    if not {"own", "partner"} <= set(frame["probe"]):
        return []
    pairs = frame.filter(pl.col("probe").is_in(["own", "partner"])).group_by("case", maintain_order=True)
    return [validity.own_words(mark for _, pair in pairs for mark in own_words(pair["reply"].to_list()))]
