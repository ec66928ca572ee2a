"""What a way back undoes: simulated shares recovered, and none where nothing drifted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenroom.measures.recovery import recovery


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
