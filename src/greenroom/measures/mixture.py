"""Clusters as a mixture of Gaussians with one shared diagonal covariance, and how many of them there are.

The number is the one under which things that were left out are most likely, so one cluster ("no clusters, a
continuum") is an answer like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from greenroom.measures.intervals import Array

STEPS, TOLERANCE, STARTS, SETTLING = 100, 1e-5, 8, 5
FLOOR = 0.01  # of the total variance of a coordinate: no cluster shrinks to a point


class Mixture(NamedTuple):
    """weights: (cluster,). means: (cluster, coordinate). variances: (coordinate,), shared by all clusters."""

    weights: Array
    means: Array
    variances: Array

    def log_joint(self, values: Array) -> Array:
        """(thing, cluster): log-density of each thing with each cluster, nats."""
        apart = (values[:, None, :] - self.means) ** 2 / self.variances
        constant = np.log(2 * np.pi * self.variances).sum()
        with np.errstate(divide="ignore"):
            return np.log(self.weights) - 0.5 * (apart.sum(axis=2) + constant)

    def log_density(self, values: Array) -> Array:
        """(thing,) nats."""
        return np.asarray(special.logsumexp(self.log_joint(values), axis=1))

    def members(self, values: Array) -> NDArray[np.intp]:
        """(thing,): the likeliest cluster of each."""
        return self.log_joint(values).argmax(axis=1)


class ClusterCount(NamedTuple):
    """One number of clusters. log_density: mean over things left out, nats. behind: how far below the best number that
    is, thing by thing, with its standard error."""

    count: int  # type: ignore[assignment]
    log_density: float
    behind: float
    behind_se: float
    chosen: bool


def fit_mixture(values: Array, count: int, *, seed: int = 0, starts: int = STARTS) -> Mixture:
    """The likeliest of several fits by expectation maximisation. values: (thing, coordinate). Raises ValueError when
    there are fewer things than clusters."""
    if not 1 <= count <= len(values):
        raise ValueError(
            f"{count} clusters of {len(values)} things; expected between 1 and as many as there are things"
        )
    rng = np.random.default_rng(seed)
    fits = [_climb(values, _spread(values, count, rng)) for _ in range(starts if count > 1 else 1)]
    return max(fits, key=lambda fit: float(fit.log_density(values).sum()))


def choose_count(
    values: Array, counts: Sequence[int], *, folds: int = 5, repeats: int = 4, seed: int = 0
) -> list[ClusterCount]:
    """Cross-validation over things: the smallest count within one standard error of the best one's log-density.

    The standard error is of the difference to the best count, thing by thing (some things are unlikely under any).
    """
    rng = np.random.default_rng(seed)
    found = np.zeros((len(counts), len(values)))
    for _ in range(repeats):
        fold = rng.permutation(len(values)) % folds
        for part in range(folds):
            seen = fold != part
            for row, count in enumerate(counts):
                fit = fit_mixture(values[seen], min(count, int(seen.sum())), seed=int(rng.integers(2**31)), starts=3)
                found[row, ~seen] += fit.log_density(values[~seen]) / repeats
    means = found.mean(axis=1)
    behind = found[int(means.argmax())] - found
    error = behind.std(axis=1, ddof=1) / np.sqrt(len(values))
    within = [index for index in range(len(counts)) if behind[index].mean() <= error[index]]
    chosen = min(within, key=lambda index: counts[index])
    return [
        ClusterCount(count, float(means[row]), float(behind[row].mean()), float(error[row]), row == chosen)
        for row, count in enumerate(counts)
    ]


def adjusted_rand(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Agreement of two partitions of the same things beyond chance (Hubert & Arabie 1985): 1 equal, 0 as by chance."""
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one, other), 1)
    both, rows, columns = (
        float(np.sum(special.comb(part, 2))) for part in (table, table.sum(axis=1), table.sum(axis=0))
    )
    chance = rows * columns / float(special.comb(len(one), 2))
    most = (rows + columns) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _spread(values: Array, count: int, rng: np.random.Generator) -> Mixture:
    """A start whose centres lie apart (k-means++, Arthur & Vassilvitskii 2007), settled by a few rounds of k-means.

    In the coordinates as they are: made equally wide, those of mere noise would decide where clusters begin.
    """
    means = values[[int(rng.integers(len(values)))]]
    while len(means) < count:
        nearest = _apart(values, means).min(axis=1)
        total = float(nearest.sum())
        pick = rng.choice(len(values), p=nearest / total) if total > 0 else rng.integers(len(values))
        means = np.vstack([means, values[int(pick)]])
    own = _apart(values, means).argmin(axis=1)
    for _ in range(SETTLING):
        means = np.stack(
            [values[own == one].mean(axis=0) if (own == one).any() else means[one] for one in range(count)]
        )
        own = _apart(values, means).argmin(axis=1)
    within = ((values - means[own]) ** 2).mean(axis=0)
    return Mixture(np.full(count, 1 / count), means, np.maximum(within, np.maximum(FLOOR * values.var(axis=0), 1e-12)))


def _apart(values: Array, centres: Array) -> Array:
    """(thing, centre): squared distances."""
    return ((values[:, None] - centres) ** 2).sum(axis=2)


def _climb(values: Array, fit: Mixture) -> Mixture:
    floor = np.maximum(FLOOR * values.var(axis=0), 1e-12)
    before = -np.inf
    for _ in range(STEPS):
        joint = fit.log_joint(values)
        total = np.asarray(special.logsumexp(joint, axis=1, keepdims=True))
        now = float(total.sum())
        if now - before <= TOLERANCE * abs(now):
            break
        before = now
        share = np.exp(joint - total)
        sizes = share.sum(axis=0)
        # An empty cluster keeps its place; its weight goes to 0 by itself.
        means = np.where(sizes[:, None] > 1e-9, share.T @ values / np.maximum(sizes, 1e-9)[:, None], fit.means)
        apart = (share[:, :, None] * (values[:, None, :] - means) ** 2).sum(axis=(0, 1)) / len(values)
        fit = Mixture(sizes / len(values), means, np.maximum(apart, floor))
    return fit
