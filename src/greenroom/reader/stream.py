"""Reading conversations: every assistant turn, the drift over them, and a verdict; one window of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenroom.conversation import Conversation
from greenroom.errors import ConversationError
from greenroom.measures.changepoints import change_points
from greenroom.measures.intervals import Interval
from greenroom.reader.reader import Reader, TurnReading, rounded
from greenroom.reader.transcripts import Broken, Transcript
from greenroom.reader.turns import turns_of
from greenroom.reader.verdicts import Baseline, Judgement, baseline_of, drift, judge

# Conversations are gathered up to this much text, or this many, so that batches of similar length can be made of them.
CHARACTERS, CONVERSATIONS = 200_000, 512


@dataclass(frozen=True)
class ConversationReading:
    """One conversation as it was read.

    axis_sd_mean: unweighted mean over all assistant turns. drift: slope, sd a turn. change_points: numbers of the turns
    with which a new level begins. messages: the conversation itself.
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

    @property
    def verdict(self) -> str:
        return self.judgement.verdict

    def as_dict(self) -> dict[str, Any]:
        """The object that `greenroom read --json` prints: plain JSON values, no text of the conversation but the
        sentences that moved it."""
        told = self.judgement
        return {
            "source": self.source,
            "index": self.index,
            "line": self.line,
            "verdict": told.verdict,
            "reason": told.reason,
            "axis_sd_mean": rounded(self.axis_sd_mean),
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
    transcript: Transcript, turns: Sequence[TurnReading], baseline: Baseline | None = None
) -> ConversationReading:
    """A conversation's reading from those of its turns."""
    there = [turn for turn in turns if turn.axis_sd is not None]
    values = [turn.axis_sd for turn in there if turn.axis_sd is not None]
    return ConversationReading(
        transcript.source,
        transcript.index,
        judge(values, baseline),
        sum(values) / len(values) if values else None,
        drift(values),
        tuple(there[index].turn for index in change_points(values)),
        tuple(turns),
        transcript.skipped,
        transcript.line,
        transcript.messages,
    )


def read_stream(
    reader: Reader, transcripts: Iterable[Transcript | Broken], baseline: Baseline | None = None
) -> Iterator[ConversationReading | Broken]:
    """Readings in the order of the transcripts, computed a window of conversations at a time; broken records pass."""
    window: list[Transcript | Broken] = []
    size = 0
    for one in transcripts:
        window.append(one)
        size += 0 if isinstance(one, Broken) else sum(len(message["content"]) for message in one.messages)
        if size >= CHARACTERS or len(window) >= CONVERSATIONS:
            yield from _read_window(reader, window, baseline)
            window, size = [], 0
    yield from _read_window(reader, window, baseline)


def _read_window(
    reader: Reader, window: Sequence[Transcript | Broken], baseline: Baseline | None
) -> Iterator[ConversationReading | Broken]:
    turns = [[] if isinstance(one, Broken) else turns_of(one.messages) for one in window]
    found = reader.read([turn for of in turns for turn in of])
    at = 0
    for one, of in zip(window, turns, strict=True):
        mine, at = found[at : at + len(of)], at + len(of)
        yield one if isinstance(one, Broken) else summed_up(one, mine, baseline)


def read_baseline(reader: Reader, transcripts: Iterable[Transcript | Broken]) -> Baseline:
    """The baseline of a model's own normal conversations. Raises ConversationError with fewer than two of them."""
    found = [
        [turn.axis_sd for turn in reading.turns if turn.axis_sd is not None]
        for reading in read_stream(reader, transcripts)
        if isinstance(reading, ConversationReading)
    ]
    baseline = baseline_of(found)
    if baseline is None:
        raise ConversationError(
            f"a baseline needs at least two conversations with an assistant turn, got {sum(map(bool, found))}; "
            "give a folder of the model's normal conversations, 40 or more of them if you can"
        )
    return baseline
