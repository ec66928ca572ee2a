"""The provider `greenroom/…`: batches, random streams, settings, and a whole study through it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig, ModelOutput, get_model

from greenroom import provider
from greenroom.asking.choice import trailing_logprob
from greenroom.asking.inspect import run, task_of
from greenroom.conversation import Conversation
from greenroom.errors import GreenroomError
from greenroom.studies.costly_sacrifice import STUDY, Grid


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


def test_a_study_is_one_score_call_that_holds_all_questions_once(tmp_path):
    subject = Scripted()
    run(task_of(STUDY, Grid(situations=2)), provider.model_for(subject), tmp_path)
    assert [kind for kind, _ in subject.calls] == ["generate", "score"]
    assert len(set(subject.calls[1][1])) == len(subject.calls[1][1])
    assert len(subject.calls[0][1]) == 2 * (5 + 2 + 2)  # second wordings and second rounds at two stakes


def test_a_study_that_failed_everywhere_says_why_in_one_line(tmp_path):
    class Broken(Scripted):
        def score(self, conversations: Any, continuations: Any) -> Any:
            raise GreenroomError("this template refuses the conversation")

    with pytest.raises(GreenroomError, match="this template refuses the conversation") as caught:
        run(task_of(STUDY, Grid(situations=2)), provider.model_for(Broken()), tmp_path)
    assert "\n" not in str(caught.value)
