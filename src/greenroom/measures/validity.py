"""Whether a measure measures: checks, grades, and a measure that says void instead of printing a number.

A grade is the worst of its checks. A check below its last cut is void, and so is the whole measure. Two rules guard
against luck: a check that chance alone could pass is void, and a high grade needs enough cases (`CASES_FOR`).
Values are shares (0..1) or correlations (−1..1). Missing answers are None or NaN and are left out here; their share is
the business of `readable`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from greenroom.measures.intervals import Interval
from greenroom.measures.outcome import Outcome
from greenroom.measures.wording import reason, sentence

Grade = Literal["A", "B", "C", "void"]
GRADES: tuple[Grade, ...] = ("A", "B", "C", "void")  # from best to worst


class Cut(NamedTuple):
    """The least value for each grade; below `c` the check is void."""

    a: float
    b: float
    c: float


# Reliability as test theory reads it: .70 for a first look, .80 for comparing groups, .90 for judging one case
# (Nunnally & Bernstein 1994, Psychometric Theory, ch. 7).
RELIABILITY = Cut(0.90, 0.80, 0.70)

CUTS: dict[str, Cut] = {
    # A random answerer with two options agrees with itself in half of the sets, one that follows position in none.
    # .75 is midway between chance and perfect; .90 and .80 as for reliability.
    "order_consistency": Cut(0.90, 0.80, 0.75),
    # Graded on 1 − bias. Content spread over both orders puts each position at its fair share: bias 0. Up to .2
    # (60:40 with two options) is within the noise of 20 answers; above .8 nine of ten answers name one position.
    "order_bias": Cut(0.80, 0.60, 0.20),
    "order_agreement": RELIABILITY,
    # In a trial wordings agreed at .74–.86 although the preference was not stable, so this check is necessary and
    # never sufficient. Choices use the same cuts on chance-corrected agreement, stricter than Landis & Koch (1977).
    "paraphrase_agreement": RELIABILITY,
    "retest": RELIABILITY,
    # An answer to a situation that was not understood measures something else.
    "comprehension": Cut(0.90, 0.80, 0.70),
    # The five-and-twenty rule: under 5 % missing hardly matters, above 20 % the worst case decides the result
    # (Schulz & Grimes 2002, Lancet 359:781).
    "readable": Cut(0.95, 0.90, 0.80),
    # A reply that repeats the one to another question answers neither: missing under another name, so the same cuts.
    "own_words": Cut(0.95, 0.90, 0.80),
    # All versions share the same scored strings, which inflates the agreement, so the full reliability cuts apply.
    # Trial: .22–.70, and it had to fail.
    "null_agreement": RELIABILITY,
    # Graded on −correlation. An opposite question is never a perfect opposite, so the sign and a medium size count.
    "reversal": Cut(0.70, 0.50, 0.30),
}

# A random answerer reaches 90 % with 20 cases once in 5,000 tries and 80 % with 10 once in 18; below that only C.
CASES_FOR: dict[Grade, int] = {"A": 20, "B": 10}
CHANCE_LEVEL = 0.05  # one-sided: a check that chance passes more often than this is void
LEAST_RANKED = 4  # three cases rank alike by chance once in six

# Without these a measure of the paradigm is void.
REQUIRED: dict[str, tuple[str, ...]] = {
    "letter": ("readable", "order_consistency"),
    "letter_logodds": ("readable", "order_agreement"),
    "cloze": ("null_agreement", "reversal"),
    "rating": ("readable",),
    "free": ("readable",),
}
# Without these it is B at best: what was not looked at has not passed.
WANTED: dict[str, tuple[str, ...]] = {
    "letter": ("order_bias", "paraphrase_agreement"),
    "letter_logodds": ("paraphrase_agreement",),
    "cloze": ("paraphrase_agreement",),
    "rating": ("paraphrase_agreement", "reversal"),
    "free": ("paraphrase_agreement", "retest"),
}


def worst(grades: Iterable[Grade]) -> Grade:
    """The worst of the grades; void for none at all, since nothing was checked."""
    found = list(grades)
    return max(found, key=GRADES.index) if found else "void"


def in_words(grade: Grade) -> str:
    """What a grade means to somebody who wants to use the number: good, usable with caution, or unusable."""
    return reason("grades", grade)


@dataclass(frozen=True)
class Check:
    """One check: its value (None when there was nothing to compute), its grade, and a sentence that says it."""

    name: str
    value: float | None
    grade: Grade
    reason: str


@dataclass(frozen=True)
class Validity:
    """The worst check's grade, with all checks."""

    grade: Grade
    checks: tuple[Check, ...]

    @property
    def reason(self) -> str:
        """One plain sentence: what keeps the grade down, or that every check passed; of a single check its own."""
        if not self.checks:
            return reason("unchecked")
        if self.grade == "A" and not (len(self.checks) == 1 and self.checks[0].reason):
            return reason("passed")
        return next(check.reason for check in self.checks if check.grade == self.grade)


# The columns of a table of measures, as Polars takes them (`pl.DataFrame(rows, schema=MEASURE_SCHEMA)`): a column in which
# nothing is known has the same type in every run.
MEASURE_SCHEMA: dict[str, type] = {
    "part": str,
    "name": str,
    "primary": bool,
    "paradigm": str,
    "split": str,
    "unit": str,
    "estimate": float,
    "low": float,
    "high": float,
    "n": int,
    "delta": float,
    "p": float,
    "p_adjusted": float,
    "grade": str,
    "outcome": str,
    "reach": float,
    "reason": str,
}


@dataclass(frozen=True)
class Measure:
    """An estimate with interval, number of cases and validity. A void measure holds no result: its estimate, interval and
    p are None.

    part: "" for a measure that stands by itself, else the series of points that it belongs to ("by_turn"), whose names are
    levels joined by "/". paradigm: how the answers were elicited; unit: of the estimate, its interval, delta and reach; split: the items asked
    ("explore", "confirm"); primary: whether it is its study's one primary. p: unadjusted; delta: the largest effect that
    counts as none; reach: the effect of the positive control; outcome: what follows. None where there is none.
    """

    name: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    validity: Validity
    _: KW_ONLY
    part: str = ""
    paradigm: str | None = None
    unit: str | None = None
    split: str | None = None
    primary: bool = False
    p: float | None = None
    delta: float | None = None
    reach: float | None = None
    outcome: Outcome | None = None

    def __post_init__(self) -> None:
        if self.validity.grade == "void":  # what cannot be read by mistake cannot be printed by mistake
            for field in ("estimate", "low", "high", "p"):
                object.__setattr__(self, field, None)
        for value in (self.estimate, self.low, self.high, self.p, self.delta, self.reach):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"measure {self.name!r}: {value} is no number; pass None with a void check")

    @property
    def grade(self) -> Grade:
        return self.validity.grade

    @property
    def reason(self) -> str:
        return self.validity.reason

    def row(self) -> dict[str, Any]:
        """One row of a table of measures, with the columns of `MEASURE_SCHEMA`. p_adjusted is None: Holm's adjustment needs
        all primaries of a run."""
        return {name: None if name == "p_adjusted" else getattr(self, name) for name in MEASURE_SCHEMA}

    def __str__(self) -> str:
        if self.estimate is None:
            return f"{self.name}: {self.grade} ({self.reason})"
        ends = ["open" if end is None else f"{end:.2f}" for end in (self.low, self.high)]
        return f"{self.name}: {self.estimate:.2f} [{ends[0]}, {ends[1]}], n = {self.n}, grade {self.grade}"


def measure_of(name: str, interval: Interval, validity: Validity, missing: str, **more: Any) -> Measure:
    """The measure of an interval; where there is no estimate, void with the reason `missing`. more: fields of `Measure`."""
    if interval.estimate is None and validity.grade != "void":
        validity = Validity("void", (Check("estimate", None, "void", missing),))
    return Measure(name, *interval, validity, **more)


def measures_of(found: Mapping[str, Interval], validity: Validity, primary: str, **more: Any) -> list[Measure]:
    """The measures of those intervals that rest on a case. The primary stays even without one if the study is void, so
    that it can say why. more: fields of `Measure`."""
    return [
        Measure(name, *interval, validity, **more)
        for name, interval in found.items()
        if interval.n or (validity.grade == "void" and name == primary)
    ]


def assess(checks: Sequence[Check], paradigm: str | None = None) -> Validity:
    """The validity of a measure from its checks; with a paradigm, unchecked requirements count against it.

    A check in `REQUIRED[paradigm]` that is missing is added as void, one in `WANTED[paradigm]` as B.
    """
    found = list(checks)
    names = {check.name for check in checks}
    if paradigm is not None:
        found += [_unknown(name) for name in REQUIRED[paradigm] if name not in names]
        found += [_unknown(name, "B") for name in WANTED[paradigm] if name not in names]
    return Validity(worst(check.grade for check in found), tuple(found))


def order_consistency(choices: Sequence[Sequence[int | None]], options: int = 2) -> Check:
    """How often the same option is chosen whatever the order.

    choices: (items, orders) option indices, None for a missing answer. The value is the mean over items of the share
    of its pairs of orders that agree; 1/options by chance, 0 for an answerer that follows position alone.
    """
    return _share_check("order_consistency", _agreements(choices), 1 / options)


def order_bias(positions: Iterable[int | None], options: int = 2, *, averaged: bool = False) -> Check:
    """How far answers over counterbalanced orders lean towards one position: 0 none, 1 always the same position.

    averaged: the estimate is averaged over orders, which removes a constant lean, so that the check costs at most a C
    (`order_agreement` then decides whether any content is left).
    """
    shown = [position for position in positions if position is not None]
    if not shown:
        return _unknown("order_bias")
    shares = np.bincount(shown, minlength=options) / len(shown)
    bias = float((shares.max() - 1 / options) / (1 - 1 / options))
    check = _graded("order_bias", bias, len(shown), score=1 - bias)
    if averaged and check.grade == "void":
        return Check(check.name, check.value, "C", check.reason)
    return check


def order_agreement(log_odds: ArrayLike) -> Check:
    """Whether the orders rank the cases alike: mean pairwise Spearman correlation of (orders, cases) log-odds."""
    return _rank_check("order_agreement", log_odds)


def paraphrase_agreement(estimates: ArrayLike) -> Check:
    """Mean pairwise Spearman correlation between wordings; estimates (wordings, cases), NaN for missing."""
    return _rank_check("paraphrase_agreement", estimates)


def paraphrase_choices(choices: Sequence[Sequence[int | None]], options: int = 2) -> Check:
    """Chance-corrected agreement of choices between wordings; choices (wordings, cases), None for missing."""
    return _choice_check("paraphrase_agreement", choices, options)


def retest(first: ArrayLike, second: ArrayLike) -> Check:
    """Spearman correlation between two rounds of asking the same cases."""
    return _rank_check("retest", [np.asarray(first, float), np.asarray(second, float)])


def retest_choices(first: Sequence[int | None], second: Sequence[int | None], options: int = 2) -> Check:
    """Chance-corrected agreement of choices between two rounds of asking the same cases."""
    return _choice_check("retest", [first, second], options)


def comprehension(right: Sequence[bool | None], chance: float = 0.5) -> Check:
    """Share of comprehension questions answered correctly; an unreadable answer (None) is not correct."""
    return _share_check("comprehension", [float(bool(answer)) for answer in right], chance)


def readable(shares: Iterable[float | bool]) -> Check:
    """Mean readable share: whether each answer could be read, or how much probability lay on listed answers."""
    return _mean_check("readable", shares)


def own_words(marks: Iterable[bool]) -> Check:
    """Share of replies that do not nearly repeat the reply to another question of the same moment."""
    return _mean_check("own_words", marks)


def null_agreement(estimates: ArrayLike) -> Check:
    """Mean pairwise Spearman correlation of the preferences under each null prompt; estimates (nulls >= 3, cases).

    No test against chance: the versions share their scored strings, so zero is not what chance gives. Holtzman et al.
    2021 (surface form competition) gives the reason for nulls; agreement between several is Greenroom's own demand.
    """
    table = np.asarray(estimates, float)
    if table.ndim != 2 or table.shape[0] < 3:
        return _unknown("null_agreement")
    return _rank_check("null_agreement", table, against_chance=False)


def reversal(estimates: ArrayLike, opposite: ArrayLike) -> Check:
    """Minus the Spearman correlation between the estimates and those under the opposite question (1 = turned round)."""
    return _rank_check("reversal", [np.asarray(estimates, float).ravel(), -np.asarray(opposite, float).ravel()])


def _rank_agreement(rows: ArrayLike) -> tuple[float | None, int]:
    """Mean pairwise Spearman correlation of the rows and the number of cases; cases with a NaN are left out.

    None when fewer than two rows or `LEAST_RANKED` cases are left, or when a row does not vary.
    """
    table = np.atleast_2d(np.asarray(rows, float))
    table = table[:, ~np.isnan(table).any(axis=0)]
    count = table.shape[1]
    if table.shape[0] < 2 or count < LEAST_RANKED or bool((np.ptp(table, axis=1) == 0).any()):
        return None, count
    correlations = np.atleast_2d(np.corrcoef(stats.rankdata(table, axis=1)))
    return float(correlations[np.triu_indices(len(table), 1)].mean()), count


def _rank_check(name: str, rows: ArrayLike, *, against_chance: bool = True) -> Check:
    value, count = _rank_agreement(rows)
    if value is None:
        return _unknown(name)
    by_chance = False
    if against_chance:  # Fisher's z with the standard error for ranks (Fieller, Hartley & Pearson 1957)
        z = np.arctanh(np.clip(value, 1e-12 - 1, 1 - 1e-12)) * math.sqrt(max(count - 3, 0) / 1.06)
        by_chance = bool(special.ndtr(-z) > CHANCE_LEVEL)
    return _graded(name, value, count, by_chance=by_chance)


def _mean_check(name: str, shares: Iterable[float | bool]) -> Check:
    values = [float(share) for share in shares]
    return _graded(name, float(np.mean(values)), len(values)) if values else _unknown(name)


def _share_check(name: str, shares: Sequence[float], chance: float) -> Check:
    if not shares:
        return _unknown(name)
    value, count = float(np.mean(shares)), len(shares)
    return _graded(name, value, count, by_chance=_luck(value, count, chance) > CHANCE_LEVEL)


def _choice_check(name: str, rows: Sequence[Sequence[int | None]], options: int) -> Check:
    """Brennan & Prediger (1981): Cohen's kappa would call a subject that rightly always answers alike unreliable."""
    shares = _agreements(zip(*rows, strict=True))
    if not shares:
        return _unknown(name)
    share, count = float(np.mean(shares)), len(shares)
    corrected = (share - 1 / options) / (1 - 1 / options)
    return _graded(name, corrected, count, by_chance=_luck(share, count, 1 / options) > CHANCE_LEVEL)


def _agreements(cases: Iterable[Sequence[int | None]]) -> list[float]:
    """The share of each case's pairs of choices that agree; cases with fewer than two answers are left out."""
    shares: list[float] = []
    for case in cases:
        pairs = list(combinations([choice for choice in case if choice is not None], 2))
        if pairs:
            shares.append(sum(first == second for first, second in pairs) / len(pairs))
    return shares


def _luck(share: float, count: int, chance: float) -> float:
    """Probability that chance gives at least this share of count cases (exact binomial, rounded down)."""
    successes = math.floor(share * count + 1e-9)
    return float(special.bdtrc(successes - 1, count, chance)) if successes > 0 else 1.0


def _graded(name: str, value: float, count: int, *, score: float | None = None, by_chance: bool = False) -> Check:
    cut, score = CUTS[name], value if score is None else score
    said = reason(name, "said", value=value, n=count)
    if score < cut.c - 1e-9:
        return Check(name, value, "void", sentence(reason(name, "void", value=value, n=count)))
    if by_chance:
        return Check(name, value, "void", sentence(reason("chance", said=said)))
    earned: Grade = "A" if score >= cut.a - 1e-9 else "B" if score >= cut.b - 1e-9 else "C"
    if GRADES.index(allowed(count)) > GRADES.index(earned):
        return Check(name, value, allowed(count), sentence(reason("few", said=said, n=count)))
    return Check(name, value, earned, sentence(said))


def halves(reliability: float | None, questions: int) -> Check:
    """Reliability by halves of the questions, stepped up to all of them (Spearman–Brown); None where the halves have
    nothing in common, which is void. Low ones are C: noise weakens what is found, and cannot make it up."""
    if questions < 4:  # a half would be a single question
        return _unknown("halves", "C")
    if reliability is None or reliability <= 0:
        return Check("halves", reliability, "void", sentence(reason("halves", "void")))
    grade: Grade = "A" if reliability >= RELIABILITY.a else "B" if reliability >= RELIABILITY.b else "C"
    return Check("halves", reliability, grade, sentence(reason("halves", "said", value=reliability, n=questions)))


def allowed(cases: int) -> Grade:
    """The best grade that so many cases allow."""
    return "A" if cases >= CASES_FOR["A"] else "B" if cases >= CASES_FOR["B"] else "C"


def _unknown(name: str, grade: Grade = "void") -> Check:
    return Check(name, None, grade, sentence(reason(name, "unknown")))
