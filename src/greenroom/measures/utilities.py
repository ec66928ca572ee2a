"""Preferences over many things from choices between two: Bradley–Terry utilities, cycles, and a holdout.

Choices between pairs always yield utilities when a model is fitted to them; whether there was a preference to fit is
what the cycles and the holdout say (Mazeika et al. 2025, Utility Engineering, and its critics).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from greenroom.measures.design import folds

PRIOR_SD = 3.0  # logits; keeps a thing that is always chosen at a finite utility


class Pair(NamedTuple):
    """Probability that first is chosen over second, averaged over both orders; None when missing."""

    first: int
    second: int
    probability: float | None


class Utilities(NamedTuple):
    """values: one a thing, in logits, mean 0; cycles and triads: intransitive triples among those fully compared;
    holdout: share of held-out pairs whose direction is predicted (None without any); n: pairs read; missing."""

    values: tuple[float, ...]
    cycles: int
    triads: int
    holdout: float | None
    n: int
    missing: int


def bradley_terry(pairs: Sequence[Pair], things: int, *, n_folds: int = 5, seed: int = 0) -> Utilities:
    """Bradley–Terry utilities with a weak Gaussian prior, beside what shows whether they mean anything.

    A random answerer makes cycles of a quarter of its triads and predicts half of the held-out pairs.
    """
    read = [pair for pair in pairs if pair.probability is not None and not math.isnan(pair.probability)]
    values = tuple(_fitted(read, things).tolist())
    cycles, triads = cycle_count(read, things)
    hits: list[float] = []
    if len(read) >= n_folds:
        for held in folds(range(len(read)), n_folds, seed).values():
            utilities = _fitted([pair for index, pair in enumerate(read) if index not in set(held)], things)
            for pair in (read[index] for index in held):
                lead = float(utilities[pair.first] - utilities[pair.second])
                if pair.probability != 0.5:  # a tie has no direction to predict
                    hits.append(0.5 if lead == 0 else float((lead > 0) == ((pair.probability or 0.0) > 0.5)))
    holdout = float(np.mean(hits)) if hits else None
    return Utilities(values, cycles, triads, holdout, len(read), len(pairs) - len(read))


def cycle_count(pairs: Sequence[Pair], things: int) -> tuple[int, int]:
    """Triples in which a beats b beats c beats a, and how many triples were fully compared without a tie."""
    totals = np.zeros((things, things))
    for pair in pairs:
        if pair.probability is not None:
            totals[pair.first, pair.second] += pair.probability - 0.5
            totals[pair.second, pair.first] -= pair.probability - 0.5
    lead = np.sign(totals)
    triples = [(lead[a, b], lead[b, c], lead[c, a]) for a, b, c in combinations(range(things), 3)]
    compared = [triple for triple in triples if 0 not in triple]
    return sum(len(set(triple)) == 1 for triple in compared), len(compared)


def _fitted(pairs: Sequence[Pair], things: int) -> NDArray[np.float64]:
    rows = np.zeros((len(pairs), things))
    chosen = np.array([pair.probability for pair in pairs], float)
    for index, pair in enumerate(pairs):
        rows[index, pair.first], rows[index, pair.second] = 1.0, -1.0

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        lead = rows @ values
        error = np.logaddexp(0, lead) - chosen * lead
        gradient = rows.T @ (special.expit(lead) - chosen) + values / PRIOR_SD**2
        return float(error.sum() + (values**2).sum() / (2 * PRIOR_SD**2)), gradient

    result = optimize.minimize(loss, np.zeros(things), jac=True, method="L-BFGS-B")
    return np.asarray(result.x, float) - float(np.mean(result.x))
