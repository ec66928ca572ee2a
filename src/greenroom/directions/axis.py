"""The assistant axis: default minus the mean of roles (The Assistant Axis, Lu et al. 2026, arXiv 2601.10387)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from greenroom.directions.axis_validation import SPLITS, AxisValidation, role_aucs, validate_axis
from greenroom.directions.cast import DEFAULT, Cast, Performance, perform, usual_cast
from greenroom.directions.direction import Direction, SignTest, unit
from greenroom.directions.floors import rollout_token_projections, with_rollout_floors
from greenroom.directions.rollouts import (
    CALIBRATION_REPLIES,
    calibrations,
    default_prompts,
    default_token_projections,
)
from greenroom.directions.stored import store, stored
from greenroom.store import digest
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

ASSISTANT_AXIS = "assistant_axis"
# The axis of cold re-reads (reader/axis.py).
READER_AXIS = "reader_axis"


def axis_vectors(performance: Performance, names: Sequence[str]) -> Tensor:
    """(layer, hidden), not normalised: mean of default replies minus the mean of the named roles' vectors."""
    return performance.means([DEFAULT])[:, 0] - performance.means(names).mean(dim=1)


def draft_axis(
    subject: Subject, performance: Performance, cast: Cast, validation: AxisValidation, *, seed: int
) -> Direction:
    """The axis of all unreserved roles and all questions, not calibrated yet."""
    names = [
        name for name in dict.fromkeys(performance.frame["role"].to_list()) if name not in {DEFAULT, *cast.reserved}
    ]
    vectors = dict(zip(performance.layers, unit(axis_vectors(performance, names)), strict=True))
    at, index = vectors[validation.layer], performance.layers.index(validation.layer)
    return Direction(
        name=ASSISTANT_AXIS,
        kind="axis",
        layer=validation.layer,
        vectors=vectors,
        calibration={},
        subject=subject.name,
        fingerprint=subject.replies_fingerprint,
        sign_test=SignTest(
            "default replies", "role replies",
            float(performance.means([DEFAULT])[index, 0] @ at), float((performance.means(names)[index] @ at).mean()),
        ),
        recipe={
            "method": "mean default reply minus mean of role vectors (arXiv 2601.10387)", "reading": "hot",
            "roles": names, "reserved": sorted(cast.reserved), "questions": [question.id for question in cast.questions],
            "default_instructions": len(cast.instructions), "tokens": cast.tokens, "seed": seed, "splits": SPLITS,
            "library": digest(*(text for role in cast.roles for text in role.instructions)),
        },
        validity={
            "auc": validation.auc.estimate, "auc_low": validation.auc.low, "auc_high": validation.auc.high,
            "auc_all_roles": validation.auc_all.estimate, "null_p95": validation.null_p95,
        },
        reliable=validation.auc.low is not None and validation.auc.low > 0.6,
    )  # fmt: skip


def calibrated(
    subject: Subject,
    axis: Direction,
    short: np.ndarray,
    *,
    seed: int,
    replies: int = CALIBRATION_REPLIES,
    rollout_tokens: Mapping[int, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Direction:
    """The axis with the scale of default replies of exactly 64 tokens.

    short: projections of other default replies, at the chosen block: what is left for a subject whose replies hardly
    ever reach 64 tokens. rollout_tokens: `rollout_token_projections` along the axis, for the floors `rollouts:pNN`.
    """
    tokens = default_token_projections(
        subject, {axis.name: dict(axis.vectors)}, default_prompts(seed), seed=seed, replies=replies, progress=progress
    )
    found = tokens.get(axis.name)
    scaled = replace(axis, calibration=calibrations(found if found else {axis.layer: short[:, None]}))
    return with_rollout_floors(scaled, rollout_tokens or {})


@dataclass(frozen=True)
class ColdReading:
    """Replies of a performance read cold: raw projections (NaN where a reply was not re-read), and the mean AUC over
    roles, cold and hot, on the replies that were.

    These AUCs are of the very replies that made the axis, so they are to be compared with each other only.
    """

    projections: np.ndarray
    cold_auc: float
    hot_auc: float


def cold_reading(
    subject: Subject,
    performance: Performance,
    axis: Direction,
    *,
    every: int = 1,
    progress: Progress | None = None,
) -> ColdReading:
    """Re-reads the replies to every n-th question after that question alone, without the instruction that made them."""
    question_of, role_of = (performance.frame[column].to_numpy() for column in ("question", "role"))
    asked = np.isin(question_of, list(dict.fromkeys(question_of.tolist()))[::every])
    cold = axis.projection(performance.rollouts.only(asked).cold(subject, [axis.layer], progress)[0]).numpy()
    hot = axis.projection(performance.values[performance.layers.index(axis.layer)]).numpy()[asked]
    names = [name for name in dict.fromkeys(role_of.tolist()) if name != DEFAULT]
    aucs = role_aucs(
        np.stack([cold, hot]), np.ones(len(cold), dtype=bool), role_of[asked] == DEFAULT, role_of[asked],
        question_of[asked], names,
    )  # fmt: skip
    means = np.mean(list(aucs.values()), axis=0)
    projections = np.full(len(role_of), np.nan)
    projections[asked] = cold
    return ColdReading(projections, float(means[0]), float(means[1]))


def assistant_axis(subject: Subject, *, seed: int = 0, progress: Progress | None = None) -> Direction:
    """The subject's assistant axis: shipped or stored if there is one for these weights, else built and stored."""
    found = stored(subject, ASSISTANT_AXIS)
    if found is None:
        found = build_axis(subject, seed=seed, progress=progress)
        store(found)
    return found


def axes_of(subject: Subject, axis: Direction | None = None) -> tuple[Direction, Direction]:
    """The axes on which replies are read hot and cold: the one given for both; else the assistant axis, and cold the
    axis of cold re-reads where these weights have one."""
    if axis is not None:
        return axis, axis
    hot = assistant_axis(subject)
    return hot, stored(subject, READER_AXIS) or hot


def reading_block(subject: Subject, axis: Direction | None = None) -> tuple[int, Direction | None]:
    """The block of the assistant axis (the one given, else the stored one), else two thirds of the way up; and that
    axis."""
    axis = axis or stored(subject, ASSISTANT_AXIS)
    return (axis.layer if axis is not None else 2 * subject.layers // 3), axis


def build_axis(subject: Subject, *, seed: int = 0, progress: Progress | None = None) -> Direction:
    """The axis of the library's cast, validated, calibrated and with both kinds of floors."""
    cast = usual_cast()
    performance = perform(subject, cast, seed=seed, progress=progress)
    draft = draft_axis(subject, performance, cast, validate_axis(performance, cast, seed=seed), seed=seed)
    default = (performance.frame["role"] == DEFAULT).to_numpy()
    short = draft.projection(performance.values[performance.layers.index(draft.layer)]).numpy()[default]
    tokens = rollout_token_projections(subject, draft.vectors, performance.rollouts, seed=seed)
    return calibrated(subject, draft, short, seed=seed, rollout_tokens=tokens, progress=progress)
