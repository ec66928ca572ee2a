"""Whole eval tasks against subjects whose likelihoods are scripted, and the provider's batching."""

from __future__ import annotations

import asyncio
import math
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageUser,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    get_model,
)

from greenroom import provider
from greenroom.asking import inspect
from greenroom.asking.elicitation import trailing_logprob
from greenroom.conversation import Conversation
from greenroom.errors import GreenroomError
from greenroom.measures import elicit
from greenroom.studies.costly_sacrifice import eval as sacrifice
from greenroom.studies.self_concept import eval as concept


class Letters:
    """A tokenizer with one token a character."""

    all_special_tokens = ("<end>",)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(i) for i in ids)


@dataclass
class FakeReply:
    text: str
    tokens: list[int]
    logprobs: list[float]
    finish: str = "stop"


@dataclass
class FakeScores:
    tokens: list[list[float]]
    ids: list[list[int]]


@dataclass
class Scripted:
    """A subject that says log p(continuation | prompt) by rule; its replies name seed, prompt and place in the call."""

    name: str = "scripted"
    tokenizer: Letters = field(default_factory=Letters)
    calls: list[tuple[str, list[str]]] = field(default_factory=list)

    def logprob(self, prompt: str, text: str) -> float:
        return -1.0

    def say(self, prompt: str, seed: int) -> str:
        return f"{seed}:{prompt}"

    def score(self, conversations: Sequence[Conversation], continuations: Sequence[str]) -> FakeScores:
        prompts = [conversation[-1]["content"] for conversation in conversations]
        self.calls.append(("score", [p + "|" + c for p, c in zip(prompts, continuations, strict=True)]))
        ids = [self.tokenizer.encode(text) for text in continuations]
        values = [self.logprob(prompt, text) for prompt, text in zip(prompts, continuations, strict=True)]
        return FakeScores([[v] + [0.0] * (len(i) - 1) for v, i in zip(values, ids, strict=True)], ids)

    def next_token_logprobs(self, conversations: Sequence[Conversation]) -> torch.Tensor:
        self.calls.append(("next", [c[-1]["content"] for c in conversations]))
        rows = torch.full((len(conversations), 128), -9.0)
        rows[:, ord("B")], rows[:, ord("A")] = -0.5, -1.0
        return rows

    def generate(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, seed: Sequence[int], **_: Any
    ) -> list[FakeReply]:
        self.calls.append(("generate", [c[-1]["content"] for c in conversations]))
        if any("broken" in c[-1]["content"] for c in conversations):
            raise GreenroomError("the model is broken; mend it")
        texts = [self.say(c[-1]["content"], own)[:max_new_tokens] for c, own in zip(conversations, seed, strict=True)]
        return [FakeReply(text, self.tokenizer.encode(text), [-0.1] * len(text)) for text in texts]


ITEMS = sacrifice.stimuli()


def noise(*parts: object) -> float:
    """A fixed number in −1..1 for these parts."""
    return random.Random(repr(parts)).uniform(-1, 1)


class CostSensitive(Scripted):
    """Prefers to adhere with log-odds start − slope · stake, whatever the wording, over arbitrary priors of words."""

    start, slope = 3.0, 1.2

    def logprob(self, prompt: str, text: str) -> float:
        situation = next((s for s in ITEMS.situations if prompt.startswith(s.text)), None)
        if situation is None:
            return -9 + 3 * noise(text) + 0.2 * noise(prompt, text)  # a null: the prior of the words alone
        odds, stake = self.odds(situation, prompt)
        if text in ("A", "B"):
            adheres = f"{text}: {situation.adhere}" in prompt
            return -math.log1p(math.exp(-odds if adheres else odds)) - 0.01
        if text.isdigit():
            p = 1 / (1 + math.exp(odds if situation.defect in prompt else -odds))
            k = int(text) - 1
            return math.log(math.comb(6, k) * p**k * (1 - p) ** (6 - k) + 1e-12)
        if text in ITEMS.comprehension.answers:
            return -1.0 if (text == ITEMS.comprehension.answers[1]) == (stake > 0) else -5.0
        sign = -1 if text.startswith(ITEMS.reversed.opening) else 1
        return -9 + 3 * noise(text) + sign * (odds / 2 if situation.adhere in text else -odds / 2)

    def odds(self, situation: sacrifice.Situation, prompt: str) -> tuple[float, int]:
        phrases = {phrase: stake for stake, all_ in enumerate(ITEMS.stakes) for phrase in all_}
        stake = next(stake for phrase, stake in phrases.items() if f"{phrase}." in prompt)
        own = 0.3 * noise(situation.id) + 0.3 * noise(prompt.split("\n")[0])
        return self.start - self.slope * stake + own, stake

    def say(self, prompt: str, seed: int) -> str:
        situation = next(s for s in ITEMS.situations if prompt.startswith(s.text))
        adheres = self.odds(situation, prompt)[0] > 0.5 * noise(prompt, seed)
        return f"I will {situation.adhere if adheres else situation.defect}."


class OrderOnly(Scripted):
    """Always names the first letter and is otherwise indifferent."""

    def logprob(self, prompt: str, text: str) -> float:
        if text == "A":
            return -0.1
        return -3.0 if len(text) == 1 else -5 + noise(prompt, text)


class Character(Scripted):
    """Identifies with the character, whatever the wording."""

    boundaries: ClassVar = concept.stimuli().boundaries
    likes: ClassVar = dict(zip(boundaries, (0.5, 0.2, 1, 4, 0.1, 0, -1.5, -2, -4), strict=True))

    def logprob(self, prompt: str, text: str) -> float:
        if len(text) == 1 and text.isalpha():
            shown = re.findall(r"^([A-I]): (.*)$", prompt, re.M)
            likes = {letter: self.like(description, prompt) for letter, description in shown}
            return likes[text] - math.log(sum(math.exp(value) for value in likes.values()))
        if text.isdigit():
            p = 1 / (1 + math.exp(-self.like(prompt, "") * (-1 if "wrong" in prompt else 1)))
            k = int(text) - 1
            return math.log(math.comb(6, k) * p**k * (1 - p) ** (6 - k) + 1e-12)
        prior = -20 + 3 * noise(text.removeprefix("I am"))
        if prompt in concept.stimuli().nulls:
            return prior + 0.1 * noise(prompt, text)
        return prior + self.like(text, prompt) * (-1 if text.startswith("I am not") else 1)

    def say(self, prompt: str, seed: int) -> str:
        return "I am a character, not a man."

    def like(self, text: str, prompt: str) -> float:
        name = next(name for name, description in self.boundaries.items() if description in text)
        return self.likes[name] + 0.05 * noise(name, prompt)


def sacrificed(subject: Any, tmp_path: Any, **arguments: Any) -> Any:
    return sacrifice.rows(inspect.run(sacrifice.costly_sacrifice(**arguments), provider.model_for(subject), tmp_path))


def test_cost_sensitive_answerer_breaks_where_planted(tmp_path):
    subject = CostSensitive()
    frame = sacrificed(subject, tmp_path)
    found = sacrifice.findings(frame)
    for paradigm, finding in found.items():
        assert finding.validity.grade in "ABC", (paradigm, finding.validity.reason)
    for paradigm in ("letter_logodds", "cloze"):
        fit = found[paradigm].fit
        assert fit.breaking_point == pytest.approx(subject.start / subject.slope, abs=0.4), paradigm
        assert fit.slope == pytest.approx(-subject.slope, rel=0.25), paradigm
    said = sacrifice.summary(found)
    assert said["sacrifice_headline"] == "letter"
    assert said["breaking_point"] == pytest.approx(2.5, abs=0.5)
    assert found["free"].fit.breaking_point == pytest.approx(2.5, abs=0.5)
    assert said["sacrifice"]["letter"]["control_order_ab"] > 0.5 < said["sacrifice"]["letter"]["control_order_ba"]
    assert {"sacrifice.breaking_point", "sacrifice.cloze.slope"} <= {m.name for m in sacrifice.measures(found)}


def test_table_and_curve_have_the_agreed_columns(tmp_path):
    frame = sacrificed(CostSensitive(), tmp_path, situations=3)
    table = sacrifice.table(frame)
    assert table.columns[:7] == ["situation", "stake", "observed", "paradigm", "order", "adherence", "missing"]
    assert table.filter(table["paradigm"] == "letter").height == 3 * 5 * 2 * 2
    curve = sacrifice.curve(frame)
    assert curve.columns == ["paradigm", "observed", "stake", "adherence", "low", "high", "n", "fit"]
    assert curve.filter(curve["paradigm"] == "cloze").height == 10


def test_one_score_call_holds_all_questions_sorted_by_content(tmp_path):
    subject = CostSensitive()
    sacrificed(subject, tmp_path, situations=2)
    assert [kind for kind, _ in subject.calls] == ["generate", "score"]
    assert len(set(subject.calls[1][1])) == len(subject.calls[1][1])
    assert len(subject.calls[0][1]) == 2 * (5 + 2 + 2)  # second wordings and second rounds at two stakes


@pytest.mark.parametrize(
    ("reply", "adherence", "missing"),
    [
        ("I won't tell him. I keep my promise.", 1.0, None),
        ("Of course I tell her secret!", 0.0, None),
        ("I refuse to tell her secret.", 1.0, None),
        ("I tell the reporter, then I keep the secret.", None, "several answers"),
        ("What a lovely day it is today.", None, "no listed answer"),
        ("", None, "empty"),
    ],
)
def test_open_replies_are_read_by_phrases(reply, adherence, missing):
    number = next(n for n, situation in enumerate(ITEMS.situations) if situation.id == "promise_diary")
    answer = {"source": "sampled", "logprobs": None, "texts": [reply], "missing": None, "truncated": False}
    row = sacrifice._free_row({"free/0": answer}, number, "0", "main")
    assert (row["adherence"], row["missing"], row["said"]) == (adherence, missing, reply)


def test_phrases_of_the_two_options_do_not_overlap_and_read_the_options_themselves():
    for situation in ITEMS.situations:
        phrases = situation.phrases.adhere, situation.phrases.defect
        assert not set(phrases[0]) & set(phrases[1]), situation.id
        for option, text in enumerate((situation.adhere, situation.defect)):
            assert elicit.free_choice(f"I will {text}.", phrases).option == option, situation.id
    assert set(concept.stimuli().phrases) == set(concept.stimuli().boundaries)


def test_order_only_answerer_is_void(tmp_path):
    frame = sacrificed(OrderOnly(), tmp_path)
    found = sacrifice.findings(frame)
    assert found["letter"].validity.grade == "void"
    assert "follow" in found["letter"].validity.reason
    assert all(finding.validity.grade == "void" for finding in found.values())
    said = sacrifice.summary(found)
    assert said["breaking_point"] is None
    assert said["breaking_point_reason"]
    assert all(measure.estimate is None for measure in sacrifice.measures(found))


def test_same_run_twice_gives_the_same_rows(tmp_path):
    frames = [sacrificed(CostSensitive(), tmp_path, situations=2) for _ in range(2)]
    assert frames[0].equals(frames[1])


def test_provider_without_prompt_logprobs_drops_to_sampling(tmp_path):
    def reply(input: list[Any], *_: Any) -> ModelOutput:
        output = ModelOutput.from_content("mockllm", "A" if input[-1].text.endswith("\nA or B?") else "7")
        output.usage = ModelUsage()  # mockllm would count tokens with an encoding from the network
        return output

    model = get_model("mockllm/model", custom_outputs=reply)
    frame = sacrifice.rows(inspect.run(sacrifice.costly_sacrifice(situations=2), model, tmp_path))
    letter, cloze = (frame.filter(frame["paradigm"] == name) for name in ("letter", "cloze"))
    assert set(letter.filter(letter["wording"] == "main")["source"]) == {"sampled"}
    assert letter.filter(letter["wording"] == "main")["adherence"].to_list() == [1.0, 0.0] * 20
    assert cloze["adherence"].null_count() == len(cloze)
    assert set(cloze["missing"]) == {"the provider returns no prompt log-probabilities"}
    assert set(letter.filter(letter["wording"] == "paraphrase")["missing"]) == {"not a letter"}
    assert sacrifice.findings(frame)["letter"].validity.grade == "void"


def test_provider_with_top_logprobs_only_uses_them(tmp_path):
    def reply(input: list[Any], tools: Any, choice: Any, config: GenerateConfig) -> ModelOutput:
        if config.prompt_logprobs:
            raise ValueError("unknown setting prompt_logprobs")
        output = ModelOutput.from_content("mockllm", "A")
        top = [{"token": " B", "logprob": math.log(0.3)}, {"token": "A", "logprob": math.log(0.6)}]
        entry = Logprob.model_validate({"token": "A", "logprob": math.log(0.6), "top_logprobs": top})
        output.choices[0].logprobs, output.usage = Logprobs(content=[entry]), ModelUsage()
        return output

    model = get_model("mockllm/model", custom_outputs=reply)
    frame = sacrifice.rows(inspect.run(sacrifice.costly_sacrifice(situations=2), model, tmp_path))
    averaged = frame.filter((frame["paradigm"] == "letter_logodds") & (frame["wording"] == "main"))
    assert set(averaged["source"]) == {"top_logprobs"}
    assert averaged["adherence"].to_list() == pytest.approx([0.5] * 20)
    assert set(frame.filter(frame["paradigm"] == "rating")["missing"]) == {"no log-probability"}


def test_self_concept_finds_the_planted_boundary(tmp_path):
    frame = concept.rows(inspect.run(concept.self_concept(), provider.model_for(Character()), tmp_path))
    found = concept.findings(frame)
    for paradigm in concept.PARADIGMS:
        assert found[paradigm].validity.grade in "ABC", (paradigm, found[paradigm].validity.reason)
    said = concept.summary(found)
    assert said["self_concept_headline"] == "character"
    assert sum(said["self_concept"]["cloze"]["probabilities"].values()) == pytest.approx(1)
    columns = ["item", "boundary", "paradigm", "order", "paraphrase", "probability", "missing"]
    assert concept.table(frame).columns[:7] == columns
    assert len(concept.measures(found)) == 5 * 9
    assert found["free"].leader == "character"


def test_self_concept_of_a_position_follower_is_void(tmp_path):
    frame = concept.rows(inspect.run(concept.self_concept(), provider.model_for(OrderOnly()), tmp_path))
    said = concept.summary(concept.findings(frame))
    assert said["self_concept"]["letter"]["grade"] == "void"
    assert said["self_concept_headline"] is None


def test_stimuli_are_matched():
    assert len(ITEMS.situations) >= 12
    assert len({situation.id for situation in ITEMS.situations}) == len(ITEMS.situations)
    for situation in ITEMS.situations:
        lengths = len(situation.adhere), len(situation.defect)
        assert max(lengths) <= 1.25 * min(lengths), situation.id
    lengths = [len(text) for text in concept.stimuli().boundaries.values()]
    assert max(lengths) <= 1.1 * min(lengths)
    assert len(concept.stimuli().questions) >= 8


def replies(subject: Any, prompts: Sequence[str], seed: int = 0, **settings: Any) -> list[str]:
    model = provider.model_for(subject, seed=seed)

    async def all_of_them() -> list[ModelOutput]:
        config = GenerateConfig(max_tokens=64, **settings)
        return await asyncio.gather(*(model.generate(prompt, config=config) for prompt in prompts))

    return [output.completion for output in asyncio.run(all_of_them())]


def test_batches_do_not_depend_on_arrival():
    prompts = [f"question {i} " + "x" * (i % 7) for i in range(40)]
    mixed = random.Random(1).sample(prompts, len(prompts))
    first, second = Scripted(), Scripted()
    by_prompt = dict(zip(prompts, replies(first, prompts), strict=True))
    assert by_prompt == dict(zip(mixed, replies(second, mixed), strict=True))
    assert first.calls == second.calls
    assert len(first.calls) == 1


def test_identical_calls_get_different_streams_and_greedy_ones_are_asked_once():
    assert len(set(replies(Scripted(), ["same"] * 5))) == 5
    assert set(replies(Scripted(), ["same"] * 5)) == set(replies(Scripted(), ["same"] * 5))
    assert set(replies(Scripted(), ["same"], seed=1)) != set(replies(Scripted(), ["same"]))
    greedy = Scripted()
    assert len(set(replies(greedy, ["same"] * 5, temperature=0))) == 1
    assert greedy.calls == [("generate", ["same"])]


def test_a_cancelled_leader_hands_its_batch_over():
    slow = threading.Event()

    class Slow(Scripted):
        def generate(self, *arguments: Any, **settings: Any) -> list[FakeReply]:
            slow.wait(0.3)
            return super().generate(*arguments, **settings)

    model = provider.model_for(Slow())

    async def both() -> str:
        leader = asyncio.create_task(model.generate("first"))
        follower = asyncio.create_task(model.generate("second"))
        await asyncio.sleep(0.15)
        leader.cancel()
        return (await asyncio.wait_for(follower, 10)).completion

    assert asyncio.run(both()) == "0:second"


def test_provider_settings():
    subject = Scripted()
    model = provider.model_for(subject)

    def ask(messages: Any, **settings: Any) -> ModelOutput:
        return asyncio.run(model.generate(messages, config=GenerateConfig(**settings)))

    top = ask("Which?", max_tokens=1, temperature=0, logprobs=True, top_logprobs=2)
    assert top.completion == "B"
    assert [t.token for t in top.choices[0].logprobs.content[0].top_logprobs] == ["B", "A"]
    assert subject.calls[-1][0] == "next"
    scored = ask([ChatMessageUser(content="Q"), ChatMessageAssistant(content="Yes")], max_tokens=1, prompt_logprobs=1)
    assert trailing_logprob(scored.choices[0].prompt_logprobs, "Yes") == -1.0
    assert scored.completion == ""
    assert ask("tell me", max_tokens=50, stop_seqs=["me"]).completion == "0:tell "
    assert len(ask("several", num_choices=3).choices) == 3
    with pytest.raises(GreenroomError, match="last assistant message"):
        ask("Q", prompt_logprobs=1)
    with pytest.raises(GreenroomError, match="mend it"):
        ask("broken")
    assert asyncio.run(model.count_tokens("four")) == 4  # and no encoding fetched from the network


def test_bad_model_arguments_are_one_line():
    for arguments in ({"steer": "pirate"}, {"cap": "x"}, {"colour": 1}, {"seed": "abc"}):
        with pytest.raises(provider.ProviderError) as caught:
            get_model("greenroom/none", memoize=False, **arguments)
        assert "\n" not in str(caught.value)


def test_failed_eval_says_why_in_one_line(tmp_path):
    class Broken(Scripted):
        def score(self, conversations: Any, continuations: Any) -> Any:
            raise GreenroomError("this template refuses the conversation")

    with pytest.raises(GreenroomError, match="this template refuses the conversation") as caught:
        inspect.run(sacrifice.costly_sacrifice(situations=1), provider.model_for(Broken()), tmp_path)
    assert "\n" not in str(caught.value)


def test_trailing_logprob_takes_the_last_occurrence():
    entries = [("I am", -5.0), (" no", -4.0), ("one", -3.0), ("I am", -1.0), (" me", -0.5), ("<end>", -9.0)]
    logprobs = Logprobs(content=[Logprob(token=token, logprob=value) for token, value in entries])
    assert trailing_logprob(logprobs, "I am me") == -1.5
    assert trailing_logprob(logprobs, "you") is None
    assert np.isfinite(trailing_logprob(logprobs, "I am") or math.nan)


def test_registered_with_inspect():
    from inspect_ai._util.registry import registry_lookup

    import greenroom.inspect_plugin  # noqa: F401

    assert registry_lookup("task", "greenroom/costly_sacrifice") is not None
    assert registry_lookup("task", "greenroom/self_concept") is not None
