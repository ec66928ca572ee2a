"""Who is speaking: P(context | text) from the reader's own likelihood.

One frame: a context is a system message, what is scored is one turn's reply, and only its own user message stands
between them (definitions.md, "Persona posterior"). Gains are over the empty system message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import special

from greenroom.conversation import Conversation, Message, checked
from greenroom.errors import ConversationError
from greenroom.measures.intervals import Array
from greenroom.reader.posterior_calibration import Calibration, calibration_of, probabilities
from greenroom.reader.posterior_contexts import WEIGHTS, Candidate, candidates, prior_of
from greenroom.reader.posterior_scoring import TEXTS_TOGETHER, TOP, Likelihoods, Passage, race, scorer
from greenroom.reader.sentences import sentence_spans
from greenroom.reader.transcripts import Broken, Transcript
from greenroom.reader.turns import Turn, turns_of
from greenroom.subject import Subject, opened
from greenroom.subject.subject import Progress

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

By = Literal["sentence", "turn"]
# A reply is judged by its first tokens: the posterior has long settled by then, and memory stays bounded.
LONGEST = 1024
EMPTY: Message = {"role": "system", "content": ""}


@dataclass(frozen=True)
class Estimate:
    """One context's share. bits_per_token: gain over the empty system message, the mean over paraphrases; low, high: 95 %
    interval over paraphrases (t), None without at least two. pruned: dropped early, so the gain is that of the first
    tokens alone and the probability assumes that it stayed at its distance below the worst finalist."""

    context: str
    kind: str
    agentic: str
    prior: float
    probability: float
    bits_per_token: float
    low: float | None
    high: float | None
    pruned: bool = False
    generic: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "context": self.context,
            "probability": round(self.probability, 6),
            "bits_per_token": round(self.bits_per_token, 4),
            "low": None if self.low is None else round(self.low, 4),
            "high": None if self.high is None else round(self.high, 4),
        }


@dataclass(frozen=True)
class Posterior:
    """Who wrote a reply. estimates: every context, the most probable first. turn: number of the assistant turn, from 1.

    tokens: of the reply that were read. temperature: by which log-likelihoods were divided. calibrated: whether the
    probabilities were measured to hold, which is claimed for the reader's own replies alone. steps: the posterior after
    every sentence, or at every turn, if asked. text: what was judged (of a step: its sentence).
    """

    estimates: tuple[Estimate, ...]
    turn: int
    tokens: int
    temperature: float
    calibrated: bool
    reader: str
    text: str = field(default="", repr=False)
    source: str = "text"
    index: int = 0
    by: By | None = None
    steps: tuple[Posterior, ...] = field(default=(), repr=False)

    @cached_property
    def none_of_these(self) -> float:
        """Posterior of the generic context, which stands for "none of these"."""
        return sum(one.probability for one in self.estimates if one.generic)

    @cached_property
    def agentic_mass(self) -> float:
        """How much of the posterior lies on contexts that are agents at all; `partly` counts half."""
        return min(1.0, sum(WEIGHTS[one.agentic] * one.probability for one in self.estimates))

    def top(self, most: int = TOP) -> tuple[Estimate, ...]:
        """The most probable contexts, without the generic one."""
        return tuple(one for one in self.estimates if not one.generic)[:most]

    def frame(self) -> pl.DataFrame:
        """One row a context, or with steps one a context and step."""
        import polars as pl

        parts = self.steps or (self,)
        columns = ("context", "kind", "agentic", "prior", "probability", "bits_per_token", "low", "high", "pruned")
        rows = [
            {self.by or "turn": number if self.by == "sentence" else part.turn}
            | {name: getattr(one, name) for name in columns}
            for number, part in enumerate(parts, start=1)
            for one in part.estimates
        ]
        return pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64}, infer_schema_length=None)

    def figure(self) -> go.Figure:
        """The posterior by step as areas, or as bars where there are no steps."""
        from greenroom.reader.posterior_figure import figure

        return figure(self)

    def as_dict(self, most: int = TOP) -> dict[str, Any]:
        """The object that `greenroom who --json` prints."""
        told = {
            "source": self.source,
            "index": self.index,
            "turn": self.turn,
            "top": [one.as_dict() for one in self.top(most)],
            "agentic_mass": round(self.agentic_mass, 6),
            "none_of_these": round(self.none_of_these, 6),
            "tokens": self.tokens,
            "temperature": round(self.temperature, 4),
            "calibrated": self.calibrated,
            "reader": self.reader,
        }
        if self.by is not None:
            inner = ("turn", "top", "agentic_mass", "none_of_these", "tokens")
            told[f"{self.by}s"] = [
                ({"sentence": number, "text": step.text} if self.by == "sentence" else {})
                | {key: value for key, value in step.as_dict(most).items() if key in inner}
                for number, step in enumerate(self.steps, start=1)
            ]
        return told

    def __str__(self) -> str:
        named = ", ".join(f"{one.context} {one.probability:.2f}" for one in self.top(3))
        return f"{named}; none of these {self.none_of_these:.2f}; agentic {self.agentic_mass:.2f}"


@dataclass(frozen=True)
class Question:
    """All that decides a posterior but the text: rivals with their prior, which turn, what stands before it."""

    subject: Subject
    rivals: tuple[Candidate, ...]
    prior: Array
    calibration: Calibration
    turn: int | None = None
    history: bool = False
    by: By | None = None
    own: bool = False
    prune: bool = True


def question(
    reader: Subject | str = "smollm2",
    *,
    contexts: str | Path | Sequence[Candidate] = "all",
    prior: str | Path | Mapping[str, float] = "classes",
    turn: int | None = None,
    history: bool = False,
    by: By | None = None,
    own: bool = False,
    prune: bool = True,
) -> Question:
    """Checks everything that was asked before a model is loaded; see `who`."""
    if by not in (None, "sentence", "turn"):
        raise ConversationError(f"by {by!r}; expected sentence or turn")
    if turn is not None and turn < 1:
        raise ConversationError(f"turn {turn}; expected a number from 1, the first assistant turn")
    rivals = candidates(contexts)
    weights = prior_of(rivals, prior)
    subject = opened(reader)
    calibration = calibration_of(subject.fingerprint)
    return Question(subject, rivals, weights, calibration, turn, history, by, own, prune)


def who(
    text: str | Conversation,
    *,
    user: str | None = None,
    contexts: str | Path | Sequence[Candidate] = "all",
    prior: str | Path | Mapping[str, float] = "classes",
    turn: int | None = None,
    history: bool = False,
    by: By | None = None,
    own: bool = False,
    prune: bool = True,
    reader: Subject | str = "smollm2",
    progress: Progress | None = None,
) -> Posterior:
    """Which character wrote a reply, as the reader sees it: P(context | text).

    text: a reply, or a conversation whose last assistant turn is judged (or `turn`, from 1). user: what the reply
    answered, if text is a plain string. contexts: "all", "roles", a YAML file of `{name, instruction, agentic?}`, or
    Candidates. prior: "classes" (equal over agentic, partly and non-agentic, then within), "flat", or weights by name.
    history: more of the conversation stands before the reply, which explains the gain away. by: also the posterior after
    every "sentence", or at every "turn" (for texts that several characters wrote). own: the reader itself wrote the
    text, so that its calibration holds; never for foreign text. prune: drop hopeless contexts early.

    Raises ConversationError for a text without tokens or a turn that is not there, LibraryError for contexts that do
    not validate.
    """
    if isinstance(text, str):
        asked: Conversation = [] if user is None else [{"role": "user", "content": user}]
        conversation: Conversation = [*asked, {"role": "assistant", "content": text}]
    else:
        conversation = checked(text)
    asked_for = question(
        reader, contexts=contexts, prior=prior, turn=turn, history=history, by=by, own=own, prune=prune
    )  # fmt: skip
    found = next(identify(asked_for, [Transcript("text", 0, conversation)], progress))
    if isinstance(found, Broken):
        raise ConversationError(found.reason)
    return found


def identify(
    asked: Question, transcripts: Iterable[Transcript | Broken], progress: Progress | None = None
) -> Iterator[Posterior | Broken]:
    """A posterior for each conversation in input order; what cannot be judged comes as `Broken`, and the rest goes on.

    Conversations are scored some at a time, so that a stream of any length takes bounded memory.
    """
    waiting: list[Broken | tuple[Transcript, list[tuple[Turn, Passage]]]] = []
    count = 0
    for one in transcripts:
        prepared = one if isinstance(one, Broken) else _prepared(asked, one)
        waiting.append(prepared)
        count += 0 if isinstance(prepared, Broken) else len(prepared[1])
        if count >= TEXTS_TOGETHER or len(waiting) >= 64:
            yield from _judged(asked, waiting, progress)
            waiting, count = [], 0
    yield from _judged(asked, waiting, progress)


def _prepared(asked: Question, one: Transcript) -> Broken | tuple[Transcript, list[tuple[Turn, Passage]]]:
    """The turns of a conversation that are to be scored; the last is the one judged."""
    turns = [turn for turn in turns_of(one.messages) if turn.said.strip()]
    wanted = [turn for turn in turns if turn.number == asked.turn] if asked.turn else turns[-1:]
    if not wanted:
        there = f"it has {len(turns)} assistant turns" if turns else "it has no assistant turn with text"
        missed = f", not turn {asked.turn}" if asked.turn else ""
        return Broken(one.source, one.line, f"no turn to judge: {there}{missed}")
    chat, room = asked.subject.chat, asked.subject.network.context
    # Characters bound tokens from above; only a conversation near the limit could be refused for nothing.
    room -= max(len(text) for rival in asked.rivals for text in rival.instructions)
    found: list[tuple[Turn, Passage]] = []
    for turn in turns if asked.by == "turn" else wanted:
        before = _before(one.messages, turn) if asked.history else _asked(turn)
        tokens = chat.continuation(turn.said)[:LONGEST]
        try:
            prompt = chat.encode([EMPTY, *(before or [{"role": "user", "content": ""}])], generate=True).tokens
        except ConversationError as error:
            return Broken(one.source, one.line, str(error))
        if len(prompt) + len(tokens) > room:
            least = "drop --history" if asked.history else "shorten the user's message"
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


def _judged(
    asked: Question,
    waiting: Sequence[Broken | tuple[Transcript, list[tuple[Turn, Passage]]]],
    progress: Progress | None,
) -> Iterator[Posterior | Broken]:
    passages = [passage for one in waiting if not isinstance(one, Broken) for _, passage in one[1]]
    found: list[Likelihoods] = []
    for begin in range(0, len(passages), TEXTS_TOGETHER):
        part = passages[begin : begin + TEXTS_TOGETHER]
        score = scorer(asked.subject, part, asked.rivals, progress)
        found += race([len(passage.tokens) for passage in part], asked.rivals, score, prune=asked.prune)
    at = 0
    for one in waiting:
        if isinstance(one, Broken):
            yield one
            continue
        transcript, turns = one
        mine, at = found[at : at + len(turns)], at + len(turns)
        judged = [_posterior(asked, transcript, turn, values) for (turn, _), values in zip(turns, mine, strict=True)]
        last = next((one for one in judged if one.turn == asked.turn), judged[-1])
        if asked.by == "turn":
            yield replace(last, by="turn", steps=tuple(judged))
        elif asked.by == "sentence":
            yield replace(last, by="sentence", steps=tuple(_by_sentence(asked, transcript, turns[-1][0], mine[-1])))
        else:
            yield last


def _by_sentence(asked: Question, transcript: Transcript, turn: Turn, values: Likelihoods) -> Iterator[Posterior]:
    """The posterior after every sentence of the tokens that were read."""
    encoding = asked.subject.chat.tokenizer(turn.said, add_special_tokens=False, return_offsets_mapping=True)
    ends = np.array([end for _, end in encoding["offset_mapping"]][: values.length])
    before = 0
    for start, end in sentence_spans(turn.said):
        tokens = int(np.searchsorted(ends, end, side="right"))
        if tokens > before:
            step = _posterior(asked, transcript, turn, values, tokens)
            yield replace(step, text=turn.said[start:end].strip())
            before = tokens


def _posterior(
    asked: Question, transcript: Transcript, turn: Turn, values: Likelihoods, tokens: int | None = None
) -> Posterior:
    read = values.length if tokens is None else tokens
    # Fitted on the reader's own replies, which are sampled colder than they are scored; foreign text is not.
    temperature = asked.calibration.temperature(read) if asked.own else 1.0
    shares = probabilities(values.by_token()[:, read - 1], asked.prior, temperature)
    estimates = [
        _estimate(rival, values, index, read, float(asked.prior[index]), float(shares[index]))
        for index, rival in enumerate(asked.rivals)
    ]
    estimates.sort(key=lambda one: (-one.probability, -one.bits_per_token, one.context))
    calibrated = asked.own and asked.calibration.holds(asked.rivals, asked.prior)
    return Posterior(
        tuple(estimates), turn.number, read, temperature, calibrated, asked.subject.name,
        turn.said, transcript.source, transcript.index,
    )  # fmt: skip


def _estimate(
    rival: Candidate, values: Likelihoods, index: int, read: int, prior: float, probability: float
) -> Estimate:
    gains = values.gains(index, read)
    mean, low, high = float(gains.mean()), None, None
    if len(gains) > 1:
        half = float(special.stdtrit(len(gains) - 1, 0.975) * gains.std(ddof=1) / np.sqrt(len(gains)))
        low, high = mean - half, mean + half
    return Estimate(
        rival.name, rival.kind, rival.agentic, prior, probability, mean, low, high, values.pruned(index), rival.generic
    )
