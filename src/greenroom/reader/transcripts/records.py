"""JSON records of a file one after the other, each with its line, so that one record at a time is in memory.

A file is one JSON value, a JSON array of records, or JSON lines. A damaged record does not end the file: lines are
independent, and in an array the next record is found by counting brackets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from greenroom.reader.transcripts.transcript import Unreadable

CHUNK = 1 << 20
# Whole strings (in which brackets mean nothing) and brackets; a string that never closes ends at its line's end.
_STRUCTURE = re.compile(r'"(?:[^"\\\n]|\\.)*(?:"|(?=\n)|\Z)|[\[\]{},]')
_SPACE = re.compile(r"[\s,]*")

Record = tuple[int, Any]
"""(line from 1, the value, or the Unreadable that it is)"""


def lines(stream: IO[bytes]) -> Iterator[Record]:
    """The records of a JSON lines file."""
    for number, raw in enumerate(stream, start=1):
        if not raw.strip():
            continue
        try:
            yield number, json.loads(raw.decode("utf-8-sig").strip())
        except UnicodeDecodeError as error:
            yield number, Unreadable(f"not UTF-8 ({error.reason} at byte {error.start})")
        except (ValueError, RecursionError) as error:
            yield number, Unreadable(f"not valid JSON ({_reason(error, number)})")


def array(stream: IO[bytes]) -> Iterator[Record]:
    """The elements of a JSON array, read in pieces."""
    decoder, pieces, line = json.JSONDecoder(), _Pieces(stream), 1
    text = pieces.more("").lstrip("\ufeff")
    start = text.index("[") + 1
    line += text.count("\n", 0, start)
    while True:
        gap = _SPACE.match(text, start)
        assert gap is not None
        line += text.count("\n", start, gap.end())
        text, start = text[gap.end() :], 0
        if text.startswith("]"):
            return
        if not text:
            if pieces.ended:
                yield line, Unreadable("the array does not end; the file seems to be cut")
                return
            text = pieces.more(text)
            continue
        try:
            value, start = decoder.raw_decode(text)
        except (json.JSONDecodeError, RecursionError) as error:
            if not pieces.ended:  # perhaps it only goes on in the next piece
                text = pieces.more(text)
                continue
            value, start = Unreadable(f"not valid JSON ({_reason(error, line)})"), _end_of_element(text)
        yield line, value
        if start == len(text) and pieces.ended:
            return
        line += text.count("\n", 0, start)


def whole(stream: IO[bytes]) -> Iterator[Record]:
    """The one value of a JSON file."""
    try:
        yield 1, json.loads(stream.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        yield 1, Unreadable(f"not UTF-8 ({error.reason} at byte {error.start})")
    except (ValueError, RecursionError) as error:
        yield getattr(error, "lineno", 1), Unreadable(f"not valid JSON ({_reason(error)})")


class _Pieces:
    """Decodes a byte stream in growing pieces, so that a long element is tried only a few times over."""

    def __init__(self, stream: IO[bytes]):
        import codecs

        self._stream, self.ended = stream, False
        # What is not UTF-8 becomes U+FFFD: strict decoding would lose the rest of the array with it.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def more(self, text: str) -> str:
        raw = self._stream.read(max(CHUNK, len(text)))
        self.ended = not raw
        return text + self._decoder.decode(raw, final=not raw)


def _end_of_element(text: str) -> int:
    """Where a damaged element ends: the comma or bracket that closes it, by counting brackets."""
    depth = 0
    for found in _STRUCTURE.finditer(text):
        mark = found.group()
        if mark in "[{":
            depth += 1
        elif mark in "]}":
            if depth == 0:
                return found.start()
            depth -= 1
            if depth == 0:
                return found.end()
        elif mark == "," and depth == 0:
            return found.start()
    return len(text)


def _reason(error: Exception, line: int = 1) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {line + error.lineno - 1}, column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
