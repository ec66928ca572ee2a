"""The persona map: a cast answers, and its replies give the assistant axis and everyone's place along it and beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from greenroom.directions.axis import cold_reading, draft_axis
from greenroom.directions.axis_validation import validate_axis
from greenroom.directions.cast import DEFAULT, Cast, perform
from greenroom.directions.direction import Direction
from greenroom.directions.floors import rollout_token_projections
from greenroom.directions.persona_space import place_roles
from greenroom.directions.progress import share
from greenroom.measures.intervals import bootstrap_mean
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

COMPONENTS = 3
# Replies to every third question are re-read cold: enough for the AUC beside the hot one, at a third of the time.
COLD_EVERY = 3


@dataclass(frozen=True)
class PersonaMap:
    """A cast's map before its axis has a scale.

    axis: not calibrated. role_vectors: name → (layer, hidden), the default character first. floor_tokens: block →
    (tokens,) projections of single tokens, residual units, for the floors `rollouts:pNN`. replies: one row a reply, with
    projection_hot and projection_cold in residual units, cold null where it was not re-read. places: role, kind, pc1 to
    pc3. components: role_auc, layers: see `PersonaSpace.table`, `AxisValidation`.
    """

    axis: Direction
    role_vectors: dict[str, Tensor]
    floor_tokens: dict[int, np.ndarray]
    replies: pl.DataFrame
    places: pl.DataFrame
    components: pl.DataFrame
    layers: pl.DataFrame
    role_auc: pl.DataFrame
    numbers: dict[str, Any]


def map_personas(
    subject: Subject, cast: Cast, *, floor_replies: int, seed: int, progress: Progress | None = None
) -> PersonaMap:
    """Lets the cast answer, builds the axis, validates it, re-reads a part cold and places everyone.

    floor_replies: of how many replies single tokens are kept.
    """
    performance = perform(subject, cast, seed=seed, progress=share(progress, 0.0, 0.9))
    validation = validate_axis(performance, cast, seed=seed)
    axis = draft_axis(subject, performance, cast, validation, seed=seed)
    reading = cold_reading(subject, performance, axis, every=COLD_EVERY, progress=share(progress, 0.9, 1.0))
    tokens = rollout_token_projections(subject, axis.vectors, performance.rollouts, replies=floor_replies, seed=seed)
    index, frame = performance.layers.index(axis.layer), performance.frame
    vectors = performance.role_vectors()
    placed = place_roles({name: of[index] for name, of in vectors.items()}, COMPONENTS)
    kinds = dict(zip(frame["role"], frame["kind"], strict=True))
    made = performance.rollouts.replies
    return PersonaMap(
        axis=axis,
        role_vectors=vectors,
        floor_tokens=tokens,
        replies=frame.with_columns(
            pl.Series("reply", [reply.text for reply in made]),
            pl.Series("finish", [reply.finish for reply in made]),
            pl.Series("projection_hot", axis.projection(performance.values[index]).tolist()),
            pl.Series("projection_cold", reading.projections, nan_to_null=True),
        ),
        places=placed.places.insert_column(1, pl.Series("kind", [kinds[name] for name in vectors])),
        components=placed.space.table(),
        layers=validation.by_layer(),
        role_auc=validation.by_role(),
        numbers={
            **validation.numbers(), "auc_hot": reading.hot_auc, "auc_cold": reading.cold_auc,
            "empty_replies": performance.rollouts.empty, "n_roles": sum(name != DEFAULT for name in vectors),
        },
    )  # fmt: skip


def along_axis(axis: Direction, replies: pl.DataFrame) -> pl.DataFrame:
    """The replies of a `PersonaMap` with axis_sd and axis_sd_cold, in sd of the calibrated axis, for their projections."""
    scale = axis.scale()
    return replies.with_columns(
        ((pl.col(f"projection_{reading}") - scale.reply_mean) / scale.reply_sd).alias(f"axis_sd{end}")
        for end, reading in (("", "hot"), ("_cold", "cold"))
    ).drop("projection_hot", "projection_cold")


def places_along_axis(places: pl.DataFrame, replies: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """The places with axis_sd, axis_sd_low, axis_sd_high (interval over questions) and n_replies. replies: of
    `along_axis`."""
    rows = []
    for place in places.to_dicts():
        own = replies.filter(pl.col("role") == place["role"])
        found = bootstrap_mean(own["axis_sd"].to_numpy(), own["question"].to_list(), seed=seed)
        rows.append(
            {**place, "axis_sd": found.estimate, "axis_sd_low": found.low, "axis_sd_high": found.high,
             "n_replies": own.height}
        )  # fmt: skip
    return pl.DataFrame(rows)
