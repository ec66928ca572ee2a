"""Do talks that begin apart come together? Trajectories of many talks, tested against two nulls.

points: (talk, turn, coordinate). *Early* and *late* are the first and the last third of the turns, a talk's place in
each the mean of its points there. Coming together can be chance, or a habit that was there from the first turn:

- Shuffled turns: the turns of each talk in random order. Talks keep all their places and lose only their history, so
  spread and steps do not change between early and late. What lies outside is change over time.
- Across seeds: talks from one opening with other random numbers. If where a talk ends depended on its opening no more
  than on chance, two talks of one opening would end as far apart as two of different ones (`memory` 0); the null deals
  the openings out to the talks anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greenroom.measures.intervals import Array, percentiles

SHUFFLES = 999


@dataclass(frozen=True)
class Change:
    """Late divided by early. null_low, null_high: the central 95 % under shuffled turns; p: share of the null at or
    below the value, so small means less than chance allows. All None where it cannot be told."""

    ratio: float | None
    null_low: float | None
    null_high: float | None
    p: float | None


@dataclass(frozen=True)
class Memory:
    """How much of the variance between talks is their opening's: 0 none, 1 all (an intraclass correlation over all
    coordinates, which chance takes below 0). null_high: 95 % of talks whose openings were dealt out anew lie below;
    p: share of the null at or above it."""

    share: float | None
    null_high: float | None
    p: float | None


@dataclass(frozen=True)
class Contraction:
    """spread: distance between talks of different openings. steps: distance from a turn to the next. memory_early,
    memory_late: of the opening. talks, openings: how many were used."""

    spread: Change
    steps: Change
    memory_early: Memory
    memory_late: Memory
    talks: int
    openings: int

    @property
    def converges(self) -> bool | None:
        """Whether talks come together more than shuffled turns do; None where it cannot be told."""
        return None if self.spread.p is None else self.spread.p < 0.05


def contraction(
    points: ArrayLike, openings: Sequence[Hashable], *, shuffles: int = SHUFFLES, seed: int = 0
) -> Contraction:
    """The tests of the module's heading. points: (talk, turn, coordinate), talks with a NaN are left out; openings: one
    a talk. Needs three turns and two openings, for memory two talks of an opening. ValueError for lengths that differ.
    """
    places = np.asarray(points, float)
    if places.ndim != 3 or len(places) != len(openings):
        raise ValueError(
            f"expected (talk, turn, coordinate) and an opening a talk; got {places.shape}, {len(openings)}"
        )
    there = np.asarray(~np.isnan(places).any(axis=(1, 2)))
    places = places[there]
    codes = np.unique([str(name) for name, keep in zip(openings, there, strict=True) if keep], return_inverse=True)[1]
    count = len(set(codes.tolist()))
    if count < 2 or places.shape[1] < 3:
        nothing, forgotten = Change(None, None, None, None), Memory(None, None, None)
        return Contraction(nothing, nothing, forgotten, forgotten, len(places), count)
    rng = np.random.default_rng(seed)
    other = codes[:, None] != codes[None, :]
    order = rng.permuted(np.tile(np.arange(places.shape[1]), (shuffles, len(places), 1)), axis=2)
    shuffled = [np.take_along_axis(places, one[:, :, None], axis=1) for one in order]
    early, late = _thirds(places)
    return Contraction(
        _change(_spread(places, other), [_spread(one, other) for one in shuffled]),
        _change(_steps(places), [_steps(one) for one in shuffled]),
        _memory(early, codes, rng, shuffles),
        _memory(late, codes, rng, shuffles),
        len(places),
        count,
    )


def _thirds(places: Array) -> tuple[Array, Array]:
    """(talk, coordinate) twice: the mean place in the first and in the last third of the turns."""
    size = max(1, places.shape[1] // 3)
    return places[:, :size].mean(axis=1), places[:, -size:].mean(axis=1)


def _spread(places: Array, other: NDArray[np.bool_]) -> float:
    early, late = (_apart(part)[other].mean() for part in _thirds(places))
    return float(late / early) if early > 0 else np.nan


def _steps(places: Array) -> float:
    steps = np.linalg.norm(np.diff(places, axis=1), axis=2)
    size = max(1, steps.shape[1] // 3)
    early, late = steps[:, :size].mean(), steps[:, -size:].mean()
    return float(late / early) if early > 0 else np.nan


def _apart(points: Array) -> Array:
    """(talk, talk) distances."""
    return np.linalg.norm(points[:, None, :] - points[None, :, :], axis=2)


def _change(value: float, null: Sequence[float]) -> Change:
    known = np.array([one for one in null if not np.isnan(one)])
    if np.isnan(value) or not len(known):
        return Change(None, None, None, None)
    return Change(value, *percentiles(known), float((1 + (known <= value).sum()) / (1 + len(known))))


def _memory(points: Array, codes: NDArray[np.intp], rng: np.random.Generator, shuffles: int) -> Memory:
    squared = _apart(points) ** 2
    value = _shared(squared, codes)
    if value is None:
        return Memory(None, None, None)
    null = np.array([_shared(squared, rng.permutation(codes)) for _ in range(shuffles)], float)
    return Memory(value, float(np.quantile(null, 0.95)), float((1 + (null >= value).sum()) / (1 + shuffles)))


def _shared(squared: Array, codes: NDArray[np.intp]) -> float | None:
    """1 − mean squared distance within an opening / between openings; None where no opening has two talks."""
    same = codes[:, None] == codes[None, :]
    np.fill_diagonal(same, False)
    different = codes[:, None] != codes[None, :]
    if not same.any() or squared[different].sum() == 0:
        return None
    return float(1 - squared[same].mean() / squared[different].mean())
