"""Points in few dimensions whose distances are as near as can be to given ones: multidimensional scaling.

Classical scaling (Torgerson 1952) begins, SMACOF (de Leeuw 1977) goes on from there and never makes it worse.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg
from scipy.spatial import distance

from greenroom.measures.intervals import Array

STEPS, TOLERANCE = 500, 1e-7


class Scaled(NamedTuple):
    """points: (thing, dimension), centred. stress: Kruskal's stress-1, the share of the distances that the points miss:
    0 is perfect, .05 good, .1 fair, .2 poor (Kruskal 1964)."""

    points: Array
    stress: float


def scaled(distances: ArrayLike, dimensions: int = 2) -> Scaled:
    """Metric scaling of a symmetric table of distances (thing, thing); negative ones count as 0."""
    wanted = np.maximum(np.asarray(distances, float), 0.0)
    np.fill_diagonal(wanted, 0.0)
    points = classical(wanted, dimensions)
    before = np.inf
    for _ in range(STEPS):
        between = distance.squareform(distance.pdist(points))
        raw = float(((between - wanted) ** 2).sum()) / 2
        if before - raw <= TOLERANCE * max(raw, 1e-12):
            break
        before = raw
        ratio = np.divide(wanted, between, out=np.zeros_like(wanted), where=between > 0)
        guttman = -ratio
        np.fill_diagonal(guttman, ratio.sum(axis=1))
        points = guttman @ points / len(points)
    between = distance.squareform(distance.pdist(points))
    total = float((between**2).sum())
    return Scaled(points, float(np.sqrt(((between - wanted) ** 2).sum() / total)) if total > 0 else 1.0)


def classical(distances: ArrayLike, dimensions: int = 2) -> Array:
    """(thing, dimension): classical scaling; dimensions that the table does not fill are 0."""
    squared = np.asarray(distances, float) ** 2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    order = np.argsort(values)[::-1][:dimensions]
    return vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))


def turned(points: Array, target: Array) -> Array:
    """The points, centred, turned and mirrored as a whole to lie as the target does (orthogonal Procrustes).

    Their distances stay what they were; the target may have another unit.
    """
    own = points - points.mean(axis=0)
    return own @ linalg.orthogonal_procrustes(own, target - target.mean(axis=0))[0]
