"""Reading conversations: every assistant turn, the drift over them, and a verdict; one window of them in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from greenroom.conversation import Conversation
from greenroom.errors import ConversationError
from greenroom.measures.changepoints import change_points
from greenroom.measures.intervals import Interval
from greenroom.reader.reader import Reader, TurnReading, rounded
from greenroom.reader.transcripts import Broken, Transcript
from greenroom.reader.turns import turns_of
from greenroom.reader.verdicts import Baseline, Judgement, baseline_of, drift, judge, level_limit, level_of
from greenroom.store import digest

# Conversations are gathered up to this much text, or this many, so that batches of similar length can be made of them. The
# first window is small and each is twice the one before: what is read is there soon, and a stop loses one window. On a CPU
# a large window is some seconds, and larger ones read no more in a second; another device fills up with much more.
FIRST, ON_CPU, ELSEWHERE, CONVERSATIONS = 4_000, 16_000, 200_000, 512


@dataclass(frozen=True)
class ConversationReading:
    """One conversation as it was read.

    axis_sd_mean: unweighted mean over all assistant turns. drift: slope, sd a turn. change_points: numbers of the turns
    with which a new level begins. traits: name → mean over the turns. unreliable: those of them that this reader reads no
    better than chance, with the reason. messages: the conversation itself.
    """

    source: str
    index: int
    judgement: Judgement
    axis_sd_mean: float | None
    drift: Interval
    change_points: tuple[int, ...]
    turns: tuple[TurnReading, ...]
    skipped: dict[str, int] = field(default_factory=dict)
    line: int | None = None
    messages: Conversation = field(default_factory=list, repr=False)
    traits: Mapping[str, float | None] = field(default_factory=dict)
    unreliable: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        return self.judgement.verdict

    def as_dict(self) -> dict[str, Any]:
        """The object that `greenroom read --json` prints: plain JSON values, no text of the conversation but the
        sentences that moved it."""
        told = self.judgement
        values = [turn.axis_sd for turn in self.turns if turn.axis_sd is not None]
        return {
            "source": self.source,
            "index": self.index,
            "line": self.line,
            "verdict": told.verdict,
            "reason": told.reason,
            "level": level_of(values),
            "level_limit": rounded(level_limit(len(values))) if values else None,
            "axis_sd_mean": rounded(self.axis_sd_mean),
            "traits_sd_mean": {name: rounded(value) for name, value in self.traits.items()},
            "unreliable_traits": dict(self.unreliable),
            "drift": {
                "slope_sd_per_turn": rounded(self.drift.estimate),
                "low": rounded(self.drift.low),
                "high": rounded(self.drift.high),
            },
            "baseline": told.baseline,
            "drop": rounded(told.drop),
            "drop_limit": rounded(told.drop_limit),
            "decline": rounded(told.decline),
            "decline_limit": rounded(told.decline_limit),
            "change_points": list(self.change_points),
            "turns": [turn.as_dict() for turn in self.turns],
            "skipped": dict(self.skipped),
        }


def summed_up(
    transcript: Transcript,
    turns: Sequence[TurnReading],
    baseline: Baseline | None = None,
    unreliable: Mapping[str, str] | None = None,
) -> ConversationReading:
    """A conversation's reading from those of its turns. unreliable: traits that the reader reads badly, with the reason."""
    there = [turn for turn in turns if turn.axis_sd is not None]
    values = [turn.axis_sd for turn in there if turn.axis_sd is not None]
    return ConversationReading(
        transcript.source,
        transcript.index,
        judge(values, baseline),
        _mean(values),
        drift(values),
        tuple(there[index].turn for index in change_points(values)),
        tuple(turns),
        transcript.skipped,
        transcript.line,
        transcript.messages,
        {name: _mean([turn.traits[name] for turn in turns]) for name in (turns[0].traits if turns else ())},
        unreliable or {},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def read_stream(
    reader: Reader, transcripts: Iterable[Transcript | Broken], baseline: Baseline | None = None
) -> Iterator[ConversationReading | Broken]:
    """Readings in the order of the transcripts, computed a window of conversations at a time; broken records pass."""
    for window in read_windows(reader, transcripts, baseline):
        yield from window


def read_windows(
    reader: Reader, transcripts: Iterable[Transcript | Broken], baseline: Baseline | None = None
) -> Iterator[list[ConversationReading | Broken]]:
    """The same a window at a time."""
    window: list[Transcript | Broken] = []
    size, enough = 0, FIRST
    most = ON_CPU if reader.subject.network.device.type == "cpu" else ELSEWHERE
    for one in transcripts:
        window.append(one)
        size += text_size(one)
        if size >= enough or len(window) >= CONVERSATIONS:
            yield _read_window(reader, window, baseline)
            window, size, enough = [], 0, min(2 * enough, most)
    if window:
        yield _read_window(reader, window, baseline)


def text_size(one: Transcript | ConversationReading | Broken) -> int:
    """Characters in a conversation, which is about what it costs to read; 0 for a broken record."""
    return 0 if isinstance(one, Broken) else sum(len(message["content"]) for message in one.messages)


def record_digest(one: Transcript | ConversationReading | Broken) -> str:
    """What identifies a record of the input, as it is read or as it was: its content and its number in its file. The name
    of the file is not in it: a file that was moved is the same input."""
    if isinstance(one, Broken):
        return digest("broken", str(one.line), one.reason)
    return digest(str(one.index), json.dumps(one.messages), json.dumps(one.skipped))


def _read_window(
    reader: Reader, window: Sequence[Transcript | Broken], baseline: Baseline | None
) -> list[ConversationReading | Broken]:
    turns = [[] if isinstance(one, Broken) else turns_of(one.messages) for one in window]
    found, unreliable = iter(reader.read([turn for of in turns for turn in of])), reader.unreliable
    return [
        one if isinstance(one, Broken) else summed_up(one, list(islice(found, len(of))), baseline, unreliable)
        for one, of in zip(window, turns, strict=True)
    ]


def read_baseline(reader: Reader, transcripts: Iterable[Transcript | Broken]) -> Baseline:
    """The baseline of a model's own normal conversations. Raises ConversationError with fewer than two of them."""
    return baseline_from(read_stream(reader, transcripts))


def baseline_from(readings: Iterable[ConversationReading | Broken]) -> Baseline:
    """The same from conversations as they were read."""
    found: list[list[float]] = []
    said: list[str] = []
    for reading in readings:
        if isinstance(reading, ConversationReading):
            found.append([turn.axis_sd for turn in reading.turns if turn.axis_sd is not None])
            said.append(digest(json.dumps(reading.messages)))
    baseline = baseline_of(found)
    if baseline is None:
        raise ConversationError(
            f"a baseline needs at least two conversations with an assistant turn, got {sum(map(bool, found))}; "
            "give a folder of the model's normal conversations, 40 or more of them if you can"
        )
    return replace(baseline, content=digest(*sorted(said)))
