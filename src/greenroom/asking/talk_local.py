"""Runs scripts of conversations on a local subject, all of them in step.

The same scripts run on hosted models through Inspect (evals/talks.py). Here every step is one batched call, a prefix
cache keeps what each conversation has been through, and the activations of every reply are caught as it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenroom.asking.talk import Ask, Script
from greenroom.conversation import Conversation
from greenroom.directions import Direction
from greenroom.store import digest
from greenroom.subject import Capture, Intervention, PrefixCache, Reply, Subject
from greenroom.subject.subject import Progress

CACHE_BYTES = 3 << 29  # of keys and values that open conversations keep; what does not fit is computed again
WAVE = 20  # talks held at once: enough for a full batch, few enough for the cache
HELD = 0.8  # of the time of a wave; the rest is reading


@dataclass(frozen=True)
class Settings:
    """How replies are made. tokens: the most that each kind of `Ask` may have."""

    tokens: Mapping[str, int]
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Said:
    """A reply of the subject: which talk's, what was asked, the reply with the mean of its activations (hot)."""

    talk: int
    ask: Ask
    reply: Reply


def options(**given: Any) -> dict[str, Any]:
    """What was asked of a verb, by the names of its options and as somebody would type it; None was left to default."""
    return {
        name.replace("_", "-"): value if isinstance(value, (str, int, float)) else ",".join(value)
        for name, value in given.items()
        if value is not None
    }


def hold_talks(
    subject: Subject,
    scripts: Sequence[Script],
    settings: Settings,
    *,
    layer: int,
    edits: Sequence[Intervention] = (),
    player: Subject | None = None,
    replies: int = 1,
    progress: Progress | None = None,
) -> list[Said]:
    """Plays all scripts to their ends, in step. Returns every reply of the subject, talk by talk and in order.

    layer: the block whose reply means are kept. edits: for `edited` asks. player: who plays the user (default: the
    subject). replies: how many all scripts ask for, for progress.
    """
    memories = {"subject": PrefixCache(CACHE_BYTES), "user": PrefixCache(CACHE_BYTES)}
    waiting = {talk: next(script) for talk, script in enumerate(scripts)}
    said: list[list[Said]] = [[] for _ in scripts]
    step = made_before = 0
    while waiting:
        asked = [(talk, ask) for talk, asks in waiting.items() for ask in asks]
        answers: dict[int, Reply] = {}
        groups: dict[tuple[str, str, bool, bool, bool], list[int]] = {}
        for row, (_, ask) in enumerate(asked):
            groups.setdefault((ask.by, ask.kind, ask.edited, ask.branch, ask.apart), []).append(row)
        for (by, kind, edited, branch, apart), rows in groups.items():
            speaker = subject if by == "subject" or player is None else player
            made = speaker.generate(
                [asked[row][1].conversation for row in rows],
                max_new_tokens=settings.tokens[kind],
                temperature=settings.temperature,
                top_p=settings.top_p,
                # Equal conversations of one step differ by their place in it; steps and groups by the seed.
                seed=int(digest(str(settings.seed), str(step), by, kind, str(edited), str(branch)), 16) % 2**31,
                capture=Capture((layer,)) if by == "subject" else None,
                interventions=edits if edited else (),
                # Rows that find a prefix in a cache share nothing with each other in the call, so those apart look for none.
                prefix_cache=None if edited or apart else _Lent(memories[by]) if branch else memories[by],
                progress=None if progress is None else _portion(progress, made_before, len(rows), replies),
            )
            made_before += len(rows)
            answers.update(zip(rows, made, strict=True))
        following: dict[int, Sequence[Ask]] = {}
        texts: dict[int, list[str]] = {talk: [] for talk in waiting}
        for row, (talk, ask) in enumerate(asked):
            texts[talk].append(answers[row].text)
            if ask.by == "subject":
                said[talk].append(Said(talk, ask, answers[row]))
        for talk, found in texts.items():
            try:
                following[talk] = scripts[talk].send(found)
            except StopIteration:
                continue
        waiting, step = following, step + 1
    return [one for talk in said for one in talk]


def part(progress: Progress, begin: float, end: float) -> Progress:
    """The progress of one part of a stage, which lies between two shares of it."""
    return lambda done, total: progress(round(1000 * (begin + (end - begin) * done / max(total, 1))), 1000)


def _portion(progress: Progress, before: int, rows: int, replies: int) -> Progress:
    """The progress of one call as that of all replies, in thousandths of one."""
    return lambda done, total: progress(
        min(1000 * before + 1000 * rows * done // total, 1000 * replies), 1000 * replies
    )


class _Lent(PrefixCache):
    """A cache that is read and not added to: branches would fill it with what nobody goes on from."""

    def __init__(self, owner: PrefixCache) -> None:
        super().__init__(0)
        self._owner = owner

    def longest(self, tokens: Sequence[int], limit: int) -> Any:
        return self._owner.longest(tokens, limit)

    def keep(self, tokens: Sequence[int], prefix: Any) -> None:
        return None


def hot(said: Sequence[Said], axis: Direction) -> list[float | None]:
    """Each reply's place (sd) in the context that made it; None for an empty reply, and under an edit of the axis'
    own, which would be read in what it wrote there."""
    return [
        None if one.reply.activations is None or one.ask.edited else float(axis.sd(one.reply.activations[0]))
        for one in said
    ]


def message_values(reader: Subject, layer: int, messages: Sequence[str]) -> np.ndarray:
    """(message, hidden): the mean activation of a user's message read alone; NaN for an empty one."""
    different = [text for text in dict.fromkeys(messages) if text.strip()]
    values = {text: np.full(reader.d_model, np.nan) for text in messages}
    if different:
        alone: list[Conversation] = [[{"role": "user", "content": text}] for text in different]
        captured = reader.activations(alone, [layer], "message")
        for text, value in zip(different, captured.values[0].cpu().numpy(), strict=True):
            values[text] = value
    return np.stack([values[text] for text in messages]) if messages else np.empty((0, reader.d_model))
