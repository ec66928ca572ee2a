"""Reading cold, once for all: a reply re-read after the user's message that it answers alone, without any instruction.

A role instruction in the context moves the reading of any text, so replies made under different instructions can be
compared only when they are read without them (definitions.md, "Hot and cold").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from greenroom.conversation import Conversation, assistant, user
from greenroom.directions.direction import Direction
from greenroom.subject import Reply, Subject
from greenroom.subject.subject import Progress

Replies = Sequence[str] | Sequence[Reply] | Sequence[Sequence[int]]


def cold_values(
    subject: Subject,
    layers: Sequence[int],
    messages: Sequence[str],
    replies: Replies,
    progress: Progress | None = None,
) -> Tensor:
    """(layer, reply, hidden) float32: the mean activation of each reply, read after `messages[i]` alone; NaN for a reply
    without words or tokens.

    replies: texts of any model, or what `subject` itself wrote (`Reply`, or token ids), whose tokens are read as they
    were: text can retokenise differently. Standing interventions act here as everywhere.
    """
    values = torch.full((len(layers), len(messages), subject.d_model), torch.nan)
    rows = [row for row, reply in enumerate(replies) if _readable(reply)]
    if not rows:
        return values
    asked: list[Conversation] = [[user(messages[row])] for row in rows]
    written = [reply for reply in (replies[row] for row in rows) if not isinstance(reply, str)]
    if written:
        found = subject.activations(asked, layers, "reply", replies=written, progress=progress)
    else:
        answered = [[*question, assistant(str(replies[row]))] for question, row in zip(asked, rows, strict=True)]
        found = subject.activations(answered, layers, "reply", progress=progress)
    values[:, rows] = found.values
    return values


def cold_places(
    subject: Subject,
    direction: Direction,
    messages: Sequence[str],
    replies: Replies,
    progress: Progress | None = None,
) -> list[float | None]:
    """Where each reply, read cold, lies on a direction at its block, in sd; None where nothing was read."""
    return in_sd(direction, cold_values(subject, [direction.layer], messages, replies, progress)[0])


def in_sd(direction: Direction, values: Tensor) -> list[float | None]:
    """Places (sd) of activations (sample, hidden) at the direction's block; None for NaN."""
    return [None if math.isnan(place) else place for place in direction.sd(values).tolist()]


def _readable(reply: str | Reply | Sequence[int]) -> bool:
    if isinstance(reply, str):
        return bool(reply.strip())
    return bool(reply.tokens if isinstance(reply, Reply) else reply)
