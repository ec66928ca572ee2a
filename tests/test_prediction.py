"""Held-out variance explained: a known share recovered, noise and group levels not taken for prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenroom.measures.prediction import explained


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
