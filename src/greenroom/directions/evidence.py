"""What a trait vector brings along: AUC a block, controls, neighbours, and the replies at its ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from greenroom.directions.direction import Direction
from greenroom.directions.poles import Poles, pole_auc
from greenroom.measures.intervals import auc
from greenroom.subject import Subject

RANDOM_DIRECTIONS = 200
ENDS = 5


def evidence(
    direction: Direction, poles: Poles, cold: Poles, selection: np.ndarray, others: Sequence[Direction], seed: int
) -> dict[str, Any]:
    """Plain values for the direction's file.

    poles: with the activations that the direction's method reads. cold: the held-out replies re-read without their
    instructions. selection: (layer,) cross-fitted AUC on the selection questions. others: directions of the same subject.

    - auc_by_layer, selection_auc_by_layer: block → AUC on held-out and on selection questions; the block was chosen
      on the latter
    - cold_auc, cold_auc_low, cold_auc_high: of the held-out replies read cold; what is lost beside the AUC is what the
      instruction, still in the context, adds to a hot reading
    - random_auc_p95, random_cold_auc_p95: of directions of equal norm at the chosen block, each turned the way the
      selection replies say, on the held-out replies read hot and cold
    - specificity: other stored trait → AUC of its vector, at its own block, on this trait's held-out replies
    - cosines: other stored direction → cosine at this direction's block
    - most, least: the replies at the ends, by projection in sd
    """
    held = poles.part(held_out=True)
    by_layer = {
        layer: auc(projected[held.positive], projected[~held.positive])
        for layer, values in zip(held.layers, held.values, strict=True)
        for projected in [(values @ direction.vectors[layer]).numpy()]
    }
    seen = pole_auc(direction.projection(cold.values[cold.layers.index(direction.layer)]).numpy(), cold, seed)
    return {
        "auc_by_layer": {str(layer): round(value, 4) for layer, value in by_layer.items()},
        "selection_auc_by_layer": {
            str(layer): round(float(value), 4) for layer, value in zip(poles.layers, selection, strict=True)
        },
        "cold_auc": seen.estimate,
        "cold_auc_low": seen.low,
        "cold_auc_high": seen.high,
        "random_auc_p95": random_auc(poles, direction.layer, seed),
        "random_cold_auc_p95": random_auc(poles, direction.layer, seed, held=cold),
        "specificity": {
            other.name: specificity(other, held)
            for other in others
            if other.name != direction.name
            and other.kind == "trait"
            and other.layer in held.layers
            and "." not in other.name
        },
        "cosines": {
            other.name: round(float(other.vectors[direction.layer] @ direction.vector()), 4)
            for other in others
            if other.name != direction.name and direction.layer in other.vectors
        },
        **ends(direction, poles),
    }


def neighbours(subject: Subject, built: Sequence[Direction]) -> list[Direction]:
    """All directions of these weights: those just built, and those that are stored under other names."""
    from greenroom.directions.stored import shelf

    own = {one.name for one in built}
    return [*built, *(one for _, one in shelf() if subject.reads(one.fingerprint) and one.name not in own)]


def specificity(vector: Direction, held: Poles) -> float:
    """AUC of a vector, at its own block, between the poles of a trait."""
    projected = vector.projection(held.values[held.layers.index(vector.layer)]).numpy()
    return round(auc(projected[held.positive], projected[~held.positive]), 4)


def random_auc(
    poles: Poles, layer: int, seed: int, count: int = RANDOM_DIRECTIONS, *, held: Poles | None = None
) -> float:
    """95th percentile of the held-out AUC of random directions at a block, each turned by the selection replies.

    In a space where the replies differ along many coordinates, a random direction tells poles apart too, a little.
    held: the held-out replies read otherwise (cold); default: those of `poles`.
    """
    drawn = torch.randn(poles.values.shape[-1], count, generator=torch.Generator().manual_seed(seed))

    def areas(part: Poles) -> np.ndarray:
        projected = (part.values[part.layers.index(layer)] @ drawn).numpy()
        return np.array([auc(row[part.positive], row[~part.positive]) for row in projected.T])

    found = areas(held or poles.part(held_out=True))
    turned = np.where(areas(poles.part(held_out=False)) >= 0.5, found, 1 - found)
    return float(np.percentile(turned, 95))


def ends(direction: Direction, poles: Poles) -> dict[str, Any]:
    """`most` and `least`: the five replies that lie farthest out, with question, pole and projection.

    In residual units where the direction has no scale.
    """
    values = poles.values[poles.layers.index(direction.layer)]
    placed = direction.sd(values) if direction.layer in direction.calibration else direction.projection(values)
    order = np.argsort(-placed.numpy(), kind="stable")

    def row(index: int) -> dict[str, Any]:
        return {
            "sd": round(float(placed[index]), 3), "positive": bool(poles.positive[index]),
            "held_out": bool(poles.held_out[index]), "question": poles.asked[index] if poles.asked else "",
            "reply": poles.rollouts.replies[index].text,
        }  # fmt: skip

    return {"most": [row(int(i)) for i in order[:ENDS]], "least": [row(int(i)) for i in order[::-1][:ENDS]]}
