"""The strength at which steering is heard: found by trying a few on a trait's held-out questions.

Replies are scored by what the steering did not make (`scorers`), and set beside two others to the same questions: the
unsteered ones, and those under an instruction to show the trait. A strength is heard when a reader of the score could tell
its replies from unsteered ones, and the typical one lies nearer to the instructed than to the unsteered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenroom.conversation import Conversation, user
from greenroom.directions.direction import Direction
from greenroom.directions.interventions import steer
from greenroom.directions.poles import told, wording
from greenroom.directions.progress import share
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.directions.scorers import Kind, scorer_for
from greenroom.directions.stored import SHIPPED
from greenroom.measures.coherence import degenerate
from greenroom.measures.intervals import auc
from greenroom.personas import Trait
from greenroom.store import cache_dir, digest, read_json, write_json
from greenroom.subject import Reply, Subject
from greenroom.subject.subject import Progress

STRENGTHS = (3.0, 6.0, 10.0, 15.0)
QUESTIONS, TOKENS = 8, 32
# How often a reply at this strength must score above an unsteered one; half is chance.
TOLD_APART = 0.9
# A strength that makes more than this share of the replies empty, circular or noise breaks the model.
BROKEN = 0.125


@dataclass(frozen=True)
class Tried:
    """Replies of one kind. score: their median. above: how often one scores above an unsteered reply. broken: how many
    of `n` are no text any more. reply: that to the first question."""

    score: float | None
    above: float | None
    broken: int
    n: int
    reply: str


@dataclass(frozen=True)
class Trial:
    """kind: of the score. unsteered, instructed: what the steered replies are compared with. strengths: by strength in sd.
    heard: the smallest strength at which the trait is heard and replies hold; None where there was none."""

    kind: Kind
    question: str
    unsteered: Tried
    instructed: Tried
    strengths: dict[float, Tried]
    heard: float | None

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "strengths": {f"{at:g}": asdict(one) for at, one in self.strengths.items()}}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Trial:
        sides = {side: Tried(**plain[side]) for side in ("unsteered", "instructed")}
        return cls(
            **{**plain, **sides, "strengths": {float(at): Tried(**one) for at, one in plain["strengths"].items()}}
        )


def trial(
    subject: Subject,
    trait: Trait,
    direction: Direction,
    *,
    seed: int = 0,
    again: bool = False,
    progress: Progress | None = None,
) -> Trial:
    """Tries the strengths, or gives what an earlier trial of this very direction found."""
    places = trial_places(subject, trait, direction, seed)
    for path in places:
        if path.is_file() and not again:
            return Trial.of(read_json(path))
    found = _tried(subject, trait, direction, seed, progress)
    write_json(places[1], found.plain())
    return found


def trial_places(subject: Subject, trait: Trait, direction: Direction, seed: int = 0) -> tuple[Path, Path]:
    """Where a direction's trial on this subject may lie: package data, then the cache."""
    name = f"{direction.name}-{_key(trait, direction, seed)}.json"
    return SHIPPED / subject.fingerprint / "trials" / name, trials(subject.replies_fingerprint) / name


def trials(fingerprint: str) -> Path:
    """Where the trials of these weights are kept."""
    return cache_dir() / "results" / "trials" / fingerprint


def _tried(subject: Subject, trait: Trait, direction: Direction, seed: int, progress: Progress | None) -> Trial:
    score = scorer_for(subject, direction, seed=seed)
    questions = [question.text for question in trait.questions if question.held_out][:QUESTIONS]
    asked: list[Conversation] = [[user(text)] for text in questions]
    instructed = [told(trait.pairs[at % len(trait.pairs)].positive, text) for at, text in enumerate(questions)]
    amounts = [0.0, *STRENGTHS, 0.0]  # the last are instructed
    replies = subject.generate(
        [*asked * (len(amounts) - 1), *instructed], max_new_tokens=TOKENS, temperature=TEMPERATURE, top_p=TOP_P, seed=seed,
        interventions=steer(direction, [amount for amount in amounts for _ in asked]), progress=share(progress, 0.0, 0.6),
    )  # fmt: skip
    # All are read after the bare question, and unsteered.
    bare = asked * len(amounts)
    scores = score(bare, [reply.text for reply in replies]).reshape(len(amounts), -1)
    broken = np.array(_broken(subject, bare, replies, share(progress, 0.8, 1.0))).reshape(len(amounts), -1)
    first = [reply.text.strip() for reply in replies[:: len(asked)]]
    made = [
        Tried(_median(own), _above(own, scores[0]), int(lost.sum()), len(asked), text)
        for own, lost, text in zip(scores, broken, first, strict=True)
    ]
    unsteered, *steered, as_told = made
    by_strength = dict(zip(STRENGTHS, steered, strict=True))
    heard = next((at for at, one in by_strength.items() if _heard(one, unsteered, as_told)), None)
    return Trial(score.kind, questions[0], unsteered, as_told, by_strength, heard)


def _heard(one: Tried, unsteered: Tried, instructed: Tried) -> bool:
    if one.above is None or one.score is None or unsteered.score is None or instructed.score is None:
        return False
    # A subject that heeds no instruction may still be steered: then only the unsteered replies are a measure.
    half_way = unsteered.score + max(0.0, instructed.score - unsteered.score) / 2
    return one.above >= TOLD_APART and one.score > half_way and one.broken - unsteered.broken <= BROKEN * one.n


def _broken(
    subject: Subject, asked: Sequence[Conversation], replies: Sequence[Reply], progress: Progress | None
) -> list[bool]:
    """Which replies are no text any more to the unsteered subject."""
    written = [index for index, reply in enumerate(replies) if reply.tokens]
    surprise: list[float | None] = [None] * len(replies)
    if written:
        read = subject.score([asked[i] for i in written], [replies[i].tokens for i in written], progress=progress)
        for index, total in zip(written, read.total, strict=True):
            surprise[index] = -float(total) / len(replies[index].tokens)
    vocabulary = int(subject.network.config.vocab_size)
    return [
        degenerate(reply.text, reply.tokens, nats, vocabulary) is not None
        for reply, nats in zip(replies, surprise, strict=True)
    ]


def _median(scores: np.ndarray) -> float | None:
    return None if np.isnan(scores).all() else round(float(np.nanmedian(scores)), 3)


def _above(own: np.ndarray, unsteered: np.ndarray) -> float | None:
    own, unsteered = (scores[~np.isnan(scores)] for scores in (own, unsteered))
    return round(auc(own, unsteered), 3) if len(own) and len(unsteered) else None


def _key(trait: Trait, direction: Direction, seed: int) -> str:
    """What the trial depends on: the vector and its scale, the wording, and how it is tried."""
    how = [direction.scale().reply_sd, STRENGTHS, QUESTIONS, TOKENS, TOLD_APART, BROKEN, TEMPERATURE, TOP_P, seed]
    return digest(direction.vector().numpy().tobytes(), str(direction.layer), wording(trait), repr(how))
