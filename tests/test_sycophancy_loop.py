"""The sycophancy loop: gains recovered from simulated loops, flips as survival, scripted users on planted subjects."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import special

from greenroom import provider
from greenroom.asking.inspect_talk import hold_on_inspect
from greenroom.asking.local_talk import hold_locally
from greenroom.asking.talk import planned
from greenroom.conversation import Conversation
from greenroom.errors import LibraryError
from greenroom.measures.feedback import autoregression, closed_loop, open_loop
from greenroom.measures.survival import number_of_flips, survival, turn_of_flip
from greenroom.measures.within import within_slope
from greenroom.studies.sycophancy_loop import STUDY, Turns, scripts
from greenroom.studies.sycophancy_loop.findings import agreement, agreements, measures

GAINS = (0.5, 0.8, 1.0, 1.3, 2.0)


@dataclass
class Simulated:
    """A subject whose agreement with item i is base_i + slope · certainty + memory · the last certainty + noise."""

    slope: float
    memory: float = 0.0
    items: int = 24
    noise: float = 0.5
    seed: int = 0
    rng: np.random.Generator = field(init=False)
    base: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.base = self.rng.normal(0, 2, self.items)

    def agree(self, certainty: np.ndarray, before: np.ndarray | float = 0.0) -> np.ndarray:
        return self.base + self.slope * certainty + self.memory * before + self.rng.normal(0, self.noise, self.items)

    def open(self, turns: int = 6, response: float = 1.0) -> Any:
        said = self.rng.uniform(-3, 3, (turns, self.items))
        before = np.vstack([np.full(self.items, np.nan), said[:-1]])
        agreed = [self.agree(now, np.nan_to_num(then)) for now, then in zip(said, before, strict=True)]
        items = list(range(self.items)) * turns
        return open_loop(np.ravel(agreed), said.ravel(), items, previous=before.ravel(), response=response)

    def closed(self, start: float, turns: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Certainties as stated, as wanted a turn later, and agreement; (items, turns) each."""
        now, rows = np.full(self.items, start), []
        for _ in range(turns):
            agreed = self.agree(now)
            wanted = agreed - self.base
            rows.append((now, wanted, agreed))
            now = np.clip(wanted, -4.6, 4.6)
        stated, wanted, agreed = (np.array(part).T for part in zip(*rows, strict=True))
        return stated, wanted, agreed


@pytest.mark.parametrize("gain", GAINS)
def test_both_loops_recover_a_planted_gain(gain):
    found = [Simulated(gain, seed=seed) for seed in range(20)]
    opened = [subject.open().gain for subject in found]
    assert sum(one.low < gain < one.high for one in opened) >= 16
    assert np.mean([one.estimate for one in opened]) == pytest.approx(gain, abs=0.03)
    held = []
    for subject in found:
        high, low = subject.closed(1.0), subject.closed(-1.0)
        items = np.repeat(np.arange(subject.items), high[0].shape[1])
        held.append(closed_loop((high[0] - low[0]).ravel(), (high[1] - low[1]).ravel(), list(items)))
    assert sum(one.low < gain < one.high for one in held) >= 16
    assert np.mean([one.estimate for one in held]) == pytest.approx(gain, rel=0.1)


def test_regression_on_its_own_past_is_biased_both_ways():
    """What the definitions warn of: a loop that is not there looks strong, and a runaway loop looks stable."""
    naive = {gain: [] for gain in (0.0, 2.0)}
    for gain, found in naive.items():
        for seed in range(10):
            found.append(autoregression(special.expit(Simulated(gain, seed=seed).closed(0.0)[2])))
    assert np.mean(naive[0.0]) > 0.6
    assert Simulated(0.0).open().gain.high < 0.1
    assert np.mean(naive[2.0]) < 1.1


def test_memory_adds_to_the_gain_and_response_scales_it():
    found = Simulated(0.6, memory=0.3, items=60).open(response=0.5)
    assert found.gain.low < 0.3 < found.gain.high
    assert found.carried.low < 0.3 < found.carried.high
    assert found.total.low < 0.45 < found.total.high
    assert found.critical_response == pytest.approx(1 / 0.6, rel=0.1)
    turned = Simulated(0.6).open(response=-1.0).gain
    assert turned.low < turned.estimate < turned.high < 0
    assert Simulated(0.0).open().critical_response is None


def test_a_slope_within_items_needs_variation_within_items():
    assert within_slope([1, 2, 3, 4], [0, 0, 1, 1], ["a", "a", "b", "b"]).estimate is None
    one = within_slope([1, 2, 3], [0, 1, 2], ["a"] * 3)
    assert (one.estimate, one.low, one.n) == (pytest.approx(1), None, 1)
    missing = within_slope([1, 2, math.nan, 7, 9], [0, 1, 2, 0, 1], ["a", "a", "a", "b", "b"])
    assert missing.estimate == pytest.approx(1.5)
    with pytest.raises(ValueError, match="one entry a row"):
        within_slope([1, 2], [1], ["a", "b"])


def test_separation_that_is_lost_in_noise_has_no_gain():
    rng = np.random.default_rng(0)
    assert closed_loop(rng.normal(0, 1, 40), rng.normal(0, 1, 40), list(range(40))).estimate is None
    assert autoregression([[0.5, 0.5, 0.5]]) is None


def test_survival_against_a_hand_computation():
    """Six conversations: flips at 1, 2, 2, 4; censored at 2 and 5. S = 5/6, 5/6 · 3/5, then · 1/2."""
    talks = [
        [True, True, True, True, True],
        [False, True, False, True, True],
        [False, True, True, True, True],
        [False, False, False, True, False],
        [False, False, None, True, True],
        [False] * 5,
    ]
    ends = [turn_of_flip(talk) for talk in talks]
    assert ends == [(1, True), (2, True), (2, True), (4, True), (2, False), (5, False)]
    found = survival([turn for turn, _ in ends], [flipped for _, flipped in ends])
    assert found.share == pytest.approx([5 / 6, 1 / 2, 1 / 2, 1 / 4, 1 / 4])
    assert found.at_risk == (6, 5, 2, 2, 1)
    assert found.flipped == (1, 2, 0, 1, 0)
    assert found.median == 2
    # Greenwood at turn 2: S² (1/(6·5) + 2/(5·3)), on the log(−log) scale.
    half = 1.959964 * math.sqrt(1 / 30 + 2 / 15) / math.log(2)
    assert found.low[1] == pytest.approx(0.5 ** math.exp(half), rel=1e-5)
    assert found.high[1] == pytest.approx(0.5 ** math.exp(-half), rel=1e-5)


def test_survival_without_flips_or_observations():
    none = survival([3, 3, 0], [False, False, False])
    assert none.share == (1.0, 1.0, 1.0)
    assert none.low == (None, None, None)
    assert (none.n, none.median) == (2, None)
    assert survival([], []).turns == ()


def test_number_of_flips_counts_both_ways():
    assert number_of_flips([False, True, True, False, None, True]) == 3
    assert number_of_flips([True, True]) == 1
    assert number_of_flips([]) == 0


# --- the study on scripted subjects ----------------------------------------------------------------------------------


class Letters:
    """A tokenizer with one token a character."""

    all_special_tokens = ()

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in ids)


@dataclass
class Said:
    text: str
    tokens: list[int]
    logprobs: list[float]
    finish: str = "stop"


@dataclass
class Scored:
    tokens: list[list[float]]
    ids: list[list[int]]


LOOP = scripts.stimuli()


@dataclass
class Follower:
    """Knows the truth (log-odds ±`knows`) and follows a stated certainty with `gain`; flips when pressed `firm` times."""

    gain: float = 1.5
    knows: float = 2.0
    firm: int = 3
    heeds: int = 1
    follows_content: bool = True
    name: str = "follower"
    tokenizer: Letters = field(default_factory=Letters)

    def odds(self, talk: Conversation) -> float:
        """Log-odds of agreeing with the claim that the last message asks about."""
        text = talk[-1]["content"]
        turn, _, question = text.rpartition("\n")
        item, truth = next(
            (item, truth) for item in LOOP.items for truth in (True, False) if f"{item.claim(truth)}" in question
        )
        odds = self.knows if truth else -self.knows
        odds += ((len(item.id) * 37) % 7 - 3) / 10
        if stated := re.search(r"(\d+) in 100", turn):
            odds += self.gain * float(special.logit(int(stated[1]) / 100))
        said = [*(message["content"] for message in talk[:-1] if message["role"] == "user"), turn]
        if not item.easy and "asked again" not in turn:
            shown = sum(any(fact in one for fact in item.evidence) for one in said)
            odds += 6 * (shown >= self.heeds) if truth else 0
        pressed = sum(any(one == line.format(claim=item.claim(truth)) for line in LOOP.pressure) for one in said)
        return odds + 6 * (pressed >= self.firm)

    def score(self, conversations: Sequence[Conversation], continuations: Sequence[str]) -> Scored:
        values = [self.logprob(talk, text) for talk, text in zip(conversations, continuations, strict=True)]
        ids = [self.tokenizer.encode(text) for text in continuations]
        return Scored([[v] + [0.0] * (len(i) - 1) for v, i in zip(values, ids, strict=True)], ids)

    def logprob(self, talk: Conversation, answer: str) -> float:
        question = talk[-1]["content"].rpartition("\n")[2]
        if not self.follows_content:
            return -0.2 if answer in ("Yes", "True") else -2.0
        odds = self.odds(talk) * (-1 if question.startswith("Is it wrong") else 1)
        return -math.log1p(math.exp(-odds if answer in ("Yes", "True") else odds)) - 0.01

    def generate(self, conversations: Sequence[Conversation], **_: Any) -> list[Said]:
        return [Said("I see.", [1], [-0.1]) for _ in conversations]


def held(subject: Any, tmp_path: Any, **fields: Any) -> pl.DataFrame:
    size = Turns(**fields)
    model, talks = provider.model_for(subject), scripts.talks(size, 0)
    return hold_on_inspect(model, "talks", talks, scripts.lengths(size), log_dir=tmp_path)


def found_in(answers: pl.DataFrame, response: float = 1.0) -> dict[str, Any]:
    """The measures by name, those of a series as part/name."""
    return {"/".join(filter(None, (one.part, one.name))): one for one in measures(agreements(answers), response)}


def test_a_planted_gain_and_planted_flips_are_found(tmp_path):
    answers = held(Follower(), tmp_path, turns=4)
    found = found_in(answers)
    assert found["gain"].grade in "ABC", found["gain"].reason
    assert found["gain"].estimate == pytest.approx(1.5, abs=0.02)
    assert found["total_gain"].estimate == pytest.approx(1.5, abs=0.03)
    assert found["closed_gain"].estimate == pytest.approx(1.5, rel=0.05)
    assert found["gain"].low > 1
    critical = found["critical_response"]
    assert critical.low < critical.estimate < critical.high
    assert critical.estimate == pytest.approx(1 / 1.5, rel=0.02)
    pressed = [
        found[f"survival/pressure/{turn}"].estimate for turn in (1, 2, 3, 4) if f"survival/pressure/{turn}" in found
    ]
    assert pressed == [1, 1, 0]  # nobody is at risk any more at turn 4
    assert (found["pressure_gave_in"].estimate, found["pressure_gave_in"].n) == (1, 24)
    assert found["asking_false_gave_in"].estimate == 0
    assert (found["pressure_excess"].estimate, found["pressure_flips"].estimate) == (1, 1)
    assert found["separation/1"].estimate == pytest.approx(2, abs=0.02)
    assert found["predicted/2"].estimate == pytest.approx(3, abs=0.1)
    # True claims are not denied by one who knows: nobody is at risk there, and nothing is said about evidence.
    assert "evidence_gave_in" not in found
    assert "evidence_heard" not in found
    assert 0.5 < agreement(answers) < 1


def test_who_is_wrong_can_yield_to_evidence_and_not_to_insistence(tmp_path):
    class Wrong(Follower):
        def odds(self, talk: Conversation) -> float:
            hard = [item for item in LOOP.items if not item.easy]
            question = talk[-1]["content"].rpartition("\n")[2]
            flips = any(item.claim(truth) in question for item in hard for truth in (True, False))
            self.knows = -2.0 if flips else 2.0
            return super().odds(talk)

    found = found_in(held(Wrong(firm=99, heeds=2), tmp_path, turns=3, arms="evidence,insistence"))
    assert [found[f"survival/evidence/{turn}"].estimate for turn in (1, 2)] == [1, 0]
    assert [found[f"survival/insistence/{turn}"].estimate for turn in (1, 2, 3)] == [1, 1, 1]
    assert found["evidence_heard"].estimate == 1
    assert found["evidence_heard"].grade in "ABC", found["evidence_heard"].reason


def test_a_stable_loop_does_not_run_away_and_response_matters(tmp_path):
    found = found_in(held(Follower(gain=1.5), tmp_path, turns=3, items=12, arms="open,closed", response=0.4), 0.4)
    assert found["gain"].estimate == pytest.approx(0.6, abs=0.02)
    assert found["closed_gain"].estimate == pytest.approx(0.6, abs=0.05)
    assert found["gain"].high < 1


def test_one_who_says_yes_to_everything_is_void(tmp_path):
    found = found_in(held(Follower(follows_content=False), tmp_path, turns=2, items=12))
    assert found["gain"].grade == "void"
    assert all(measure.estimate is None for measure in found.values())
    assert "not understood" in found["gain"].reason


def test_sizes_out_of_range_are_refused():
    for wrong in ({"items": 1}, {"turns": 1}, {"arms": "open,shut"}):
        with pytest.raises(LibraryError, match="expected"):
            scripts.talks(Turns(**wrong), 0)


def test_a_dry_run_counts_the_conversations_that_may_not_be_held():
    """A model that denies every claim is asked on in all arms."""
    size = Turns(items=2, turns=2)
    plan = planned(scripts.talks(size, 0), scripts.lengths(size))
    shown = {"neutral": 12, "open": 2 + 2 * 6, "closed": 2 * (2 + 2 * 2), "scripted": 5 * (2 + 2 * 2)}
    replies = 2 + 2 * 2 + 5 * (1 + 2)
    assert plan.calls == 2 * (2 * sum(shown.values()) + replies)
    assert plan.tokens == 2 * (2 * sum(shown.values()) + 32 * replies)


def test_a_random_subject_is_void_whoever_holds_the_talks(tmp_path):
    from greenroom.subject.tiny import tiny

    size = Turns(items=2, turns=2, reply_tokens=4)
    talks, lengths = scripts.talks(size, 0), scripts.lengths(size)
    local = hold_locally(tiny(), "talks", talks, lengths, seed=0)
    hosted = held(tiny(), tmp_path, items=2, turns=2, reply_tokens=4)
    keys = ["case", "wording", "position"]
    both = local.join(hosted, on=keys, how="full", nulls_equal=True)
    assert both.height == local.height == hosted.height
    assert both["reply"].equals(both["reply_right"])
    assert (both["logprob"] - both["logprob_right"]).abs().max() < 1e-4
    assert found_in(local)["gain"].grade == "void"
    assert STUDY.primary in found_in(local)


def test_certainty_is_stated_in_the_band_of_its_chances():
    assert scripts.percent(0) == 50
    assert (scripts.percent(9), scripts.percent(-9)) == (99, 1)
    assert scripts.stated(2.0) == pytest.approx(2.0, abs=0.05)
    assert "almost certain that it is false that fish" in LOOP.certain("fish fly", -4, 0)
    assert "convinced that fish fly: my chances for it are 95" in LOOP.certain("fish fly", 3, 1)


def test_claims_tell_items_and_sides_apart():
    claims = [item.claim(truth) for item in LOOP.items for truth in (True, False)]
    assert len(set(claims)) == len(claims) == 48
    assert sum(item.easy for item in LOOP.items) == 12
