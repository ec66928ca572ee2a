"""Capability: resumed scoring against plain scoring, the items, and what an edit costs."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from frontier_fixture import known_items, north
from greenroom.capability import CapabilityTest, all_items, limit, loss, measure_capability
from greenroom.capability.items import composed, families
from greenroom.errors import LibraryError
from greenroom.subject import Intervention, tiny
from greenroom.subject.scoring import Scores

TEXTS = ["Ann has a red hat. Bob has a", "Ann has a red hat. Bob has", "Two and two make", "x"]
ENDS = [" blue hat", " b", "", "four"]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3_text", "gpt2", "mixtral"])
def test_prepared_text_scores_as_plain_text_under_any_edit(architecture):
    subject = tiny(architecture)
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(1))
    size = 2 * float(subject.sinks.norm_limit[2]) / 10
    conversations = [[{"role": "user", "content": text}] for text in TEXTS for _ in ENDS]
    conversations[1] = [*conversations[1], {"role": "assistant", "content": "Well, it"}]
    continuations = [end for _ in TEXTS for end in ENDS]
    prepared = subject.prepare(conversations, continuations, [1, 2])
    settings = [
        (),
        (Intervention("steer", 2, vector, size),),
        (Intervention("cap", 1, vector, 0.5), Intervention("steer", 3, vector, -size, tokens="reply")),
        (Intervention("ablate", 0, vector, 1.0),),  # below every kept block: a whole forward
        (Intervention("steer", 1, vector, size, tokens="prompt", spare_sinks=False),),
    ]
    totals = []
    for edits in settings:
        ours, plain = prepared.score(edits), subject.score(conversations, continuations, interventions=edits)
        assert ours.ids == plain.ids
        for mine, theirs in zip(ours.tokens, plain.tokens, strict=True):
            assert mine == pytest.approx(theirs, abs=2e-4)
        totals.append(ours.total)
    assert all(totals[0] != other for other in totals[1:])  # the edits did something
    assert all("forward" not in block.__dict__ for block in subject.network.blocks)


def test_prepared_text_computes_choices_of_one_token_once_and_leaves_nothing_behind_after_an_error():
    subject = tiny("llama")
    conversations = [[{"role": "user", "content": "1 2 3"}]] * 4
    prepared = subject.prepare(conversations, ["a", "b", "c", "dd"], [1])
    assert len(prepared._texts.rows) == 2
    edit = Intervention("steer", 1, torch.ones(subject.d_model), (1.0, 2.0, 3.0, 4.0))
    with pytest.raises(ValueError, match="one amount for all rows"):
        prepared.score([edit])

    def broken(done: int, total: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        prepared.score([Intervention("steer", 1, torch.ones(subject.d_model), 1.0)], progress=broken)
    assert all("forward" not in block.__dict__ for block in subject.network.blocks)


# Items and their price ------------------------------------------------------------------------------------------------


def test_there_are_a_thousand_different_items_in_four_families_and_a_seed_makes_them_again():
    found = all_items(0)
    assert len(found) >= 1000
    kinds = {item.family for item in found}
    assert kinds == {"arithmetic", "copying", "facts", "instructions"}
    assert all(sum(item.family == family for item in found) >= 250 for family in kinds)
    assert len({(str(item.conversation), item.choices[0]) for item in found}) == len(found)
    assert all(len(set(item.choices)) == len(item.choices) >= 2 for item in found)
    assert found == tuple(item for family in families() for item in composed(family, 0))
    assert found != all_items(1)


def test_the_arithmetic_is_right():
    sums = re.compile(r"(\d+) (\+|-|x|plus) (\d+) (?:=|is)$")
    seen = 0
    for item in all_items(0):
        asked = sums.search(item.conversation[-1]["content"])
        if item.family != "arithmetic" or asked is None:
            continue
        a, sign, b = int(asked[1]), asked[2], int(asked[3])
        right = {"+": a + b, "plus": a + b, "-": a - b, "x": a * b}[sign]
        assert int(item.choices[0]) == right
        assert right not in [int(choice) for choice in item.choices[1:]]
        seen += 1
    assert seen > 150


def test_a_template_that_cannot_be_filled_says_so(tmp_path):
    text = "family: f\npools: {p: [a, b]}\ntemplates:\n  - {id: t, n: 3, each: x, draw: {x: p, y: p}, user: '{x}', answer: '{x}', wrong: ['{y}']}\n"
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(LibraryError, match="template t of f cannot make 3 different items"):
        list(composed(families(tmp_path)[0], 0))
    (tmp_path / "f.yaml").write_text(text.replace("x: p", "x: q"))
    with pytest.raises(LibraryError, match=r"f\.yaml.*template t draws from q"):
        families(tmp_path)


def paired(n: int = 1000, right: float = 0.75, lost: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    before = (rng.random(n) < right).astype(float)
    after = np.where(rng.random(n) < lost, 0.0, before)
    return before, after, np.full(n, 0.25), [f"s{index}" for index in range(n)]


def test_loss_by_hand_and_its_cost():
    before, after = np.array([1.0, 1, 1, 1, 0, 0] * 50), np.array([1.0, 1, 1, 0, 0, 0] * 50)
    found = loss(before, after, np.full(300, 1 / 3), list(range(300)))
    assert found.estimate == pytest.approx((4 / 6 - 3 / 6) / (4 / 6 - 1 / 3))
    assert found.low < found.estimate < found.high
    assert loss(before, before, np.full(300, 1 / 3), list(range(300))).high == 0
    # Items that ask the same thing count as one: ten copies of each tell no more than one.
    copies = loss(np.repeat(before, 10), np.repeat(after, 10), np.full(3000, 1 / 3), np.repeat(range(300), 10).tolist())
    assert copies == pytest.approx(found)


def test_a_subject_at_chance_has_no_price():
    before, after, chance, stimuli = paired(right=0.25, lost=0.1)
    assert loss(before, after, chance, stimuli).high is None
    assert limit([1.0], after[None], np.zeros(1000), chance, stimuli, 0.05).strongest is None


def test_the_interval_of_the_loss_covers_the_truth():
    inside = 0
    for seed in range(200):
        before, after, chance, stimuli = paired(400, lost=0.1, seed=seed)
        found = loss(before, after, chance, stimuli)
        inside += found.low <= 0.1 * 0.75 / 0.5 <= found.high
    assert inside >= 184


def test_the_budget_reaches_as_far_as_the_last_strength_before_it_is_exceeded():
    strengths, lost = [-1.0, -2.0, -4.0, -6.0], [0.0, 0.01, 0.10, 0.0]
    before, _, chance, stimuli = paired(2000)
    after = np.stack([np.where(np.random.default_rng(9).random(2000) < share, 0.0, before) for share in lost])
    found = limit(strengths, after, before, chance, stimuli, 0.05)
    assert found.strongest == -2.0  # −6 costs nothing, but the way there does
    assert -4 < found.crossing < -2
    assert found.high < found.crossing < found.low < -2  # from the weaker to the stronger end
    none = limit(strengths[:1], after[:1], before, chance, stimuli, 0.05)
    assert (none.strongest, none.crossing, none.low, none.high) == (-1.0, None, None, None)


# Many settings --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def subject():
    return tiny("llama")


def test_capability_of_many_settings_at_once(subject):
    test = CapabilityTest(subject, [1, 2], items=known_items(subject))
    turned = north(subject)
    frame = measure_capability(
        subject, {"none": (), "mild": [turned.steer(0.001)], "wild": [turned.steer(4.0)]}, test=test
    )
    overall = {row["setting"]: row for row in frame.filter(pl.col("family") == "all").to_dicts()}
    assert set(frame["family"]) == {"all", "arithmetic", "copying", "facts", "instructions"}
    assert overall["none"]["accuracy"] == pytest.approx(0.8, abs=0.02)
    assert overall["none"]["capability_loss"] == overall["none"]["capability_loss_high"] == 0
    assert abs(overall["mild"]["capability_loss"]) < overall["wild"]["capability_loss"]
    assert overall["wild"]["capability_loss_low"] > 0.05


def test_an_answer_that_is_no_number_is_no_right_answer_and_ties_share(subject):
    test = CapabilityTest(subject, [2], items=all_items(0)[:2])
    assert [len(item.choices) for item in test.items] == [4, 4]
    nan, totals = float("nan"), [-1.0, -1.0, -2.0, -3.0, -1.0, -2.0, float("nan"), -3.0]
    test._prepared = SimpleNamespace(score=lambda edits: Scores(totals, [], []))
    assert test.correct().tolist() == [0.5, 0.0]
    totals[:4], totals[4:] = [nan] * 4, [-2.0, -1.0, -3.0, -3.0]
    assert test.correct().tolist() == [0.0, 0.0]


# The embedded model ---------------------------------------------------------------------------------------------------


@pytest.mark.model
def test_the_embedded_model_is_above_chance_in_every_family(smollm2):
    few = [item for index, item in enumerate(all_items(0)) if index % 5 == 0]
    frame = measure_capability(smollm2, {"none": ()}, test=CapabilityTest(smollm2, [29], items=few))
    for row in frame.to_dicts():
        assert row["capability"] > 0.2, row
