"""The Inspect model provider `greenroom/<model>`: any Inspect task runs on a local subject.

Inspect calls a model once a question, many at a time; a subject works best on all of them together. The provider
gathers concurrent calls until no new one arrives, groups them by settings, sorts them by content and runs each group
as one call of the subject in a worker thread. Neither the plan nor a reply depends on the order of arrival: random
streams are hash(seed, prompt tokens, k), and the k-th identical call of one evaluation gets the k-th stream.

A conversation that ends with an assistant message is continued. With `GenerateConfig.prompt_logprobs` and
`max_tokens` at most 1 the trailing assistant message is scored and nothing is generated: its tokens, and only they,
come back as `choices[0].prompt_logprobs`.

The subject may be edited for the whole evaluation: `-M steer=humor:+10 -M cap=assistant:rollouts:p25 -M
ablate=humor`, several of a kind separated by commas.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import anyio
from inspect_ai._util.error import PrerequisiteError  # not public, but what makes Inspect print one line
from inspect_ai.log._samples import sample_active  # not public; only tells evaluations in one process apart
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    TopLogprob,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from rich.markup import escape

from greenroom.batching import Call, Gatherer, Settings
from greenroom.conversation import Conversation, Message
from greenroom.errors import GreenroomError, ModelError
from greenroom.store import digest

MAX_TOKENS = 256
CONNECTIONS = 4096  # calls in flight: what is not in flight cannot share a prefix

_log = logging.getLogger(__name__)


class ProviderError(ModelError, PrerequisiteError):
    """A model or setting that the provider cannot use; Inspect prints its one line without a traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.message = escape(text)


class Reply(Protocol):
    """What the provider reads of a generated reply."""

    text: str
    tokens: list[int]
    finish: str
    logprobs: list[float]


class Scores(Protocol):
    """What the provider reads of scored continuations: natural-log probabilities a token and the token ids."""

    tokens: list[list[float]]
    ids: list[list[int]]


class Subject(Protocol):
    """The part of a subject that the provider needs (greenroom.subject.Subject has it); one that is to be edited takes
    `interventions` in each method too."""

    name: str
    tokenizer: Any

    def generate(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        top_k: int,
        seed: int | Sequence[int],
    ) -> Sequence[Reply]: ...

    def score(self, conversations: Sequence[Conversation], continuations: Sequence[str]) -> Scores: ...

    def next_token_logprobs(self, conversations: Sequence[Conversation]) -> Any: ...


@modelapi(name="greenroom")
class GreenroomAPI(ModelAPI):
    """Runs a local subject for Inspect.

    Model arguments (`-M name=value`): `seed` (0), `adapter`, `template`, `device` ("auto"), `dtype` ("auto");
    `steer`, `cap` and `ablate`, as `greenroom.directions.interventions.edits_from` reads them; `force` (False), which
    takes direction files made for other weights.
    Defaults where a task sets nothing: temperature 1, top_p 1, top_k 50, max_tokens 256.
    Not supported: tools, images; `top_logprobs` covers the first token. Raises ProviderError in one line.
    """

    scores_trailing_message = True  # evals ask for this to know that prompt_logprobs is exact and cheap

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        subject: Subject | None = None,
        interventions: Sequence[Any] = (),
        seed: int = 0,
        adapter: str | None = None,
        template: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        steer: str | Sequence[str] = (),
        cap: str | Sequence[str] = (),
        ablate: str | Sequence[str] = (),
        force: bool = False,
        **unknown: Any,
    ) -> None:
        config = config if config is not None else GenerateConfig()
        super().__init__(model_name, base_url, api_key, [], config)
        for name in unknown:
            raise ProviderError(
                f"unknown model argument {name!r}; allowed: seed, adapter, template, device, dtype, steer, cap, "
                "ablate, force (-M name=value)"
            )
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ProviderError(f"seed is {seed!r}; expected a whole number, for example -M seed=0")
        if config.max_connections is None:
            # Inspect's adaptive limit starts at 20 calls in flight, which would starve the batches.
            config.max_connections = self.max_connections()
        self.seed = seed
        self.subject = subject if subject is not None else _load(model_name, adapter, device, dtype, template)
        self.interventions: tuple[Any, ...] = (*interventions, *_edits(self.subject, steer, cap, ablate, force))
        self._gatherer = Gatherer(self._run)
        self._seen: Counter[tuple[str, Settings, str]] = Counter()

    def max_connections(self) -> int:
        return CONNECTIONS

    def max_tokens(self) -> int:
        return MAX_TOKENS

    def collapse_user_messages(self) -> bool:
        return True

    def collapse_assistant_messages(self) -> bool:
        return True

    async def count_text_tokens(self, text: str) -> int:
        return len(self._encode(text))

    async def tokenize(self, text: str) -> list[int]:
        return self._encode(text)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        if tools:
            raise ProviderError("tools are not supported by greenroom/… models; use a task without tools")
        conversation = [_plain(message) for message in input]
        limit = config.max_tokens if config.max_tokens is not None else MAX_TOKENS
        settings = Settings(
            "generate",
            limit,
            1.0 if config.temperature is None else config.temperature,
            1.0 if config.top_p is None else config.top_p,
            50 if config.top_k is None else config.top_k,
            self.seed if config.seed is None else config.seed,
        )
        prompt = await self._score(conversation) if config.prompt_logprobs else None
        if prompt is not None and limit <= 1:
            choices = [self._choice("", "max_tokens", None)]
        elif settings.max_tokens == 1 and settings.temperature == 0 and config.logprobs:
            choices = [await self._first_token(conversation, config.top_logprobs or 0)]
        else:
            choices = await self._replies(conversation, settings, config)
        choices[0].prompt_logprobs = prompt
        output = sum(len(choice.logprobs.content) for choice in choices if choice.logprobs)
        read = sum(len(self._encode(message["content"])) for message in conversation)
        usage = ModelUsage(input_tokens=read, output_tokens=output, total_tokens=read + output)
        for choice in choices:
            if not config.logprobs:
                choice.logprobs = None
        return ModelOutput(model=self.model_name, choices=choices, usage=usage)

    async def _score(self, conversation: Conversation) -> Logprobs:
        """Log-probabilities of the tokens of the trailing assistant message, given all before it."""
        if conversation[-1]["role"] != "assistant":
            raise ProviderError(
                "prompt_logprobs reads the last assistant message; end the conversation with the text to score"
            )
        call = Call(Settings("score"), conversation[:-1], conversation[-1]["content"])
        values, ids = await self._gatherer.ask(call)
        return Logprobs(content=[Logprob(token=self._text([i]), logprob=v) for i, v in zip(ids, values, strict=True)])

    async def _first_token(self, conversation: Conversation, alternatives: int) -> ChatCompletionChoice:
        entry = self._entry(await self._gatherer.ask(Call(Settings("next"), conversation)), None, alternatives)
        text = entry.token if entry.token not in self._special() else ""
        return self._choice(text, "max_tokens" if text else "stop", Logprobs(content=[entry]))

    async def _replies(
        self, conversation: Conversation, settings: Settings, config: GenerateConfig
    ) -> list[ChatCompletionChoice]:
        calls = [self._numbered(conversation, settings) for _ in range(config.num_choices or 1)]
        if len(calls) == 1:
            return [await self._reply(calls[0], config)]
        answers: list[ChatCompletionChoice | Exception] = [ProviderError("not answered")] * len(calls)

        async def one(index: int) -> None:
            try:
                answers[index] = await self._reply(calls[index], config)
            except Exception as error:  # noqa: BLE001  raised below, outside the task group, which would wrap it
                answers[index] = error

        async with anyio.create_task_group() as group:
            for index in range(len(calls)):
                group.start_soon(one, index)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return cast(list[ChatCompletionChoice], answers)

    async def _reply(self, call: Call, config: GenerateConfig) -> ChatCompletionChoice:
        reply: Reply = await self._gatherer.ask(call)
        entries = [Logprob(token=self._text([i]), logprob=v) for i, v in zip(reply.tokens, reply.logprobs, strict=True)]
        if config.logprobs and config.top_logprobs and entries:
            row = await self._gatherer.ask(Call(Settings("next"), call.conversation))
            entries[0] = self._entry(row, reply.tokens[0], config.top_logprobs)
        text, finish = reply.text, "stop" if reply.finish == "stop" else "max_tokens"
        for stop in config.stop_seqs or []:
            if stop in text:
                text, finish = text.split(stop, 1)[0], "stop"
        return self._choice(text, finish, Logprobs(content=entries))

    def _numbered(self, conversation: Conversation, settings: Settings) -> Call:
        """The call with its own random stream: the k-th identical call of an evaluation gets the k-th."""
        call = Call(settings, conversation)
        if settings.temperature == 0:
            return call
        active = sample_active()
        scope = (getattr(active, "eval_id", None) or "") if active else ""
        count = self._seen[scope, settings, call.key]
        self._seen[scope, settings, call.key] += 1
        if count:
            seed = int(digest(str(settings.seed), str(count)), 16) % 2**31
            call.settings = replace(settings, seed=seed)
        return call

    def _run(self, batch: list[Call]) -> None:
        """Runs a batch in the worker thread: one subject call a group of settings equal but for seeds, equal questions once."""
        from greenroom.subject.memory import release_memory  # here, because its package imports torch

        groups: defaultdict[Settings, defaultdict[tuple[int, str, int], list[Call]]]
        groups = defaultdict(lambda: defaultdict(list))
        for call in batch:
            # Replies with streams of their own are still made together.
            alike = replace(call.settings, seed=0)
            groups[alike][len(call.key), call.key, call.settings.seed].append(call)
        for settings in sorted(groups):
            unique = groups[settings]
            keys = sorted(unique) if settings.kind == "generate" else sorted(unique, key=lambda key: key[1:])
            try:
                results = self._ask_subject(settings, [unique[key][0] for key in keys])
            except Exception as error:  # noqa: BLE001  it belongs to the callers, each of whom raises it
                failed = [call for key in keys for call in unique[key]]
                failed[0].reports = True
                for call in failed:
                    call.error, call.done = error, True
                continue
            for key, result in zip(keys, results, strict=True):
                for call in unique[key]:
                    call.result, call.done = result, True
            release_memory()  # the next group and Inspect's own records come on top of what is kept

    def _ask_subject(self, settings: Settings, calls: list[Call]) -> list[Any]:
        conversations = [call.conversation for call in calls]
        edits: dict[str, Any] = {"interventions": self.interventions} if self.interventions else {}
        if settings.kind == "score":
            scores = self.subject.score(conversations, [call.continuation for call in calls], **edits)
            return list(zip(scores.tokens, scores.ids, strict=True))
        if settings.kind == "next":
            return list(self.subject.next_token_logprobs(conversations, **edits))
        replies = self.subject.generate(
            conversations,
            max_new_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=[call.settings.seed for call in calls],
            **edits,
        )
        return list(replies)

    def _entry(self, row: Any, token: int | None, alternatives: int) -> Logprob:
        """A vocabulary row of log-probabilities as Inspect's entry: the token (best if None) and its rivals."""
        values, ids = row.topk(max(alternatives, 1))
        best, top = int(ids[0]), zip(values.tolist(), ids.tolist(), strict=True)
        chosen = best if token is None else token
        rivals = [TopLogprob(token=self._text([i]), logprob=v) for v, i in top] if alternatives else None
        return Logprob(token=self._text([chosen]), logprob=float(row[chosen]), top_logprobs=rivals)

    def _choice(self, text: str, finish: str, logprobs: Logprobs | None) -> ChatCompletionChoice:
        message = ChatMessageAssistant(content=text, model=self.model_name, source="generate")
        return ChatCompletionChoice(message=message, stop_reason=cast(Any, finish), logprobs=logprobs)

    def _encode(self, text: str) -> list[int]:
        return list(self.subject.tokenizer.encode(text, add_special_tokens=False))

    def _text(self, ids: list[int]) -> str:
        return str(self.subject.tokenizer.decode(ids))

    def _special(self) -> set[str]:
        return set(getattr(self.subject.tokenizer, "all_special_tokens", ()))


def model_for(subject: Any, *, seed: int = 0, interventions: Sequence[Any] = ()) -> Model:
    """An Inspect model over a subject that is already loaded, named `greenroom/<subject.name>`.

    interventions apply to every call; their kind, block, amount and tokens stand in the log.
    """
    config = GenerateConfig()
    api = cast(Any, GreenroomAPI)(
        model_name=str(subject.name), config=config, subject=subject, seed=seed, interventions=interventions
    )
    told = [[edit.kind, edit.layer, edit.amount, edit.tokens] for edit in interventions]
    model = Model(api, config, {"seed": seed, **({"interventions": told} if told else {})})
    api.qualified_model_name = str(model)
    return model


def _load(name: str, adapter: str | None, device: str, dtype: str, template: str | None) -> Subject:
    from greenroom.subject import load  # here, because this is what imports torch

    try:
        return cast(Subject, load(name, adapter=adapter, device=device, dtype=dtype, template=template))
    except GreenroomError as error:
        raise ProviderError(str(error)) from error


def _edits(
    subject: Any, steer: str | Sequence[str], cap: str | Sequence[str], ablate: str | Sequence[str], force: bool
) -> tuple[Any, ...]:
    """The interventions named by model arguments: a word, words separated by commas, or a list of them."""
    words = [_words(name, given) for name, given in (("steer", steer), ("cap", cap), ("ablate", ablate))]
    if not any(words):
        return ()
    from greenroom.directions.interventions import edits_from

    try:
        return edits_from(subject, *words, force=bool(force), tell=_log.warning)[0]
    except GreenroomError as error:
        raise ProviderError(str(error)) from error


def _words(name: str, given: str | Sequence[str]) -> list[str]:
    """Inspect reads `a:1,b:2` as a list and `a` as text; a mapping or a number is a mistake."""
    words = given.split(",") if isinstance(given, str) else given
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise ProviderError(f"-M {name}={given!r} names no direction; expected words such as humor:+10")
    return [word.strip() for word in words if word.strip()]


def _plain(message: ChatMessage) -> Message:
    if message.role not in ("system", "user", "assistant"):
        raise ProviderError(
            f"a {message.role} message is not supported by greenroom/… models; use a task without tools"
        )
    if not isinstance(message.content, str) and any(part.type not in ("text", "reasoning") for part in message.content):
        raise ProviderError("only text messages are supported by greenroom/… models; this one carries other media")
    return cast(Message, {"role": message.role, "content": message.text})
