"""How long stages took on this machine, so that the next run can say before it starts how long it will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from greenroom.errors import GreenroomError
from greenroom.store import cache_dir, read_json, write_json


def known(fingerprint: str, names: Sequence[str]) -> float | None:
    """Seconds of stages together, as they last took for these weights; None where one of them never ran here.

    names: of stages at one size, as `record` was given them.
    """
    found = _read(fingerprint)
    return sum(found[name] for name in names) if all(name in found for name in names) else None


def record(fingerprint: str, seconds: Mapping[str, float]) -> None:
    """Notes how long stages took. An estimate is not worth an error: what cannot be written is left out."""
    with suppress(GreenroomError, OSError):
        write_json(_place(fingerprint), {**_read(fingerprint), **seconds})


def _place(fingerprint: str) -> Path:
    return cache_dir() / "timings" / f"{fingerprint}.json"


def _read(fingerprint: str) -> dict[str, float]:
    with suppress(GreenroomError):
        return dict(read_json(_place(fingerprint)))
    return {}
