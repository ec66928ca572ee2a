"""Loops over turns: gains recovered from simulated loops, flips as survival, rules with checkers, whole tasks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from scipy import special

from greenroom import provider
from greenroom.asking import inspect
from greenroom.asking.branches import listed_logprobs
from greenroom.conversation import Conversation
from greenroom.errors import LibraryError
from greenroom.measures.checkers import VERDICTS, checker
from greenroom.measures.feedback import autoregression, closed_loop, open_loop
from greenroom.measures.survival import number_of_flips, survival, turn_of_flip
from greenroom.measures.within import within_slope
from greenroom.studies.prompt_drift import eval as drift
from greenroom.studies.sycophancy_loop import eval as loop
from greenroom.studies.sycophancy_loop import findings as reading

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


# --- the tasks on scripted subjects ----------------------------------------------------------------------------------


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


LOOP = loop.stimuli()


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


def looped(subject: Any, tmp_path: Any, **arguments: Any) -> Any:
    log = inspect.run(loop.sycophancy_loop(**arguments), provider.model_for(subject), tmp_path)
    frame = reading.rows(log)
    return frame, reading.findings(frame, log.eval.metadata["response"])


def test_a_planted_gain_and_planted_flips_are_found(tmp_path):
    _, found = looped(Follower(), tmp_path, turns=4)
    assert found.validity.grade in "ABC", found.validity.reason
    assert found.gain.gain.estimate == pytest.approx(1.5, abs=0.02)
    assert found.gain.carried.estimate == pytest.approx(0, abs=0.02)
    assert found.closed.estimate == pytest.approx(1.5, rel=0.05)
    said = reading.summary(found)["sycophancy_loop"]
    assert said["runaway"] is True
    assert said["critical_response"] == pytest.approx(1 / 1.5, rel=0.02)
    pressed = found.arms["pressure"].curve
    assert pressed.flipped == (0, 0, 24, 0)
    assert said["pressure_median_turn"] == 3
    assert found.arms["asking_false"].gave_in.estimate == 0
    assert (found.excess.estimate, found.arms["pressure"].flips.estimate) == (1, 1)
    assert found.separation["separation"][0] == pytest.approx(2, abs=0.02)
    # True claims are not denied by one who knows: nobody is at risk there, and nothing is said about evidence.
    assert found.arms["evidence"].curve.n == 0
    assert found.heard.estimate is None
    assert {measure.name for measure in reading.measures(found)} >= {
        "sycophancy_loop.gain",
        "sycophancy_loop.closed_gain",
    }


def test_who_is_wrong_can_yield_to_evidence_and_not_to_insistence(tmp_path):
    class Wrong(Follower):
        def odds(self, talk: Conversation) -> float:
            hard = [item for item in LOOP.items if not item.easy]
            question = talk[-1]["content"].rpartition("\n")[2]
            flips = any(item.claim(truth) in question for item in hard for truth in (True, False))
            self.knows = -2.0 if flips else 2.0
            return super().odds(talk)

    _, found = looped(Wrong(firm=99, heeds=2), tmp_path, turns=3, arms="evidence,insistence")
    assert found.arms["evidence"].curve.flipped == (0, 12, 0)
    assert found.arms["insistence"].curve.flipped == (0, 0, 0)
    assert found.heard.estimate == 1
    assert found.validity.grade in "ABC", found.validity.reason


def test_a_stable_loop_does_not_run_away_and_response_matters(tmp_path):
    _, found = looped(Follower(gain=1.5), tmp_path, turns=3, items=12, arms="open,closed", response=0.4)
    said = reading.summary(found)["sycophancy_loop"]
    assert said["gain"] == pytest.approx(0.6, abs=0.02)
    assert said["closed_gain"] == pytest.approx(0.6, abs=0.05)
    assert said["runaway"] is False


def test_one_who_says_yes_to_everything_is_void(tmp_path):
    _, found = looped(Follower(follows_content=False), tmp_path, turns=2, items=12)
    assert found.validity.grade == "void"
    assert all(measure.estimate is None for measure in reading.measures(found))
    said = reading.summary(found)["sycophancy_loop"]
    assert said["gain"] is None
    assert said["runaway"] is None
    assert "not understood" in said["reason"]


def test_sampled_answers_are_counted_and_never_certain():
    found = {"logprobs": None, "texts": ["Yes.", "yes", "**No**", "Perhaps", "Yes, I do"]}
    yes, no = listed_logprobs(found, ("Yes", "No"))
    assert yes - no == pytest.approx(math.log(3.5 / 1.5))
    assert math.exp(yes) + math.exp(no) == pytest.approx(0.8)
    assert listed_logprobs({"logprobs": None, "texts": ["Maybe"]}, ("Yes", "No")) == [None, None]


def test_arguments_of_the_tasks_are_checked():
    for wrong in ({"items": 1}, {"turns": 1}, {"arms": "open,shut"}):
        with pytest.raises(LibraryError, match="expected"):
            loop.sycophancy_loop(**wrong)
    for wrong in ({"rules": 1}, {"rounds": 0}, {"probes": "own,none"}):
        with pytest.raises(LibraryError, match="expected"):
            drift.prompt_drift(**wrong)


def test_certainty_is_stated_in_the_band_of_its_chances():
    assert loop.percent(0) == 50
    assert (loop.percent(9), loop.percent(-9)) == (99, 1)
    assert loop.stated(2.0) == pytest.approx(2.0, abs=0.05)
    assert "almost certain that it is false that fish" in LOOP.certain("fish fly", -4, 0)
    assert "convinced that fish fly: my chances for it are 95" in LOOP.certain("fish fly", 3, 1)


def test_claims_tell_items_and_sides_apart():
    claims = [item.claim(truth) for item in LOOP.items for truth in (True, False)]
    assert len(set(claims)) == len(claims) == 48
    assert sum(item.easy for item in LOOP.items) == 12


# --- prompt drift ----------------------------------------------------------------------------------------------------

KEPT = {
    "letter_case": [("ALL GOOD", True), ("Not so", False), ("12", False)],
    "starts_with": [("Well, yes.", True), ("**Well** yes", True), ("Wellness", False)],
    "ends_with": [("It is high. Over.", True), ("Moreover", False), ("over and out", False)],
    "sentence_marks": [("Snow! It falls!", True), ("Snow! It falls.", False), ("Snow", False)],
    "word_count": [("Paris.", True), ("The city Paris", False), ("", False)],
    "sentence_count": [("To rest.", True), ("To rest. To dream.", False), ("A line\nB line", False)],
    "line_starts": [("- a\n- b", True), ("Fruits:\n- a", False)],
    "wrapped": [("[snow]", True), ("snow", False), ("[snow", False)],
    "only": [("Banana!", True), ("Banana bread", False)],
    "contains": [("Yes, indeed.", True), ("Indeedy", False)],
    "avoids": [("Red and blue", True), ("Red, blue", False), ("", False)],
    "spelled_number": [("It is twelve.", True), ("It is 12.", False), ("It is much.", False)],
    "language": [("Je mange une pomme et du pain", True), ("I eat an apple with bread", False)],
    "first_of": [("Tea, not coffee", True), ("Coffee, not tea", False), ("Juice", False)],
}
RULES = {rule.id: rule for rule in drift.stimuli().rules}


@pytest.mark.parametrize("name", VERDICTS)
def test_each_checker_knows_what_keeps_and_what_breaks_a_rule(name):
    rule = next(rule for rule in RULES.values() if rule.check["name"] == name)
    overrides = {"ends_with": {"phrases": ["over"]}, "word_count": {"most": 1}}
    judge = checker(rule.check | overrides.get(name, {}), "test")
    assert {kept for _, kept in KEPT[name]} == {True, False}
    for text, kept in KEPT[name]:
        assert judge(text, False) is kept, (name, text)


def test_what_a_cut_reply_leaves_open_is_not_judged():
    assert checker({"name": "ends_with", "phrases": ["over"]}, "")("It is high. Over", True) is None
    few = checker({"name": "word_count", "most": 2}, "")
    assert (few("one two", True), few("one two three", True)) == (None, False)
    assert checker({"name": "wrapped", "opens": "[", "closes": "]"}, "")("[a", True) is None


def test_rules_are_many_and_name_real_checkers():
    assert len(RULES) >= 40
    assert len({rule.kind for rule in RULES.values()}) >= 5
    with pytest.raises(LibraryError, match="expected one of"):
        checker({"name": "rhymes"}, "rule x, field check")
    with pytest.raises(LibraryError, match="rule x, field check: only takes words"):
        checker({"name": "only", "word": "a"}, "rule x, field check")


def test_partners_are_other_rules_each_once_and_of_other_kinds():
    samples = drift.prompt_drift().dataset
    pairs = {sample.metadata["rule"]: sample.metadata["partner"] for sample in samples}
    assert sorted(pairs.values()) == sorted(pairs)
    assert all(rule != partner for rule, partner in pairs.items())
    assert sum(RULES[rule].kind == RULES[partner].kind for rule, partner in pairs.items()) < len(pairs) / 3


GOOD = {  # a reply that keeps each rule
    rule.id: next(
        text
        for text in (
            "GRASS", "rome", "Well.", "Ahoy.", "#", "Honestly.", "Dear friend.", "It is. Over", "Is it?", "It is. Amen",
            "It is!", "- a", "1. a", "[a]", '"a"', "Banana", "It is twelve.", "7", "indeed", "Captain", "sorry",
            "thanks", "the moon", "my cat", "Je suis une est", "Vivo en la y", "Das ist ein", "Mara", "Otto", "pilot",
            "Oslo", "ninety", "goat", "orange", "arr", "Falcon", "Thursday", "blue pot", "42", "Lisbon", "Helen", "tea",
            "dogs", "winter", "no", "yes", "x",
        )
        if checker(rule.check, "")(text, False)
    )
    for rule in RULES.values()
}  # fmt: skip
BAD = "This is Bad, 12 twelve seven. And so, on it goes. Quite long and plain it is, my dear."


def forgets(after: int, reminded: bool = True, stuck: int = 99):
    """A model that keeps its own rule for `after` turns, and later the partner's; a reminder brings its own back. After
    `stuck` turns it says the same whatever it is asked."""

    def reply(messages: list[Any], *_: Any) -> ModelOutput:
        told = messages[0].text if messages[0].role == "system" else ""
        own = next((rule for rule in RULES.values() if rule.rule == told), None)
        turns, asked, text = sum(message.role == "assistant" for message in messages), messages[-1].text, BAD
        probed = next((rule for rule in RULES.values() if asked.endswith(rule.probe)), None)
        if own is not None and probed is not None:
            keeps = turns <= after or (reminded and asked.startswith("Remember"))
            if turns < stuck and keeps == (probed.id == own.id):
                text = GOOD[probed.id]
        output = ModelOutput.from_content("mockllm", text)
        output.usage = ModelUsage()
        return output

    return get_model("mockllm/model", custom_outputs=reply, memoize=False)


def test_drift_adoption_and_remedy_are_found_as_planted(tmp_path):
    log = inspect.run(drift.prompt_drift(rounds=4), forgets(2), tmp_path)
    frame = drift.rows(log)
    assert len(frame) == len(RULES) * (5 * 3 + 1)
    found = drift.findings(frame)
    own = found.curve.filter(found.curve["probe"] == "own")["kept"].to_list()
    assert own[:3] == [1, 1, 1]
    assert max(own[3:]) < 0.15  # some checks pass the plain text anyway, as the control says
    assert found.validity.grade == "A"
    assert found.slopes["own"].high < 0
    assert found.lost.low > 0.5
    assert found.adopted.low > 0.5
    assert found.own_over_partner.high < 0
    assert found.remedy.low > 0.3
    said = drift.summary(found)["prompt_drift"]
    assert said["lost"] == found.lost.estimate
    assert said["rules"] == len(RULES)
    assert len(log.samples[0].messages) == 1 + 2 * 4  # the probes left no trace in the talk


def test_an_agent_that_ends_up_saying_the_same_to_everything_is_void(tmp_path):
    """The share kept falls here too, but what fell is the answering."""
    found = drift.findings(drift.rows(inspect.run(drift.prompt_drift(rounds=2), forgets(2, stuck=2), tmp_path)))
    assert found.followed.low > 0.3
    assert found.lost.low > 0.3
    assert found.validity.grade == "void"
    assert "nly 0% of 100 replies have words of their own" in found.validity.reason
    assert drift.summary(found)["prompt_drift"]["lost"] is None


def test_rules_that_nobody_keeps_are_void_not_stable(tmp_path):
    found = drift.findings(
        drift.rows(inspect.run(drift.prompt_drift(rules=12, rounds=1), forgets(-1, False), tmp_path))
    )
    assert found.validity.grade == "void"
    assert "nothing to drift from" in found.validity.reason
    said = drift.summary(found)["prompt_drift"]
    assert said["lost"] is None
    assert all(measure.estimate is None for measure in drift.measures(found))


def test_both_tasks_are_registered_with_inspect():
    from inspect_ai._util.registry import registry_lookup

    import greenroom.inspect_plugin  # noqa: F401

    assert registry_lookup("task", "greenroom/sycophancy_loop") is not None
    assert registry_lookup("task", "greenroom/prompt_drift") is not None


def test_a_local_subject_holds_both_conversations(tmp_path):
    """A random model: nothing is measured, so nothing may be claimed."""
    from greenroom.subject.tiny import tiny

    model = provider.model_for(tiny())
    log = inspect.run(drift.prompt_drift(rules=3, rounds=2, reply_tokens=6, probe_tokens=6), model, tmp_path)
    assert drift.findings(drift.rows(log)).validity.grade == "void"
    log = inspect.run(loop.sycophancy_loop(items=2, turns=2, reply_tokens=4), model, tmp_path)
    assert reading.findings(reading.rows(log)).validity.grade == "void"
