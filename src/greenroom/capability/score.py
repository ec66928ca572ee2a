"""Capability under edits: each item answered by likelihood, in every setting.

A test is prepared once with the blocks at which directions act; then each setting costs the blocks above alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from greenroom.capability.items import Item, all_items
from greenroom.capability.price import PRICES, priced
from greenroom.subject import Intervention, Subject

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[int, int], None]


class CapabilityTest:
    """The items, run once up to the given blocks of one subject. items: all of them, in the order of every array."""

    def __init__(
        self,
        subject: Subject,
        blocks: Sequence[int],
        *,
        seed: int = 0,
        items: Sequence[Item] | None = None,
        progress: Progress | None = None,
    ):
        self.items = tuple(items) if items is not None else all_items(seed)
        rows = [(item.conversation, choice) for item in self.items for choice in item.choices]
        self._prepared = subject.prepare(
            [conversation for conversation, _ in rows], [choice for _, choice in rows], blocks, progress=progress
        )

    def correct(self, interventions: Sequence[Intervention] = ()) -> np.ndarray:
        """(item,) 1 where the right choice is the likeliest, 0 elsewhere; ties share, and no number is no answer."""
        totals = np.array(self._prepared.score(interventions).total)
        result, begin = np.zeros(len(self.items)), 0
        for index, item in enumerate(self.items):
            own = totals[begin : begin + len(item.choices)]
            begin += len(item.choices)
            if np.isfinite(own).all() and own[0] == own.max():
                result[index] = 1 / int((own == own.max()).sum())
        return result


def measure_capability(
    subject: Subject,
    settings: Mapping[str, Sequence[Intervention]],
    *,
    test: CapabilityTest | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """What each setting costs: one row a setting and family, "all" first.

    Columns: setting, family, n_items, accuracy, chance, capability (accuracy above chance), capability_loss with
    _low and _high: the share of the unedited subject's accuracy above chance that is lost, paired by item, with the
    95 % interval; the cost is its upper bound. Null loss, with the reason in `void`, where the unedited subject is
    not above chance itself. progress(done, total) counts settings.
    """
    import polars as pl

    if test is None:
        blocks = {min(edit.layer for edit in edits) for edits in settings.values() if edits}
        test = CapabilityTest(subject, sorted(blocks) or [subject.layers - 1], seed=seed)
    before = test.correct()
    rows = []
    for number, (name, edits) in enumerate(settings.items()):
        rows += priced(test.items, name, before, test.correct(edits) if edits else before)
        if progress is not None:
            progress(number + 1, len(settings))
    return pl.DataFrame(rows, schema=PRICES)
