"""The settings of a frontier: strengths in sd, and cap floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from greenroom.directions import Direction
from greenroom.directions.interventions import cap, steer
from greenroom.subject import Intervention


@dataclass(frozen=True, eq=False)
class Setting:
    """One way of intervening. strength in reply sd (steer), floor by name or in sd (cap)."""

    name: str
    intervention: Literal["steer", "cap"]
    strength: float | None
    floor: str | None
    edits: tuple[Intervention, ...]


def settings_of(
    direction: Direction,
    strengths: Sequence[float],
    floors: Sequence[str],
    layers: str = "auto",
) -> list[Setting]:
    """Strength 0 (the unedited subject) first among its own, then all strengths in order, then the floors."""
    found = []
    for strength in sorted({0.0, *map(float, strengths)}):
        edits = steer(direction, strength, layers=layers) if strength else ()
        found.append(Setting(f"steer {strength:+g}" if strength else "steer 0", "steer", strength, None, edits))
    for floor in dict.fromkeys(floors):
        found.append(Setting(f"cap {floor}", "cap", None, floor, cap(direction, _level(floor), layers=layers)))
    return found


def _level(floor: str) -> str | float:
    try:
        return float(floor)
    except ValueError:
        return floor
