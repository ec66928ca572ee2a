"""The simple contrast: the same continuation under two levels of a factor, paired."""

from __future__ import annotations

import polars as pl

from greenroom.asking.readings import factors, numbers
from greenroom.asking.types import Level
from greenroom.measures.intervals import Interval, bootstrap_mean


def contrast(
    answers: pl.DataFrame,
    factor: str,
    level: Level,
    other: Level,
    option: str,
    against: str | None = None,
    *,
    paradigm: str = "cloze",
    wording: str = "main",
    seed: int = 0,
) -> Interval:
    """How much likelier a reply is at one level of a factor than at another, in nats.

    The raw log-probability of the option (against: its log-odds to another) under `level` minus that under `other`,
    paired by item, the other factors and the order of the options; the words' own prior cancels. Interval: bootstrap by
    cluster. Needs no nulls. All None where the provider gave no log-probabilities.
    """
    same = (pl.col("paradigm") == paradigm) & (pl.col("wording") == wording) & pl.col("case").is_not_null()
    asked = answers.filter(same)
    keys = ["part", "item", "cluster", "order", *(name for name in factors(answers) if name != factor)]

    def value(at: Level, of: str) -> pl.DataFrame:
        return asked.filter((pl.col(factor) == at) & (pl.col("option") == of)).select(*keys, "logprob")

    def odds(at: Level) -> pl.DataFrame:
        own = value(at, option)
        if against is None:
            return own
        both = own.join(value(at, against), on=keys, how="inner", nulls_equal=True, maintain_order="left")
        return both.select(*keys, logprob=pl.col("logprob") - pl.col("logprob_right"))

    pairs = odds(level).join(odds(other), on=keys, how="inner", nulls_equal=True, maintain_order="left")
    pairs = pairs.with_columns(change=pl.col("logprob") - pl.col("logprob_right"))
    return bootstrap_mean(numbers(pairs, "change"), pairs["cluster"].to_list(), seed=seed)
