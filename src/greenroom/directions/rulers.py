"""Rulers: what the effect on a trait is measured with where no checker scores it.

A ruler is a vector made of the held-out half of a trait's questions, from replies read cold, at one block. It lies
beside the directions, not among them: it is for reading text, and nothing is steered by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from greenroom.directions.contrast import cross_projected, earliest, method_named, selection_auc
from greenroom.directions.direction import Direction, SignTest, unit
from greenroom.directions.poles import (
    QUESTIONS,
    REPEATS,
    TOKENS,
    UNRELIABLE,
    Poles,
    play_poles,
    read_cold,
    wording,
)
from greenroom.directions.rollouts import calibrations, default_prompts, default_token_projections, readable_layers
from greenroom.directions.stored import places, stored_places
from greenroom.personas import Trait
from greenroom.subject import Subject


@dataclass(frozen=True)
class Ruler:
    """A cold vector at one block, and how well it tells the poles apart: AUC cross-fitted over its own questions."""

    layer: int
    vector: Tensor
    auc: float
    towards: float
    away: float

    def direction(
        self,
        name: str,
        positive: str,
        negative: str,
        subject: Subject,
        tokens: dict[int, np.ndarray] | None,
        recipe: dict[str, Any],
    ) -> Direction | None:
        """As a direction to be stored; None when it does not point to its trait, or the subject gave too few default
        replies for a scale."""
        if tokens is None or self.towards <= self.away:
            return None
        return Direction(
            name=name, kind="trait", layer=self.layer, vectors={self.layer: self.vector},
            calibration=calibrations(tokens), subject=subject.name, fingerprint=subject.replies_fingerprint,
            sign_test=SignTest(positive, negative, self.towards, self.away),
            recipe={"method": "difference of means, held-out questions", "reading": "cold", **recipe},
            validity={"auc": self.auc}, reliable=self.auc > UNRELIABLE,
        )  # fmt: skip


def ruler_of(cold: Poles) -> Ruler:
    """From the held-out questions' replies, read cold."""
    _, make, _ = method_named("mean")
    values = cold.values.numpy()
    areas, errors = selection_auc(
        cross_projected(values, cold.positive, cold.question, cold.pair, make), cold.positive, cold.question
    )
    index = earliest(areas, errors)
    vector = unit(cold.difference()[index])
    projected = (cold.values[index] @ vector).numpy()
    return Ruler(
        cold.layers[index],
        vector,
        float(areas[index]),
        float(projected[cold.positive].mean()),
        float(projected[~cold.positive].mean()),
    )


def build_ruler(subject: Subject, trait: Trait, *, seed: int = 0) -> Direction | None:
    """A trait's ruler from its held-out questions; None when their replies, read cold, show no contrast at all."""
    poles = play_poles(
        subject, [trait], layers=readable_layers(subject), questions=0, held_out_questions=QUESTIONS, tokens=TOKENS,
        repeats=REPEATS, seed=seed,
    )[0]  # fmt: skip
    ruler = ruler_of(read_cold(subject, poles))
    tokens = default_token_projections(
        subject, {trait.name: {ruler.layer: ruler.vector}}, default_prompts(seed), seed=seed
    )
    return ruler.direction(
        trait.name, trait.positive, trait.negative, subject, tokens.get(trait.name),
        {"trait": trait.name, "wording": wording(trait), "seed": seed},
    )  # fmt: skip


def stored_ruler(subject: Subject, trait: str, wording: str | None) -> Direction | None:
    """The shipped or cached ruler of exactly these weights and this wording, or None."""
    for path in stored_places(subject, trait, ruler_places) if wording else ():
        if path.is_file():
            found = Direction.load(path, subject)
            if found.recipe.get("wording") == wording:
                return found
    return None


def store_ruler(ruler: Direction) -> Path:
    """Keeps a ruler in the cache, beside the directions but not among them."""
    path = ruler_places(ruler.fingerprint, str(ruler.recipe["trait"]))[1]
    ruler.save(path)
    return path


def ruler_places(fingerprint: str, trait: str) -> tuple[Path, Path]:
    """Where a trait's ruler may lie: package data, then the cache."""
    shipped, cached = places(fingerprint, trait)
    return shipped.parent / "rulers" / shipped.name, cached.parent / "rulers" / cached.name
