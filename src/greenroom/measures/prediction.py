"""How well one thing predicts another: the share of variance explained in groups that the fit has not seen.

Ridge regression with the penalty chosen inside each training part. Groups (conversations) are held out whole, since
turns of one conversation resemble each other.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from greenroom.measures.intervals import DRAWS, Array, Interval, codes_of, draw_clusters, percentiles

FOLDS = 5
PENALTIES = 10.0 ** np.arange(-3, 4)  # times the mean variance that the rows have along their own axes


def explained(
    features: ArrayLike,
    outcome: ArrayLike,
    groups: Sequence[Hashable],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """R² of held-out predictions of outcome (rows,) from features (rows, k), with an interval over groups.

    R² is 1 − squared error / squared distance to the mean of the part fitted on, so it is below 0 where prediction is
    worse than that mean. Percentile interval over groups, resampled whole without fitting again. Rows with a NaN are
    left out. n counts groups; empty with fewer than two, or where the outcome does not vary. ValueError for lengths
    that differ.
    """
    x, y = np.asarray(features, float), np.asarray(outcome, float)
    if not len(x) == len(y) == len(groups) or x.ndim != 2:
        raise ValueError(f"expected features (rows, k) and one outcome and group a row; got {x.shape}, {len(y)}")
    there = ~(np.isnan(y) | np.isnan(x).any(axis=1))
    codes = codes_of([groups[row] for row in np.flatnonzero(there).tolist()])
    x, y, n = x[there], y[there], int(codes.max(initial=-1)) + 1
    if n < 2 or np.ptp(y) == 0:
        return Interval(None, None, None, n)
    rng = np.random.default_rng(seed)
    fold = (rng.permutation(n) % min(FOLDS, n))[codes]
    missed, spread = np.zeros(n), np.zeros(n)
    for part in np.unique(fold):
        held = fold == part
        inner = (rng.permutation(n) % FOLDS)[codes[~held]]
        guess = _ridge(x[~held], y[~held], x[held], _penalty(x[~held], y[~held], inner))
        missed += np.bincount(codes[held], (y[held] - guess) ** 2, n)
        spread += np.bincount(codes[held], (y[held] - y[~held].mean()) ** 2, n)
    weights = draw_clusters(rng, draws, n)
    total = weights @ spread
    shares = 1 - (weights @ missed)[total > 0] / total[total > 0]
    return Interval(float(1 - missed.sum() / spread.sum()), *percentiles(shares, level), n)


def _penalty(x: Array, y: Array, fold: np.ndarray) -> float:
    """The penalty with the least held-out error over the inner folds."""
    parts = np.unique(fold)
    if len(parts) < 2:
        return float(PENALTIES[-1])
    errors = np.zeros(len(PENALTIES))
    for part in parts:
        held = fold == part
        solve = _Path(x[~held], y[~held])
        errors += [float(((y[held] - solve.predict(x[held], penalty)) ** 2).sum()) for penalty in PENALTIES]
    return float(PENALTIES[int(errors.argmin())])


def _ridge(x: Array, y: Array, new: Array, penalty: float) -> Array:
    return _Path(x, y).predict(new, penalty)


class _Path:
    """Ridge fits of one set of rows for every penalty, from one singular value decomposition."""

    def __init__(self, x: Array, y: Array) -> None:
        self.centre, self.level = x.mean(axis=0), float(y.mean())
        left, self.singular, self.axes = np.linalg.svd(x - self.centre, full_matrices=False)
        self.along = left.T @ (y - self.level)
        self.unit = max(float((self.singular**2).mean()), 1e-12)

    def predict(self, new: Array, penalty: float) -> Array:
        shrunk = self.singular / (self.singular**2 + penalty * self.unit)
        return self.level + ((new - self.centre) @ self.axes.T) @ (shrunk * self.along)
