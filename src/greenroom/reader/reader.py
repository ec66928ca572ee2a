"""A reader: a small model with the directions by which it follows the text of others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from greenroom.directions import Direction, trait_vector
from greenroom.directions.verdict import verdict
from greenroom.errors import ConversationError, DirectionError
from greenroom.measures.intervals import Array
from greenroom.reader import telling
from greenroom.reader.axis import reader_axis
from greenroom.reader.sentences import Moved, moved
from greenroom.reader.topics import Topics
from greenroom.reader.turns import WINDOW, Piece, Turn, encoded, pieces, planned
from greenroom.report.format import number
from greenroom.subject import Subject, opened
from greenroom.subject.capture import Captured
from greenroom.subject.chat import Encoded
from greenroom.subject.subject import Progress

# Tokens of one call: their activations at every block read are alive together.
TOKENS_PER_CALL = 12_288
SHOWN = 300  # characters of a sentence in JSON; start and end say where the whole of it is


@dataclass(frozen=True)
class TurnReading:
    """One assistant turn read cold.

    turn: number from 1. tokens: that were read, sinks left out. axis_sd: mean projection on the assistant axis, sd of
    the reader's own default replies read cold, 0 = their mean; None when no token could be read. traits: the same on each
    trait. topic: of the user's turn before it. sentences: those that moved the turn most.
    """

    turn: int
    tokens: int
    axis_sd: float | None
    traits: dict[str, float | None] = field(default_factory=dict)
    topic: str | None = None
    sentences: tuple[Moved, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, sd rounded to four places."""
        return {
            "turn": self.turn,
            "tokens": self.tokens,
            "axis_sd": rounded(self.axis_sd),
            "traits": {name: rounded(value) for name, value in self.traits.items()},
            "topic": self.topic,
            "sentences": [
                {**asdict(one), "text": textwrap.shorten(one.text, SHOWN, placeholder=" …"), "sd": rounded(one.sd)}
                for one in self.sentences
            ],
        }


@dataclass(frozen=True, eq=False)
class Reader:
    """A subject with an axis, traits and topics. `load_reader` makes the usual one."""

    subject: Subject
    axis: Direction
    traits: tuple[Direction, ...] = ()
    topics: Topics | None = None

    def __post_init__(self) -> None:
        for direction in self.directions:
            if not self.subject.reads(direction.fingerprint):
                raise DirectionError(
                    f"direction {direction.name} was made for {direction.subject} ({direction.fingerprint}), the reader is "
                    f"{self.subject.name} ({self.subject.fingerprint}); build it for this reader"
                )
            direction.scale()

    @property
    def directions(self) -> tuple[Direction, ...]:
        return (self.axis, *self.traits)

    @property
    def unreliable(self) -> dict[str, str]:
        """Directions that this reader reads no better than chance may, with the reason."""
        return {one.name: why for one in self.directions if (why := doubt(one)) is not None}

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks that are read; a forward ends at the deepest."""
        topics = () if self.topics is None else (self.topics.layer,)
        return tuple(sorted({direction.layer for direction in self.directions} | set(topics)))

    @property
    def window(self) -> int:
        """The most tokens of one forward; a turn that is longer is read in pieces."""
        return min(WINDOW, self.subject.network.context)

    def read(self, turns: Sequence[Turn]) -> list[TurnReading]:
        """The readings of turns, in order; each is read by itself, so that they may come from anywhere. A turn that the
        reader's template cannot hold is not read: its values are None."""
        texts = [self._encoded(turn) for turn in turns]
        found = [(index, piece) for index, text in enumerate(texts) if text for piece in pieces(text, self.window)]
        tokens: list[list[tuple[int, Array]]] = [[] for _ in turns]
        asked: list[Tensor | None] = [None] * len(turns)
        for call in planned([piece for _, piece in found], TOKENS_PER_CALL):
            part = [found[index][1] for index in call]
            captured = self._cold(part)
            for row, index in enumerate(call):
                turn, piece = found[index]
                user, said = self.split(captured, row, piece)
                tokens[turn].append((index, said))
                asked[turn] = user if user is not None else asked[turn]
        return [
            self.reading(turn, text, _joined(of, len(self.directions)), user) if text else self._unread(turn)
            for turn, text, of, user in zip(turns, texts, tokens, asked, strict=True)
        ]

    def _cold(self, part: Sequence[Piece]) -> Captured:
        """Activations of pieces read cold, token by token: those of the user's text, and those of the reply."""
        return self.subject.token_activations(
            [piece.tokens for piece in part], [[piece.asked, piece.said] for piece in part], self.layers
        )

    def _encoded(self, turn: Turn) -> Encoded | None:
        try:
            return encoded(self.subject.chat, turn)
        except ConversationError:
            return None

    def _unread(self, turn: Turn) -> TurnReading:
        return TurnReading(turn.number, 0, None, {trait.name: None for trait in self.traits})

    def split(self, captured: Captured, row: int, piece: Piece) -> tuple[Tensor | None, Array]:
        """From activations of one piece: the mean over the user's text at the topics' block, and what the reply's tokens
        project to, (direction, token) in sd, NaN for sinks."""
        mine = captured.conversation == row
        position = captured.position[mine]
        said = (position >= piece.said[0]) & (position < piece.said[1])
        user = None
        values: list[Array] = []
        for direction in self.directions:
            projected = direction.sd(captured.at(direction.layer)[mine][said])
            projected[self.subject.is_sink(captured, direction.layer)[mine][said]] = torch.nan
            values.append(projected.double().numpy())
        if self.topics is not None and piece.asked[1] > piece.asked[0]:
            layer = self.topics.layer
            own = (
                (position >= piece.asked[0])
                & (position < piece.asked[1])
                & ~self.subject.is_sink(captured, layer)[mine]
            )
            user = captured.at(layer)[mine][own].mean(dim=0)
        return user, np.stack(values)

    def reading(self, turn: Turn, text: Encoded, projected: Array, user: Tensor | None) -> TurnReading:
        """The reading of a turn from its tokens' projections (direction, token), sd."""
        there = ~np.isnan(projected)
        means = [float(row[kept].mean()) if kept.any() else None for row, kept in zip(projected, there, strict=True)]
        start, end = text.spans[1]
        begin = text.offsets[start][0] if end > start else 0
        offsets = [(low - begin, high - begin) for low, high in text.offsets[start:end]]
        # Templates may trim a message; offsets count from where its own text begins.
        said = turn.said if end == start else text.text[begin : text.offsets[end - 1][1]]
        return TurnReading(
            turn.number,
            int(there[0].sum()),
            means[0],
            {trait.name: mean for trait, mean in zip(self.traits, means[1:], strict=True)},
            self.topic(user),
            tuple(moved(said, offsets, projected[0])),
        )

    def topic(self, user: Tensor | None) -> str | None:
        """The topic of a user's text from its mean activation, (d_model,)."""
        return None if user is None or self.topics is None else self.topics.nearest(user.unsqueeze(0))[0]


def doubt(direction: Direction) -> str | None:
    """Why a direction's readings are not to be relied on; None where there is no reason. The rule is that of all verbs
    (`directions.verdict`): held-out replies do not surely tell its poles apart, or, read cold as here, no better than a random
    direction does."""
    if verdict(direction).grade != "void":
        return None
    said, told = telling.words()["unreliable"], direction.validity
    if told.get("cold_auc") is None:
        return said["untested"] if told.get("auc") is None else said["held_out"].format(auc=number(told["auc"]))
    low, high = number(told.get("cold_auc_low")), number(told.get("cold_auc_high"))
    random = told.get("random_cold_auc_p95", told.get("random_auc_p95"))
    control = said["chance"] if random is None else said["random"].format(random=number(random))
    return f"{said['cold'].format(auc=number(told['cold_auc']), low=low, high=high)}; {control}"


def load_reader(
    reader: Reader | Subject | str = "smollm2", traits: Sequence[str] = (), *, progress: Progress | None = None
) -> Reader:
    """A reader with its axis, the named traits of the library, and topics; axis and traits are built once where no file of
    them exists for these weights."""
    if isinstance(reader, Reader):
        there = {trait.name for trait in reader.traits}
        added = tuple(trait_vector(reader.subject, name) for name in traits if name not in there)
        return replace(reader, traits=(*reader.traits, *added)) if added else reader
    subject = opened(reader)
    axis = reader_axis(subject, progress=progress)
    return Reader(subject, axis, tuple(trait_vector(subject, name) for name in traits), Topics.of(subject))


def rounded(value: float | None) -> float | None:
    """To four places, for JSON and tables; a missing value stays missing."""
    return None if value is None else round(value, 4)


def _joined(found: list[tuple[int, Array]], directions: int) -> Array:
    """The tokens of a turn in order, from its pieces in the order of their indices."""
    parts = [values for _, values in sorted(found, key=lambda one: one[0])]
    return np.concatenate(parts, axis=1) if parts else np.zeros((directions, 0))
