"""Loop gain: whether a conversation amplifies what was put into it.

A user states a certainty c (the logit of a stated probability), the subject agrees with log-odds a, and the user's next
certainty follows from a. The gain is d a / d c times d c / d a: below one a nudge dies out, above one it runs away.

Regressing agreement on its own past does not measure this (`autoregression` is here to show it): items differ in how
far the subject agrees with them anyway, which looks like persistence, and bounded agreement cannot grow for long. So
the loop is cut open: certainty is randomised a turn, which makes it independent of item, of turn and of all that was
said before, and the slope on it is the response of the subject. The closed loop then checks the product: two copies of
one conversation start a nudge apart, and their separation should change by the gain each turn.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from greenroom.measures.intervals import DRAWS, Array, Interval, fieller
from greenroom.measures.within import NOTHING, within_slope


@dataclass(frozen=True)
class LoopGain:
    """The gain of a loop whose user answers by a known rule, from its open-loop arm.

    slope: d logit(agreement) / d certainty, items as fixed effects; gain: slope × response, by the same turn's
    certainty alone; carried: the slope on the certainty stated one turn earlier, which the subject may remember;
    total: (slope + carried) × response, the gain of a nudge that is kept up, which decides about runaway where carried
    is not zero; response: the user's d certainty / d logit(agreement). All unitless, since both are in logits; n of an
    interval counts items.
    """

    gain: Interval
    slope: Interval
    carried: Interval
    total: Interval
    response: float

    @property
    def critical_response(self) -> float | None:
        """The response of a user with whom the loop would just run away; None unless the slope is above zero."""
        slope, low = self.slope.estimate, self.slope.low
        return 1 / slope if slope is not None and low is not None and low > 0 else None


def open_loop(
    agreement: ArrayLike,
    certainty: ArrayLike,
    items: Sequence[Hashable],
    *,
    previous: ArrayLike | None = None,
    response: float = 1.0,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> LoopGain:
    """The gain from turns whose certainty was drawn at random; one entry a turn of an item.

    agreement: logits (nats), NaN for missing; certainty: logits; previous: the certainty of the turn before, NaN at
    the first turn (without it `carried` and `total` are empty). Percentile intervals, items resampled whole. ValueError
    for lengths that differ.
    """
    y, x = np.asarray(agreement, float), np.asarray(certainty, float)
    before = np.full(len(y), np.nan) if previous is None else np.asarray(previous, float)
    if not len(y) == len(x) == len(before) == len(items):
        raise ValueError(f"expected one entry a turn; got {len(y)}, {len(x)}, {len(before)} and {len(items)} entries")
    slope = within_slope(y, x, items, level=level, draws=draws, seed=seed)
    both = np.column_stack([x, before])
    carried = within_slope(y, both, items, (0.0, 1.0), level=level, draws=draws, seed=seed)
    kept = within_slope(y, both, items, (1.0, 1.0), level=level, draws=draws, seed=seed)
    return LoopGain(_scaled(slope, response), slope, carried, _scaled(kept, response), response)


def closed_loop(stated: ArrayLike, wanted: ArrayLike, items: Sequence[Hashable], *, level: float = 0.95) -> Interval:
    """The mean growth a turn of the separation between two nudged copies of one conversation.

    stated: how far apart the users of the two copies were at a turn, in logits of certainty; wanted: how far apart
    they would be at the next, before any bound on what can be stated; one entry a step, NaN for missing. The estimate
    is the ratio of their sums, over items with Fieller's interval: None when the separation cannot be told from zero.
    """
    apart, after = np.asarray(stated, float), np.asarray(wanted, float)
    if not len(apart) == len(after) == len(items):
        raise ValueError(f"expected one entry a step; got {len(apart)}, {len(after)} and {len(items)} entries")
    sums: dict[Hashable, Array] = {}
    for item, first, second in zip(items, apart, after, strict=True):
        if not (np.isnan(first) or np.isnan(second)):
            sums[item] = sums.get(item, np.zeros(2)) + np.array([second, first])
    if not sums:
        return NOTHING
    table = np.array(list(sums.values()))
    return fieller(table[:, 0], table[:, 1], level)


def autoregression(agreement: ArrayLike) -> float | None:
    """The biased way, kept as a warning: the slope of agreement on its own past, (items, turns), pooled.

    None where agreement does not vary. With probabilities it cannot exceed one for long and stays far above zero where
    there is no loop at all.
    """
    table = np.asarray(agreement, float)
    now, then = table[:, 1:].ravel(), table[:, :-1].ravel()
    there = ~(np.isnan(now) | np.isnan(then))
    now, then = now[there], then[there]
    if len(now) < 2 or np.ptp(then) == 0:
        return None
    return float(np.polyfit(then, now, 1)[0])


def _scaled(interval: Interval, factor: float) -> Interval:
    """The interval times a factor, which may be negative or zero."""
    estimate, low, high, n = interval
    ends = [None if end is None else end * factor for end in (low, high)]
    if factor < 0:
        ends.reverse()
    return Interval(None if estimate is None else estimate * factor, ends[0], ends[1], n)
