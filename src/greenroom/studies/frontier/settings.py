"""The settings of a frontier: strengths from −8 to +8 sd, and cap floors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from greenroom.directions import Direction
from greenroom.directions.interventions import cap, steer
from greenroom.errors import DirectionError
from greenroom.subject import Intervention

STRENGTHS = (-8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
FLOORS = ("default:p5", "default:p25", "default:p50")


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
    strengths: Sequence[float] = STRENGTHS,
    floors: Sequence[str] = FLOORS,
    layers: str = "auto",
) -> list[Setting]:
    """Strength 0 (the unedited subject) first among its own, then all strengths in order, then the floors."""
    if any(not -100 <= strength <= 100 for strength in strengths):
        raise DirectionError(f"strengths are in standard deviations; expected −100 to 100, got {list(strengths)}")
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
