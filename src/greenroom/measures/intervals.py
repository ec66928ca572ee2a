"""Intervals: bootstrap clustered by stimulus, Student, Wilson, Fieller, and areas under the curve.

Answers to one stimulus resemble each other, so whole stimuli (clusters) are resampled, never single answers. All
bootstraps are seeded, vectorised over draws, and use percentiles. Missing values (NaN) are left out; n counts clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]
DRAWS = 2000  # the Monte Carlo error of a 95 % bound is then about 1 % of coverage


class Interval(NamedTuple):
    """An estimate with its bounds; None where it is undefined or open. n is the number of clusters."""

    estimate: float | None
    low: float | None
    high: float | None
    n: int


def draw_clusters(rng: np.random.Generator, draws: int, count: int) -> Array:
    """How often each of count clusters is drawn, (draws, count): with replacement, count of them a draw."""
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)


def percentiles(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The bounds between which the middle `level` of the values lies."""
    low, high = np.quantile(np.asarray(values, float), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def codes_of(labels: Sequence[Any]) -> NDArray[np.intp]:
    """Labels as integers in order of first appearance; any hashable label will do."""
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.intp)


def bootstrap_mean(
    values: ArrayLike, clusters: Sequence[Any] | None = None, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Mean over all values with a percentile interval, clusters resampled whole (each value its own without clusters).

    The bounds are None with fewer than two clusters, the estimate too with none.
    """
    kept, labels = _kept(values, clusters)
    if not len(kept):
        return Interval(None, None, None, 0)
    codes = codes_of(labels)
    count = int(codes.max()) + 1
    sums, sizes = np.bincount(codes, kept, count), np.bincount(codes, minlength=count)
    if count < 2:
        return Interval(float(kept.mean()), None, None, count)
    weights = draw_clusters(np.random.default_rng(seed), draws, count)
    low, high = percentiles((weights @ sums) / (weights @ sizes), level)
    return Interval(float(kept.mean()), low, high, count)


def bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    first_clusters: Sequence[Any] | None = None,
    second_clusters: Sequence[Any] | None = None,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Mean of first minus mean of second, with a percentile interval.

    A cluster that occurs in both arms is resampled with both its sides, so matched designs keep their pairing.
    Clusters of one arm only are resampled within that arm, so that no draw loses an arm. Without clusters the arms
    are independent.
    """
    a, a_labels = _kept(first, first_clusters if first_clusters is not None else _own("first", first))
    b, b_labels = _kept(second, second_clusters if second_clusters is not None else _own("second", second))
    if not len(a) or not len(b):
        return Interval(None, None, None, 0)
    codes = codes_of([*a_labels, *b_labels])
    count = int(codes.max()) + 1
    sums, sizes = np.zeros((2, count)), np.zeros((2, count))
    for arm, (part, held) in enumerate([(codes[: len(a)], a), (codes[len(a) :], b)]):
        sums[arm], sizes[arm] = np.bincount(part, held, count), np.bincount(part, minlength=count)
    estimate = float(a.mean() - b.mean())
    membership = (sizes[0] > 0) + 2 * (sizes[1] > 0)
    strata = [np.flatnonzero(membership == kind) for kind in (1, 2, 3)]
    strata = [stratum for stratum in strata if len(stratum)]
    if any(len(stratum) < 2 for stratum in strata):
        return Interval(estimate, None, None, count)
    rng, weights = np.random.default_rng(seed), np.zeros((draws, count))
    for stratum in strata:
        weights[:, stratum] = draw_clusters(rng, draws, len(stratum))
    means = (weights @ sums.T) / (weights @ sizes.T)
    low, high = percentiles(means[:, 0] - means[:, 1], level)
    return Interval(estimate, low, high, count)


def student_mean(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean with Student's interval, the one that Fieller's is made of: a ratio is empty exactly when this interval of
    its denominator includes 0. Values are (cases,), each of its own.
    """
    kept, _ = _kept(values, None)
    n = len(kept)
    if n < 2:
        return Interval(float(kept[0]) if n else None, None, None, n)
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * float(kept.std(ddof=1)) / n**0.5
    return Interval(float(kept.mean()), float(kept.mean()) - half, float(kept.mean()) + half, n)


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """A share with Wilson's (1927) score interval, which stays inside 0..1 and is sound for small n."""
    if n == 0:
        return Interval(None, None, None, 0)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 to {n}")
    from statsmodels.stats.proportion import proportion_confint  # here: importing it takes a second

    low, high = np.array(proportion_confint(successes, n, 1 - level, method="wilson"), float).tolist()
    return Interval(successes / n, low, high, n)


def fieller(numerator: ArrayLike, denominator: ArrayLike, level: float = 0.95) -> Interval:
    """Ratio of two means over the same cases with Fieller's (1954) interval; arrays paired, shape (cases,).

    The bounds are the roots r of (top − r·bottom)² = t²·(var_top − 2·r·cov + r²·var_bottom), moments of the means. All
    None when the denominator's own interval includes 0: the ratio is then unbounded. Pairs with a NaN are left out.
    """
    pairs = np.column_stack([np.asarray(numerator, float), np.asarray(denominator, float)])
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    n = len(pairs)
    if n < 2:
        return Interval(None, None, None, n)
    top, bottom = pairs.mean(axis=0).tolist()
    (top_variance, covariance), (_, bottom_variance) = (np.cov(pairs.T) / n).tolist()
    c2 = float(special.stdtrit(n - 1, (1 + level) / 2)) ** 2
    quadratic = bottom**2 - c2 * bottom_variance
    if quadratic <= 0:
        return Interval(None, None, None, n)
    middle = top * bottom - c2 * covariance
    root = math.sqrt(max(0.0, middle**2 - quadratic * (top**2 - c2 * top_variance)))
    return Interval(top / bottom, (middle - root) / quadratic, (middle + root) / quadratic, n)


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Probability that a positive value lies above a negative one, ties counting half (Mann–Whitney)."""
    above, below = np.asarray(positive, float), np.asarray(negative, float)
    if not above.size or not below.size:
        raise ValueError("an AUC needs at least one positive and one negative value")
    rank_sum = stats.rankdata(np.concatenate([above, below]))[: above.size].sum()
    return float((rank_sum - above.size * (above.size + 1) / 2) / (above.size * below.size))


def mean_auc(positive: ArrayLike, negative: ArrayLike, groups: Sequence[Any]) -> float:
    """Mean over groups of the AUC of all positives against that group's negatives; groups labels the negatives."""
    codes, values = codes_of(groups), np.asarray(negative, float)
    return float(np.mean([auc(positive, values[codes == code]) for code in range(int(codes.max()) + 1)]))


def bootstrap_mean_auc(
    positive: ArrayLike,
    negative: ArrayLike,
    groups: Sequence[Any],
    *,
    positive_clusters: Sequence[Any] | None = None,
    negative_clusters: Sequence[Any] | None = None,
    resample_groups: bool = True,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """`mean_auc` with a percentile interval; clusters (questions) and, unless told otherwise, groups are resampled.

    A cluster is resampled with its positives and its negatives together. n is the number of groups. A group that a
    draw leaves without answers is left out of that draw. Without clusters every value is its own.
    """
    above, below = np.asarray(positive, float), np.asarray(negative, float)
    marks = positive_clusters if positive_clusters is not None else _own("positive", above)
    other = negative_clusters if negative_clusters is not None else _own("negative", below)
    _same_length(above, marks)
    _same_length(below, other)
    _same_length(below, groups)
    estimate, group_codes = mean_auc(above, below, groups), codes_of(groups)
    codes = codes_of([*marks, *other])
    count, n_groups = int(codes.max()) + 1, int(group_codes.max()) + 1
    # One indicator row a cluster, so that each group's comparisons sum up to a (cluster, cluster) table once.
    up = np.eye(count)[:, codes[: len(above)]]
    down = np.eye(count)[:, codes[len(above) :]]
    wins = np.where(above[:, None] > below, 1.0, np.where(above[:, None] == below, 0.5, 0.0))
    rng = np.random.default_rng(seed)
    weights = draw_clusters(rng, draws, count)
    areas = np.full((draws, n_groups), np.nan)
    above_weight = weights @ up.sum(axis=1)
    for group in range(n_groups):
        members = group_codes == group
        table = up @ wins[:, members] @ down[:, members].T
        pairs = above_weight * (weights @ down[:, members].sum(axis=1))
        np.divide(((weights @ table) * weights).sum(axis=1), pairs, out=areas[:, group], where=pairs > 0)
    shares = draw_clusters(rng, draws, n_groups) if resample_groups else np.ones((draws, n_groups))
    shares = np.where(np.isnan(areas), 0.0, shares)
    total = shares.sum(axis=1)
    means = (np.nan_to_num(areas) * shares).sum(axis=1)[total > 0] / total[total > 0]
    if count < 2 or len(means) < draws / 2:
        return Interval(estimate, None, None, n_groups)
    low, high = percentiles(means, level)
    return Interval(estimate, low, high, n_groups)


def _own(arm: str, values: ArrayLike) -> list[tuple[str, int]]:
    return [(arm, index) for index in range(np.size(np.asarray(values, float)))]


def _same_length(values: Array, labels: Sequence[Any]) -> None:
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} values but {len(labels)} labels; expected one label a value")


def _kept(values: ArrayLike, clusters: Sequence[Any] | None) -> tuple[Array, list[Any]]:
    """The values that are there and their cluster labels."""
    array = np.asarray(values, float)
    labels = list(clusters) if clusters is not None else list(range(len(array)))
    _same_length(array, labels)
    there = ~np.isnan(array)
    return array[there], [label for label, keep in zip(labels, there, strict=True) if keep]
