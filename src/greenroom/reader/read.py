"""`greenroom.read`: conversations in, a frame of turns, a frame of conversations and a figure out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.conversation import Conversation, checked
from greenroom.reader.journal import Journal, check, entries, keeping, records
from greenroom.reader.reader import Reader, load_reader
from greenroom.reader.stream import ConversationReading, baseline_from, read_windows, text_size
from greenroom.reader.telling import Tally
from greenroom.reader.transcripts import STDIN, Broken, Transcript, read_transcripts
from greenroom.reader.verdicts import VERDICTS, Baseline
from greenroom.runs.progress import Progress
from greenroom.runs.run import Run, StageResult, open_run
from greenroom.store import digest
from greenroom.subject import Subject

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

    from greenroom.directions import Direction

Conversations = str | Path | Sequence[str | Path] | Sequence[Conversation] | Iterable[Transcript | Broken]
STAGES = {"baseline": "Reading the baseline", "read": "Reading"}


@dataclass(frozen=True)
class Readings:
    """What was read. conversations and turns: tidy frames, one row each. records: the objects that `--json` prints.
    broken: records that were no conversation, as text with file and line. path: the run folder, None without one."""

    conversations: pl.DataFrame
    turns: pl.DataFrame
    records: list[dict[str, Any]]
    broken: list[str]
    reader: str
    path: Path | None = None

    def figure(self) -> go.Figure:
        """A line for each conversation: projection by turn."""
        from greenroom.reader.figures import reading_lines

        return reading_lines(self.records)

    def __str__(self) -> str:
        counts = Counter(record["verdict"] for record in self.records)
        told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
        where = f"\n{self.path}" if self.path else ""
        noun = "conversation" if len(self.records) == 1 else "conversations"
        said = f"\n{Tally.of(self.records).verdict()}" if self.records else ""
        return f"{len(self.records)} {noun} read by {self.reader}: {told or 'none'}{said}{where}"


def read(
    conversations: Conversations,
    *,
    reader: Reader | Subject | str = "smollm2",
    traits: Sequence[str] = (),
    baseline: str | Path | Sequence[Conversation] | None = None,
    format: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Readings:
    """Reads conversations with a small model and follows their character.

    conversations: files or folders ("-" is stdin), or conversations themselves (one, or a list of them). traits: of the
    library. baseline: the model's own normal conversations (a folder, files, or conversations); without it each is judged
    by its own first turns. out: a run folder; the same call goes on where a killed one stopped, and one with other
    conversations is refused. progress: files are then looked through once before they are read. Records that are no
    conversation are listed in `broken`. Raises GreenroomError for paths that do not exist and names that are unknown.
    """
    transcripts = as_transcripts(conversations, format)
    if baseline is not None:
        as_transcripts(baseline, format)  # a path that does not exist is told before a model is loaded
    loaded = load_reader(reader, traits)
    extent = None if progress is None else Extent.of(conversations, format)
    limits = None if baseline is None else limits_of(loaded, baseline, format, progress)
    if out is None:
        readings = read_shown(loaded, transcripts, limits, extent, progress)
        return _readings((one.as_dict() for one in readings), loaded)
    read_into(Path(out), loaded, transcripts, limits, progress, extent)
    return _readings(records(Path(out)), loaded, Path(out))


@dataclass(frozen=True)
class Extent:
    """How much there is to read: conversations, and characters of text in them."""

    conversations: int
    characters: int

    @classmethod
    def of(cls, conversations: Conversations, format: str | None = None) -> Extent | None:
        """By going through them once; None for what can be gone through only once, such as standard input."""
        paths = [conversations] if isinstance(conversations, str | Path) else conversations
        if not isinstance(paths, Sequence) or any(isinstance(one, str | Path) and str(one) == STDIN for one in paths):
            return None
        sizes = [text_size(one) for one in as_transcripts(conversations, format) if isinstance(one, Transcript)]
        return cls(len(sizes), sum(sizes))


def as_transcripts(conversations: Conversations, format: str | None = None) -> Iterator[Transcript | Broken]:
    """Transcripts of files, or of conversations in memory (named by their place in the list)."""
    if isinstance(conversations, str | Path):
        return read_transcripts(conversations, format=format)
    given: Any = list(conversations) if isinstance(conversations, Sequence) else conversations
    if isinstance(given, list):
        if given and all(isinstance(one, str | Path) for one in given):
            return read_transcripts(given, format=format)
        if given and isinstance(given[0], Mapping) and "role" in given[0]:
            given = [given]
    return (
        one if isinstance(one, Transcript | Broken) else Transcript("conversation", index, checked(one))
        for index, one in enumerate(given)
    )  # fmt: skip


def limits_of(
    reader: Reader, conversations: Conversations, format: str | None = None, progress: Progress | None = None
) -> Baseline:
    """The baseline of a model's own normal conversations, shown as a stage of its own."""
    extent = None if progress is None else Extent.of(conversations, format)
    readings = read_shown(reader, as_transcripts(conversations, format), None, extent, progress, "baseline")
    return baseline_from(readings)


def read_shown(
    reader: Reader,
    transcripts: Iterable[Transcript | Broken],
    baseline: Baseline | None = None,
    extent: Extent | None = None,
    progress: Progress | None = None,
    stage: str = "read",
) -> Iterator[ConversationReading | Broken]:
    """What `stream.read_stream` gives, shown as one stage as far as it is."""
    shown = progress or Progress()
    shown.plan({stage: STAGES[stage]})
    shown.start(stage)
    done = 0
    try:
        for window in read_windows(reader, transcripts, baseline):
            done += sum(map(text_size, window))
            if extent is not None:
                shown.advance(stage, done, extent.characters)
            yield from window
        shown.finish(stage)
    finally:
        shown.stop()


def read_into(
    folder: Path,
    reader: Reader,
    transcripts: Iterable[Transcript | Broken],
    baseline: Baseline | None = None,
    progress: Progress | None = None,
    extent: Extent | None = None,
) -> None:
    """Reads into a run folder, new or to go on with: the journal, then tables and a summary. A finished run is left as
    it is. Raises RunError for a folder that was begun otherwise, or with other transcripts, also when it is finished.

    Transcripts are compared by what is said in them, in order; where their files lie is no part of them.
    """
    shown = progress or Progress()
    shown.plan({"read": STAGES["read"]})
    config = {
        "axis": _vectors(reader.axis),
        "baseline": "none" if baseline is None else f"{baseline.n} conversations ({baseline.content})",
        "traits": [trait.name for trait in reader.traits],
        "vectors": _vectors(*reader.traits),
    }
    with open_run(
        folder, kind="read", subject_name=reader.subject.name, fingerprint=reader.subject.fingerprint, config=config,
        seed=0, progress=shown,
    ) as run:  # fmt: skip
        if run.finished:
            check(folder, transcripts)
            return
        with keeping(folder, None if extent is None else extent.conversations):
            run.stage("read", lambda: _read_rest(run, reader, transcripts, baseline, extent))
            run.finish(_summary(entries(folder), reader.subject.name))


def _vectors(*directions: Direction) -> str:
    return digest(*(one.vector().numpy().tobytes() for one in directions))


def _read_rest(
    run: Run,
    reader: Reader,
    transcripts: Iterable[Transcript | Broken],
    baseline: Baseline | None,
    extent: Extent | None,
) -> StageResult:
    """Reads what the journal does not hold yet; the tables are made of all that it then holds."""
    done = 0
    with Journal(run.path) as journal:
        for window in read_windows(reader, journal.rest(transcripts), baseline):
            for one in window:
                journal.add(one)
            done += sum(map(text_size, window))
            if extent is not None:
                run.advance(done, extent.characters - journal.kept)
    conversations, turns = frames(entries(run.path))
    return StageResult(tables={"conversations": conversations, "turns": turns})


def frames(found: Iterable[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Frames of conversations and of turns; broken records are left out. Units are in the column names."""
    import polars as pl

    conversations: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for record in found:
        if "broken" in record:
            continue
        key = {"source": record["source"], "index": record["index"]}
        conversations.append(
            key | {
                "verdict": record["verdict"], "reason": record["reason"], "turns": len(record["turns"]),
                "level": record["level"], "axis_sd_mean": record["axis_sd_mean"], "drift_sd_per_turn": record["drift"]["slope_sd_per_turn"],
                "drift_low": record["drift"]["low"], "drift_high": record["drift"]["high"],
                "change_points": record["change_points"], "skipped": sum(record["skipped"].values()),
                **{f"{name}_sd_mean": value for name, value in record["traits_sd_mean"].items()},
            }
        )  # fmt: skip
        for turn in record["turns"]:
            sentences = [one["text"] for one in turn["sentences"]]
            turns.append(
                key | {"turn": turn["turn"], "axis_sd": turn["axis_sd"], "tokens": turn["tokens"], "topic": turn["topic"]}
                | {f"{name}_sd": value for name, value in turn["traits"].items()} | {"sentences": sentences}
            )  # fmt: skip
    number, text = pl.Float64, pl.String
    kinds = {
        "source": text, "index": pl.Int64, "verdict": text, "reason": text, "turns": pl.Int64, "level": text,
        "axis_sd_mean": number, "drift_sd_per_turn": number, "drift_low": number, "drift_high": number,
        "change_points": pl.List(pl.Int64), "skipped": pl.Int64,
    }  # fmt: skip
    kinds |= {name: number for record in conversations for name in record if name.endswith("_sd_mean")}
    turn_kinds = {
        "source": text, "index": pl.Int64, "turn": pl.Int64, "axis_sd": number, "tokens": pl.Int64, "topic": text,
        **{name: number for name in (turns[0] if turns else {}) if name.endswith("_sd") and name != "axis_sd"},
        "sentences": pl.List(text),
    }  # fmt: skip
    return pl.DataFrame(conversations, schema=kinds), pl.DataFrame(turns, schema=turn_kinds)


def _readings(found: Iterable[dict[str, Any]], reader: Reader, path: Path | None = None) -> Readings:
    kept: list[dict[str, Any]] = []
    broken: list[str] = []
    for record in found:
        unread = Broken.of(record)
        if unread is None:
            kept.append(record)
        else:
            broken.append(str(unread))
    return Readings(*frames(kept), kept, broken, reader.subject.name, path)


def _summary(found: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    verdicts: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    broken = turns = 0
    for record in found:
        if "broken" in record:
            broken += 1
            continue
        verdicts[record["verdict"]] += 1
        turns += len(record["turns"])
        skipped.update(record["skipped"])
    return {
        "reader": name,
        "conversations": sum(verdicts.values()),
        "turns": turns,
        "broken": broken,
        "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS},
        "skipped": dict(sorted(skipped.items())),
    }
