"""Trait vectors: the mean activation of replies under one pole's instructions minus that under the other's
(Persona Vectors, arXiv 2507.21509), with the block chosen and the AUC computed on questions apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from greenroom.directions.direction import Calibration, Direction, SignTest, unit
from greenroom.directions.rollouts import (
    Rollouts,
    calibrations,
    default_token_projections,
    instructed,
    readable_layers,
    roll_out,
)
from greenroom.measures.intervals import Interval, bootstrap_mean_auc
from greenroom.personas import Trait, library
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

# A vector whose AUC interval reaches this is saved as unreliable (docs/directions.md).
UNRELIABLE = 0.6


@dataclass(frozen=True)
class Poles:
    """Replies of one trait's two poles. Labels are arrays over replies: positive (bool), question (index), held_out (bool)."""

    values: Tensor  # (layer, reply, hidden)
    layers: tuple[int, ...]
    positive: np.ndarray
    question: np.ndarray
    held_out: np.ndarray
    rollouts: Rollouts

    def part(self, held_out: bool | None = None) -> Poles:
        """The replies to held-out questions, or those to the others."""
        if held_out is None:
            return self
        rows = self.held_out == held_out
        index = torch.from_numpy(rows)
        return Poles(
            self.values[:, index],
            self.layers,
            self.positive[rows],
            self.question[rows],
            self.held_out[rows],
            self.rollouts,
        )

    def difference(self) -> Tensor:
        """(layer, hidden): mean of the positive replies minus mean of the negative."""
        positive = torch.from_numpy(self.positive)
        return self.values[:, positive].mean(dim=1) - self.values[:, ~positive].mean(dim=1)


def play_poles(
    subject: Subject,
    traits: Sequence[Trait],
    *,
    layers: Sequence[int],
    questions: int,
    held_out_questions: int,
    tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Poles]:
    """Both poles of each trait answer the same questions, all instruction pairs in turn; one call for all traits."""
    prompts, labels = [], []
    for index, trait in enumerate(traits):
        asked = [q for q in trait.questions if not q.held_out][:questions]
        asked += [q for q in trait.questions if q.held_out][:held_out_questions]
        for number, question in enumerate(asked):
            # Every question meets a different pair, and every pair about equally many questions.
            for repeat in range(1 if len(asked) >= len(trait.pairs) else -(-len(trait.pairs) // len(asked))):
                pair = trait.pairs[(number + repeat * len(asked)) % len(trait.pairs)]
                for positive in (True, False):
                    prompts.append(instructed(pair.positive if positive else pair.negative, question.text))
                    labels.append((index, positive, number, question.held_out))
    rollouts = roll_out(subject, prompts, layers, max_new_tokens=tokens, seed=seed, progress=progress)
    kept = np.array([labels[row] for row in rollouts.kept], dtype=int)
    result = []
    for index in range(len(traits)):
        rows = kept[:, 0] == index
        result.append(
            Poles(rollouts.values[:, torch.from_numpy(rows)], rollouts.layers, kept[rows, 1].astype(bool), kept[rows, 2],
                  kept[rows, 3].astype(bool), rollouts)
        )  # fmt: skip
    return result


@dataclass(frozen=True)
class Chosen:
    """A block chosen on selection questions, and the AUC there on held-out ones."""

    layer: int
    auc: Interval
    selection: np.ndarray


def choose_layer(poles: Poles, seed: int) -> Chosen:
    """Vector and block from the questions that are not held out (leave-one-question-out), AUC from those that are."""
    fit = poles.part(held_out=False)
    values, scores = fit.values.numpy(), []
    for question in np.unique(fit.question):
        test = fit.question == question
        if not (fit.positive[test].any() and (~fit.positive[test]).any()):
            continue
        rest = ~test
        vector = values[:, rest & fit.positive].mean(axis=1) - values[:, rest & ~fit.positive].mean(axis=1)
        projected = np.einsum("lnd,ld->ln", values[:, test], vector)
        high, low = projected[:, fit.positive[test]], projected[:, ~fit.positive[test]]
        scores.append((high[:, :, None] > low[:, None, :]).mean(axis=(1, 2)))
    stacked = np.stack(scores)
    mean, error = stacked.mean(axis=0), stacked.std(axis=0) / np.sqrt(max(1, len(stacked) - 1))
    index = int(np.flatnonzero(mean >= mean.max() - error[int(mean.argmax())])[0])
    held = poles.part(held_out=True)
    projected = (held.values[index] @ fit.difference()[index]).numpy()
    return Chosen(poles.layers[index], held_out_auc(projected, held, seed), mean)


def held_out_auc(projected: np.ndarray, poles: Poles, seed: int) -> Interval:
    """AUC of positive over negative replies, interval by resampling questions. projected: (reply,)."""
    one_group = [0] * int((~poles.positive).sum())
    return bootstrap_mean_auc(
        projected[poles.positive], projected[~poles.positive], one_group,
        positive_clusters=poles.question[poles.positive].tolist(), negative_clusters=poles.question[~poles.positive].tolist(),
        resample_groups=False, seed=seed,
    )  # fmt: skip


def trait_directions(
    subject: Subject,
    traits: Sequence[Trait],
    all_poles: Sequence[Poles],
    *,
    seed: int,
    progress: Progress | None = None,
) -> list[Direction]:
    """Calibrated directions of several traits; default replies are generated once for all of them."""
    chosen = [choose_layer(poles, seed) for poles in all_poles]
    vectors = [
        dict(zip(poles.layers, unit(poles.part(held_out=False).difference()), strict=True)) for poles in all_poles
    ]
    prompts = [instructed(text, q.text) for q in library.questions() for text in library.default_instructions()]
    order = np.random.default_rng(seed).permutation(len(prompts))
    tokens = default_token_projections(
        subject, {trait.name: of for trait, of in zip(traits, vectors, strict=True)},
        [prompts[index] for index in order], seed=seed, progress=progress,
    )  # fmt: skip
    result = []
    for trait, poles, found, of in zip(traits, all_poles, chosen, vectors, strict=True):
        held = poles.part(held_out=True)
        projected = (held.values[poles.layers.index(found.layer)] @ of[found.layer]).numpy()
        towards, away = float(projected[held.positive].mean()), float(projected[~held.positive].mean())
        if towards <= away:
            # The held-out replies do not follow the vector: the sign is then that of the replies it was made from.
            fit = poles.part(held_out=False)
            made = (fit.values[poles.layers.index(found.layer)] @ of[found.layer]).numpy()
            towards, away = float(made[fit.positive].mean()), float(made[~fit.positive].mean())
        scale: dict[int, Calibration] = calibrations(tokens[trait.name]) if trait.name in tokens else {}
        result.append(
            Direction(
                name=trait.name, kind="trait", layer=found.layer, vectors=of, calibration=scale, subject=subject.name,
                fingerprint=subject.fingerprint, sign_test=SignTest(trait.positive, trait.negative, towards, away),
                recipe={"method": "difference of means over reply tokens (arXiv 2507.21509)", "reading": "hot",
                        "replies": len(poles.positive), "pairs": len(trait.pairs), "seed": seed},
                validity={"auc": found.auc.estimate, "auc_low": found.auc.low, "auc_high": found.auc.high, "n": len(held.positive)},
                reliable=found.auc.low is not None and found.auc.low > UNRELIABLE,
            )
        )  # fmt: skip
    return result


def trait_vector(subject: Subject, trait: Trait | str, *, seed: int = 0, progress: Progress | None = None) -> Direction:
    """A trait's direction: shipped or stored if there is one for these weights, else built from 10 + 5 questions and stored."""
    from greenroom.directions.stored import store, stored

    wanted = library.trait(trait) if isinstance(trait, str) else trait
    found = stored(subject, wanted.name) if isinstance(trait, str) else None
    if found is not None:
        return found
    poles = play_poles(
        subject, [wanted], layers=readable_layers(subject), questions=10, held_out_questions=5, tokens=32, seed=seed,
        progress=progress,
    )  # fmt: skip
    direction = trait_directions(subject, [wanted], poles, seed=seed)[0]
    if isinstance(trait, str):
        store(direction)
    return direction
