"""The simple contrast: the same continuation under two levels of a factor, paired."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from greenroom.asking.readings import factors, numbers
from greenroom.asking.types import Level
from greenroom.measures.intervals import Interval, bootstrap_mean


def contrast(changes: pl.DataFrame, *, seed: int = 0) -> Interval:
    """The mean change in nats over pairs, with a bootstrap interval by cluster. changes: of `paired`."""
    return bootstrap_mean(numbers(changes, "change"), changes["cluster"].to_list(), seed=seed)


def paired(
    answers: pl.DataFrame,
    factor: str,
    level: Level,
    other: Level,
    option: str,
    against: str | None = None,
    *,
    paradigm: str = "contrast",
    wordings: Sequence[str] = ("main", "paraphrase"),
) -> pl.DataFrame:
    """How much likelier a reply is at one level of a factor than at another: part, item, cluster, wording, order, the
    other factors, and `change` in nats, null where the provider gave no log-probabilities.

    The raw log-probability of the option (with `against`, its log-odds to that one) under `level` minus that under
    `other`, paired by item, wording, order and the other factors; the words' own prior cancels, so it needs no nulls.
    """
    asked = answers.filter(
        (pl.col("paradigm") == paradigm) & pl.col("wording").is_in(wordings) & pl.col("case").is_not_null()
    )
    keys = ["part", "item", "cluster", "wording", "order", *(name for name in factors(answers) if name != factor)]

    def at(where: Level, name: str) -> pl.DataFrame:
        return asked.filter((pl.col(factor) == where) & (pl.col("option") == name)).select(*keys, "logprob")

    def odds(where: Level) -> pl.DataFrame:
        own = at(where, option)
        return own if against is None else _less(own, at(where, against), keys, "logprob")

    return _less(odds(level), odds(other), keys, "change")


def _less(one: pl.DataFrame, other: pl.DataFrame, keys: list[str], name: str) -> pl.DataFrame:
    both = one.join(other, on=keys, how="inner", nulls_equal=True, maintain_order="left")
    return both.select(*keys, (pl.col("logprob") - pl.col("logprob_right")).alias(name))
