"""The pressures of explore.yaml, and the conversations that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from greenroom.asking.types import Items, load_items
from greenroom.conversation import Message, system, user
from greenroom.personas import Role

NEUTRAL = "neutral"
# The neutral arm whose first message is as long as a jailbreak's.
NEUTRAL_LONG = "neutral_long"


class Pressure(Items):
    """One kind of pressure. how: a role's instruction as system message; words before the first user message; words
    put in the model's mouth; or user messages of its own."""

    name: str
    how: Literal["system", "first_user", "prefill", "users"]
    texts: tuple[str, ...] = ()
    conversations: tuple[tuple[str, ...], ...] = ()

    @property
    def control(self) -> str:
        """The arm that it is compared with."""
        return NEUTRAL_LONG if self.how == "first_user" else NEUTRAL


class Hold(Items):
    """explore.yaml. neutral: the user's messages of each conversation; neutral_openings: what stands before the first."""

    turns: int
    neutral: tuple[tuple[str, ...], ...]
    neutral_openings: tuple[str, ...]
    pressures: tuple[Pressure, ...]


@cache
def stimuli() -> Hold:
    return load_items("hold", Hold)


@dataclass(frozen=True)
class Scene:
    """One conversation of one arm.

    said: the user's plain messages, one a turn. instruction: the system message; opening: words before the first
    message; started: words put in the model's mouth, one a turn.
    """

    arm: str
    number: int
    said: Sequence[str]
    instruction: str = ""
    opening: str = ""
    started: Sequence[str] = ()

    @property
    def before(self) -> list[Message]:
        """What stands before the first turn."""
        return [system(self.instruction)] if self.instruction else []

    def message(self, turn: int) -> Message:
        return user(f"{self.opening}\n\n{self.said[turn]}" if turn == 0 and self.opening else self.said[turn])

    def start(self, turn: int) -> str:
        """How the model's reply begins without its doing."""
        return self.started[turn] if self.started else ""


def scenes(roles: Sequence[Role], conversations: int) -> list[Scene]:
    """`conversations` of each arm (as many as there are scripts, at most), the roles in turn."""
    items = stimuli()
    made = []
    for number in range(min(conversations, len(items.neutral))):
        role, neutral = roles[number % len(roles)], items.neutral[number]
        made.append(Scene(NEUTRAL, number, neutral))
        made.append(Scene(NEUTRAL_LONG, number, neutral, opening=_one_of(items.neutral_openings, number)))
        made += [_pressed(pressure, number, role, neutral, items.turns) for pressure in items.pressures]
    return made


def _pressed(pressure: Pressure, number: int, role: Role, neutral: Sequence[str], turns: int) -> Scene:
    if pressure.how == "system":
        return Scene(pressure.name, number, neutral, instruction=_one_of(role.instructions, number))
    if pressure.how == "first_user":
        opening = _one_of(pressure.texts, number).format(description=role.description)
        return Scene(pressure.name, number, neutral, opening=opening)
    if pressure.how == "prefill":
        started = [_one_of(pressure.texts, number + turn) for turn in range(turns)]
        return Scene(pressure.name, number, neutral, started=started)
    return Scene(pressure.name, number, pressure.conversations[number])


def _one_of(texts: Sequence[str], number: int) -> str:
    return texts[number % len(texts)]
