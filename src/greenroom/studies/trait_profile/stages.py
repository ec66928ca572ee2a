"""What the trait profile computes: both poles of each trait and the default character answer the same held-out questions,
and each reply is projected on the trait's vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from greenroom.directions import stored
from greenroom.directions.cast import DEFAULT
from greenroom.directions.direction import Direction, unit
from greenroom.directions.poles import Poles, play_poles
from greenroom.directions.rollouts import instructed, readable_layers, roll_out
from greenroom.directions.traits import choose_layer
from greenroom.personas import Trait, library
from greenroom.runs.run import StageResult
from greenroom.studies.study import ROLE_VECTORS, Work
from greenroom.subject import Subject

REPLIES = {
    "trait": pl.String,
    "pole": pl.String,  # positive, negative, default
    "question": pl.String,
    "projection": pl.Float32,  # on the trait's unit vector at its block, residual units
    "reply": pl.String,
}


def place_traits(work: Work) -> StageResult:
    """`replies` (columns: `REPLIES`) and `traits`, one row a trait: its vector's block, the share of roles below the
    default character on it, and whether a stored vector calls itself reliable (null for one made here).

    A trait's vector is the stored one of these weights, else built here from as many other questions.
    """
    from safetensors.torch import load_file

    traits = library.traits()[: work.size.traits]
    role_vectors = load_file(work.run.path / ROLE_VECTORS)
    known = {trait.name: stored(work.subject, trait.name) for trait in traits}
    replies: dict[str, pl.DataFrame] = {}
    rows: dict[str, dict[str, Any]] = {}
    groups = [[t for t in traits if known[t.name] is not None], [t for t in traits if known[t.name] is None]]
    for group in filter(None, groups):
        before, after = len(rows) / len(traits), (len(rows) + len(group)) / len(traits)
        for trait, poles, default in _asked(work, group, known[group[0].name] is None, work.share(before, after)):
            direction = known[trait.name]
            layer, vector = _vector(direction, poles, work.seed)
            index = poles.layers.index(layer)
            replies[trait.name] = _replies(trait, poles.part(held_out=True), default, index, vector)
            roles = {name: float(values[index] @ vector) for name, values in role_vectors.items()}
            below = [value < roles[DEFAULT] for name, value in roles.items() if name != DEFAULT]
            rows[trait.name] = {
                "trait": trait.name, "kind": trait.kind, "negative": trait.negative, "positive": trait.positive,
                "layer": layer, "role_percentile": float(np.mean(below)),
                "reliable": None if direction is None else direction.reliable,
            }  # fmt: skip
    table = pl.DataFrame([rows[trait.name] for trait in traits], schema_overrides={"reliable": pl.Boolean})
    return StageResult({"traits": table, "replies": pl.concat([replies[trait.name] for trait in traits])})


Default = tuple[Tensor, list[str], list[str]]  # (layer, reply, hidden), question and text of each


def _asked(
    work: Work, traits: Sequence[Trait], built: bool, progress: Callable[[int, int], None]
) -> list[tuple[Trait, Poles, Default]]:
    """Replies of both poles and of the default character. built: their vectors are made here, from other questions."""
    layers, size = readable_layers(work.subject), work.size
    poles = play_poles(
        work.subject, traits, layers=layers, questions=size.questions if built else 0, held_out_questions=size.questions,
        tokens=size.tokens, seed=work.seed, progress=progress,
    )  # fmt: skip
    plain = _defaults(work.subject, traits, layers, size.questions, size.tokens, work.seed)
    return list(zip(traits, poles, plain, strict=True))


def _defaults(
    subject: Subject, traits: Sequence[Trait], layers: Sequence[int], questions: int, tokens: int, seed: int
) -> list[Default]:
    told = library.default_instructions()
    asked = [
        (index, question.text, instructed(told[(index + number) % len(told)], question.text))
        for index, trait in enumerate(traits)
        for number, question in enumerate([q for q in trait.questions if q.held_out][:questions])
    ]
    rollouts = roll_out(subject, [prompt for _, _, prompt in asked], layers, max_new_tokens=tokens, seed=seed)
    of = np.array([asked[row][0] for row in rollouts.kept])
    texts = [asked[row][1] for row in rollouts.kept]
    said = [reply.text for reply in rollouts.replies]
    found: list[Default] = []
    for index in range(len(traits)):
        own = np.flatnonzero(of == index).tolist()
        found.append((rollouts.values[:, own], [texts[row] for row in own], [said[row] for row in own]))
    return found


def _vector(direction: Direction | None, poles: Poles, seed: int) -> tuple[int, Tensor]:
    if direction is not None:
        return direction.layer, direction.vector()
    layer = choose_layer(poles, seed).layer
    return layer, unit(poles.part(held_out=False).difference())[poles.layers.index(layer)]


def _replies(trait: Trait, held: Poles, default: Default, index: int, vector: Tensor) -> pl.DataFrame:
    values, asked, said = default
    poles = ["positive" if positive else "negative" for positive in held.positive]
    columns = {
        "trait": [trait.name] * (len(poles) + len(asked)),
        "pole": [*poles, *["default"] * len(asked)],
        "question": [*held.asked, *asked],
        "projection": [*(held.values[index] @ vector).tolist(), *(values[index] @ vector).tolist()],
        "reply": [*held.texts, *said],
    }
    return pl.DataFrame(columns, schema=REPLIES)
