"""Trait vectors: the mean activation of replies under one pole's instructions minus that under the other's
(Persona Vectors, arXiv 2507.21509), with the block chosen and the AUC computed on questions apart.

Every vector brings its evidence (`evidence`) and, where no Python checker scores the trait, the ruler that its effect
is measured with: a second vector, made of the held-out questions' replies read cold (`rulers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from greenroom.conversation import Conversation
from greenroom.directions.contrast import (
    Filter,
    cross_projected,
    earliest,
    method_named,
    selection_auc,
    shown_by_projection,
    shown_by_score,
    units,
)
from greenroom.directions.direction import Calibration, Direction, SignTest
from greenroom.directions.evidence import evidence, neighbours
from greenroom.directions.poles import (
    PLACEMENT,
    QUESTIONS,
    REPEATS,
    TOKENS,
    UNRELIABLE,
    Placement,
    Poles,
    play_poles,
    pole_auc,
    read_at,
    read_cold,
    told,
    wording,
)
from greenroom.directions.progress import share
from greenroom.directions.rollouts import (
    CALIBRATION_REPLIES,
    CALIBRATION_TOKENS,
    calibrations,
    default_prompts,
    default_token_projections,
    readable_layers,
)
from greenroom.directions.rulers import ruler_of, store_ruler
from greenroom.directions.scorers import checker_of
from greenroom.directions.stored import store, stored
from greenroom.errors import DirectionError
from greenroom.measures.intervals import Interval
from greenroom.personas import Trait, library
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

# A filter that leaves fewer replies of a pole than this is not applied: a vector of five replies is worse than one of
# thirty of which some are off.
FEWEST = 8
FILTERS = ("auto", "checker", "projection", "none")


@dataclass(frozen=True)
class Chosen:
    """A block chosen on selection questions, and the AUC there on held-out ones.

    selection: (layer,) cross-fitted AUC on the selection questions. vectors: (layer, hidden) unit, from all of these.
    shown: (reply,) which of the selection replies the vectors are made of; filter: the rule that chose them.
    """

    layer: int
    auc: Interval
    selection: np.ndarray
    vectors: Tensor
    shown: np.ndarray
    filter: str


def choose_layer(
    poles: Poles, seed: int, *, method: str = "mean", filter: Filter = "none", trait: str | None = None
) -> Chosen:
    """Vector and block from the questions that are not held out (cross-fitted over questions), AUC from those that are.

    The block is the earliest within one standard error of the best. filter: which of the selection replies make the
    vector; held-out replies are never filtered. trait: whose checker the filter may use.
    """
    _, make, _ = method_named(method)
    fit = poles.part(held_out=False)
    values = fit.values.numpy()
    projected = cross_projected(values, fit.positive, fit.question, fit.pair, make)
    index = earliest(*selection_auc(projected, fit.positive, fit.question))
    rule, shown = _filtered(fit, projected[index], filter, trait)
    if not shown.all():
        projected = cross_projected(values, fit.positive, fit.question, fit.pair, make, used=shown)
        index = earliest(*selection_auc(projected, fit.positive, fit.question))
    areas, _ = selection_auc(projected, fit.positive, fit.question)
    made = units(make(values[:, shown], fit.positive[shown], fit.pair[shown])).astype(np.float32)
    if not np.isfinite(made).all() or not (np.linalg.norm(made, axis=-1) > 0.5).all():
        raise DirectionError("the replies to be contrasted do not differ at all; use other questions or more of them")
    vectors = torch.from_numpy(made)
    held = poles.part(held_out=True)
    found = pole_auc((held.values[index] @ vectors[index]).numpy(), held, seed)
    return Chosen(poles.layers[index], found, areas, vectors, shown, rule)


def _filtered(fit: Poles, projected: np.ndarray, filter: Filter, trait: str | None) -> tuple[str, np.ndarray]:
    """The rule that was applied and which replies it keeps."""
    everything = np.ones(len(fit.positive), dtype=bool)
    check = checker_of(trait) if trait is not None else None
    if filter not in FILTERS:
        raise DirectionError(f"unknown filter {filter!r}; expected {', '.join(FILTERS)}")
    if filter == "checker" and check is None:
        raise DirectionError(f"no checker scores {trait}; use the filter projection or none")
    if filter == "none":
        return "none", everything
    if check is not None and filter in ("auto", "checker"):
        rule, shown = (
            "checker",
            shown_by_score(np.array([check(text) for text in fit.texts], float), fit.positive, fit.pair),
        )
    else:
        rule, shown = "projection", shown_by_projection(projected, fit.positive)
    if min((shown & fit.positive).sum(), (shown & ~fit.positive).sum()) < FEWEST:
        return f"none ({rule} would leave fewer than {FEWEST} replies of a pole)", everything
    return rule, shown


@dataclass(frozen=True)
class Built:
    """A trait's direction, and the ruler of its effect: None where a checker scores the trait or replies were too few."""

    direction: Direction
    ruler: Direction | None


def build(
    subject: Subject,
    traits: Sequence[Trait],
    all_poles: Sequence[Poles],
    *,
    seed: int,
    method: str = "mean",
    filter: Filter = "auto",
    progress: Progress | None = None,
) -> list[Built]:
    """Calibrated directions of several traits, and the rulers of those that no checker scores; default replies are
    generated once for all of them."""
    pool, _, described = method_named(method)
    read = [read_at(subject, poles, pool) for poles in all_poles]
    chosen = [
        choose_layer(poles, seed, method=method, filter=filter, trait=trait.name)
        for trait, poles in zip(traits, read, strict=True)
    ]
    # No two of the names below are equal: a trait's name has no space.
    vectors: dict[str, dict[int, Tensor]] = {
        trait.name: dict(zip(poles.layers, found.vectors, strict=True))
        for trait, poles, found in zip(traits, read, chosen, strict=True)
    }
    reread = [read_cold(subject, poles.part(held_out=True)) for poles in all_poles]
    cold = {
        trait.name: ruler_of(poles)
        for trait, poles in zip(traits, reread, strict=True)
        if checker_of(trait.name) is None
    }
    vectors |= {f"{name} ruler": {ruler.layer: ruler.vector} for name, ruler in cold.items()}
    tokens = default_token_projections(subject, vectors, default_prompts(seed), seed=seed, progress=progress)
    made: list[Direction] = []
    for trait, poles, seen, found in zip(traits, all_poles, read, chosen, strict=True):
        of = vectors[trait.name]
        scale: dict[int, Calibration] = calibrations(tokens[trait.name]) if trait.name in tokens else {}
        kept = Direction(
            name=trait.name if method == "mean" else f"{trait.name}.{method}", kind="trait", layer=found.layer,
            vectors=of, calibration=scale, subject=subject.name, fingerprint=subject.replies_fingerprint,
            sign_test=_sign(trait, seen, found, of[found.layer]),
            recipe={"method": described, "reading": "hot", "trait": trait.name, "wording": wording(trait),
                    "instruction_in": poles.placement, "replies": len(poles.positive), "pairs": len(trait.pairs), "filter": found.filter,
                    "filtered_share": float(1 - found.shown.mean()), "seed": seed},
            validity={"auc": found.auc.estimate, "auc_low": found.auc.low, "auc_high": found.auc.high,
                      "n": int(poles.held_out.sum())},
            reliable=found.auc.low is not None and found.auc.low > UNRELIABLE,
        )  # fmt: skip
        made.append(kept)
    others = neighbours(subject, made)
    result = []
    for trait, kept, seen, found, bare in zip(traits, made, read, chosen, reread, strict=True):
        shown = evidence(kept, seen, bare, found.selection, others, seed)
        ruler = None
        if trait.name in cold:
            recipe = {key: kept.recipe[key] for key in ("trait", "wording", "seed")}
            ruler = cold[trait.name].direction(
                trait.name, trait.positive, trait.negative, subject, tokens.get(f"{trait.name} ruler"), recipe
            )
        result.append(Built(replace(kept, validity={**kept.validity, **shown}), ruler))
    return result


def _sign(trait: Trait, poles: Poles, found: Chosen, vector: Tensor) -> SignTest:
    """Mean projections of the two poles' held-out replies; of those that made the vector where these do not follow it."""
    index = poles.layers.index(found.layer)
    towards = away = 0.0
    for part in (poles.part(held_out=True), poles.part(held_out=False).only(found.shown)):
        projected = (part.values[index] @ vector).numpy()
        towards, away = float(projected[part.positive].mean()), float(projected[~part.positive].mean())
        if towards > away:
            break
    return SignTest(trait.positive, trait.negative, towards, away)


def kept_vector(subject: Subject, trait: Trait, method: str = "mean") -> Direction | None:
    """A trait's direction if one of this wording is shipped or stored for these weights."""
    found = stored(subject, trait.name if method == "mean" else f"{trait.name}.{method}")
    # A direction that does not say its wording is older than this rule, and of the library.
    known = found is not None and found.recipe.get("wording", wording(trait)) == wording(trait)
    return found if known else None


def asked_for(
    trait: Trait, *, questions: int = QUESTIONS, tokens: int = TOKENS
) -> list[tuple[list[Conversation], int]]:
    """What building a vector asks of a model, and how many tokens each reply may have: what a guess at its time rests on."""
    poles = [
        told(text, question.text)
        for held_out in (False, True)
        for question in [one for one in trait.questions if one.held_out == held_out][:questions]
        for pair in trait.pairs[:REPEATS]
        for text in (pair.positive, pair.negative)
    ]
    return [(poles, tokens), (default_prompts(0)[:CALIBRATION_REPLIES], CALIBRATION_TOKENS)]


def trait_vector(
    subject: Subject,
    trait: Trait | str,
    *,
    seed: int = 0,
    method: str = "mean",
    filter: Filter = "auto",
    placement: Placement = PLACEMENT,
    questions: int = QUESTIONS,
    tokens: int = TOKENS,
    again: bool = False,
    progress: Progress | None = None,
) -> Direction:
    """A trait's direction: shipped or stored if there is one of this wording for these weights, else built and stored.

    method: `mean`, `last`, `pca` or `logistic`; all but the first are stored as NAME.METHOD. filter: which replies
    make the vector, by `checker` (a pair must score apart), by `projection` (a reply must lie on its pole's side of
    the middle, on a vector of other questions), `auto` (the checker if there is one) or `none`. again: build it anew.
    Raises DirectionError where the poles' replies do not differ.
    """
    method_named(method)
    wanted = library.trait(trait) if isinstance(trait, str) else trait
    found = None if again else kept_vector(subject, wanted, method)
    if found is not None:
        return found
    poles = play_poles(
        subject, [wanted], layers=readable_layers(subject), questions=questions, held_out_questions=questions,
        tokens=tokens, seed=seed, placement=placement, repeats=REPEATS, progress=share(progress, 0.0, 0.3),
    )  # fmt: skip
    built = build(
        subject, [wanted], poles, seed=seed, method=method, filter=filter, progress=share(progress, 0.4, 1.0)
    )[0]
    store(built.direction)
    if built.ruler is not None:
        store_ruler(built.ruler)
    return built.direction
