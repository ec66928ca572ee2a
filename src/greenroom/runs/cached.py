"""The cache folder as people see it: what lies there, how large it is, and what of it can be built again.

Only what has the place and name of what Greenroom itself writes is ever removed, and no link is followed: a folder that was
named by mistake loses nothing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from greenroom.errors import RunError
from greenroom.store import cache_dir

# What can be cleared → where its entries lie.
KINDS = {
    "models": ("models/*",),
    "directions": ("directions/*/*.safetensors", "directions/*/rulers/*.safetensors"),
    "prompts": ("prompts/*/*",),
    "results": ("results/*/*/*",),
}
# Entries lie under a key or a fingerprint: 16 hexadecimal digits.
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Entry:
    """One thing in the cache. again: whether it can be built again."""

    kind: str
    path: Path
    size: int
    again: bool


def entries(direction_again: Callable[[Path], bool]) -> list[Entry]:
    """What Greenroom keeps in the cache. direction_again: whether a direction's file can be built again, which
    `greenroom.directions` knows."""
    return [
        Entry(kind, path, size_of(path), kind != "directions" or direction_again(path))
        for kind, places in KINDS.items()
        for place in places
        for path in sorted(cache_dir().glob(place))
        if _ours(path.relative_to(cache_dir()))
    ]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; a link counts for itself and not for what it leads to."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if os.path.lexists(path) else 0
    return sum(os.lstat(Path(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def remove(found: Sequence[Entry]) -> None:
    """Removes entries, and the folders that are empty then. Raises RunError where that is not allowed."""
    for entry in found:
        try:
            shutil.rmtree(entry.path) if entry.path.is_dir() else entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot remove {entry.path}: {error.strerror}; change its rights, or remove it yourself"
            ) from error
        for folder in entry.path.relative_to(cache_dir()).parents[:-1]:
            with suppress(OSError):  # something is left in it
                (cache_dir() / folder).rmdir()


def _ours(path: Path) -> bool:
    linked = any((cache_dir() / part).is_symlink() for part in (path, *path.parents[:-1]))
    return not linked and any(_KEY.fullmatch(part) for part in path.parts)
