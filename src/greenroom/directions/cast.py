"""A cast answers questions: the replies, with their activations, from which the assistant axis and persona space are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from greenroom.directions.rollouts import Rollouts, instructed, readable_layers, roll_out
from greenroom.personas import Question, Role, library
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

DEFAULT = "default"
# Kinds that lie near the assistant (a trial: accountant .94, coach .92); the gate on the axis is on all others.
NEAR = ("everyday", "professional")


@dataclass(frozen=True)
class Cast:
    """Who answers what: the design of a persona map.

    roles answer every question once, under their instructions in turn; the default character answers every question
    under every default instruction. `reserved` roles are asked too but left out of the axis, for pressure tests.
    """

    roles: tuple[Role, ...]
    questions: tuple[Question, ...]
    instructions: tuple[str, ...]
    tokens: int
    reserved: frozenset[str] = frozenset()

    def frame(self) -> pl.DataFrame:
        """One row a reply: role, kind, question (id), instruction (index)."""
        rows = [
            {"role": DEFAULT, "kind": DEFAULT, "question": question.id, "instruction": index}
            for question in self.questions
            for index in range(len(self.instructions))
        ]
        rows += [
            {
                "role": role.name,
                "kind": role.kind,
                "question": question.id,
                "instruction": index % len(role.instructions),
            }
            for role in self.roles
            for index, question in enumerate(self.questions)
        ]
        return pl.DataFrame(rows)

    def prompts(self) -> list[list[Any]]:
        """The conversation of each row of `frame`."""
        said = {question.id: question.text for question in self.questions}
        told = {role.name: role.instructions for role in self.roles} | {DEFAULT: self.instructions}
        return [
            instructed(told[row["role"]][row["instruction"]], said[row["question"]]) for row in self.frame().to_dicts()
        ]


@dataclass(frozen=True)
class Performance:
    """A cast's replies: `frame` (one row a reply that has tokens) and `values` (layer, row, hidden) at blocks `layers`."""

    frame: pl.DataFrame
    values: Tensor
    layers: tuple[int, ...]
    rollouts: Rollouts

    def means(self, names: Sequence[str]) -> Tensor:
        """(layer, name, hidden): role vectors, the mean reply activation of each name."""
        roles = self.frame["role"].to_numpy()
        return torch.stack([self.values[:, torch.from_numpy(roles == name)].mean(dim=1) for name in names], dim=1)

    def role_vectors(self) -> dict[str, Tensor]:
        """Name → (layer, hidden), the mean reply activation of everyone who replied, the default character first."""
        names = list(dict.fromkeys(self.frame["role"].to_list()))
        return {name: self.means([name])[:, 0] for name in names}

    def cold(self, subject: Subject, layers: Sequence[int], progress: Progress | None = None) -> Performance:
        """The same replies read cold, at blocks `layers`."""
        values = self.rollouts.cold(subject, layers, progress)
        return replace(self, values=values, layers=subject.block_ids(layers))


def usual_cast(*, every: int = 1, questions: int | None = None, tokens: int = 32) -> Cast:
    """The library's cast: every n-th role, the first question of each topic (or of so many topics); a tenth of the
    strange roles is reserved.

    The same for every seed and subject, so that maps can be compared; a seed changes the replies only.
    """
    roles = library.roles()[::every]
    topics: dict[str, Question] = {}
    for question in library.questions():
        topics.setdefault(question.topic, question)
    strange = [role.name for role in roles if role.kind not in NEAR]
    reserved = strange[:: max(1, min(10, len(strange) // 2))]
    return Cast(roles, tuple(topics.values())[:questions], library.default_instructions(), tokens, frozenset(reserved))


def perform(
    subject: Subject,
    cast: Cast,
    *,
    seed: int,
    layers: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Performance:
    """Lets the cast answer; activations at `layers` (default: `readable_layers`)."""
    layers = readable_layers(subject) if layers is None else layers
    rollouts = roll_out(subject, cast.prompts(), layers, max_new_tokens=cast.tokens, seed=seed, progress=progress)
    return Performance(cast.frame()[rollouts.kept], rollouts.values, rollouts.layers, rollouts)
