"""Words of one pile of texts."""

from __future__ import annotations

from greenroom.measures.keywords import keywords


def test_keywords_are_those_of_one_pile():
    own = [f"the moon shines over water {word * 3}" for word in "abcdefgh"]
    others = ["the engine runs on petrol", "the code compiles on water", "the train is late"] * 4
    found = keywords(own, others)
    assert set(found) >= {"moon", "shines", "over"}
    assert "the" not in found
    assert keywords(["moon"], ["moon"]) == []
    assert keywords([], ["moon"]) == []
