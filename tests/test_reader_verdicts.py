"""Verdicts: the false alarms that are promised, the alarms that are wanted, and change points against brute force."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from greenroom.measures.changepoints import change_points, noise_sd
from greenroom.reader.verdicts import SHORTEST, VERDICTS, baseline_of, drift, judge, simulated_limits


def verdicts(series: np.ndarray, **more) -> dict[str, float]:
    found = [judge(row.tolist(), **more).verdict for row in series]
    return {name: found.count(name) / len(found) for name in VERDICTS}


@pytest.mark.parametrize("turns", [6, 9, 15, 40])
def test_five_per_cent_of_steady_conversations_raise_an_alarm(turns: int):
    series = np.random.default_rng(7).standard_normal((4000, turns)) * 2.5 + 10
    assert 1 - verdicts(series)["steady"] == pytest.approx(0.05, abs=0.013)


def test_a_character_that_leaves_departs_and_one_that_comes_back_returned():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((300, 18)) * 0.3
    gone, back, sliding = noise.copy(), noise.copy(), noise.copy()
    gone[:, 8:] -= 3
    back[:, 6:11] -= 3
    sliding -= np.arange(18) * 0.055
    assert verdicts(gone)["departed"] > 0.95
    assert verdicts(back)["returned"] > 0.9
    found = verdicts(sliding)
    assert found["drifting"] + found["departed"] > 0.8
    assert verdicts(-gone)["steady"] > 0.9  # towards the assistant is no departure


def test_short_and_noiseless_conversations_are_not_judged():
    assert judge([0.0] * 3).reason == "few_turns"
    assert judge([1.0, 2.0, 3.0, 1.0, 2.0]).verdict == "uncalibrated"
    assert SHORTEST == 6
    assert judge([1.0] * 10).reason == "no_noise"
    assert judge([]).verdict == "uncalibrated"


@pytest.mark.parametrize(("normal", "most"), [(6, 0.09), (25, 0.08), (200, 0.07)])
def test_a_baseline_folder_keeps_its_promise(normal: int, most: float):
    rng = np.random.default_rng(2)
    alarms = []
    for _ in range(200):
        talks = [rng.standard_normal(8) + rng.standard_normal() * 0.7 for _ in range(normal + 5)]
        baseline = baseline_of([talk.tolist() for talk in talks[:normal]])
        assert baseline is not None
        alarms += [judge(talk.tolist(), baseline).verdict != "steady" for talk in talks[normal:]]
    assert np.mean(alarms) < most


def test_a_baseline_judges_what_is_away_from_the_start():
    rng = np.random.default_rng(3)
    baseline = baseline_of([(rng.standard_normal(10) * 0.5).tolist() for _ in range(50)])
    away = (rng.standard_normal(10) * 0.5 - 3).tolist()
    assert judge(away).verdict == "steady"  # its own first turns are no better
    assert judge(away, baseline).verdict == "departed"
    assert judge([-4.0], baseline).verdict == "departed"
    assert judge([], baseline).reason == "no_turns"


def test_limits_do_not_depend_on_who_asks_first():
    first = simulated_limits(12)
    simulated_limits.cache_clear()
    simulated_limits(20)
    assert simulated_limits(12) == first


def test_drift_is_the_least_squares_slope_with_its_interval():
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(400):
        found = drift((0.3 * np.arange(12) + rng.standard_normal(12)).tolist())
        assert found.low is not None
        assert found.high is not None
        inside += found.low < 0.3 < found.high
    assert inside / 400 == pytest.approx(0.95, abs=0.03)
    assert drift([1.0, 2.0]).estimate is None


def brute_force(values: np.ndarray, penalty: float, shortest: int) -> list[int]:
    best, chosen = np.inf, []
    for count in range(len(values)):
        for places in combinations(range(shortest, len(values) - shortest + 1), count):
            bounds = [0, *places, len(values)]
            if any(b - a < shortest for a, b in pairwise(bounds)):
                continue
            parts = [values[a:b] for a, b in pairwise(bounds)]
            cost = sum(((part - part.mean()) ** 2).sum() for part in parts) + penalty * count
            if cost < best - 1e-9:
                best, chosen = cost, list(places)
    return chosen


def test_change_points_are_the_optimum():
    rng = np.random.default_rng(5)
    for _ in range(25):
        values = rng.standard_normal(10) + np.repeat(rng.standard_normal(2) * 2, 5)
        penalty = float(rng.uniform(0.5, 4))
        assert change_points(values, penalty, 2) == brute_force(values, penalty, 2)


def test_a_step_is_found_where_it_is_and_noise_has_none():
    rng = np.random.default_rng(6)
    step = np.r_[np.zeros(10), np.full(8, -3.0)] + rng.standard_normal(18) * 0.3
    assert change_points(step) == [10]
    assert np.mean([bool(change_points(rng.standard_normal(15))) for _ in range(500)]) < 0.25
    assert change_points([1.0] * 10) == []
    assert change_points([]) == []
    assert noise_sd(rng.standard_normal(10_000) * 2) == pytest.approx(2, rel=0.05)
