"""Estimators of talks over many turns against simulated ground truth, formulas and hand computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from greenroom.measures.contraction import contraction
from greenroom.measures.keywords import keywords
from greenroom.measures.prediction import explained
from greenroom.measures.recovery import mean_interval, recovery
from greenroom.measures.repetition import likeness, loop_onset, repeats

# Repetition ----------------------------------------------------------------------------------------------------------


def test_likeness_by_hand():
    # "abcdef": abcde bcdef; "abcdeg": abcde bcdeg. One of three runs is shared.
    assert likeness("abcdef", "abcdeg") == pytest.approx(1 / 3)
    assert likeness("Hello  there", "hello there") == 1  # spaces and case do not count
    assert likeness("abc", "abcd") == 0  # each shorter than a run is its own
    assert (likeness("", ""), likeness("", "abcdef")) == (1, 0)


def test_a_repetition_looks_two_turns_back_and_no_further():
    a, b, c = "I agree with all of that.", "The sea is wide today.", "Nothing is left to say."
    assert repeats([a, b, a, c, a]) == [False, False, True, False, True]
    assert repeats([a, b, c, a]) == [False] * 4
    # Exactly .8 is not above .8: 8 of 10 runs shared.
    left, right = "abcdefghijklm", "bcdefghijklm" + "n"  # runs: 9 and 9, 8 shared, 10 in all
    assert likeness(left, right) == pytest.approx(0.8)
    assert repeats([left, right]) == [False, False]


def test_a_loop_is_a_repetition_that_lasts_to_the_end():
    a, b, c = "I agree with all of that.", "The sea is wide today.", "Nothing is left to say."
    assert loop_onset([c, a, b, a, b, a]) == 3
    assert loop_onset([a, a, b, c]) is None
    assert loop_onset([]) is None
    assert loop_onset(["", ""]) == 1


# Ways back -----------------------------------------------------------------------------------------------------------


def simulated_recovery(share: float, drift: float, n: int = 60, seed: int = 0, passing: float = 0.0):
    """Conversations that drift by `drift` on average, of which `share` is undone (`passing` by itself)."""
    rng = np.random.default_rng(seed)
    own = rng.normal(drift, 1, n)
    before = rng.normal(0, 1, n)
    noise = [rng.normal(0, 0.5, n) for _ in range(3)]
    after = before - own
    return before, after + noise[0], after + share * own + noise[1], after + passing * own + noise[2]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0, 1.3])
def test_the_share_undone_is_recovered_with_its_interval(share):
    found = [recovery(*simulated_recovery(share, 1.5, seed=seed, passing=0.1)) for seed in range(60)]
    assert np.mean([one.undone.estimate for one in found]) == pytest.approx(share, abs=0.04)
    assert np.mean([one.undone.low <= share <= one.undone.high for one in found]) >= 0.9
    assert np.mean([one.beyond.estimate for one in found]) == pytest.approx(share - 0.1, abs=0.04)
    assert np.mean([one.left.estimate for one in found]) == pytest.approx(1.5 * (1 - share), abs=0.06)


def test_fieller_against_its_formula():
    before, after, back, _ = simulated_recovery(0.5, 1.0, n=30)
    found = recovery(before, after, back).undone
    top, bottom = back - after, before - after
    n, t = len(top), stats.t.ppf(0.975, len(top) - 1)
    # A bound r is where the mean of top − r·bottom is exactly t standard errors from 0.
    for bound in (found.low, found.high):
        difference = top - bound * bottom
        assert abs(difference.mean()) == pytest.approx(t * difference.std(ddof=1) / math.sqrt(n))


def test_without_a_drift_there_is_no_share():
    """The rule of the definitions, and exact: the ratio is empty just when the drift's interval holds 0."""
    seen = set()
    for seed in range(40):
        found = recovery(*simulated_recovery(1.0, 0.3, n=20, seed=seed))
        holds = found.drift.low <= 0 <= found.drift.high
        assert (found.undone.estimate is None) == holds
        seen.add(holds)
    assert seen == {True, False}


def test_picking_those_that_drifted_would_invent_a_return():
    """Why all conversations count: noise alone, and nothing is ever undone."""
    rng = np.random.default_rng(0)
    before, after, back = rng.normal(0, 1, (3, 400))
    after, back = after - 0.5, back - 0.5
    picked = before - after > 1
    assert recovery(before[picked], after[picked], back[picked]).undone.low > 0.2
    found = recovery(before, after, back).undone
    assert found.low < 0 < found.high


def test_missing_values_leave_their_conversation_out():
    found = recovery([1, 2, 3, math.nan], [0, 0, 0, 0], [1, 1, math.nan, 1], [0, math.nan, 0, 0])
    assert (found.drift.n, found.undone.n, found.beyond.n) == (2, 2, 1)
    assert found.beyond.estimate is None
    with pytest.raises(ValueError, match="lengths differ"):
        recovery([1], [1, 2], [1])
    assert mean_interval([]) == (None, None, None, 0)
    assert mean_interval([2.0]) == (2.0, None, None, 1)


# What predicts a projection ------------------------------------------------------------------------------------------


def turns(seed: int, groups: int = 40, length: int = 12, features: int = 20):
    """A level that follows the message (three quarters of its variance); its change is noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(groups * length, features))
    weights = rng.normal(size=features)
    signal = x @ weights / np.linalg.norm(weights)
    y = signal + rng.normal(0, 1 / math.sqrt(3), len(signal))
    return x, y, [row // length for row in range(len(y))]


def test_the_share_explained_is_recovered_and_noise_explains_nothing():
    x, y, groups = turns(0)
    found = explained(x, y, groups)
    assert found.n == 40
    assert found.low < 0.75 < found.high
    noise = [explained(x, np.random.default_rng(seed).normal(size=len(y)), groups).estimate for seed in range(5)]
    assert max(noise) < 0.03


def test_more_features_than_rows_do_not_explain_noise():
    rng = np.random.default_rng(1)
    x, groups = rng.normal(size=(60, 300)), [row // 6 for row in range(60)]
    found = explained(x, rng.normal(size=60), groups)
    assert found.estimate < 0.1
    strong = explained(x, 5 * x[:, 0] + x[:, 1:].sum(axis=1) * 0.01, groups, seed=1)
    assert strong.estimate > 0


def test_what_only_holds_inside_a_group_is_not_explained():
    """Each conversation has its own level and its own mark: known groups would be told perfectly, new ones not at all."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(20), 10)
    found = explained(np.eye(20)[groups], rng.normal(size=20)[groups], groups.tolist())
    assert found.estimate < 0.05


def test_explained_says_nothing_where_there_is_nothing():
    assert explained([[1.0], [2.0]], [1.0, 2.0], ["a", "a"]).estimate is None
    assert explained([[1.0], [2.0]], [1.0, 1.0], ["a", "b"]).estimate is None
    with pytest.raises(ValueError, match="one outcome and group"):
        explained([[1.0]], [1.0, 2.0], ["a", "b"])


# Contraction ---------------------------------------------------------------------------------------------------------


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


def test_keywords_are_those_of_one_pile():
    own = [f"the moon shines over water {word * 3}" for word in "abcdefgh"]
    others = ["the engine runs on petrol", "the code compiles on water", "the train is late"] * 4
    found = keywords(own, others)
    assert set(found) >= {"moon", "shines", "over"}
    assert "the" not in found
    assert keywords(["moon"], ["moon"]) == []
    assert keywords([], ["moon"]) == []
