"""Vectors from elsewhere become directions: a scale and a sign test on this subject."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from greenroom.directions.axis import ASSISTANT_AXIS
from greenroom.directions.cast import DEFAULT, usual_cast
from greenroom.directions.direction import Calibration, Direction, SignTest
from greenroom.directions.exchange import Foreign, fitting, read_foreign
from greenroom.directions.poles import UNRELIABLE, play_poles
from greenroom.directions.rollouts import (
    CALIBRATION_REPLIES,
    calibrations,
    default_prompts,
    default_token_projections,
    readable_layers,
    roll_out,
)
from greenroom.directions.stored import places
from greenroom.errors import DirectionError
from greenroom.measures.intervals import Interval, bootstrap_mean_auc, mean_auc
from greenroom.personas import library
from greenroom.subject import Subject

# The sign test of an axis: this share of the roles, four questions, short replies. It needs a sign, not an axis.
EVERY_ROLE, QUESTIONS, TOKENS = 6, 8, 32


def taken(
    subject: Subject,
    path: Path,
    *,
    name: str | None = None,
    means: str | None = None,
    flip: bool = False,
    layer: int | None = None,
    experiment: str | None = None,
    replies: int = CALIBRATION_REPLIES,
    force: bool = False,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Direction:
    """The direction of a file, ready to be stored for this subject under `name` (default: the file's own).

    A file that Greenroom wrote brings its evidence and is refused for other weights unless `force`; any other is
    `adopted`. Raises DirectionError where the name is that of a direction shipped with the package.
    """
    if path.suffix == ".safetensors":
        direction: Direction | None = Direction.load(path, subject, force=force)
        foreign = None
    else:
        foreign = read_foreign(path, subject.layers, experiment=experiment)
        direction = None
        if foreign.card is not None:
            vectors = fitting(path, foreign, subject.layers, subject.d_model)
            direction = Direction.of_card(foreign.card, vectors, path, subject, force=force)
    wanted = name or (direction.name if direction else path.stem)
    if not re.fullmatch(r"[\w.-]+", wanted):
        raise DirectionError(f"{wanted!r} is no name; expected letters, digits, _, - and dots")
    if places(subject.fingerprint, wanted)[0].is_file():
        raise DirectionError(f"{wanted} ships with the package for {subject.name}; store yours under another --name")
    if direction is None:
        assert foreign is not None
        return adopted(subject, foreign, path, Adoption(wanted, means or wanted, layer, flip, replies, seed), tell)
    if not subject.reads(direction.fingerprint):
        tell(f"taken over from other weights ({direction.fingerprint}): its scale and its evidence are of those")
        recipe = {**direction.recipe, "taken_from": [direction.subject, direction.fingerprint]}
        direction = replace(direction, subject=subject.name, recipe=recipe)
    direction = replace(direction, fingerprint=subject.replies_fingerprint)
    return replace(direction, name=wanted)


@dataclass(frozen=True)
class Adoption:
    """How vectors of another tool become a direction: its name, what they are said to mean, the block (None: the sign test
    chooses), whether to turn them round, and how many default replies give the scale."""

    name: str
    means: str
    layer: int | None = None
    flip: bool = False
    replies: int = CALIBRATION_REPLIES
    seed: int = 0


def adopted(
    subject: Subject, foreign: Foreign, path: Path, how: Adoption, tell: Callable[[str], None] = lambda _: None
) -> Direction:
    """A calibrated direction from vectors of another tool; nothing is stored yet.

    The scale is that of the subject's own default replies. The sign is tested on what the vectors are said to mean:
    `assistant_axis` on default against role replies, a trait of the library on replies of its two poles; half of the
    questions choose the block (unless `how.layer` does), the other half gives the AUC. Anything else stays untested and
    unreliable, at the middle block. Raises DirectionError when the sign test fails.
    """
    name, layer, flip, seed = how.name, how.layer, how.flip, how.seed
    means = {"assistant": ASSISTANT_AXIS}.get(how.means, how.means)
    turned = -1.0 if flip else 1.0
    vectors = {at: vector * turned for at, vector in fitting(path, foreign, subject.layers, subject.d_model).items()}
    wanted = set(readable_layers(subject)) | ({layer} if layer is not None else set())
    vectors = {at: vector for at, vector in vectors.items() if at in wanted} or vectors
    if layer is not None and layer not in vectors:
        raise DirectionError(f"{path} has no vector at block {layer}; it has {', '.join(map(str, vectors))}")
    tell("sign test")
    evidence = _evidence(subject, means, vectors, layer, seed)
    chosen = evidence.layer if evidence else layer if layer is not None else _middle(vectors, subject.layers)
    if evidence is not None and not evidence.sign.holds:
        raise DirectionError(
            f"{path} points away from {means}: {evidence.sign.towards} projects to {evidence.sign.towards_mean:.2f}, "
            f"{evidence.sign.away} to {evidence.sign.away_mean:.2f} at block {chosen}; {'leave out' if flip else 'turn it round with'} --flip, "
            "or say what else it means with --means"
        )
    tell("calibration on default replies")
    auc = evidence.auc if evidence else None
    return Direction(
        name=name,
        kind="axis" if means == ASSISTANT_AXIS else "trait",
        layer=chosen,
        vectors=vectors,
        calibration=_calibration(subject, name, vectors, how.replies, seed),
        subject=subject.name,
        fingerprint=subject.replies_fingerprint,
        sign_test=evidence.sign if evidence else None,
        recipe={
            "method": f"imported: {foreign.told}",
            "means": means,
            "file": path.name,
            "flipped": flip,
            "seed": seed,
        },
        validity={} if auc is None else {"auc": auc.estimate, "auc_low": auc.low, "auc_high": auc.high, "n": auc.n},
        reliable=auc is not None and auc.low is not None and auc.low > UNRELIABLE,
    )


def _calibration(
    subject: Subject, name: str, vectors: dict[int, Tensor], replies: int, seed: int
) -> dict[int, Calibration]:
    found = default_token_projections(subject, {name: vectors}, default_prompts(seed), seed=seed, replies=replies)
    if name not in found:
        raise DirectionError(
            f"{subject.name} gave too few default replies of the length that the scale is read from; "
            "a direction cannot be calibrated on it"
        )
    return calibrations(found[name])


@dataclass(frozen=True)
class _Evidence:
    """The sign test at the block that does best on half of the questions, and the AUC there on the other half."""

    sign: SignTest
    layer: int
    auc: Interval


def _evidence(
    subject: Subject, means: str, vectors: dict[int, Tensor], layer: int | None, seed: int
) -> _Evidence | None:
    """The sign test, if what the vectors mean is something that can be acted out, else None."""
    layers = tuple(vectors)
    if means == ASSISTANT_AXIS:
        cast = usual_cast(every=EVERY_ROLE, tokens=TOKENS)
        rollouts = roll_out(subject, cast.prompts(), layers, max_new_tokens=cast.tokens, seed=seed)
        frame = cast.frame()[rollouts.kept]
        positive = (frame["role"] == DEFAULT).to_numpy()
        _, question = np.unique(frame["question"].to_numpy(), return_inverse=True)
        values, at, words = rollouts.values, rollouts.layers, ("default replies", "role replies")
    elif means in {trait.name for trait in library.traits()}:
        trait = library.trait(means)
        poles = play_poles(
            subject, [trait], layers=layers, questions=QUESTIONS, held_out_questions=0, tokens=TOKENS, seed=seed
        )[0]
        positive, question, values, at = poles.positive, poles.question, poles.values, poles.layers
        words = (trait.positive, trait.negative)
    else:
        return None
    projected = {one: (values[at.index(one)] @ vectors[one]).numpy() for one in layers}
    selection = question % 2 == 0
    if layer is None:
        areas = {one: _area(projected[one][selection], positive[selection]) for one in layers}
        layer = max(areas, key=lambda one: areas[one])
    here, test = projected[layer], ~selection
    auc = bootstrap_mean_auc(
        here[test & positive], here[test & ~positive], [0] * int((test & ~positive).sum()),
        positive_clusters=question[test & positive].tolist(), negative_clusters=question[test & ~positive].tolist(),
        resample_groups=False, seed=seed,
    )  # fmt: skip
    return _Evidence(SignTest(*words, float(here[positive].mean()), float(here[~positive].mean())), layer, auc)


def _area(projected: np.ndarray, positive: np.ndarray) -> float:
    return mean_auc(projected[positive], projected[~positive], [0] * int((~positive).sum())) or 0.0


def _middle(vectors: dict[int, Tensor], layers: int) -> int:
    """The block nearest the middle of the model, where The Assistant Axis reads."""
    return min(vectors, key=lambda one: abs(one - layers // 2))
