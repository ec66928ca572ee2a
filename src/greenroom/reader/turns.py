"""From a conversation to what is read cold: each assistant turn after that turn's user message alone, as tokens.

A turn longer than a window is read in sliding windows. What overlaps is context only and never read, because a window
that starts inside a text makes a new attention sink there (definitions.md, "Tensors and tokens").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenroom.conversation import Conversation
from greenroom.subject.chat import Chat, Encoded

WINDOW = 1024


@dataclass(frozen=True)
class Turn:
    """An assistant turn: its number from 1, what the user said right before it ("" where nobody did), and the reply."""

    number: int
    asked: str
    said: str


@dataclass(frozen=True)
class Piece:
    """Tokens for one forward. said: the range that is read; asked: the range of the user's own text, empty but in the
    first piece of a turn."""

    tokens: list[int]
    said: tuple[int, int]
    asked: tuple[int, int] = (0, 0)


def turns_of(messages: Conversation) -> list[Turn]:
    """The assistant turns of a conversation; user messages in a row are joined, system messages left out."""
    turns: list[Turn] = []
    asked: list[str] = []
    answered = False
    for message in messages:
        if message["role"] == "user":
            asked, answered = ([] if answered else asked) + [message["content"]], False
        elif message["role"] == "assistant":
            turns.append(Turn(len(turns) + 1, "\n\n".join(asked), message["content"]))
            answered = True
    return turns


def encoded(chat: Chat, turn: Turn) -> Encoded:
    """The turn after its user message, without instruction. spans: of the user's text and of the reply."""
    return chat.encode(
        [{"role": "user", "content": turn.asked}, {"role": "assistant", "content": turn.said}], generate=False
    )


def pieces(found: Encoded, window: int = WINDOW) -> list[Piece]:
    """The forwards that read a turn; one unless it is longer than `window` tokens, of which a quarter then overlaps."""
    (_, (start, end)), tokens, overlap = found.spans, found.tokens, window // 4
    # A long user message gives way: the reply's beginning is then read after the last of it.
    begin = 0 if end <= window or start + overlap <= window else start - overlap
    result: list[Piece] = []
    at = start
    while at < end:
        stop = min(begin + window, end)
        asked = _asked(found.spans[0], begin) if not result else (0, 0)
        result.append(Piece(list(tokens[begin:stop]), (at - begin, stop - begin), asked))
        at, begin = stop, stop - overlap
    return result


def _asked(span: tuple[int, int], begin: int) -> tuple[int, int]:
    # A window that begins inside the user's text has a sink at its first token.
    first = max(span[0] - begin, 1 if begin else 0)
    return first, max(first, span[1] - begin)


def planned(found: Sequence[Piece], budget: int) -> list[list[int]]:
    """Indices of pieces in calls of at most `budget` tokens, of similar length each."""
    calls: list[list[int]] = []
    size = budget
    for index in sorted(range(len(found)), key=lambda index: (len(found[index].tokens), index)):
        if size + len(found[index].tokens) > budget:
            calls.append([])
            size = 0
        calls[-1].append(index)
        size += len(found[index].tokens)
    return calls
