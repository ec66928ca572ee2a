"""Do two tables of distances between the same things agree? The Mantel test (Mantel 1967, Cancer Research 27).

The entries of a distance table hang together (each thing has a whole row), so an ordinary correlation test would count
them as so many independent cases. Here the things are shuffled: rows and columns of one table together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from greenroom.measures.intervals import Array, percentiles

PERMUTATIONS = 9999
DRAWS = 1000


class Mantel(NamedTuple):
    """r: rank correlation over pairs. low, high: 95 % interval, things resampled; None where too few are left.

    p: share of shuffles that correlate at least as much (one-sided, towards agreement). null_p95: what 95 % of them
    stay below. n: things.
    """

    r: float
    low: float | None
    high: float | None
    p: float
    null_p95: float
    n: int


def mantel(
    one: ArrayLike,
    other: ArrayLike,
    *,
    permutations: int = PERMUTATIONS,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Mantel:
    """Spearman correlation of two symmetric distance tables (thing, thing) over pairs, with a permutation test.

    Resampling draws things with replacement and leaves out the pairs of a thing with itself, whose distance says
    nothing. Raises ValueError for tables that are not square, symmetric, complete and of one size of at least 4.
    """
    first, second = (_table(values) for values in (one, other))
    if first.shape != second.shape:
        raise ValueError(f"tables of {len(first)} and {len(second)} things; expected the same things in both")
    n = len(first)
    rows, columns = np.triu_indices(n, 1)
    ranked, target = _ranked(first, rows, columns), _standard(stats.rankdata(second[rows, columns]))
    rng = np.random.default_rng(seed)

    def shuffled() -> float:
        order = rng.permutation(n)
        return float(ranked[order[rows], order[columns]] @ target)

    r = float(ranked[rows, columns] @ target)
    null = np.array([shuffled() for _ in range(permutations)])
    # Rounding must not make the observed table worse than its own copies among the shuffles.
    p = (1 + int((null >= r - 1e-12).sum())) / (1 + permutations)
    found = [value for _ in range(draws) if (value := _resampled(first, second, rng)) is not None]
    low, high = (None, None)
    if found and len(found) >= draws / 2:
        low, high = percentiles(found, level)
    return Mantel(r, low, high, p, float(np.quantile(null, 0.95)), n)


def table_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman correlation of two symmetric distance tables over pairs, without a test. Raises as `mantel`."""
    first, second = (_table(values) for values in (one, other))
    pairs = np.triu_indices(len(first), 1)
    return float(_standard(stats.rankdata(first[pairs])) @ _standard(stats.rankdata(second[pairs])))


def _table(values: ArrayLike) -> Array:
    table = np.asarray(values, float)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or len(table) < 4:
        raise ValueError(f"a distance table of shape {table.shape}; expected a square one of at least 4 things")
    if not np.isfinite(table).all() or not np.allclose(table, table.T):
        raise ValueError("a distance table with gaps or two different halves; expected it complete and symmetric")
    return table


def _ranked(table: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """The table with standardised ranks in place of distances."""
    result = np.zeros_like(table)
    result[rows, columns] = _standard(stats.rankdata(table[rows, columns]))
    return result + result.T


def _standard(values: Array) -> Array:
    centred = values - values.mean()
    norm = float(np.linalg.norm(centred))
    return centred / norm if norm > 0 else centred


def _resampled(first: Array, second: Array, rng: np.random.Generator) -> float | None:
    drawn = rng.integers(len(first), size=len(first))
    rows, columns = (drawn[index] for index in np.triu_indices(len(first), 1))
    apart = rows != columns
    if not apart.any():  # one thing, drawn n times
        return None
    one, other = (_standard(stats.rankdata(table[rows[apart], columns[apart]])) for table in (first, second))
    return float(one @ other) if one.any() and other.any() else None
