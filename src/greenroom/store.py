"""The cache folder, atomic writes and content fingerprints.

A file appears whole or not at all: it is written beside its place under a temporary name and then renamed, so
that a full disk, Ctrl-C or a second process can never leave half of one behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from greenroom.errors import GreenroomError, RunError


def cache_dir() -> Path:
    """Where converted weights and computed directions are kept: $GREENROOM_CACHE, else the user's cache folder."""
    override = os.environ.get("GREENROOM_CACHE")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_cache_dir("greenroom"))


@contextmanager
def atomic_path(target: Path) -> Generator[Path, None, None]:
    """Yields a temporary path beside `target`; on success it is renamed to `target`, on any failure removed.

    Works for a file or a folder. A folder that another process completed first is kept and ours dropped.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise RunError(
            f"cannot write in {target.parent}: {error.strerror}; choose a folder that you may write to"
        ) from error
    temporary = scratch / target.name
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            return
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise
        raise RunError(
            f"cannot write {target}: {error.strerror}; nothing was left half-written, "
            "free some space or choose another folder, then run the same command again"
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(scratch)


def write_text(target: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Writes a JSON file atomically, keys in the order given; NaN is refused (a missing value is null)."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; a broken one is a GreenroomError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GreenroomError(f"{path} is not readable JSON ({error}); delete it or restore it") from error


def digest(*parts: str | bytes) -> str:
    """A short content hash (16 hex digits of SHA-256) over the parts, each length-prefixed so that none can run together."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()[:16]


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file to which lines are appended (none where there is no file). Once all are read, a last one that a
    kill cut is dropped from the file."""
    if not path.exists():
        return
    good = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            good += len(line)
            yield line
    os.truncate(path, good)


class Kept:
    """JSON values by key, appended to a file as they come, one line each: what was added survives a killed process.

    A last line that was cut is dropped; of two lines with one key the first counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in whole_lines(path):
            key, value = json.loads(line)
            self._found.setdefault(key, value)
        self._file = path.open("ab")

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: str) -> Any:
        """The value of a key; None where there is none."""
        return self._found.get(key)

    def add(self, key: str, value: Any) -> None:
        """Appends a value; it is with the system when this returns."""
        self._found[key] = value
        # What a model finds impossible has the log-probability −∞, which Python's JSON can write and read.
        self._file.write(json.dumps([key, value]).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
