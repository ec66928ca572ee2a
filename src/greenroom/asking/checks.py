"""How far to believe readings: what they do when order, wording or draw change and the answer should not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from greenroom.asking.readings import numbers, wording_of
from greenroom.measures import validity
from greenroom.measures.validity import Check


def checks(readings: pl.DataFrame, paradigm: str, options: Sequence[str] | None = None) -> list[Check]:
    """The validity checks of one paradigm, the most telling first.

    options: those whose scores are correlated (default all; of two options one says it all). Comprehension is among
    them where something was asked for recall.
    """
    names = readings.filter(pl.col("paradigm") == paradigm)["option"].drop_nulls().unique(maintain_order=True).to_list()
    count = max(2, len(names))
    main, again, opposite = (wording_of(readings, paradigm, one) for one in ("main", "paraphrase", "reversed"))
    if options is not None:
        kept = pl.col("option").is_null() | pl.col("option").is_in(options)
        scored, rescored, turned = (frame.filter(kept) for frame in (main, again, opposite))
    else:
        scored, rescored, turned = main, again, opposite
    found: list[Check] = []
    if paradigm == "letter":
        picked = choices(main, names)
        by_case: dict[str, list[int | None]] = {}
        for (case, _), option in picked.items():
            by_case.setdefault(case, []).append(option)
        found.append(validity.order_consistency(list(by_case.values()), count))
        found.append(validity.order_bias(_places(main), count))
        found.append(validity.readable([option is not None for option in picked.values()]))
    elif paradigm == "letter_logodds":
        found.append(validity.order_agreement(_versions(scored)))
        found.append(validity.order_bias(_places(wording_of(readings, "letter", "main")), count, averaged=True))
        found.append(validity.readable(scored["mass"].fill_null(0.0).to_list()))
    elif paradigm == "cloze":
        found.append(validity.null_agreement(_versions(scored)))
        found.append(validity.reversal(*_pairs(scored, turned)))
    elif paradigm == "rating":
        found.append(validity.readable(scored["mass"].fill_null(0.0).to_list()))
        if turned.height:
            found.append(validity.reversal(*_pairs(scored, turned)))
    elif paradigm == "free":
        found.append(validity.readable([option is not None for option in choices(main, names).values()]))
        if (second := wording_of(readings, paradigm, "retest")).height:
            one, other = _both(main, second, names)
            found.append(validity.retest_choices(one, other, count))
    if paradigm in ("letter", "free") and again.height:
        found.append(validity.paraphrase_choices(_both(main, again, names), count))
    elif rescored.height:
        found.append(validity.paraphrase_agreement(_pairs(scored, rescored)))
    recalled = wording_of(readings, "recall", "main")["probability"].to_list()
    if recalled:
        found.append(validity.comprehension([None if value is None else value > 0.5 for value in recalled]))
    return found


def choices(read: pl.DataFrame, names: Sequence[str]) -> dict[tuple[str, str | None], int | None]:
    """The option chosen (most often) by case and order, by its number in `names`; None for an unreadable answer."""
    shares: dict[tuple[str, str | None], list[tuple[str, float | None]]] = {}
    for case, order, option, share in read.select("case", "order", "option", "probability").iter_rows():
        shares.setdefault((case, order), []).append((option, share))
    return {
        key: None
        if any(share is None for _, share in own)
        # Of options named equally often, the first in the design's own order.
        else min((-float(share or 0), names.index(option)) for option, share in own)[1]
        for key, own in shares.items()
    }


def _versions(read: pl.DataFrame) -> np.ndarray:
    """The column `versions` as (versions, rows) floats, NaN where missing."""
    known = [row for row in read["versions"].to_list() if row]
    count = len(known[0]) if known else 1
    return np.array([row or [np.nan] * count for row in read["versions"].to_list()], float).reshape(-1, count).T


def _places(letters: pl.DataFrame) -> list[int | None]:
    """Where the chosen options stood."""
    best = pl.col("probability") == pl.col("probability").max().over("case", "order")
    return letters.filter(best)["position"].to_list()


def _pairs(read: pl.DataFrame, other: pl.DataFrame) -> list[np.ndarray]:
    """The scores of the same cases and options in two wordings."""
    both = read.join(other, on=["case", "order", "option"], how="inner", nulls_equal=True, maintain_order="left")
    return [numbers(both, "score"), numbers(both, "score_right")]


def _both(read: pl.DataFrame, other: pl.DataFrame, names: Sequence[str]) -> list[list[int | None]]:
    """The choices of the same cases and orders in two wordings."""
    first, second = choices(read, names), choices(other, names)
    shared = [key for key in first if key in second]
    return [[one[key] for key in shared] for one in (first, second)]
