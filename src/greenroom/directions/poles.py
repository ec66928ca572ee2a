"""Replies of a trait's two poles, with their activations: what trait vectors are made of and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from greenroom.conversation import Conversation, user
from greenroom.directions.cold import cold_values
from greenroom.directions.rollouts import Rollouts, instructed, roll_out
from greenroom.errors import DirectionError
from greenroom.measures.intervals import Interval, bootstrap_mean_auc
from greenroom.personas import Trait
from greenroom.store import digest
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

Placement = Literal["system", "user", "both"]
# Where a pole's instruction stands. On SmolLM2 the user's turn alone did best: mean cross-fitted AUC at the best block
# over 24 traits .85, with the instruction in the system message as well .70 (8 questions a trait; docs/traits.md).
PLACEMENT: Placement = "user"

# A vector whose AUC interval reaches this is saved as unreliable (docs/traits.md).
UNRELIABLE = 0.6
# What is asked of a trait: all questions of a trait, each under this many instruction pairs, replies of this length.
QUESTIONS, REPEATS, TOKENS = 20, 2, 32


def told(instruction: str, question: str, placement: Placement = PLACEMENT) -> Conversation:
    """A question under an instruction: as a system message, at the head of the user's turn, or both."""
    if placement not in get_args(Placement):
        raise DirectionError(
            f"unknown place {placement!r} of an instruction; expected {', '.join(get_args(Placement))}"
        )
    if placement == "system":
        return instructed(instruction, question)
    asked = user(f"{instruction}\n\n{question}")
    return [asked] if placement == "user" else [{"role": "system", "content": instruction}, asked]


@dataclass(frozen=True)
class Poles:
    """Replies of one trait's two poles. Labels are arrays over replies: positive (bool), question (index), held_out (bool).

    pair: replies with the same number answer one question under the two sides of one instruction pair. asked: the
    bare question of each reply, without any instruction.
    """

    values: Tensor  # (layer, reply, hidden)
    layers: tuple[int, ...]
    positive: np.ndarray
    question: np.ndarray
    held_out: np.ndarray
    rollouts: Rollouts
    pair: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    asked: tuple[str, ...] = ()
    placement: str = PLACEMENT

    def __post_init__(self) -> None:
        if len(self.pair) != len(self.positive):
            object.__setattr__(self, "pair", self.question)

    def part(self, held_out: bool | None = None) -> Poles:
        """The replies to held-out questions, or those to the others."""
        return self if held_out is None else self.only(self.held_out == held_out)

    def only(self, wanted: np.ndarray) -> Poles:
        """Some of the replies. wanted: (reply,) bool."""
        return replace(
            self,
            values=self.values[:, torch.from_numpy(wanted)],
            positive=self.positive[wanted],
            question=self.question[wanted],
            held_out=self.held_out[wanted],
            rollouts=self.rollouts.only(wanted) if self.rollouts is not None else self.rollouts,
            pair=self.pair[wanted],
            asked=tuple(text for text, keep in zip(self.asked, wanted, strict=True) if keep) if self.asked else (),
        )

    def difference(self) -> Tensor:
        """(layer, hidden): mean of the positive replies minus mean of the negative."""
        positive = torch.from_numpy(self.positive)
        return self.values[:, positive].mean(dim=1) - self.values[:, ~positive].mean(dim=1)

    @property
    def texts(self) -> list[str]:
        return [reply.text for reply in self.rollouts.replies]


def play_poles(
    subject: Subject,
    traits: Sequence[Trait],
    *,
    layers: Sequence[int],
    questions: int,
    held_out_questions: int,
    tokens: int,
    seed: int,
    placement: Placement = PLACEMENT,
    repeats: int = 1,
    progress: Progress | None = None,
) -> list[Poles]:
    """Both poles of each trait answer the same questions, all instruction pairs in turn; one call for all traits.

    repeats: how many different pairs a question meets.
    """
    prompts, labels, asked_texts = [], [], []
    for index, trait in enumerate(traits):
        asked = [q for q in trait.questions if not q.held_out][:questions]
        asked += [q for q in trait.questions if q.held_out][:held_out_questions]
        # Every pair is met at least once, and all about equally often.
        times = min(max(repeats, -(-len(trait.pairs) // max(1, len(asked)))), len(trait.pairs))
        for number, question in enumerate(asked):
            for turn in range(times):
                # Neighbouring pairs, so that the repeats of one question never meet the same pair twice.
                pair = trait.pairs[(number * times + turn) % len(trait.pairs)]
                for positive in (True, False):
                    prompts.append(told(pair.positive if positive else pair.negative, question.text, placement))
                    labels.append((index, positive, number, question.held_out, number * times + turn))
                    asked_texts.append(question.text)
    rollouts = roll_out(subject, prompts, layers, max_new_tokens=tokens, seed=seed, progress=progress)
    kept = np.array([labels[row] for row in rollouts.kept], dtype=int).reshape(-1, 5)
    texts = [asked_texts[row] for row in rollouts.kept]
    result = []
    for index in range(len(traits)):
        rows = kept[:, 0] == index
        part = rollouts.only(rows)
        result.append(
            Poles(part.values, rollouts.layers, kept[rows, 1].astype(bool), kept[rows, 2], kept[rows, 3].astype(bool),
                  part, kept[rows, 4], tuple(text for text, keep in zip(texts, rows, strict=True) if keep), placement)
        )  # fmt: skip
    return result


def read_at(subject: Subject, poles: Poles, pool: Literal["reply", "last"]) -> Poles:
    """The same replies with the activations that a method reads: reply means, or the last token of their prompts."""
    if pool == "reply":
        return poles
    return replace(poles, values=subject.activations(poles.rollouts.prompts, poles.layers, "last").values)


def read_cold(subject: Subject, poles: Poles) -> Poles:
    """The same replies re-read cold: after the bare question, without the instruction that made them."""
    return replace(poles, values=cold_values(subject, poles.layers, poles.asked, poles.rollouts.replies))


def pole_auc(projected: np.ndarray, poles: Poles, seed: int) -> Interval:
    """AUC of positive over negative replies, interval by resampling questions. projected: (reply,)."""
    one_group = [0] * int((~poles.positive).sum())
    return bootstrap_mean_auc(
        projected[poles.positive], projected[~poles.positive], one_group,
        positive_clusters=poles.question[poles.positive].tolist(), negative_clusters=poles.question[~poles.positive].tolist(),
        resample_groups=False, seed=seed,
    )  # fmt: skip


def wording(trait: Trait) -> str:
    """What a vector depends on in its trait: a vector of another wording is another vector."""
    return digest(trait.model_dump_json(include={"pairs", "questions"}))
