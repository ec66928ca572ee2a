"""The record of what was read: one line a conversation, appended when it is done, so that a killed run goes on.

A line that was cut by the kill is dropped. The lines are in input order, and each holds a digest of its record: a run
that goes on with other transcripts is refused instead of mixing the two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from greenroom.errors import RunError
from greenroom.reader.stream import ConversationReading
from greenroom.reader.transcripts import Broken, Transcript
from greenroom.store import digest

NAME = "readings.jsonl"


def record_digest(one: Transcript | Broken | ConversationReading) -> str:
    """What identifies a record of the input, as it is read or as it was."""
    if isinstance(one, Broken):
        return digest(one.source, str(one.line), one.reason)
    return digest(one.source, str(one.index), json.dumps(one.messages))


class Journal:
    """The journal in a run folder. Opening it drops a cut last line; `done` says how many records are in it."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.done = 0
        good = 0
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    good += len(line)
                    self.done += 1
            os.truncate(self.path, good)
        self._file = self.path.open("ab")

    def rest(self, records: Iterable[Transcript | Broken]) -> Iterator[Transcript | Broken]:
        """The records that are not in the journal yet. Raises RunError when the first ones are not those in it."""
        source = iter(records)
        for entry in entries(self.path.parent):
            one = next(source, None)
            if one is None or record_digest(one) != entry["digest"]:
                named = entry.get("source")
                raise RunError(
                    f"{self.path.parent} was begun with other transcripts (they differ at {named}); "
                    "give the same ones again, or another folder"
                )
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


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """The objects that `greenroom read --json` prints, from a run's journal."""
    for entry in entries(folder):
        yield {key: value for key, value in entry.items() if key not in ("digest", "messages")}


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a run's journal, one at a time: records with their digests and the messages that were read."""
    path = folder / NAME
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
