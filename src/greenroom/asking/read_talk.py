"""Talks as a reader sees them: held here and read as they are made, or read afterwards from their texts alone.

Cold, each reply is read again after the message that it answers alone, which is the one reading in which replies of any
context can be compared. Hot, where the model itself is at hand, it is read in the conversation that made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from torch import Tensor

from greenroom.asking.local_talk import Said, by_step, hold_talks
from greenroom.asking.talk import frame_of, planned, rows_of
from greenroom.asking.types import Lengths, Talk
from greenroom.conversation import Conversation, user
from greenroom.directions import Direction
from greenroom.directions.cold import cold_values, in_sd
from greenroom.directions.progress import share
from greenroom.store import digest
from greenroom.subject import Intervention, Subject
from greenroom.subject.subject import Progress

HELD = 0.8  # of the time of a wave; the rest is reading
HOT, COLD = "axis_sd_hot", "axis_sd_cold"


class HeldAndRead(NamedTuple):
    """A wave of talks. said: every reply of the subject, talk by talk; answers: the same as rows (`types.ANSWERS`), with
    their places on the axis (sd), hot and cold; values: (reply, hidden), read cold."""

    said: list[Said]
    answers: pl.DataFrame
    values: Tensor


def hold_and_read(
    subject: Subject,
    part: str,
    talks: Sequence[Talk],
    lengths: Lengths,
    axes: tuple[Direction, Direction],
    *,
    seed: int,
    wave: int,
    edits: Sequence[Intervention] = (),
    player: Subject | None = None,
    system: str | None = None,
    progress: Progress | None = None,
) -> HeldAndRead:
    """Holds talks in step, and reads every reply hot on the first of the axes and cold on the second.

    wave: its number; equal conversations of two waves are to differ too. edits, player, system: as in `hold_talks`.
    """
    hot_axis, cold_axis = axes
    said = hold_talks(
        subject, [talk.script() for talk in talks], lengths,
        seeds=by_step(int(digest("wave", str(seed), str(wave)), 16) % 2**31), layer=hot_axis.layer, edits=edits,
        player=player, system=system, asks=planned(talks, lengths).calls, progress=share(progress, 0, HELD),
    )  # fmt: skip
    asked = [one.ask.message for one in said]
    values = cold_values(subject, [cold_axis.layer], asked, [one.own for one in said], share(progress, HELD, 1))[0]
    answers = frame_of([row for one in said for row in rows_of(part, talks[one.talk], [(one.ask, one.answer)])], talks)
    places = {HOT: hot(said, hot_axis), COLD: in_sd(cold_axis, values)}
    read = answers.with_columns(pl.Series(name, of, pl.Float64) for name, of in places.items())
    return HeldAndRead(said, read, values)


def hot(said: Sequence[Said], axis: Direction) -> list[float | None]:
    """Each reply's place (sd) in the context that made it; None for an empty reply, and under an edit of the axis'
    own, which would be read in what it wrote there."""
    return [
        None if one.own.activations is None or one.ask.edited else float(axis.sd(one.own.activations[0]))
        for one in said
    ]


def message_values(reader: Subject, layer: int, messages: Sequence[str]) -> np.ndarray:
    """(message, hidden): the mean activation of a user's message read alone; NaN for an empty one."""
    different = [text for text in dict.fromkeys(messages) if text.strip()]
    values = {text: np.full(reader.d_model, np.nan) for text in messages}
    if different:
        alone: list[Conversation] = [[user(text)] for text in different]
        captured = reader.activations(alone, [layer], "message")
        for text, value in zip(different, captured.values[0].cpu().numpy(), strict=True):
            values[text] = value
    return np.stack([values[text] for text in messages]) if messages else np.empty((0, reader.d_model))
