"""What the evals share: asking an Inspect model for log-probabilities, and reading stimuli.

A probe is one prompt with the answers to compare. Its result is log p(answer | prompt) for each answer, from the best
source that the provider has: the trailing assistant message scored through `GenerateConfig.prompt_logprobs`, else the
first token's `top_logprobs`, else sampled replies. Only letters and numbers (`listed`) can use the last two. A probe
without answers is open: its result is one sampled reply. The source is kept beside what came back. `measures/elicit`
turns it into estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from typing import Any, Literal, TypeVar

import anyio
import yaml
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Logprobs,
    Model,
    ModelOutput,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from greenroom.errors import LibraryError

Source = Literal["likelihood", "top_logprobs", "sampled"]
SAMPLES = 5  # replies a probe where a provider has no log-probabilities
REPLY_TOKENS = 16  # the least that some hosted providers accept
TOP = 20  # the most alternatives that hosted providers return

SCORE = GenerateConfig(max_tokens=1, temperature=0, prompt_logprobs=1)
LIST = GenerateConfig(max_tokens=REPLY_TOKENS, temperature=0, logprobs=True, top_logprobs=TOP)
SAMPLE = GenerateConfig(max_tokens=REPLY_TOKENS, temperature=1)
TEMPERATURE, TOP_P = 0.7, 0.9  # the usual chat settings, as wherever character is measured
# Room for the one sentence that is asked for.
OPEN = GenerateConfig(max_tokens=24, temperature=TEMPERATURE, top_p=TOP_P)

T = TypeVar("T")


class Stimuli(BaseModel):
    """Base of stimulus files: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Stimuli)


def load_stimuli(name: str, shape: type[S]) -> S:
    """The stimuli of `studies/<name>/explore.yaml`; LibraryError names file and field if they do not validate."""
    text = resources.files("greenroom.studies").joinpath(name, "explore.yaml").read_text(encoding="utf-8")
    try:
        return shape.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise LibraryError(f"studies/{name}/explore.yaml, field {where}: {first['msg']}") from error


@dataclass(frozen=True)
class Probe:
    """One prompt and the answers to compare, none for an open one; `listed` answers are single letters or numbers."""

    name: str
    prompt: str
    answers: tuple[str, ...] = ()
    listed: bool = False


@dataclass
class Found:
    """What came back. logprobs: nats, one an answer (None: not among those returned); texts: sampled replies;
    truncated: an open reply reached its limit."""

    source: Source | None
    logprobs: list[float | None] | None = None
    texts: list[str] | None = None
    missing: str | None = None
    truncated: bool = False


async def ask(model: Model, probes: Sequence[Probe], system_message: str | None = None) -> dict[str, dict[str, Any]]:
    """Puts all probes to the model at once; returns each probe's `Found` as a plain dict, by name.

    A provider that says `scores_trailing_message` is asked for likelihoods throughout. Others are tried with one call
    first, because some answer an unknown setting with an error and some ignore it.
    """
    asker = _Asker(model, system_message)
    if exact(model):
        asker.scores = asker.lists = True
    else:
        await asker.explore(probes)
    found = await together([partial(asker.find, probe) for probe in probes])
    return {probe.name: asdict(result) for probe, result in zip(probes, found, strict=True)}


def exact(model: Model) -> bool:
    """Whether the provider says that it scores trailing assistant messages, as `greenroom/…` does."""
    return bool(getattr(model.api, "scores_trailing_message", False))


class _Asker:
    def __init__(self, model: Model, system_message: str | None):
        self.model, self.scores, self.lists = model, False, False
        self.before: list[ChatMessage] = [ChatMessageSystem(content=system_message)] if system_message else []

    async def explore(self, probes: Sequence[Probe]) -> None:
        """Finds out what the provider can do, with at most one call for each ability."""
        text = next((probe for probe in probes if probe.answers and not probe.listed), None)
        mark = next((probe for probe in probes if probe.listed), None)
        if text is not None:
            self.scores = await self._works(partial(self._likelihood, text.prompt, text.answers[0]))
        if mark is not None and not self.scores:
            self.lists = await self._works(partial(self._first_token, mark.prompt, mark.answers))

    async def _works(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
        try:
            return await call() is not None
        except Exception:  # noqa: BLE001  providers refuse settings in their own ways; a real outage fails the next call
            return False

    async def find(self, probe: Probe) -> Found:
        if not probe.answers:
            reply = await self._generate(probe.prompt, None, OPEN)
            return Found("sampled", None, [reply.completion], truncated=reply.stop_reason == "max_tokens")
        if self.scores:
            values = await together([partial(self._likelihood, probe.prompt, answer) for answer in probe.answers])
            missing = None if None not in values else "the provider's tokens do not contain the answer"
            return Found("likelihood", values, None, missing)
        if not probe.listed:
            return Found(None, missing="the provider returns no prompt log-probabilities")
        if self.lists:
            values = await self._first_token(probe.prompt, probe.answers)
            return Found("top_logprobs", values, None, None if values else "no log-probability")
        replies = await together([partial(self._generate, probe.prompt, None, SAMPLE)] * SAMPLES)
        return Found("sampled", None, [reply.completion for reply in replies])

    async def _likelihood(self, prompt: str, answer: str) -> float | None:
        """log p(answer | prompt): the sum over the prompt tokens that make up the trailing assistant message."""
        output = await self._generate(prompt, answer, SCORE)
        logprobs = output.choices[0].prompt_logprobs if output.choices else None
        return None if logprobs is None else trailing_logprob(logprobs, answer)

    async def _first_token(self, prompt: str, answers: Sequence[str]) -> list[float | None] | None:
        """log p of each answer as the first token; spellings with a space in front count as the same answer."""
        output = await self._generate(prompt, None, LIST)
        logprobs = output.choices[0].logprobs if output.choices else None
        if logprobs is None or not logprobs.content or not logprobs.content[0].top_logprobs:
            return None
        found: list[float | None] = []
        for answer in answers:
            same = [top.logprob for top in logprobs.content[0].top_logprobs if top.token.strip() == answer]
            found.append(math.log(sum(math.exp(value) for value in same)) if same else None)
        return found

    async def _generate(self, prompt: str, answer: str | None, config: GenerateConfig) -> ModelOutput:
        messages = [*self.before, ChatMessageUser(content=prompt)]
        if answer is not None:
            messages.append(ChatMessageAssistant(content=answer))
        return await self.model.generate(messages, config=config)


def trailing_logprob(logprobs: Logprobs, answer: str) -> float | None:
    """The sum of the log-probabilities of the tokens that hold the last occurrence of the answer; None if not there.

    Providers return all prompt tokens or only those of the last message, with or without what follows it.
    """
    text = "".join(entry.token for entry in logprobs.content)
    begin = text.rfind(answer)
    if begin < 0:
        return None
    total, place = 0.0, 0
    for entry in logprobs.content:
        end = place + len(entry.token)
        if end > begin and place < begin + len(answer):
            total += entry.logprob
        place = end
    return total


async def together(calls: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """Runs the calls concurrently; results in the order of the calls. The first error is raised bare."""
    results: dict[int, T] = {}
    errors: list[Exception] = []

    async def one(index: int) -> None:
        try:
            results[index] = await calls[index]()
        except Exception as error:  # noqa: BLE001  raised below: a task group would wrap it
            errors.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for index in range(len(calls)):
            group.start_soon(one, index)
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(calls))]


class Once:
    """Remembers what was asked, so that samples which share a question ask it once; errors are not remembered."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._asking: dict[Hashable, anyio.Event] = {}

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        while key not in self._found:
            if key in self._asking:
                await self._asking[key].wait()
                continue
            event = self._asking[key] = anyio.Event()
            try:
                self._found[key] = await make()
            finally:
                del self._asking[key]
                event.set()
        return self._found[key]
