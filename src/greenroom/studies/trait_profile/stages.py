"""Trait profile: where the default character lies between the two poles of each trait.

0 is the midpoint of the poles' replies, −1 and +1 are the poles. (The default character's projection centred on itself
would be zero by construction.) Poles and default answer the same held-out questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from torch import Tensor

from greenroom.directions import stored
from greenroom.directions.axis import DEFAULT
from greenroom.directions.direction import Direction, unit
from greenroom.directions.poles import Poles, play_poles, pole_auc
from greenroom.directions.rollouts import instructed, readable_layers, roll_out
from greenroom.directions.traits import choose_layer
from greenroom.measures import Measure
from greenroom.measures.intervals import Interval
from greenroom.measures.validity import Check, Validity
from greenroom.personas import Trait, library
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

# Held-out AUC between the poles' replies: whose interval reaches .6 shows no contrast to place anything on (the rule
# for `unreliable` directions); .7 and .8 are the usual reading of "acceptable" and "excellent" discrimination
# (Hosmer & Lemeshow 2000, Applied Logistic Regression, ch. 5).
AUC_CUTS = (("A", 0.8), ("B", 0.7), ("C", 0.6))
DRAWS = 1000


def profile(
    subject: Subject,
    traits: Sequence[Trait],
    role_vectors: Mapping[str, Tensor],
    *,
    questions: int,
    tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[pl.DataFrame, list[Measure]]:
    """`tables/traits.parquet` and one measure a trait. role_vectors: name → (layer, hidden), `default` among them.

    A trait's vector is the stored one of these weights, else built here from as many other questions.
    """
    known = {trait.name: stored(subject, trait.name) for trait in traits}
    layers = readable_layers(subject)
    result: list[dict[str, Any]] = []
    measures: list[Measure] = []
    shipped = [trait for trait in traits if known[trait.name] is not None]
    fresh = [trait for trait in traits if known[trait.name] is None]
    total = len(traits)
    done = 0

    def part(count: int) -> Progress | None:
        """Progress of one call that works on `count` of the traits."""
        if progress is None:
            return None
        show, before = progress, done
        return lambda ended, of: show(round(100 * (before + count * ended / max(1, of))), 100 * total)

    for group, built in ((shipped, False), (fresh, True)):
        if not group:
            continue
        poles = play_poles(
            subject, group, layers=layers, questions=questions if built else 0, held_out_questions=questions,
            tokens=tokens, seed=seed, progress=part(len(group)),
        )  # fmt: skip
        plain = _defaults(subject, group, layers, questions, tokens, seed)
        done += len(group)
        for trait, of, (default, asked) in zip(group, poles, plain, strict=True):
            direction = known[trait.name]
            layer, vector = _vector(direction, of, seed)
            index = of.layers.index(layer)
            held = of.part(held_out=True)
            projected = (held.values[index] @ vector).numpy()
            auc = pole_auc(projected, held, seed)
            found = _position(projected, held, (default[index] @ vector).numpy(), asked, seed)
            roles = {name: float(values[index] @ vector) for name, values in role_vectors.items()}
            below = [value < roles[DEFAULT] for name, value in roles.items() if name != DEFAULT]
            validity = _validity(auc)
            measure = Measure(f"trait.{trait.name}", found.estimate, found.low, found.high, len(projected), validity)
            measures.append(measure)
            result.append(
                {"trait": trait.name, "estimate_pole": measure.estimate, "low": measure.low, "high": measure.high,
                 "role_percentile": float(np.mean(below)), "n": len(projected), "grade": validity.grade,
                 "reason": validity.reason, "kind": trait.kind, "positive": trait.positive, "negative": trait.negative,
                 "auc": auc.estimate, "auc_low": auc.low, "auc_high": auc.high, "layer": layer,
                 "reliable": _reliable(direction, auc)}
            )  # fmt: skip
    order = {trait.name: index for index, trait in enumerate(traits)}
    result.sort(key=lambda row: order[row["trait"]])
    return pl.DataFrame(
        result, schema_overrides={"estimate_pole": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    ), measures


def _defaults(
    subject: Subject, traits: Sequence[Trait], layers: Sequence[int], questions: int, tokens: int, seed: int
) -> list[tuple[Tensor, np.ndarray]]:
    """The default character's replies to each trait's held-out questions: (layer, reply, hidden), question of each."""
    told = library.default_instructions()
    asked = [
        (index, number, instructed(told[(index + number) % len(told)], question.text))
        for index, trait in enumerate(traits)
        for number, question in enumerate([q for q in trait.questions if q.held_out][:questions])
    ]
    rollouts = roll_out(subject, [prompt for _, _, prompt in asked], layers, max_new_tokens=tokens, seed=seed)
    of = np.array([asked[row][0] for row in rollouts.kept])
    numbers = np.array([asked[row][1] for row in rollouts.kept])
    return [(rollouts.values[:, of == index], numbers[of == index]) for index in range(len(traits))]


def _vector(direction: Direction | None, poles: Poles, seed: int) -> tuple[int, Tensor]:
    if direction is not None:
        return direction.layer, direction.vector()
    layer = choose_layer(poles, seed).layer
    return layer, unit(poles.part(held_out=False).difference())[poles.layers.index(layer)]


def _reliable(direction: Direction | None, auc: Interval) -> bool:
    """What the stored vector says of itself; a fresh one is unreliable when its interval reaches .6."""
    return direction.reliable if direction is not None else auc.low is not None and auc.low > 0.6


def _position(projected: np.ndarray, poles: Poles, default: np.ndarray, asked: np.ndarray, seed: int) -> Interval:
    """Place of the default between the poles, questions resampled."""
    # Held-out questions are numbered after the others in `poles`, from 0 in `asked`; both are in the same order.
    numbers = np.unique(poles.question)
    sums = np.zeros((3, len(numbers)))
    sizes = np.zeros((3, len(numbers)))
    for index, number in enumerate(numbers):
        for arm, values in enumerate(
            (
                projected[(poles.question == number) & poles.positive],
                projected[(poles.question == number) & ~poles.positive],
                default[asked == index],
            )
        ):
            sums[arm, index], sizes[arm, index] = values.sum(), len(values)

    def place(weights: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            high, low, middle = (weights @ sums[arm] / (weights @ sizes[arm]) for arm in range(3))
            return (middle - (high + low) / 2) / ((high - low) / 2)

    estimate = float(place(np.ones((1, len(numbers))))[0])
    draws = np.random.default_rng(seed).multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=DRAWS)
    places = place(draws.astype(float))
    places = places[np.isfinite(places)]
    if not np.isfinite(estimate) or len(places) < DRAWS / 2:
        return Interval(None, None, None, len(numbers))
    low, high = np.percentile(places, [2.5, 97.5])
    return Interval(estimate, float(low), float(high), len(numbers))


def _validity(auc: Interval) -> Validity:
    if auc.low is None:
        return Validity("void", (Check("pole_auc", auc.estimate, "void", _reason("void", auc)),))
    grade = next((name for name, least in AUC_CUTS if auc.low > least), "void")
    return Validity(grade, (Check("pole_auc", auc.estimate, grade, _reason(grade, auc)),))  # type: ignore[arg-type]


def _reason(grade: str, auc: Interval) -> str:
    from greenroom.studies.sentences import said

    low = "–" if auc.low is None else f"{auc.low:.2f}"
    high = "–" if auc.high is None else f"{auc.high:.2f}"
    return said("trait_void" if grade == "void" else "trait_valid", auc=auc.estimate, low=low, high=high)
