"""Capability under edits: each item answered by likelihood, in every setting, and what it costs.

Usable for many directions: prepare the test once with the blocks at which they act, then each setting costs the
blocks above alone.

    test = CapabilityTest(subject, blocks=[14, 21])
    frame = capability(subject, {"sycophancy +2": edits, …}, test=test)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from greenroom.capability.items import Item, items
from greenroom.capability.price import loss, skill
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
        self.items = tuple(items) if items is not None else _all(seed)
        self.chance = np.array([item.chance for item in self.items])
        self.families = np.array([item.family for item in self.items])
        self.stimuli = [item.stimulus for item in self.items]
        rows = [(item.conversation, choice) for item in self.items for choice in item.choices]
        self._prepared = subject.prepare(
            [conversation for conversation, _ in rows], [choice for _, choice in rows], blocks, progress=progress
        )
        self.bytes = self._prepared.bytes

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


def _all(seed: int) -> tuple[Item, ...]:
    return items(seed)


def capability(
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
    return pl.DataFrame(rows, schema=SCHEMA)


SCHEMA = {
    "setting": str, "family": str, "n_items": int, "accuracy": float, "chance": float, "capability": float,
    "capability_loss": float, "capability_loss_low": float, "capability_loss_high": float, "void": str,
}  # fmt: skip


def priced(asked: Sequence[Item], name: str, before: np.ndarray, after: np.ndarray) -> list[dict[str, object]]:
    """The rows of one setting. before, after: (item,) correct, in the order of the items asked."""
    families = np.array([item.family for item in asked])
    chance = np.array([item.chance for item in asked])
    rows = []
    for family in ("all", *dict.fromkeys(families.tolist())):
        own = np.ones(len(before), bool) if family == "all" else families == family
        stimuli = [item.stimulus for item, kept in zip(asked, own, strict=True) if kept]
        level = skill(before[own], chance[own], stimuli)
        found = loss(before[own], after[own], chance[own], stimuli)
        rows.append(
            {
                "setting": name, "family": family, "n_items": int(own.sum()), "accuracy": float(after[own].mean()),
                "chance": float(chance[own].mean()), "capability": float((after - chance)[own].mean()),
                "capability_loss": found.estimate, "capability_loss_low": found.low, "capability_loss_high": found.high,
                "void": None if found.estimate is not None else
                f"the unedited subject is not above chance here ({level.estimate:+.3f})",
            }
        )  # fmt: skip
    return rows
