"""Conversations from anybody's files: every format in, one shape out, one record in memory at a time."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from greenroom.errors import ConversationError
from greenroom.reader.transcripts import records
from greenroom.reader.transcripts.formats import READERS, messages_of
from greenroom.reader.transcripts.inspect_logs import samples
from greenroom.reader.transcripts.plain import plain_messages
from greenroom.reader.transcripts.transcript import Broken, Draft, Transcript, Unreadable

FORMATS = (*READERS, "inspect", "text")
STDIN = "-"
# Files that are looked at in a folder; a file named by itself may be called anything.
SUFFIXES = {".json", ".jsonl", ".ndjson", ".eval", ".txt", ".zip"}

__all__ = ["FORMATS", "Broken", "Transcript", "read_transcripts"]


def read_transcripts(
    paths: str | Path | Iterable[str | Path], *, format: str | None = None
) -> Iterator[Transcript | Broken]:
    """The conversations of files and folders, in order; a record that is none comes as `Broken`, and the rest goes on.

    paths: files, folders (searched whole, in the order of names) or "-" (stdin). format: one of FORMATS; by default
    each record's own. Raises ConversationError for a path that does not exist or an unknown format, before reading.
    """
    if format is not None and format not in FORMATS:
        raise ConversationError(f"unknown format {format!r}; expected one of {', '.join(FORMATS)}")
    return _read(_files(paths), format)


def _files(paths: str | Path | Iterable[str | Path]) -> list[str]:
    """The files that paths name, folders opened; "-" stays. Raises ConversationError for one that does not exist."""
    found: list[str] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        if str(path) == STDIN:
            found.append(STDIN)
        elif Path(path).is_dir():
            inside = sorted(
                file for file in Path(path).rglob("*")
                if file.suffix.lower() in SUFFIXES and file.is_file()
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
            )  # fmt: skip
            if not inside:
                raise ConversationError(
                    f"no transcript in {path}; expected files ending in {', '.join(sorted(SUFFIXES))}"
                )
            found += [str(file) for file in inside]
        elif Path(path).is_file():
            found.append(str(path))
        else:
            raise ConversationError(f"{path} does not exist; give a file, a folder, or - for standard input")
    return found


def _read(files: Sequence[str], name: str | None) -> Iterator[Transcript | Broken]:
    for source in files:
        try:
            yield from _read_file(source, name)
        except OSError as error:
            yield Broken(source, None, f"cannot be read ({error.strerror or error})")


def _read_file(source: str, name: str | None) -> Iterator[Transcript | Broken]:
    if source == STDIN:
        with tempfile.TemporaryFile() as copy:  # a stream cannot be looked at twice, and may not fit into memory
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.seek(0)
            yield from _read_stream(source, copy, name)
    elif name == "inspect" or (name is None and Path(source).suffix == ".eval"):
        yield from _converted(source, ((None, record) for record in samples(Path(source))), None)
    elif Path(source).suffix.lower() == ".zip":
        yield from _read_export(source, name)
    else:
        with open(source, "rb") as stream:
            yield from _read_stream(source, stream, name)


def _read_export(source: str, name: str | None) -> Iterator[Transcript | Broken]:
    """A data export as it is downloaded: a zip with a conversations.json in it."""
    try:
        with zipfile.ZipFile(source) as archive:
            inside = [file for file in archive.namelist() if Path(file).name == "conversations.json"]
            if not inside:
                yield Broken(source, None, "no conversations.json in this archive; expected a data export")
                return
            with archive.open(inside[0]) as stream:
                yield from _converted(source, records.array(stream), name)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        yield Broken(source, None, f"not a readable archive ({error})")


def _read_stream(source: str, stream: IO[bytes], name: str | None) -> Iterator[Transcript | Broken]:
    head = stream.read(1 << 16)
    stream.seek(0)
    first = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")[:1]
    if name == "text" or (name is None and first not in ("{", "[")):
        yield from _read_text(source, stream)
        return
    if not head.strip():
        yield Broken(source, 1, "the file is empty")
    elif _is_lines(source, head):
        yield from _converted(source, records.lines(stream), name)
    elif first == "[" and not _is_messages(head):
        yield from _converted(source, records.array(stream), name)
    else:
        yield from _converted(source, records.whole(stream), name)


def _read_text(source: str, stream: IO[bytes]) -> Iterator[Transcript | Broken]:
    raw = stream.read()
    if not raw.strip():
        yield Broken(source, 1, "the file is empty")
        return
    try:
        yield plain_messages(raw.decode("utf-8-sig")).done(source, 0, 1)
    except UnicodeDecodeError as error:
        yield Broken(source, raw.count(b"\n", 0, error.start) + 1, f"not UTF-8 ({error.reason})")
    except Unreadable as error:
        yield Broken(source, 1, str(error))


def _is_lines(source: str, head: bytes) -> bool:
    """Whether a JSON file is one value a line: by its name, or because its first line is a value and more follow."""
    if Path(source).suffix.lower() in (".jsonl", ".ndjson"):
        return True
    found = [line for line in head.splitlines() if line.strip()]
    if len(found) < 2 or not found[1].lstrip().startswith((b"{", b"[")):
        return False
    # A damaged first line must not turn a file of lines into one broken value, so the second may speak for it; not in
    # what begins like an array, whose elements may stand on lines of their own.
    for line in found[: 2 if found[0].lstrip().startswith(b"{") else 1]:
        try:
            if isinstance(json.loads(line.decode("utf-8-sig", "replace")), dict | list):
                return True
        except ValueError:
            continue
    return False


def _is_messages(head: bytes) -> bool:
    """Whether an array is one conversation (its first element is a message) rather than a list of records."""
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")[1:].lstrip()
    if not text.startswith("{"):
        return False
    try:
        first, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:  # longer than the head: a message that long begins with its role all the same
        return text[1:].lstrip().startswith('"role"')
    return isinstance(first, dict) and "role" in first and "messages" not in first


def _converted(source: str, found: Iterable[tuple[int | None, Any]], name: str | None) -> Iterator[Transcript | Broken]:
    for index, (line, record) in enumerate(found):
        try:
            if isinstance(record, Unreadable):
                raise record
            draft: Draft = messages_of(record, name)
            yield draft.done(source, index, line)
        except Unreadable as error:
            yield Broken(source, line, str(error))
