"""How two piles of activations become a direction: the methods, the folds, the filter. Pure functions on arrays.

A method maps activations of both poles to one vector a block, all with one signature, so that they are chosen by name:

- `mean`: difference of the poles' means (Persona Vectors, arXiv 2507.21509), over the tokens of the reply.
- `last`: the same over the last token of the prompt, before anything is said (Representation Engineering, 2310.01405).
- `pca`: first principal component, about zero, of the differences between the replies of a pair (repeng's `pca_diff`).
- `logistic`: weights of an L2 logistic regression, in the plane that the replies span.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from greenroom.errors import DirectionError
from greenroom.measures.intervals import auc

Array = NDArray[np.floating]
Pool = Literal["reply", "last"]
Filter = Literal["auto", "checker", "projection", "none"]
# What the L2 penalty weighs against the mean loss, on activations scaled to a mean square of one.
PENALTY = 0.1
FOLDS = 5


def mean_difference(values: Array, positive: NDArray[np.bool_], pair: NDArray[np.int_]) -> Array:
    """(layer, hidden): mean of the positive replies minus that of the negative."""
    return values[:, positive].mean(axis=1) - values[:, ~positive].mean(axis=1)


def pca_of_differences(values: Array, positive: NDArray[np.bool_], pair: NDArray[np.int_]) -> Array:
    """(layer, hidden): the axis along which the replies of a pair differ most, turned towards the positive pole.

    Differences are not centred: what they share is what is wanted.
    """
    pairs = [index for index in np.unique(pair) if {True, False} == set(positive[pair == index].tolist())]
    if not pairs:
        return mean_difference(values, positive, pair)
    differences = np.stack(
        [mean_difference(values[:, pair == index], positive[pair == index], pair) for index in pairs], axis=1
    )
    _, _, rows = np.linalg.svd(differences, full_matrices=False)
    signs = np.sign(np.einsum("ld,ld->l", rows[:, 0], differences.mean(axis=1)))
    return rows[:, 0] * np.where(signs == 0, 1.0, signs)[:, None]


def logistic_probe(values: Array, positive: NDArray[np.bool_], pair: NDArray[np.int_]) -> Array:
    """(layer, hidden): where the log-odds of the positive pole rise fastest.

    The penalty makes the solution lie in the span of the replies, so it is found there: as many unknowns as replies.
    """
    return np.stack([_logistic(layer, positive) for layer in values.astype(np.float64)])


def _logistic(values: Array, positive: NDArray[np.bool_]) -> Array:
    centre = values.mean(axis=0)
    left, scale, right = np.linalg.svd(values - centre, full_matrices=False)
    reduced = left * scale
    size = np.sqrt((reduced**2).mean()) or 1.0
    reduced = reduced / size
    sign = np.where(positive, 1.0, -1.0)
    # Each pole weighs the same, however many of its replies the filter left.
    share = np.where(positive, 0.5 / max(1, positive.sum()), 0.5 / max(1, (~positive).sum()))

    def loss(weights: Array) -> tuple[float, Array]:
        margins = sign * (reduced @ weights[1:] + weights[0])
        slopes = -share * sign * special.expit(-margins)
        value = -(share * special.log_expit(margins)).sum() + PENALTY / 2 * (weights[1:] ** 2).sum()
        return float(value), np.concatenate([[slopes.sum()], slopes @ reduced + PENALTY * weights[1:]])

    found = optimize.minimize(loss, np.zeros(reduced.shape[1] + 1), jac=True, method="L-BFGS-B")
    return found.x[1:] @ right


Method = Callable[[Array, NDArray[np.bool_], NDArray[np.int_]], Array]
# Name → which activations are read, and what is made of them.
METHODS: dict[str, tuple[Pool, Method, str]] = {
    "mean": ("reply", mean_difference, "difference of means over reply tokens (arXiv 2507.21509)"),
    "last": ("last", mean_difference, "difference of means at the last prompt token (arXiv 2310.01405)"),
    "pca": ("reply", pca_of_differences, "first principal component of paired differences (repeng pca_diff)"),
    "logistic": ("reply", logistic_probe, "L2 logistic probe over reply means"),
}


def method_named(name: str) -> tuple[Pool, Method, str]:
    """Pool, function and description of a method; DirectionError names those there are."""
    if name not in METHODS:
        raise DirectionError(f"unknown method {name!r}; expected {', '.join(METHODS)}")
    return METHODS[name]


def units(vectors: Array) -> Array:
    """Unit length along the last axis; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def folds(question: NDArray[np.int_], count: int = FOLDS) -> list[NDArray[np.bool_]]:
    """(reply,) masks of the test part of each fold: every question lies in exactly one."""
    numbers = np.unique(question)
    count = min(count, len(numbers))
    return [np.isin(question, numbers[index::count]) for index in range(count)]


def cross_projected(
    values: Array,
    positive: NDArray[np.bool_],
    question: NDArray[np.int_],
    pair: NDArray[np.int_],
    method: Method,
    used: NDArray[np.bool_] | None = None,
) -> Array:
    """(layer, reply): each reply on the vector made of other questions, 0 halfway between that vector's poles.

    used: (reply,) replies that vectors may be made of (default: all); all are projected. NaN where the other questions
    lack one pole.
    """
    found = np.full(values.shape[:2], np.nan)
    for test in folds(question):
        rest = ~test if used is None else ~test & used
        if not (positive[rest].any() and (~positive[rest]).any()):
            continue
        vectors = units(method(values[:, rest], positive[rest], pair[rest]))
        made = np.einsum("lnd,ld->ln", values[:, rest], vectors)
        middle = (made[:, positive[rest]].mean(axis=1) + made[:, ~positive[rest]].mean(axis=1)) / 2
        found[:, test] = np.einsum("lnd,ld->ln", values[:, test], vectors) - middle[:, None]
    return found


def selection_auc(projected: Array, positive: NDArray[np.bool_], question: NDArray[np.int_]) -> tuple[Array, Array]:
    """(layer,) AUC of cross-fitted projections, pooled over folds, and its standard error by jackknife of questions."""
    known = ~np.isnan(projected).any(axis=0)
    if not (positive & known).any() or not (~positive & known).any():
        raise DirectionError(
            "one of the poles has no replies to choose a block by; use other questions or more of them"
        )
    whole = np.array([auc(row[positive & known], row[~positive & known]) for row in projected])
    numbers = np.unique(question[known])
    left_out = [
        [auc(row[positive & kept], row[~positive & kept]) for row in projected]
        for number in numbers
        if (positive & (kept := known & (question != number))).any() and (~positive & kept).any()
    ]
    if len(left_out) < 2:
        return whole, np.zeros(len(whole))
    spread = np.array(left_out)
    error = np.sqrt((len(spread) - 1) * spread.var(axis=0))
    return whole, error


def shown_by_projection(projected: Array, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(reply,) whether a reply lies on its own pole's side of the middle. projected: (reply,) cross-fitted, so that no
    reply votes for itself; unknown ones stay."""
    return np.isnan(projected) | ((projected > 0) == positive)


def shown_by_score(score: Array, positive: NDArray[np.bool_], pair: NDArray[np.int_]) -> NDArray[np.bool_]:
    """(reply,) whether its pair differs as it should: the lowest positive score above the highest negative one."""
    shown = np.zeros(len(score), dtype=bool)
    for index in np.unique(pair):
        rows = pair == index
        high, low = score[rows & positive], score[rows & ~positive]
        if len(high) and len(low) and np.min(high) > np.max(low):  # NaN compares as false: not shown
            shown |= rows
    return shown


def earliest(areas: Array, errors: Array) -> int:
    """Index of the earliest block within one standard error of the best. Both (layer,)."""
    best = int(areas.argmax())
    return int(np.flatnonzero(areas >= areas[best] - errors[best])[0])
