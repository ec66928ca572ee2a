"""From projected replies to each trait's place between its poles, graded by how well the poles are told apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from greenroom.measures import Measure
from greenroom.measures.intervals import Interval, bootstrap_mean_auc, draw_clusters, percentiles
from greenroom.measures.validity import Check, Grade, Validity, assess
from greenroom.report.format import number
from greenroom.studies import about
from greenroom.studies.study import Found

POLES = ("positive", "negative", "default")
# Held-out AUC between the poles' replies: whose interval reaches .6 shows no contrast to place anything on (the rule
# for `unreliable` directions); .7 and .8 are the usual reading of "acceptable" and "excellent" discrimination
# (Hosmer & Lemeshow 2000, Applied Logistic Regression, ch. 5).
AUC_CUTS: tuple[tuple[Grade, float], ...] = (("A", 0.8), ("B", 0.7), ("C", 0.6))
DRAWS = 1000


def conclude(found: Found) -> list[Measure]:
    """One measure a trait, its place between the poles, and the series pole_auc with the AUC of its vector."""
    replies, text = found.table("replies"), about("trait_profile")["sentences"]
    places: list[Measure] = []
    areas: list[Measure] = []
    for trait in found.table("traits")["trait"]:
        own = replies.filter(trait=trait)
        auc, place = _auc(own, found.seed), between_poles(own, found.seed)
        told_apart = _told_apart(auc, text)
        checks = [told_apart]
        if place.estimate is None:
            checks.append(Check("place", None, "void", text["no_place"]))
        n = own.filter(pl.col("pole") != "default").height
        places.append(Measure(trait, place.estimate, place.low, place.high, n, assess(checks), unit="poles"))
        valid = Validity(told_apart.grade, (told_apart,))
        areas.append(Measure(trait, auc.estimate, auc.low, auc.high, n, valid, part="pole_auc", unit="AUC"))
    return [*places, *areas]


def _auc(own: pl.DataFrame, seed: int) -> Interval:
    """AUC of one pole's replies over the other's, questions resampled."""
    positive, negative = own.filter(pole="positive"), own.filter(pole="negative")
    return bootstrap_mean_auc(
        positive["projection"].to_numpy(), negative["projection"].to_numpy(), [0] * negative.height,
        positive_clusters=positive["question"].to_list(), negative_clusters=negative["question"].to_list(),
        resample_groups=False, seed=seed,
    )  # fmt: skip


def between_poles(own: pl.DataFrame, seed: int) -> Interval:
    """Place of the default character between the poles (0 the midpoint, ±1 the poles), questions resampled.

    own: pole, question, projection of one trait's replies. All None where too few draws have replies on every side.
    """
    questions = own["question"].unique(maintain_order=True).to_list()
    sums, sizes = np.zeros((2, len(POLES), len(questions)))
    for arm, pole in enumerate(POLES):
        for index, question in enumerate(questions):
            values = own.filter(pole=pole, question=question)["projection"].to_numpy()
            sums[arm, index], sizes[arm, index] = values.sum(), len(values)

    def place(weights: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            high, low, middle = (weights @ sums[arm] / (weights @ sizes[arm]) for arm in range(len(POLES)))
            return (middle - (high + low) / 2) / ((high - low) / 2)

    estimate = float(place(np.ones((1, len(questions))))[0])
    places = place(draw_clusters(np.random.default_rng(seed), DRAWS, len(questions)))
    places = places[np.isfinite(places)]
    if not np.isfinite(estimate) or len(places) < DRAWS / 2:
        return Interval(None, None, None, len(questions))
    return Interval(estimate, *percentiles(places), len(questions))


def _told_apart(auc: Interval, text: Mapping[str, str]) -> Check:
    passed: list[Grade] = [grade for grade, least in AUC_CUTS if auc.low is not None and auc.low > least]
    grade = passed[0] if passed else "void"
    sentence = text["no_contrast" if grade == "void" else "contrast"]
    told = {"auc": number(auc.estimate), "low": number(auc.low), "high": number(auc.high)}
    return Check("pole_auc", auc.estimate, grade, sentence.format(**told))
