"""The record of what was read: one line a conversation, appended when it is done, so that a killed run goes on.

A line that was cut by the kill is dropped. The lines are in input order, and each holds a digest of its record: a run
that goes on with other transcripts, or is asked for again with others, is refused instead of mixing the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from greenroom.errors import RunError
from greenroom.reader.stream import ConversationReading, record_digest, text_size
from greenroom.reader.transcripts import Broken, Transcript
from greenroom.store import whole_lines

NAME = "readings.jsonl"


class Journal:
    """The journal in a run folder. Opening it drops a cut last line. done: how many records are in it; kept: how much text
    the conversations have that were in it already (known once `rest` was begun)."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.kept = 0
        self.done = sum(1 for _ in whole_lines(self.path))
        self._file = self.path.open("ab")

    def rest(self, records: Iterable[Transcript | Broken]) -> Iterator[Transcript | Broken]:
        """The records that are not in the journal yet. Raises RunError when the first ones are not those in it."""
        source = iter(records)
        for one in _same(self.path.parent, source):
            self.kept += text_size(one)
        yield from source

    def add(self, reading: ConversationReading | Broken) -> None:
        """Appends one record; it is with the system when this returns, so killing the process loses nothing of it."""
        said = {} if isinstance(reading, Broken) else {"messages": reading.messages}
        entry = {"digest": record_digest(reading), **reading.as_dict(), **said}
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        self.done += 1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def check(folder: Path, records: Iterable[Transcript | Broken]) -> None:
    """Raises RunError unless the records are those in the journal of a finished run, one by one and no more."""
    source = iter(records)
    for _ in _same(folder, source):
        pass
    more = next(source, None)
    if more is not None:
        raise _other(folder, f"{_named(more)} is not among them")


def _same(folder: Path, source: Iterator[Transcript | Broken]) -> Iterator[Transcript | Broken]:
    """The records that the journal holds, as far as they are the same; RunError at the first that is another."""
    for entry in entries(folder):
        one = next(source, None)
        if one is None:
            raise _other(folder, f"{entry['source']} is missing now")
        if record_digest(one) != entry["digest"]:
            raise _other(folder, f"{_named(one)} is not what was read then")
        yield one


def _named(one: Transcript | Broken) -> str:
    if isinstance(one, Broken):
        return one.source
    return f"record {one.index} of {one.source}" if one.index else one.source


def _other(folder: Path, why: str) -> RunError:
    return RunError(
        f"{folder} was begun with other transcripts: {why}; choose another --out, or give the same ones in the same order"
    )


@contextmanager
def keeping(folder: Path, total: int | None) -> Iterator[None]:
    """Leaves a note on an interruption that says how many conversations the journal holds, of how many (None: unknown)."""
    try:
        yield
    except KeyboardInterrupt as stop:
        done = sum("broken" not in entry for entry in entries(folder))
        if done:
            of = "" if total is None else f" of {total}"
            noun = "conversation" if (total or done) == 1 else "conversations"
            stop.add_note(f"{done}{of} {noun} kept in {folder}")
        raise


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """The objects that `greenroom read --json` prints, from a run's journal."""
    for entry in entries(folder):
        yield {key: value for key, value in entry.items() if key not in ("digest", "messages")}


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's journal, one at a time: records with their digests and the messages that were read. A last line
    that was cut is left out."""
    path = folder / NAME
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
