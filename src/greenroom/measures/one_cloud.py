"""Is it one cloud, or several? What clusters gain over a single Gaussian, tested by parametric bootstrap.

Clusters always fit better than one cloud, and two of them fit better wherever a cloud is long. So the same search is
done on clouds drawn from one Gaussian of the same mean, full covariance and size (McLachlan 1987): several clusters are
claimed only where they gain more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenroom.measures.intervals import Array
from greenroom.measures.mixture import fit_mixture

DRAWS = 99
STARTS = 2  # of every fit, those of the null as well: the same search on both sides


@dataclass(frozen=True)
class OneCloud:
    """gain: nats by which the best number of clusters beats one, after a price for its parameters (half the BIC).
    null_high: 95 % of single clouds gain less. p: share of the null at or above it, small where there are several.
    All None where it cannot be told."""

    gain: float | None
    null_high: float | None
    p: float | None


def one_cloud(values: Array, most: int, *, draws: int = DRAWS, seed: int = 0) -> OneCloud:
    """The test for 2 … `most` clusters. values: (thing, coordinate). Empty with fewer things than `most`, with `most`
    below 2, or where all things are at one place."""
    counts = range(2, most + 1)
    if not counts or len(values) < max(most, 3) or not np.ptp(values, axis=0).any():
        return OneCloud(None, None, None)
    rng = np.random.default_rng(seed)
    gain = _gain(values, counts, seed)
    centre, covariance = values.mean(axis=0), np.atleast_2d(np.cov(values.T))
    clouds = rng.multivariate_normal(centre, covariance, size=(draws, len(values)), method="svd")
    null = np.array([_gain(cloud, counts, seed) for cloud in clouds])
    return OneCloud(gain, float(np.quantile(null, 0.95)), float((1 + (null >= gain).sum()) / (1 + draws)))


def _gain(values: Array, counts: Sequence[int], seed: int) -> float:
    alone = float(fit_mixture(values, 1).log_density(values).sum())
    price = 0.5 * np.log(len(values)) * (values.shape[1] + 1)  # of one more centre and weight
    fits = {count: fit_mixture(values, count, seed=seed, starts=STARTS) for count in counts}
    return max(float(fit.log_density(values).sum()) - alone - price * (count - 1) for count, fit in fits.items())
