"""How well the assistant axis tells the default character from roles and questions that it was not made from.

Nested cross-validation, five times over four folds: the replies of a fold's roles and questions are put aside; the
block is chosen on inner divisions of what is left; the axis of all that is left is then tested on what was put aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from greenroom.directions.cast import DEFAULT, NEAR, Cast, Performance
from greenroom.directions.contrast import earliest
from greenroom.measures.design import folds
from greenroom.measures.intervals import Interval, bootstrap_mean

FOLDS = 4
SPLITS = 20
# One division into fit and selection judges a block by a few questions only, and picks among neighbours by chance.
DIVISIONS = 8
SELECTION = 0.35


@dataclass(frozen=True)
class AxisValidation:
    """auc: mean over roles that are not everyday; auc_all: over all; intervals resample roles. split_sd: sd of the AUC
    over splits, None with fewer than two. null_p95: 95th percentile of the same AUC when labels are permuted by role. selection_auc,
    selection_se: per block. role_auc: role → mean held-out AUC.
    """

    layer: int
    layers: tuple[int, ...]
    auc: Interval
    auc_all: Interval
    split_sd: float | None
    null_p95: float
    selection_auc: np.ndarray
    selection_se: np.ndarray
    role_auc: dict[str, float]

    def by_layer(self) -> pl.DataFrame:
        """One row a block: layer, auc_selection, auc_se (over roles), chosen."""
        return pl.DataFrame(
            {"layer": list(self.layers), "auc_selection": self.selection_auc, "auc_se": self.selection_se,
             "chosen": [layer == self.layer for layer in self.layers]}
        )  # fmt: skip

    def by_role(self) -> pl.DataFrame:
        """One row a role: role, auc (held out)."""
        return pl.DataFrame({"role": list(self.role_auc), "auc": list(self.role_auc.values())})

    def numbers(self) -> dict[str, float | int | None]:
        """The AUC with its interval, over roles that are not everyday and over all, its spread and its null."""
        return {
            "axis_auc": self.auc.estimate, "axis_auc_low": self.auc.low, "axis_auc_high": self.auc.high,
            "axis_auc_all_roles": self.auc_all.estimate, "axis_auc_all_roles_low": self.auc_all.low,
            "axis_auc_all_roles_high": self.auc_all.high, "axis_auc_split_sd": self.split_sd,
            "axis_auc_null_p95": self.null_p95, "axis_layer": self.layer,
        }  # fmt: skip


class _Replies:
    """Replies as arrays. values: (layer, reply, hidden); role, question, positive (is it the default?): (reply,)."""

    def __init__(self, values: np.ndarray, role: np.ndarray, question: np.ndarray, positive: np.ndarray):
        self.values, self.role, self.question, self.positive = values, role, question, positive

    def axis(self, roles: Sequence[str], questions: Sequence[str]) -> np.ndarray:
        """(layer, hidden): mean of the default replies minus the mean of role vectors."""
        asked = np.isin(self.question, list(questions))
        means = [
            self.values[:, asked & (self.role == name)].mean(axis=1)
            for name in roles
            if (asked & (self.role == name)).any()
        ]
        return self.values[:, asked & self.positive].mean(axis=1) - np.stack(means).mean(axis=0)

    def aucs(self, axis: np.ndarray, roles: Sequence[str], questions: Sequence[str]) -> dict[str, np.ndarray]:
        """Role → (layer,) AUC along an axis, on the replies to some questions."""
        rows = np.isin(self.question, list(questions)) & (self.positive | np.isin(self.role, list(roles)))
        projected = np.einsum("lnd,ld->ln", self.values[:, rows], axis)
        everything = np.ones(int(rows.sum()), dtype=bool)
        return role_aucs(projected, everything, self.positive[rows], self.role[rows], self.question[rows], roles)

    def choose(
        self, roles: Sequence[str], questions: Sequence[str], generator: np.random.Generator
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """The block (index), and each block's AUC on selection folds with its standard error over roles."""
        found: dict[str, list[np.ndarray]] = {}
        for _ in range(DIVISIONS):
            order, cast = list(generator.permutation(questions)), list(generator.permutation(roles))
            some, few = (max(1, round(SELECTION * len(items))) for items in (order, cast))
            if len(order) == 1:  # a single question is fit and selection at once; a map of one question is a sketch
                order, some = order * 2, 1
            if len(cast) == 1:
                cast, few = cast * 2, 1
            axis = self.axis(cast[few:], order[some:])
            for name, auc in self.aucs(axis, cast[:few], order[:some]).items():
                found.setdefault(name, []).append(auc)
        mean, error = _mean_and_error(np.stack([np.mean(aucs, axis=0) for aucs in found.values()]))
        return earliest(mean, error), mean, error


def validate_axis(performance: Performance, cast: Cast, *, seed: int, splits: int = SPLITS) -> AxisValidation:
    """Block and held-out AUC of the axis that `performance` gives; labels are permuted by role for the null.

    A cast with fewer than four questions or roles is divided into as many folds as it has, but at least two.
    """
    frame = performance.frame
    role_of, question_of = frame["role"].to_numpy(), frame["question"].to_numpy()
    replies = _Replies(performance.values.numpy(), role_of, question_of, role_of == DEFAULT)
    # The null's groups: each default instruction counts as a group of its own beside the roles.
    group_of = np.where(
        replies.positive, np.char.add("default/", frame["instruction"].to_numpy().astype(str)), role_of.astype(str)
    )
    n_default = len(set(group_of[replies.positive]))
    kind_of = {role.name: role.kind for role in cast.roles}
    names = [role.name for role in cast.roles if role.name not in cast.reserved and (role_of == role.name).any()]
    questions = [question.id for question in cast.questions]
    n_folds = max(2, min(FOLDS, len(names), len(questions)))
    tested: dict[str, list[float]] = {name: [] for name in names}
    per_split: list[float] = []
    null: list[float] = []
    generator = np.random.default_rng(seed)
    for split in range(splits):
        repeat, fold = seed + split // n_folds, str(split % n_folds)
        test_roles = folds(names, n_folds, repeat, strata=lambda name: kind_of[name] in NEAR)[fold]
        test_questions = folds(questions, n_folds, repeat)[fold]
        other_roles = [name for name in names if name not in test_roles]
        other_questions = [question for question in questions if question not in test_questions]
        if not (test_roles and test_questions and other_roles and other_questions):
            continue
        layer, _, _ = replies.choose(other_roles, other_questions, generator)
        scores = replies.aucs(replies.axis(other_roles, other_questions), test_roles, test_questions)
        for name, auc in scores.items():
            tested[name].append(float(auc[layer]))
        strange = [float(auc[layer]) for name, auc in scores.items() if kind_of[name] not in NEAR]
        if strange:
            per_split.append(float(np.mean(strange)))
        at = _Replies(replies.values[layer : layer + 1], group_of, question_of, replies.positive)
        null.append(_null_auc(at, other_questions, test_questions, n_default, n_folds, generator))
    layer, mean, error = replies.choose(names, questions, generator)
    role_auc = {name: float(np.mean(found)) for name, found in tested.items() if found}
    strange = [name for name in role_auc if kind_of[name] not in NEAR]
    return AxisValidation(
        performance.layers[layer],
        performance.layers,
        bootstrap_mean([role_auc[name] for name in strange], strange, seed=seed),
        bootstrap_mean(list(role_auc.values()), list(role_auc), seed=seed),
        float(np.std(per_split, ddof=1)) if len(per_split) > 1 else None,
        float(np.percentile(null, 95)),
        mean,
        error,
        role_auc,
    )


def role_aucs(
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
    replies: _Replies,
    fit: Sequence[str],
    test: Sequence[str],
    n_default: int,
    n_folds: int,
    generator: np.random.Generator,
) -> float:
    """The held-out AUC of an axis between randomly labelled groups: as many `default` ones as there really are."""
    shuffled = generator.permutation(np.unique(replies.role))
    default, rest = shuffled[:n_default], shuffled[n_default:]
    few = max(1, len(rest) // n_folds)
    labelled = _Replies(replies.values, replies.role, replies.question, np.isin(replies.role, default))
    aucs = labelled.aucs(labelled.axis(list(rest[few:]), fit), list(rest[:few]), test)
    return float(np.mean(list(aucs.values()))) if aucs else 0.5


def _mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # One role alone has no spread to estimate an error from.
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    return values.mean(axis=0), spread / np.sqrt(len(values))
