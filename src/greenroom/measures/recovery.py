"""What a way back undoes: the share of a drift, over all conversations, and what is left (hysteresis).

One value a conversation and moment: the mean of the same neutral probes before the drift, after it, and after the
return. The share is a ratio of means over *all* conversations, never over those that drifted: choosing these would
count chance as drift and its passing as a return. Fieller's interval, since the divisor is itself measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from greenroom.measures.intervals import Interval, fieller, student_mean


@dataclass(frozen=True)
class Recovery:
    """One way back. drift: before − after. undone: (back − after) / drift, 0 nothing, 1 all of it; above 1 is beyond
    the start. beyond: the same less what happens without intervention, (back − unhelped) / drift. left: before − back,
    in the probes' unit. Ratios are None when drift's interval includes 0; n counts conversations."""

    drift: Interval
    undone: Interval
    beyond: Interval
    left: Interval


def recovery(
    before: ArrayLike,
    after: ArrayLike,
    back: ArrayLike,
    unhelped: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Recovery:
    """The shares of one way back; arrays are (conversations,), NaN for missing, the same conversation at each place.

    A conversation counts where before, after and back are known; in `beyond` unhelped too. ValueError for lengths that
    differ.
    """
    start, moved, returned = (np.asarray(values, float) for values in (before, after, back))
    alone = np.full(len(start), np.nan) if unhelped is None else np.asarray(unhelped, float)
    if not len(start) == len(moved) == len(returned) == len(alone):
        raise ValueError("expected one value a conversation at each moment; the lengths differ")
    known = ~(np.isnan(start) | np.isnan(moved) | np.isnan(returned))
    start, moved, returned, alone = start[known], moved[known], returned[known], alone[known]
    drift = start - moved
    return Recovery(
        student_mean(drift, level),
        fieller(returned - moved, drift, level),
        fieller(returned - alone, drift, level),
        student_mean(start - returned, level),
    )
