"""Hold: how far pressure moves the character along the assistant axis over several turns, against a neutral arm.

Effects are differences to the neutral arm at the same turn, paired by conversation. Every reply is read twice: hot, in
the context that made it, and cold, after a plain user message alone, since a role instruction moves the reading of any
text (definitions.md). Prefilled words are never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict

from greenroom.conversation import Conversation, Message
from greenroom.directions import Direction
from greenroom.directions.cold import cold_places
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.measures.intervals import bootstrap_difference
from greenroom.personas import Role
from greenroom.subject import Capture, PrefixCache, Reply, Subject
from greenroom.subject.subject import Progress

NEUTRAL = "neutral"
# The neutral arm whose first message is as long as a jailbreak's.
NEUTRAL_LONG = "neutral_long"


class Pressure(BaseModel):
    """One kind of pressure. how: a role's instruction as system message; words before the first user message; words
    put in the model's mouth; or user messages of its own."""

    model_config = ConfigDict(extra="forbid")
    name: str
    title: str
    how: Literal["system", "first_user", "prefill", "users"]
    texts: list[str] = []
    conversations: list[list[str]] = []


class Stimuli(BaseModel):
    """stimuli/hold.yaml."""

    model_config = ConfigDict(extra="forbid")
    turns: int
    neutral: list[list[str]]
    neutral_openings: list[str]
    pressures: list[Pressure]
    neutral_probes: list[str] = []


@cache
def stimuli() -> Stimuli:
    path = Path(__file__).with_name("explore.yaml")
    return Stimuli.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@dataclass
class _Scene:
    """One conversation of one arm while it is played."""

    arm: str
    number: int
    messages: Conversation
    said: list[str]  # the user's plain messages
    first: str = ""  # words before the first one
    prefill: list[str] | None = None


@dataclass(frozen=True)
class Held:
    """What the stage leaves: `hold` (one row a reply), its effects by turn, and the replies."""

    hold: pl.DataFrame
    effects: pl.DataFrame
    replies: pl.DataFrame


def hold(
    subject: Subject,
    axis: Direction,
    roles: list[Role],
    *,
    conversations: int,
    tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> Held:
    """Plays all arms turn by turn, `conversations` of each, under `roles` that the axis has not seen."""
    items = stimuli()
    scenes = _scenes(items, roles, conversations)
    memory = PrefixCache()
    made: list[tuple[_Scene, int, str, Reply]] = []
    for turn in range(items.turns):
        for scene in scenes:
            opening = f"{scene.first}\n\n" if turn == 0 and scene.first else ""
            scene.messages.append({"role": "user", "content": opening + scene.said[turn]})
        asked: list[Conversation] = [
            [*scene.messages, {"role": "assistant", "content": scene.prefill[turn]}]
            if scene.prefill
            else scene.messages
            for scene in scenes
        ]
        replies = subject.generate(
            asked,
            max_new_tokens=tokens,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            seed=seed + turn,
            capture=Capture((axis.layer,)),
            prefix_cache=memory,
        )
        for scene, reply in zip(scenes, replies, strict=True):
            started = scene.prefill[turn] if scene.prefill else ""
            answer: Message = {"role": "assistant", "content": (started + reply.text).strip()}
            scene.messages.append(answer)
            made.append((scene, turn, scene.said[turn], reply))
        if progress is not None:
            progress(turn + 1, items.turns + 1)
    cold = cold_places(subject, axis, [said for _, _, said, _ in made], [reply for *_, reply in made])
    rows: list[dict[str, Any]] = []
    for (scene, turn, said, reply), colder in zip(made, cold, strict=True):
        hot = None if reply.activations is None else float(axis.sd(reply.activations[0]))
        rows.append(
            {"pressure": scene.arm, "conversation": scene.number, "turn": turn + 1, "axis_sd_hot": hot,
             "axis_sd_cold": colder, "user": said, "reply": reply.text}
        )  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"axis_sd_hot": pl.Float64, "axis_sd_cold": pl.Float64})
    return Held(
        frame.drop("user", "reply"),
        effects(frame, seed),
        frame.select("pressure", "conversation", "turn", "user", "reply"),
    )


def effects(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Difference to the neutral arm of matched length by pressure, turn and reading, sd; conversations resampled."""
    control_of = {pressure.name: _control(pressure) for pressure in stimuli().pressures}
    rows: list[dict[str, Any]] = []
    for pressure in frame["pressure"].unique(maintain_order=True):
        if pressure not in control_of:
            continue
        for turn in frame["turn"].unique(maintain_order=True):
            for reading in ("hot", "cold"):
                column = f"axis_sd_{reading}"
                at = frame.filter((pl.col("turn") == turn) & pl.col(column).is_not_null() & pl.col(column).is_not_nan())
                pressed = at.filter(pl.col("pressure") == pressure)
                neutral = at.filter(pl.col("pressure") == control_of[pressure])
                found = bootstrap_difference(
                    pressed[column].to_numpy(), neutral[column].to_numpy(),
                    pressed["conversation"].to_list(), neutral["conversation"].to_list(), seed=seed,
                )  # fmt: skip
                rows.append(
                    {"pressure": pressure, "turn": turn, "reading": reading, "effect_sd": found.estimate,
                     "low": found.low, "high": found.high, "n": pressed.height}
                )  # fmt: skip
    return pl.DataFrame(rows)


def _control(pressure: Pressure) -> str:
    return NEUTRAL_LONG if pressure.how == "first_user" else NEUTRAL


def _scenes(items: Stimuli, roles: list[Role], conversations: int) -> list[_Scene]:
    scenes = []
    for number in range(min(conversations, len(items.neutral))):
        role = roles[number % len(roles)]
        neutral = items.neutral[number]
        filler = items.neutral_openings[number % len(items.neutral_openings)]
        scenes += [_Scene(NEUTRAL, number, [], neutral), _Scene(NEUTRAL_LONG, number, [], neutral, first=filler)]
        for pressure in items.pressures:
            texts = pressure.texts
            if pressure.how == "system":
                instruction = role.instructions[number % len(role.instructions)]
                scenes.append(_Scene(pressure.name, number, [{"role": "system", "content": instruction}], neutral))
            elif pressure.how == "first_user":
                opening = texts[number % len(texts)].format(description=role.description)
                scenes.append(_Scene(pressure.name, number, [], neutral, first=opening))
            elif pressure.how == "prefill":
                started = [texts[(number + turn) % len(texts)] for turn in range(items.turns)]
                scenes.append(_Scene(pressure.name, number, [], neutral, prefill=started))
            else:
                scenes.append(_Scene(pressure.name, number, [], pressure.conversations[number]))
    return scenes
