"""Change points of a series: the segmentation into constant levels with the least squared error plus a penalty a change
(PELT, Killick et al. 2012, through `ruptures`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from greenroom.measures.intervals import Array

SHORTEST = 2  # one odd value is no new level


def noise_sd(values: ArrayLike) -> float:
    """The sd of the noise around levels that change slowly, from successive differences (von Neumann et al. 1941)."""
    steps = np.diff(np.asarray(values, float))
    return float(np.sqrt(np.mean(steps**2) / 2)) if len(steps) else 0.0


def change_points(values: ArrayLike, penalty: float | None = None, shortest: int = SHORTEST) -> list[int]:
    """Indices at which a new level begins. penalty: in squared units; by default 3 · noise variance · log n (BIC: a level,
    a place, and the noise). Values may not be missing; a series without noise has no change points to tell."""
    series: Array = np.asarray(values, float)
    price = 3 * noise_sd(series) ** 2 * np.log(max(len(series), 2)) if penalty is None else penalty
    if len(series) < 2 * shortest or price <= 0:
        return []
    from ruptures import KernelCPD  # only a reader of long conversations needs it

    ends = KernelCPD(kernel="linear", min_size=shortest).fit(series.reshape(-1, 1)).predict(pen=price) or []
    return list(ends[:-1])  # the last one is the end of the series
