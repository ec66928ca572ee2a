"""The assistant axis: default minus the mean of roles (The Assistant Axis, Lu et al. 2026, arXiv 2601.10387).

The block is chosen on selection folds and the AUC computed on questions and roles in neither fold, over many splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from greenroom.directions.direction import Direction, SignTest, unit
from greenroom.directions.rollouts import (
    CALIBRATION_REPLIES,
    Rollouts,
    calibrations,
    cold_values,
    default_token_projections,
    instructed,
    readable_layers,
    roll_out,
)
from greenroom.measures.design import folds
from greenroom.measures.intervals import Interval, bootstrap_mean
from greenroom.personas import Question, Role, library
from greenroom.store import digest
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

DEFAULT = "default"
# Kinds that lie near the assistant (a trial: accountant .94, coach .92); the gate is on all others.
NEAR = ("everyday", "professional")
SPLITS = 20
SHARES = {"fit": 0.5, "selection": 0.25, "test": 0.25}


@dataclass(frozen=True)
class Cast:
    """Who answers what: the design of a persona map.

    roles answer every question once, under their instructions in turn; the default character answers every question
    under every default instruction. `reserved` roles are asked too but left out of the axis, for pressure tests.
    """

    roles: tuple[Role, ...]
    questions: tuple[Question, ...]
    instructions: tuple[str, ...]
    tokens: int
    reserved: frozenset[str] = frozenset()

    def frame(self) -> pl.DataFrame:
        """One row a reply: role, kind, question (id), instruction (index)."""
        rows = [
            {"role": DEFAULT, "kind": DEFAULT, "question": question.id, "instruction": index}
            for question in self.questions
            for index in range(len(self.instructions))
        ]
        rows += [
            {
                "role": role.name,
                "kind": role.kind,
                "question": question.id,
                "instruction": index % len(role.instructions),
            }
            for role in self.roles
            for index, question in enumerate(self.questions)
        ]
        return pl.DataFrame(rows)

    def prompts(self) -> list[list[Any]]:
        """The conversation of each row of `frame`."""
        said = {question.id: question.text for question in self.questions}
        told = {role.name: role.instructions for role in self.roles} | {DEFAULT: self.instructions}
        return [
            instructed(told[row["role"]][row["instruction"]], said[row["question"]]) for row in self.frame().to_dicts()
        ]


@dataclass(frozen=True)
class Performance:
    """A cast's replies: `frame` (one row a reply that has tokens) and `values` (layer, row, hidden) at blocks `layers`."""

    frame: pl.DataFrame
    values: Tensor
    layers: tuple[int, ...]
    rollouts: Rollouts

    def means(self, names: Sequence[str]) -> Tensor:
        """(layer, name, hidden): role vectors, the mean reply activation of each name."""
        roles = self.frame["role"].to_numpy()
        return torch.stack([self.values[:, torch.from_numpy(roles == name)].mean(dim=1) for name in names], dim=1)


@dataclass(frozen=True)
class AxisValidation:
    """How well the axis tells the default character from roles and questions that it was not made from.

    auc: mean over roles that are not everyday; auc_all: over all. Intervals resample roles. split_sd: sd of the AUC
    over splits. null_p95: 95th percentile of the same AUC when labels are permuted by role. selection_auc,
    selection_se: per block. role_auc: role → mean held-out AUC.
    """

    layer: int
    layers: tuple[int, ...]
    auc: Interval
    auc_all: Interval
    split_sd: float
    null_p95: float
    selection_auc: np.ndarray
    selection_se: np.ndarray
    role_auc: dict[str, float]


def usual_cast(*, every: int = 1, tokens: int = 40) -> Cast:
    """The library's cast: every n-th role, the first question of each topic; a tenth of the strange roles is reserved.

    The same for every seed and subject, so that maps can be compared; a seed changes the replies only.
    """
    roles = library.roles()[::every]
    topics: dict[str, Question] = {}
    for question in library.questions():
        topics.setdefault(question.topic, question)
    strange = [role.name for role in roles if role.kind not in NEAR]
    reserved = strange[:: max(1, min(10, len(strange) // 2))]
    return Cast(roles, tuple(topics.values()), library.default_instructions(), tokens, frozenset(reserved))


def perform(subject: Subject, cast: Cast, *, seed: int, progress: Progress | None = None) -> Performance:
    """Lets the cast answer; activations at `readable_layers`."""
    layers = readable_layers(subject)
    rollouts = roll_out(subject, cast.prompts(), layers, max_new_tokens=cast.tokens, seed=seed, progress=progress)
    return Performance(cast.frame()[rollouts.kept], rollouts.values, rollouts.layers, rollouts)


def axis_vectors(performance: Performance, names: Sequence[str]) -> Tensor:
    """(layer, hidden), not normalised: mean of default replies minus the mean of the named roles' vectors."""
    return performance.means([DEFAULT])[:, 0] - performance.means(names).mean(dim=1)


def validate_axis(performance: Performance, cast: Cast, *, seed: int, splits: int = SPLITS) -> AxisValidation:
    """Selection and test folds apart, roles and questions held out, labels permuted by role for the null."""
    values = performance.values.numpy()
    frame = performance.frame
    role_of, question_of = frame["role"].to_numpy(), frame["question"].to_numpy()
    is_default = role_of == DEFAULT
    everyday = {role.name for role in cast.roles if role.kind in NEAR}
    names = [role.name for role in cast.roles if role.name not in cast.reserved and (role_of == role.name).any()]
    questions = [question.id for question in cast.questions]
    selection: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    tested: dict[str, list[float]] = {name: [] for name in names}
    per_split: list[float] = []
    null: list[float] = []
    # The null's groups: each default instruction counts as a group of its own beside the roles.
    group_of = np.where(
        role_of == DEFAULT, np.char.add("default/", frame["instruction"].to_numpy().astype(str)), role_of.astype(str)
    )
    n_default = len(set(group_of[role_of == DEFAULT]))
    generator = np.random.default_rng(seed)
    for split in range(splits):
        role_folds = folds(names, SHARES, seed + split)
        question_folds = folds(questions, SHARES, seed + 1000 + split)
        in_question = {fold: np.isin(question_of, question_folds[fold]) for fold in SHARES}
        fit = in_question["fit"]
        axis = values[:, fit & (role_of == DEFAULT)].mean(axis=1) - np.stack(
            [
                values[:, fit & (role_of == name)].mean(axis=1)
                for name in role_folds["fit"]
                if (fit & (role_of == name)).any()
            ]
        ).mean(axis=0)
        projected = np.einsum("lnd,ld->ln", values, axis)
        chosen_by = _role_aucs(
            projected, in_question["selection"], is_default, role_of, question_of, role_folds["selection"]
        )
        mean, se = _mean_and_error(np.stack(list(chosen_by.values())))
        layer = _earliest(mean, se)
        selection.append(mean)
        errors.append(se)
        scores = _role_aucs(projected, in_question["test"], is_default, role_of, question_of, role_folds["test"])
        for name, auc in scores.items():
            tested[name].append(float(auc[layer]))
        strange = [float(auc[layer]) for name, auc in scores.items() if name not in everyday]
        per_split.append(float(np.mean(strange or [np.nan])))
        null.append(_null_auc(values[layer], group_of, question_of, in_question, n_default, generator))
    mean = np.stack(selection).mean(axis=0)
    # Splits share their replies, so the error of a mean over splits is that of one split, not a twentieth of it.
    error = np.stack(errors).mean(axis=0)
    layer = _earliest(mean, error)
    role_auc = {name: float(np.mean(found)) for name, found in tested.items() if found}
    strange = [name for name in role_auc if name not in everyday]
    return AxisValidation(
        performance.layers[layer],
        performance.layers,
        _over_roles([role_auc[name] for name in strange], strange, seed),
        _over_roles(list(role_auc.values()), list(role_auc), seed),
        float(np.std(per_split, ddof=1)),
        float(np.percentile(null, 95)),
        mean,
        error,
        role_auc,
    )


def _role_aucs(
    projected: np.ndarray,
    rows: np.ndarray,
    positive: np.ndarray,
    role_of: np.ndarray,
    question_of: np.ndarray,
    names: Sequence[str],
) -> dict[str, np.ndarray]:
    """Role → (layer,) AUC of default replies against that role's, on the given rows, mean over questions.

    Replies are compared within a question, so that what a question is about cannot pass for character.
    """
    result = {}
    for name in names:
        found = []
        for question in np.unique(question_of[rows]):
            asked = rows & (question_of == question)
            high, low = projected[:, asked & positive], projected[:, asked & (role_of == name) & ~positive]
            if high.shape[1] and low.shape[1]:
                difference = high[:, :, None] - low[:, None, :]
                found.append((difference > 0).mean(axis=(1, 2)) + 0.5 * (difference == 0).mean(axis=(1, 2)))
        if found:
            result[name] = np.mean(found, axis=0)
    return result


def _null_auc(
    values: np.ndarray,
    group_of: np.ndarray,
    question_of: np.ndarray,
    in_question: dict[str, np.ndarray],
    n_default: int,
    generator: np.random.Generator,
) -> float:
    """The held-out AUC of an axis between randomly labelled groups: as many `default` ones as there really are."""
    shuffled = generator.permutation(np.unique(group_of))
    default, rest = shuffled[:n_default], shuffled[n_default:]
    half = len(rest) // 2
    is_default, in_fit = np.isin(group_of, default), np.isin(group_of, rest[:half])
    fit, test = in_question["fit"], in_question["test"]
    axis = values[fit & is_default].mean(axis=0) - values[fit & in_fit].mean(axis=0)
    aucs = _role_aucs((values @ axis)[None], test, is_default, group_of, question_of, list(rest[half:]))
    return float(np.mean(list(aucs.values()))) if aucs else 0.5


def _mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # One role alone has no spread to estimate an error from.
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    return values.mean(axis=0), spread / np.sqrt(len(values))


def _earliest(mean: np.ndarray, error: np.ndarray) -> int:
    """The earliest block within one standard error of the best."""
    best = int(mean.argmax())
    return int(np.flatnonzero(mean >= mean[best] - error[best])[0])


def _over_roles(values: Sequence[float], names: Sequence[str], seed: int) -> Interval:
    return bootstrap_mean(values, names, seed=seed)


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
        name="assistant_axis",
        kind="axis",
        layer=validation.layer,
        vectors=vectors,
        calibration={},
        subject=subject.name,
        fingerprint=subject.fingerprint,
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
    progress: Progress | None = None,
) -> Direction:
    """The axis with the scale of default replies of exactly 64 tokens.

    short: projections of other default replies, at the chosen block: what is left for a subject whose replies hardly
    ever reach 64 tokens.
    """
    prompts = [instructed(text, q.text) for q in library.questions() for text in library.default_instructions()]
    order = np.random.default_rng(seed).permutation(len(prompts))
    tokens = default_token_projections(
        subject, {axis.name: dict(axis.vectors)}, [prompts[index] for index in order], seed=seed, replies=replies,
        progress=progress,
    )  # fmt: skip
    found = tokens.get(axis.name)
    return replace(axis, calibration=calibrations(found if found else {axis.layer: short[:, None]}))


@dataclass(frozen=True)
class ColdReading:
    """The replies of a performance read cold: raw projections, and the mean AUC over roles, cold and hot.

    These AUCs are of the very replies that made the axis, so they are to be compared with each other only.
    """

    projections: np.ndarray
    cold_auc: float
    hot_auc: float


def cold_reading(
    subject: Subject, performance: Performance, axis: Direction, progress: Progress | None = None
) -> ColdReading:
    """Re-reads every reply after its question alone, without the instruction that made it."""
    cold = axis.projection(cold_values(subject, performance.rollouts, [axis.layer], progress)[0]).numpy()
    hot = axis.projection(performance.values[performance.layers.index(axis.layer)]).numpy()
    role_of = performance.frame["role"].to_numpy()
    names = [name for name in dict.fromkeys(role_of.tolist()) if name != DEFAULT]
    everything = np.ones(len(role_of), dtype=bool)
    question_of = performance.frame["question"].to_numpy()
    aucs = _role_aucs(np.stack([cold, hot]), everything, role_of == DEFAULT, role_of, question_of, names)
    means = np.mean(list(aucs.values()), axis=0)
    return ColdReading(cold, float(means[0]), float(means[1]))


def assistant_axis(subject: Subject, *, seed: int = 0, progress: Progress | None = None) -> Direction:
    """The subject's assistant axis: shipped or stored if there is one for these weights, else built and stored."""
    from greenroom.directions.stored import store, stored

    found = stored(subject, "assistant_axis")
    if found is not None:
        return found
    cast = usual_cast()
    performance = perform(subject, cast, seed=seed, progress=progress)
    draft = draft_axis(subject, performance, cast, validate_axis(performance, cast, seed=seed), seed=seed)
    default = (performance.frame["role"] == DEFAULT).to_numpy()
    short = draft.projection(performance.values[performance.layers.index(draft.layer)]).numpy()[default]
    axis = calibrated(subject, draft, short, seed=seed, progress=progress)
    store(axis)
    return axis
