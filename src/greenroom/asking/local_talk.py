"""Plays scripts of conversations on a local subject, all of them in step.

Every step is one batched call for each kind of ask, a prefix cache keeps what each conversation has been through, and
the activations of replies can be caught as they are made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from greenroom.asking.talk import as_asked, frame_of, planned, replied, rows_of
from greenroom.asking.types import Answer, Ask, Lengths, Script, Talk
from greenroom.store import digest
from greenroom.subject import Capture, Intervention, PrefixCache, Reply, Subject
from greenroom.subject.subject import Progress

CACHE_BYTES = 3 << 29  # of keys and values that open conversations keep; what does not fit is computed again

# The seed of a reply's random stream, from the step (from 0), the talk (its place) and what is asked.
Seeds = Callable[[int, int, Ask], int]


@dataclass(frozen=True)
class Said:
    """An answer of the subject: which talk's, what was asked, what came back; for a reply also with its tokens and the
    mean of its activations (hot)."""

    talk: int
    ask: Ask
    answer: Answer
    reply: Reply | None = None

    @property
    def own(self) -> Reply:
        """The reply itself; ValueError where options were compared."""
        if self.reply is None:
            raise ValueError(f"{self.ask.name} compared options and has no reply")
        return self.reply


def hold_locally(
    subject: Subject,
    part: str,
    talks: Sequence[Talk],
    lengths: Lengths,
    *,
    seed: int,
    system: str | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """The answers of talks, one row a reply or an option (columns: `types.ANSWERS` and the talks' factors).

    system: a system message before every conversation that the subject hears. A reply depends on the subject, the
    conversation, the seed, the talk (its id) and how many identical conversations came before it in that talk; never on
    the other talks of the call.
    """
    said = hold_talks(
        subject, [talk.script() for talk in talks], lengths, seeds=by_talk(seed, [talk.id for talk in talks]),
        system=system, asks=planned(talks, lengths).calls, progress=progress,
    )  # fmt: skip
    heard: list[list[tuple[Ask, Answer]]] = [[] for _ in talks]
    for one in said:
        heard[one.talk].append((one.ask, one.answer))
    rows = [row for talk, own in zip(talks, heard, strict=True) for row in rows_of(part, talk, own)]
    return frame_of(rows, talks)


def by_talk(seed: int, ids: Sequence[str]) -> Seeds:
    """Streams of each talk's own, whatever else is held beside it. ids: of the talks, in order."""
    before: Counter[tuple[int, str]] = Counter()

    def seeds(step: int, talk: int, ask: Ask) -> int:
        key = talk, json.dumps(ask.conversation)
        before[key] += 1
        return _seed(seed, ids[talk], before[key] - 1)

    return seeds


def by_step(seed: int) -> Seeds:
    """Equal conversations of one step differ by their place in it; steps and kinds of ask by the seed."""
    return lambda step, talk, ask: _seed(seed, step, ask.by, ask.kind, ask.edited, ask.branch)


def _seed(*parts: Any) -> int:
    return int(digest(*map(str, parts)), 16) % 2**31


def hold_talks(
    subject: Subject,
    scripts: Sequence[Script],
    lengths: Lengths,
    *,
    seeds: Seeds,
    layer: int | None = None,
    edits: Sequence[Intervention] = (),
    player: Subject | None = None,
    system: str | None = None,
    asks: int = 1,
    progress: Progress | None = None,
) -> list[Said]:
    """Plays all scripts to their ends, in step. Returns every answer of the subject, talk by talk and in order.

    layer: the block whose reply means are kept (default: none). edits: for `edited` asks. player: who plays the user
    (default: the subject). system: a system message before every conversation that the subject hears. asks: how many
    calls all scripts make, for progress.
    """
    driver = _Driver({"subject": subject, "user": subject if player is None else player}, lengths, layer, edits, system)
    said: list[list[Said]] = [[] for _ in scripts]
    waiting = {talk: next(script) for talk, script in enumerate(scripts)}
    step = made = 0
    while waiting:
        asked = [(talk, ask, seeds(step, talk, ask)) for talk, wanted in waiting.items() for ask in wanted]
        answers: dict[int, tuple[Answer, Reply | None]] = {}
        for rows in _alike([ask for _, ask, _ in asked]):
            own, streams = [asked[row][1] for row in rows], [asked[row][2] for row in rows]
            calls = sum(max(1, len(ask.options)) for ask in own)
            shown = None if progress is None else _portion(progress, made, calls, asks)
            answers.update(zip(rows, driver.answers(own, streams, shown), strict=True))
            made += calls
        back: dict[int, list[Answer]] = {talk: [] for talk in waiting}
        for row, (talk, ask, _) in enumerate(asked):
            answer, reply = answers[row]
            back[talk].append(answer)
            if ask.by == "subject":
                said[talk].append(Said(talk, ask, answer, reply))
        waiting = dict(_going_on(scripts, back))
        step += 1
    return [one for talk in said for one in talk]


def _going_on(scripts: Sequence[Script], back: dict[int, list[Answer]]) -> Iterator[tuple[int, Sequence[Ask]]]:
    """What each script that goes on asks next."""
    for talk, answers in back.items():
        try:
            yield talk, scripts[talk].send(answers)
        except StopIteration:
            continue


def _alike(asks: Sequence[Ask]) -> list[list[int]]:
    """The rows of asks that one call can answer."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, ask in enumerate(asks):
        key = ask.by, ask.kind, ask.edited, ask.branch, ask.apart, bool(ask.options)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


@dataclass
class _Driver:
    """Who speaks, how, and what each has been through in its open conversations."""

    speakers: Mapping[str, Subject]
    lengths: Lengths
    layer: int | None
    edits: Sequence[Intervention]
    system: str | None
    memories: dict[Hashable, PrefixCache] = field(default_factory=dict)

    def answers(
        self, asks: Sequence[Ask], seeds: Sequence[int], progress: Progress | None
    ) -> list[tuple[Answer, Reply | None]]:
        """The answers to asks that are alike, by one call; seeds: of replies, one each."""
        like, speaker = asks[0], self.speakers[asks[0].by]
        conversations = [as_asked(ask, self.system) for ask in asks]
        how: dict[str, Any] = {
            "interventions": self.edits if like.edited else (), "prefix_cache": self._cache(like), "progress": progress
        }  # fmt: skip
        if like.options:
            scores = speaker.score(
                [talk for talk, ask in zip(conversations, asks, strict=True) for _ in ask.options],
                [option for ask in asks for option in ask.options],
                **how,
            )
            totals = iter(scores.total)
            return [
                (Answer(logprobs=tuple(next(totals) for _ in ask.options), source="likelihood"), None) for ask in asks
            ]
        replies = speaker.generate(
            conversations,
            max_new_tokens=self.lengths.tokens[like.kind],
            temperature=self.lengths.temperatures[like.kind],
            top_p=self.lengths.top_p,
            seed=seeds,
            capture=Capture((self.layer,)) if like.by == "subject" and self.layer is not None else None,
            **how,
        )
        return [(replied(reply.text, reply.finish == "length"), reply) for reply in replies]

    def _cache(self, like: Ask) -> PrefixCache | None:
        """Rows that find a prefix in a cache share nothing with each other in the call, so those apart look for none. What
        is edited has no part in a cache of plain prefixes."""
        if like.edited or like.apart or self.speakers[like.by].edited:
            return None
        # Keys and values go on only in the number format that made them.
        speaker = self.speakers[like.by]
        made_in = speaker.network.dtype if like.options else speaker.sampler.dtype
        memory = self.memories.setdefault((like.by, made_in), PrefixCache(CACHE_BYTES))
        return _Lent(memory) if like.branch or like.options else memory


class _Lent(PrefixCache):
    """A cache that is read and not added to: branches would fill it with what nobody goes on from."""

    def __init__(self, owner: PrefixCache) -> None:
        super().__init__(0)
        self._owner = owner

    def longest(self, tokens: Sequence[int], limit: int) -> Any:
        return self._owner.longest(tokens, limit)

    def keep(self, tokens: Sequence[int], prefix: Any) -> None:
        return None


def _portion(progress: Progress, before: int, calls: int, asks: int) -> Progress:
    """The progress of one call as that of all that is asked, in thousandths of one."""
    return lambda done, total: progress(min(1000 * before + 1000 * calls * done // total, 1000 * asks), 1000 * asks)
