"""Talks that come together, told from those that wander, settle where they began, or shuffle."""

from __future__ import annotations

import numpy as np
import pytest

from greenroom.measures.contraction import contraction


def talks(pull: float, *, memory: float = 0.0, openings: int = 15, seeds: int = 2, length: int = 18, seed: int = 0):
    """Talks that begin apart by opening and go `pull` of the way to a centre each turn, with noise. The centre is the
    opening's own in the share `memory`."""
    rng = np.random.default_rng(seed)
    names = [opening for opening in range(openings) for _ in range(seeds)]
    begin = 4 * rng.normal(size=(openings, 3))
    goal = memory * begin
    points = np.empty((len(names), length, 3))
    for talk, opening in enumerate(names):
        at = begin[opening].copy()
        for turn in range(length):
            at = at + pull * (goal[opening] - at) + 0.4 * rng.normal(size=3)
            points[talk, turn] = at
    return points, names


def test_talks_that_come_together_are_told_from_those_that_do_not():
    found = contraction(*talks(0.4), shuffles=200)
    assert found.converges is True
    assert found.spread.ratio < 0.5 < found.spread.null_low
    assert found.memory_early.p < 0.05
    assert found.memory_late.p > 0.05  # the opening is forgotten
    assert (found.talks, found.openings) == (30, 15)


def test_wandering_talks_do_not_contract():
    found = contraction(*talks(0.0), shuffles=200)
    assert found.converges is False
    assert found.spread.ratio > 0.9
    assert found.memory_late.share > 0.8
    assert found.memory_late.p < 0.05


def test_settling_where_it_began_is_memory():
    found = contraction(*talks(0.5, memory=1.0), shuffles=200)
    assert found.spread.ratio > 0.95
    assert found.memory_late.share > 0.9


def test_the_shuffled_null_holds_its_level():
    """Talks without history are called contracting in about one of twenty."""
    rng = np.random.default_rng(3)
    names = [opening for opening in range(8) for _ in range(2)]
    called = [contraction(rng.normal(size=(16, 9, 2)), names, shuffles=99, seed=s).spread.p < 0.05 for s in range(100)]
    assert sum(called) <= 11


def test_shrinking_steps_are_seen():
    rng = np.random.default_rng(4)
    steps = rng.normal(size=(12, 15, 2)) * (0.75 ** np.arange(15))[None, :, None]
    found = contraction(np.cumsum(steps, axis=1), list(range(12)), shuffles=100)
    assert found.steps.ratio < 0.3
    assert found.steps.p < 0.05
    assert found.memory_late.share is None  # one talk an opening: no seeds to compare


def test_contraction_needs_openings_and_turns():
    assert contraction(np.zeros((2, 2, 1)), ["a", "b"]).converges is None
    assert contraction(np.full((4, 6, 1), np.nan), list("abcd")).talks == 0
    with pytest.raises(ValueError, match="an opening a talk"):
        contraction(np.zeros((2, 3)), ["a", "b"])
