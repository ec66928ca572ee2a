"""Slopes within items: how an outcome moves with something that varies inside each item, whatever the items' levels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from greenroom.measures.intervals import DRAWS, Interval, draw_clusters, percentiles

NOTHING = Interval(None, None, None, 0)


def within_slope(
    y: ArrayLike,
    x: ArrayLike,
    items: Sequence[Hashable],
    contrast: Sequence[float] = (1.0,),
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """A contrast of the coefficients of y (rows,) on x (rows,) or (rows, k), with a fixed effect for each item.

    Ordinary least squares on deviations from the items' means; percentile interval, items resampled whole. Rows with a
    NaN are left out, and so are items with a single row; n counts the items that remain. Empty where x does not vary
    within items or its columns cannot be told apart; no bounds with one item. ValueError for lengths that differ.
    """
    y, x = np.asarray(y, float), np.asarray(x, float)
    x = x[:, None] if x.ndim == 1 else x
    weights_of_slopes = np.asarray(contrast, float)
    if not len(y) == len(x) == len(items) or x.shape[1] != len(weights_of_slopes):
        raise ValueError(f"expected one entry a row and one weight a column; got {len(y)}, {x.shape}, {len(items)}")
    there = ~(np.isnan(y) | np.isnan(x).any(axis=1))
    names: dict[Hashable, list[int]] = {}
    for row in np.flatnonzero(there).tolist():
        names.setdefault(items[row], []).append(row)
    groups = [rows for rows in names.values() if len(rows) > 1]  # a single turn says nothing about a slope
    if not groups:
        return NOTHING
    k = x.shape[1]
    squares, products = np.empty((len(groups), k, k)), np.empty((len(groups), k))
    for place, rows in enumerate(groups):
        deviations = x[rows] - x[rows].mean(axis=0)
        squares[place], products[place] = deviations.T @ deviations, deviations.T @ y[rows]
    if np.linalg.matrix_rank(squares.sum(axis=0)) < k:
        return NOTHING
    estimate = float(weights_of_slopes @ np.linalg.solve(squares.sum(axis=0), products.sum(axis=0)))
    n = len(groups)
    if n < 2:
        return Interval(estimate, None, None, n)
    weights = draw_clusters(np.random.default_rng(seed), draws, n)
    left = np.einsum("di,ijk->djk", weights, squares)
    usable = np.linalg.matrix_rank(left) == k
    slopes = np.linalg.solve(left[usable], (weights @ products)[usable][..., None])[..., 0] @ weights_of_slopes
    if usable.mean() < 0.5:
        return Interval(estimate, None, None, n)
    return Interval(estimate, *percentiles(slopes, level), n)
