"""The price of an intervention, and how far a budget lasts (definitions.md, "Price of an intervention").

loss   = (accuracy before − accuracy after) / (accuracy before − chance), paired by item
cost   = the upper end of its 95 % interval: what it may cost as far as these items can tell

So a budget of 5 % means: the subject keeps at least 95 % of what it can do beyond guessing, and we are sure of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenroom.capability.items import Item
from greenroom.measures.intervals import DRAWS, Interval, codes_of, draw_clusters, fieller
from greenroom.measures.wording import reason

# The columns of a table of prices, as Polars takes them.
PRICES = {
    "setting": str, "family": str, "n_items": int, "accuracy": float, "chance": float, "capability": float,
    "capability_loss": float, "capability_loss_low": float, "capability_loss_high": float, "void": str,
}  # fmt: skip


def loss(before: np.ndarray, after: np.ndarray, chance: np.ndarray, stimuli: Sequence[Any]) -> Interval:
    """Share of the accuracy above chance that is lost, with Fieller's 95 % interval over stimuli; arrays (item,).

    Negative where the edit helped. All None when the subject was not above chance before: there was nothing to lose.
    """
    lost, had = _by_stimulus(before - after, stimuli), _by_stimulus(before - chance, stimuli)
    if had.sum() <= 0:
        return Interval(None, None, None, len(had))
    return fieller(lost, had)


def priced(asked: Sequence[Item], setting: str, before: np.ndarray, after: np.ndarray) -> list[dict[str, object]]:
    """The rows of one setting (`PRICES`), all families first. before, after: (item,) correct, in the order asked."""
    families = np.array([item.family for item in asked])
    chance = np.array([item.chance for item in asked])
    rows = []
    for family in ("all", *dict.fromkeys(families.tolist())):
        own = np.ones(len(before), bool) if family == "all" else families == family
        stimuli = [item.stimulus for item, kept in zip(asked, own, strict=True) if kept]
        found = loss(before[own], after[own], chance[own], stimuli)
        had = float((before - chance)[own].mean())
        rows.append(
            {
                "setting": setting, "family": family, "n_items": int(own.sum()), "accuracy": float(after[own].mean()),
                "chance": float(chance[own].mean()), "capability": float((after - chance)[own].mean()),
                "capability_loss": found.estimate, "capability_loss_low": found.low, "capability_loss_high": found.high,
                "void": None if found.estimate is not None else reason("above_chance", "void", value=had),
            }
        )  # fmt: skip
    return rows


@dataclass(frozen=True)
class Limit:
    """How far a budget lasts on one side.

    strongest: the strongest setting tried whose cost, and that of every weaker one, is within the budget; None when
    even the weakest is not. crossing, low, high: the strength at which the loss itself exceeds the budget,
    interpolated between settings, with its 95 % interval; `crossing` is None when it does not within what was tried,
    and an end of the interval that lies beyond the strongest setting tried is None too. `low` is the weaker end.
    """

    strongest: float | None
    crossing: float | None
    low: float | None
    high: float | None


def limit(
    strengths: Sequence[float],
    after: np.ndarray,
    before: np.ndarray,
    chance: np.ndarray,
    stimuli: Sequence[Any],
    budget: float,
    seed: int = 0,
) -> Limit:
    """How far the budget lasts. strengths: one side, from the weakest to the strongest; after: (setting, item)."""
    strongest = None
    for strength, correct in zip(strengths, after, strict=True):
        high = loss(before, correct, chance, stimuli).high
        if high is None or high > budget:
            break
        strongest = strength
    lost = np.stack([_by_stimulus(before - correct, stimuli) for correct in after])
    had = _by_stimulus(before - chance, stimuli)
    if had.sum() <= 0:
        return Limit(None, None, None, None)
    sizes = np.abs(np.array(strengths, float))
    sign = -1.0 if strengths[-1] < 0 else 1.0
    weights = draw_clusters(np.random.default_rng(seed), DRAWS, len(had))
    drawn = np.array([_crossing(sizes, row, budget) for row in (weights @ lost.T) / (weights @ had)[:, None]])
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")  # crossings beyond the grid are infinite
    found = _crossing(sizes, lost.sum(axis=1) / had.sum(), budget)
    return Limit(strongest, *(sign * float(value) if np.isfinite(value) else None for value in (found, low, high)))


def _by_stimulus(values: np.ndarray, stimuli: Sequence[Any]) -> np.ndarray:
    """Sums over items that ask the same thing, in order of first appearance; ratios of sums are those of the means."""
    return np.bincount(codes_of(stimuli), values)


def _crossing(sizes: np.ndarray, losses: np.ndarray, budget: float) -> float:
    """Where a loss that starts at zero first exceeds the budget, linear between settings; infinite when it never does."""
    above = np.flatnonzero(losses > budget)
    if not len(above):
        return float("inf")
    at = int(above[0])
    from_size, from_loss = (0.0, 0.0) if at == 0 else (float(sizes[at - 1]), float(losses[at - 1]))
    return from_size + (budget - from_loss) / (float(losses[at]) - from_loss) * (float(sizes[at]) - from_size)
