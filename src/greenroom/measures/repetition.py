"""Messages that say again what was just said: the loops in which two chatbots get stuck, told from talk about one theme.

Likeness is Jaccard's index of the sets of character 5-grams. A theme shares words; a loop shares long stretches, which
only a set of longer runs of characters sees.
"""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 5
ALIKE = 0.8  # definitions: a message repeats when it is more alike than this to one of the last two turns
BACK = 2


def grams(text: str, size: int = GRAM) -> frozenset[str]:
    """The runs of `size` characters of a text, spaces evened out and case ignored; a shorter text is its own run."""
    plain = " ".join(text.lower().split())
    if not plain:
        return frozenset()
    return frozenset(plain[start : start + size] for start in range(max(1, len(plain) - size + 1)))


def likeness(one: str, other: str, size: int = GRAM) -> float:
    """Jaccard's index of two texts' character runs: 0 nothing shared, 1 the same; two empty texts are the same."""
    left, right = grams(one, size), grams(other, size)
    return len(left & right) / len(left | right) if left or right else 1.0


def repeats(messages: Sequence[str], *, alike: float = ALIKE, back: int = BACK) -> list[bool]:
    """Whether each message is alike to one of the `back` messages before it; the first never is."""
    sets = [grams(message) for message in messages]
    found: list[bool] = []
    for place, own in enumerate(sets):
        before = sets[max(0, place - back) : place]
        found.append(any(len(own & one) > alike * len(own | one) if own or one else True for one in before))
    return found


def own_words(replies: Sequence[str], *, alike: float = ALIKE) -> list[bool]:
    """Whether each reply differs from the replies to the other questions of one moment: a model that is stuck says the same
    whatever it is asked, and its replies tell of no question."""
    return [
        all(likeness(one, other) <= alike for place, other in enumerate(replies) if place != own)
        for own, one in enumerate(replies)
    ]


def loop_onset(messages: Sequence[str], *, alike: float = ALIKE, back: int = BACK) -> int | None:
    """The index from which a talk repeats itself to its end, or None where its last message is no repetition.

    A repetition that the talk gets out of again is not a loop.
    """
    marks = repeats(messages, alike=alike, back=back)
    onset = len(marks)
    while onset > 0 and marks[onset - 1]:
        onset -= 1
    return onset if onset < len(marks) else None
