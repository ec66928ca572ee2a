"""Directions that need not be built again: those shipped for `smollm2`, and those in the cache, by fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from greenroom.directions.direction import Direction
from greenroom.store import cache_dir
from greenroom.subject import Subject

SHIPPED = Path(__file__).parent / "shipped"


def places(fingerprint: str, name: str) -> tuple[Path, Path]:
    """Where a direction may lie: package data, then the cache."""
    return (
        SHIPPED / fingerprint / f"{name}.safetensors",
        cache_dir() / "directions" / fingerprint / f"{name}.safetensors",
    )


def stored_places(
    subject: Subject, name: str, at: Callable[[str, str], tuple[Path, Path]] = places
) -> tuple[Path, ...]:
    """Where a direction of this subject may lie: package data, the cache of its own replies, and where those are drawn in
    another number format than it reads in, the cache of that format: a direction of those replies is read alike.

    at: `places`, or a like function.
    """
    shipped, read = at(subject.fingerprint, name)
    return tuple(dict.fromkeys((shipped, at(subject.replies_fingerprint, name)[1], read)))


def stored(subject: Subject, name: str) -> Direction | None:
    """The stored direction for exactly these weights, or None."""
    for path in stored_places(subject, name):
        if path.is_file():
            return Direction.load(path, subject)
    return None


def shelf() -> list[tuple[Path, Direction]]:
    """All directions that are shipped or in the cache, by subject and name; a shipped one hides its cached namesake."""
    found: dict[tuple[str, str], tuple[Path, Direction]] = {}
    for folder in (cache_dir() / "directions", SHIPPED):
        for path in folder.glob("*/*.safetensors"):
            direction = Direction.load(path)
            found[direction.fingerprint, direction.name] = (path, direction)
    return sorted(found.values(), key=lambda one: (one[1].subject, one[1].fingerprint, one[1].name))


def store(direction: Direction) -> Path:
    """Keeps a direction in the cache."""
    path = places(direction.fingerprint, direction.name)[1]
    direction.save(path)
    return path
