"""Whether a conversation's character held: steady, drifting, departed, returned; or uncalibrated.

Two numbers are tested, both one-sided (away from the assistant): the *drop*, how far the level (the mean of three turns
in a row) ever falls below the baseline, and the *decline*, how clearly the turns fall in a straight line. Thresholds are
set so that both together raise a false alarm in 5 % of the conversations in which nothing happens:

- **own first turns**: the baseline is the mean of the first three turns, the noise comes from differences of
  neighbouring turns, and the null is simulated: turns that scatter independently around one level.
- **a folder of the model's own normal conversations**: the baseline is their mean, and the thresholds come from how far
  they fall themselves. From 40 conversations on they are order statistics, which assume nothing; with fewer a normal
  prediction bound, which is wider the fewer there are.

Beside the verdict stands the *level*: whether the mean of all turns lies below where conversations of the reader's own
default replies lie. A verdict says that a conversation moved; a level says where it is, and models differ in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy import stats

from greenroom.measures.changepoints import noise_sd
from greenroom.measures.intervals import Array, Interval

Verdict = Literal["steady", "drifting", "departed", "returned", "uncalibrated"]
VERDICTS: tuple[Verdict, ...] = ("steady", "drifting", "departed", "returned", "uncalibrated")
FALSE_ALARMS = 0.05
FIRST = LEVEL = 3  # turns that make the baseline, and turns that make a level
SHORTEST = FIRST + LEVEL
DRAWS = 10_000
ENOUGH = 40  # conversations from which order statistics at 2.5 % exist

Level = Literal["usual", "low"]
# How far topics differ in the reader's own default replies, sd (effect.topics.sd of SmolLM2's --validate): the turns of one
# conversation share a topic, so that its mean scatters by this however long it is.
TOPICS_SD = 0.37
BELOW = 0.05  # share of conversations of the reader's own default replies whose level is low


@dataclass(frozen=True)
class Judgement:
    """verdict and why. drop, drop_limit: in units of noise (own first turns) or sd (folder); None where not judged.
    decline, decline_limit: t values of the slope, positive downwards. reason: why it is uncalibrated."""

    verdict: Verdict
    baseline: Literal["own first turns", "folder"] | None = None
    drop: float | None = None
    drop_limit: float | None = None
    decline: float | None = None
    decline_limit: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Baseline:
    """A model's normal conversations: their mean (sd on the axis), the limits that they set, and how many there were.
    content: a digest of what was said in them, "" where it is not known."""

    mean: float
    drop_limit: float
    decline_limit: float
    n: int
    content: str = ""


def drift(values: Sequence[float]) -> Interval:
    """Slope over turns, sd a turn, with its 95 % t interval; n turns. None below three turns."""
    series = np.asarray(values, float)
    if len(series) < 3:
        return Interval(None, None, None, len(series))
    slope, error = (float(part[0]) for part in _slopes(series[None]))
    half = float(stats.t.ppf(0.975, len(series) - 2)) * error
    return Interval(slope, slope - half, slope + half, len(series))


def level_limit(turns: int) -> float:
    """The mean, sd, below which 5 % of conversations of so many turns lie when all are default replies of the reader
    itself, whose variance is 1 in all and TOPICS_SD² between topics. One turn: -1.64; 15 turns: -0.72."""
    spread = math.sqrt(TOPICS_SD**2 + (1 - TOPICS_SD**2) / turns)
    return float(stats.norm.ppf(BELOW)) * spread


def level_of(values: Sequence[float]) -> Level | None:
    """Where a conversation's turns lie (sd on the axis), taken together; None without any."""
    if not len(values):
        return None
    return "low" if sum(values) / len(values) < level_limit(len(values)) else "usual"


def judge(values: Sequence[float], baseline: Baseline | None = None) -> Judgement:
    """The verdict on a conversation's turns (sd on the axis, in order, none missing)."""
    series = np.asarray(values, float)
    if not len(series):
        return Judgement("uncalibrated", reason="no_turns")
    if baseline is not None:
        return _verdict(series, baseline.mean, 1.0, baseline.drop_limit, baseline.decline_limit, "folder", 0)
    if len(series) < SHORTEST:
        return Judgement("uncalibrated", reason="few_turns")
    noise = noise_sd(series)
    if noise == 0:
        return Judgement("uncalibrated", reason="no_noise")
    drop_limit, decline_limit = simulated_limits(len(series))
    return _verdict(
        series, float(series[:FIRST].mean()), noise, drop_limit, decline_limit, "own first turns", FIRST
    )  # fmt: skip


def baseline_of(conversations: Sequence[Sequence[float]]) -> Baseline | None:
    """The baseline of normal conversations (sd of their turns); None with fewer than two that have turns."""
    series = [np.asarray(values, float) for values in conversations if len(values)]
    if len(series) < 2:
        return None
    mean = float(np.mean([one.mean() for one in series]))
    drops = np.array([_levels(one, 0).min() for one in series])
    declines = np.array([_decline(one) for one in series if len(one) >= 3])
    return Baseline(mean, _bound(mean - drops), _bound(declines), len(series))


def _verdict(
    series: Array,
    start: float,
    unit: float,
    drop_limit: float,
    decline_limit: float,
    baseline: Literal["own first turns", "folder"],
    skip: int,
) -> Judgement:
    levels = (start - _levels(series, skip)) / unit
    drop, decline = float(levels.max()), _decline(series)
    if drop > drop_limit:
        # Back means well inside the limit: a level that hovers around it has not returned.
        verdict: Verdict = "returned" if levels[-1] < drop_limit / 2 else "departed"
    else:
        verdict = "drifting" if decline > decline_limit else "steady"
    return Judgement(
        verdict, baseline, drop, drop_limit if math.isfinite(drop_limit) else None,
        decline if math.isfinite(decline) else None, decline_limit if math.isfinite(decline_limit) else None,
    )  # fmt: skip


def _levels(series: Array, skip: int) -> Array:
    """(…, levels) means of LEVEL turns in a row that begin at turn `skip` or later; of all turns when there are fewer."""
    rest = series[..., skip:]
    width = min(LEVEL, rest.shape[-1])
    sums = np.cumsum(np.concatenate([np.zeros((*rest.shape[:-1], 1)), rest], axis=-1), axis=-1)
    return (sums[..., width:] - sums[..., :-width]) / width


def _decline(series: Array) -> float:
    if len(series) < 3:
        return -math.inf
    slope, error = _slopes(series[None])
    return float(-slope[0] / error[0]) if error[0] > 0 else -math.inf


def _slopes(series: Array) -> tuple[Array, Array]:
    """Least-squares slopes and their standard errors. series: (row, turn)."""
    n = series.shape[1]
    turn = np.arange(n) - (n - 1) / 2
    slope = series @ turn / (turn @ turn)
    rest = series - series.mean(axis=1, keepdims=True) - slope[:, None] * turn
    return slope, np.sqrt((rest**2).sum(axis=1) / max(n - 2, 1) / (turn @ turn))


@cache
def simulated_limits(turns: int) -> tuple[float, float]:
    """Limits of drop and decline for a conversation of so many turns that is judged by its own first ones.

    Both tests get the same share, chosen so that either alarm together comes in 5 % of simulated steady conversations.
    """
    series = np.random.default_rng(turns).standard_normal((DRAWS, turns))
    noise = np.sqrt((np.diff(series, axis=1) ** 2).mean(axis=1) / 2)
    drop = (series[:, :FIRST].mean(axis=1) - _levels(series, FIRST).min(axis=1)) / noise
    slope, error = _slopes(series)
    decline = -slope / error
    rank = np.maximum(*(np.argsort(np.argsort(values)) for values in (drop, decline)))
    share = float(np.quantile(rank, 1 - FALSE_ALARMS)) / DRAWS
    return float(np.quantile(drop, share)), float(np.quantile(decline, share))


def _bound(values: Array) -> float:
    """What the next value exceeds in at most 2.5 % of cases: an order statistic, or a normal prediction bound."""
    n, share = len(values), 1 - FALSE_ALARMS / 2
    if n >= ENOUGH:
        return float(np.sort(values)[math.ceil((n + 1) * share) - 1])
    if n < 2:
        return math.inf
    return float(values.mean() + stats.t.ppf(share, n - 1) * values.std(ddof=1) * math.sqrt(1 + 1 / n))
