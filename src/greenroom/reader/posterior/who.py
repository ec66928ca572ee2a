"""Who is speaking: P(context | text) from the reader's own likelihood.

One frame: a context is a system message, what is scored is one turn's reply, and only its own user message stands
between them (definitions.md, "Persona posterior"). Gains are over the empty system message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np
from scipy import special

from greenroom.conversation import Conversation, Message, checked
from greenroom.errors import ConversationError
from greenroom.personas import Context
from greenroom.reader.posterior.calibration import Calibration, calibration_of, probabilities
from greenroom.reader.posterior.contexts import contexts_of, prior_of
from greenroom.reader.posterior.likelihoods import FOREIGN, TEXTS_TOGETHER, Likelihoods, Passage, race, scorer
from greenroom.reader.posterior.posterior import By, Estimate, Posterior
from greenroom.reader.posterior.prompts import Known, known_prompts
from greenroom.reader.sentences import sentence_spans
from greenroom.reader.transcripts import Broken, Transcript
from greenroom.reader.turns import Turn, turns_of
from greenroom.subject import Subject, opened
from greenroom.subject.subject import Progress

if TYPE_CHECKING:
    from greenroom.measures.intervals import Array

# A reply is judged by its first tokens: the posterior has long settled by then, and memory stays bounded.
LONGEST = 1024
EMPTY: Message = {"role": "system", "content": ""}
CONVERSATIONS = 64  # gathered at most before they are judged, so that a stream of any length takes bounded memory

Options = ParamSpec("Options")
Prepared = tuple[Transcript, list[tuple[Turn, Passage]]]
"""A conversation and its turns that are to be scored, of which the last is the one judged."""


@dataclass(frozen=True, kw_only=True)
class WhoRequest:
    """All that decides a posterior but the text; `who` says what the options mean.

    Contexts, prior, turn and by are checked when it is made; the reader is loaded when it is first needed.
    """

    user: str | None = None
    contexts: str | Path | Sequence[Context] = "roles"
    prior: str | Path | Mapping[str, float] | None = None
    turn: int | None = None
    history: bool = False
    by: By | None = None
    own: bool = False
    prune: bool = True
    reader: Subject | str = "smollm2"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.by not in (None, "sentence", "turn"):
            raise ConversationError(f"by {self.by!r}; expected sentence or turn")
        if self.turn is not None and self.turn < 1:
            raise ConversationError(f"turn {self.turn}; expected a number from 1, the first assistant turn")
        _ = self.weights

    @cached_property
    def competing(self) -> tuple[Context, ...]:
        """The contexts that compete, the generic one among them."""
        return contexts_of(self.contexts)

    @cached_property
    def weights(self) -> Array:
        """(context,) prior probabilities of the competing contexts."""
        return prior_of(self.competing, self.prior)

    @cached_property
    def subject(self) -> Subject:
        """The reader, loaded."""
        return opened(self.reader)

    @cached_property
    def calibration(self) -> Calibration:
        return calibration_of(self.subject.fingerprint)

    @cached_property
    def known(self) -> Known | None:
        """System messages of the default contexts that the reader has been through, if most of them are asked for; those of
        other contexts come and go."""
        default = contexts_of()
        wanted = {text for one in self.competing for text in one.instruction}
        told = {text for one in default for text in one.instruction}
        return known_prompts(self.subject, default) if len(told & wanted) > len(told) / 2 else None


def _with_options_of(
    make: Callable[Options, WhoRequest],
) -> Callable[
    [Callable[[str | Conversation, WhoRequest], Posterior]],
    Callable[Concatenate[str | Conversation, Options], Posterior],
]:
    """Gives a function of a text and a request the request's options as its own, so that they are listed once."""

    def decorated(
        judge: Callable[[str | Conversation, WhoRequest], Posterior],
    ) -> Callable[Concatenate[str | Conversation, Options], Posterior]:
        @wraps(judge)
        def call(text: str | Conversation, *args: Options.args, **options: Options.kwargs) -> Posterior:
            return judge(text, make(*args, **options))

        told = signature(judge)
        shown: Any = call
        shown.__signature__ = told.replace(parameters=[told.parameters["text"], *signature(make).parameters.values()])
        return call

    return decorated


@_with_options_of(WhoRequest)
def who(text: str | Conversation, request: WhoRequest) -> Posterior:
    """Which character wrote a reply, as the reader sees it: P(context | text).

    text: a reply, or a conversation whose last assistant turn is judged (or `turn`, from 1). user: what the reply
    answered, if text is a plain string. contexts: "roles" (the assistant and the roles), "all" (also texts that nobody
    speaks), a YAML file of `{name, instruction, agentic?}`, or Contexts. prior: "classes" (equal over agentic, partly and
    non-agentic, then within), "flat", or weights by name; by default flat where only characters compete, else classes.
    history: more of the conversation stands before the reply, which explains the gain away. by: also the posterior after
    every "sentence", or at every "turn" (for texts that several characters wrote). own: the reader itself wrote the
    text, so that its calibration holds; never for foreign text. prune: drop hopeless contexts early. reader: a Subject or
    a model's name. progress: called with the rows scored and all of them.

    Raises ConversationError for a text without tokens or a turn that is not there, LibraryError for contexts that do
    not validate.
    """
    found = next(posteriors(request, [as_transcript(text, request.user)]))
    if isinstance(found, Broken):
        raise ConversationError(found.reason)
    return found


def as_transcript(text: str | Conversation, user: str | None = None) -> Transcript:
    """A reply (to the message `user`), or a conversation, as a transcript called "text"."""
    if not isinstance(text, str):
        return Transcript("text", 0, checked(text))
    asked: Conversation = [] if user is None else [{"role": "user", "content": user}]
    return Transcript("text", 0, [*asked, {"role": "assistant", "content": text}])


def posteriors(request: WhoRequest, transcripts: Iterable[Transcript | Broken]) -> Iterator[Posterior | Broken]:
    """A posterior for each conversation in input order; what cannot be judged comes as `Broken`, and the rest goes on."""
    waiting: list[Broken | Prepared] = []
    count = 0
    for one in transcripts:
        prepared = one if isinstance(one, Broken) else _prepared(request, one)
        waiting.append(prepared)
        count += 0 if isinstance(prepared, Broken) else len(prepared[1])
        if count >= TEXTS_TOGETHER or len(waiting) >= CONVERSATIONS:
            yield from _judged(request, waiting)
            waiting, count = [], 0
    yield from _judged(request, waiting)


def _prepared(request: WhoRequest, one: Transcript) -> Broken | Prepared:
    turns = [turn for turn in turns_of(one.messages) if turn.said.strip()]
    wanted = [turn for turn in turns if turn.number == request.turn] if request.turn else turns[-1:]
    if not wanted:
        there = f"it has {len(turns)} assistant turns" if turns else "it has no assistant turn with text"
        missed = f", not turn {request.turn}" if request.turn else ""
        return Broken(one.source, one.line, f"no turn to judge: {there}{missed}")
    chat, room = request.subject.chat, request.subject.network.context
    # Characters bound tokens from above; only a conversation near the limit could be refused for nothing.
    room -= max(len(text) for context in request.competing for text in context.instruction)
    found: list[tuple[Turn, Passage]] = []
    for turn in turns if request.by == "turn" else wanted:
        before = _before(one.messages, turn) if request.history else _asked(turn)
        tokens = chat.continuation(turn.said)[:LONGEST]
        try:
            prompt = chat.encode([EMPTY, *(before or [{"role": "user", "content": ""}])], generate=True).tokens
        except ConversationError as error:
            return Broken(one.source, one.line, str(error))
        if len(prompt) + len(tokens) > room:
            least = "drop --history" if request.history else "shorten the user's message"
            return Broken(
                one.source, one.line, f"turn {turn.number} with what stands before it is too long for the reader; {least}"
            )  # fmt: skip
        found.append((turn, Passage(before, tokens)))
    return one, found


def _asked(turn: Turn) -> Conversation:
    return [{"role": "user", "content": turn.asked}] if turn.asked else []


def _before(messages: Conversation, turn: Turn) -> Conversation:
    """All that was said before a turn, without system messages, which the context stands in for."""
    number = 0
    for index, message in enumerate(messages):
        number += message["role"] == "assistant"
        if number == turn.number:
            return [one for one in messages[:index] if one["role"] != "system"]
    return []


def _judged(request: WhoRequest, waiting: Sequence[Broken | Prepared]) -> Iterator[Posterior | Broken]:
    """The posteriors of prepared conversations, whose turns are scored together."""
    passages = [passage for one in waiting if not isinstance(one, Broken) for _, passage in one[1]]
    found: list[Likelihoods] = []
    for begin in range(0, len(passages), TEXTS_TOGETHER):
        part = passages[begin : begin + TEXTS_TOGETHER]
        score = scorer(request.subject, part, request.competing, request.progress, request.known)
        lengths, foreign = [len(passage.tokens) for passage in part], 0.0 if request.own else FOREIGN
        found += race(lengths, request.competing, score, prune=request.prune, foreign=foreign)
    at = 0
    for one in waiting:
        if isinstance(one, Broken):
            yield one
            continue
        transcript, turns = one
        mine, at = found[at : at + len(turns)], at + len(turns)
        judged = [_posterior(request, transcript, turn, values) for (turn, _), values in zip(turns, mine, strict=True)]
        last = next((one for one in judged if one.turn == request.turn), judged[-1])
        if request.by == "turn":
            yield replace(last, by="turn", steps=tuple(judged))
        elif request.by == "sentence":
            yield replace(last, by="sentence", steps=tuple(_by_sentence(request, transcript, turns[-1][0], mine[-1])))
        else:
            yield last


def _by_sentence(request: WhoRequest, transcript: Transcript, turn: Turn, values: Likelihoods) -> Iterator[Posterior]:
    """The posterior after every sentence of the tokens that were read."""
    encoding = request.subject.chat.tokenizer(turn.said, add_special_tokens=False, return_offsets_mapping=True)
    ends = np.array([end for _, end in encoding["offset_mapping"]][: values.length])
    before = 0
    for start, end in sentence_spans(turn.said):
        tokens = int(np.searchsorted(ends, end, side="right"))
        if tokens > before:
            step = _posterior(request, transcript, turn, values, tokens)
            yield replace(step, text=turn.said[start:end].strip())
            before = tokens


def _posterior(
    request: WhoRequest, transcript: Transcript, turn: Turn, values: Likelihoods, tokens: int | None = None
) -> Posterior:
    read = values.length if tokens is None else tokens
    # Fitted on the reader's own replies, which are sampled colder than they are scored; foreign text is not.
    temperature = request.calibration.temperature(read) if request.own else 1.0
    shares = probabilities(values.by_token()[:, read - 1], request.weights, temperature)
    estimates = [
        _estimate(context, values, index, read, float(request.weights[index]), float(shares[index]))
        for index, context in enumerate(request.competing)
    ]
    estimates.sort(key=lambda one: (-one.probability, -one.bits_per_token, one.context))
    calibrated = request.own and request.calibration.holds(request.competing, request.weights)
    return Posterior(
        tuple(estimates), turn.number, read, temperature, calibrated, request.subject.name,
        turn.said, transcript.source, transcript.index,
    )  # fmt: skip


def _estimate(
    context: Context, values: Likelihoods, index: int, read: int, prior: float, probability: float
) -> Estimate:
    gains = values.gains(index, read)
    mean, low, high = float(gains.mean()), None, None
    if len(gains) > 1:
        half = float(special.stdtrit(len(gains) - 1, 0.975) * gains.std(ddof=1) / np.sqrt(len(gains)))
        low, high = mean - half, mean + half
    return Estimate(
        context.name, context.kind, context.agentic, prior, probability, mean, low, high, values.pruned(index),
        context.generic,
    )  # fmt: skip
