"""From messages and ends of talks to measures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from greenroom.measures import Measure, validity
from greenroom.measures.intervals import Interval, bootstrap_mean
from greenroom.measures.validity import Validity, assess, measure_of
from greenroom.studies import about
from greenroom.studies.selftalk.ends import LOOP, floats, share_of
from greenroom.studies.study import Found

# Tests of coming together, and whether large or small values say so.
TESTS = ("spread_ratio", "step_ratio", "memory_early", "memory_late")


def conclude(found: Found) -> list[Measure]:
    tables = {name: found.table(name) for name in ("messages", "talks", "attractors", "spread")}
    return measures(**tables, numbers=found.results("ends"), seed=found.seed)


def measures(
    messages: pl.DataFrame,
    talks: pl.DataFrame,
    attractors: pl.DataFrame,
    spread: pl.DataFrame,
    numbers: dict[str, Any],
    seed: int = 0,
) -> list[Measure]:
    """What follows from where talks end (`ends.Ends`).

    By themselves: `attractors` (how many; p of one cloud), `loop_share`, `gibberish_share`, `axis_change` (sd, late minus
    early) and `spread_ratio` (p of shuffled turns). As series: `basin` and `axis` (end), `axis_by_turn` and `spread`
    (turn), `contraction` (all or without_loops/test). Bounds of `spread` and `contraction` are what shuffled turns or
    openings give.
    """
    read = _read(messages)
    openings = messages["opening"].to_list()
    gibberish = share_of(messages["gibberish"].is_not_null(), openings, seed)
    move = bootstrap_mean(floats(talks["axis_sd_end"] - talks["axis_sd_start"]), talks["opening"].to_list(), seed=seed)
    count, free = numbers["attractors"], talks.filter(pl.col("end").fill_null("") != LOOP).height
    placed = Interval(None if count is None else float(count), None, None, free)
    loop = attractors.row(by_predicate=pl.col("attractor") == LOOP, named=True)
    together = numbers["contraction"]
    ratio = Interval(together["spread_ratio"], None, None, together["talks"])
    return [
        measure_of("attractors", placed, read, _why("few"), p=numbers["one_cloud_p"], unit="count"),
        measure_of("loop_share", _interval(loop, "basin", talks.height), read, _why("unread"), unit="share"),
        measure_of("gibberish_share", gibberish, read, _why("unread"), unit="share"),
        measure_of("axis_change", move, read, _why("unread"), unit="sd"),
        measure_of("spread_ratio", ratio, read, _why("apart"), p=together["spread_ratio_p"], unit="late / early"),
        *_basins(attractors, talks.height, read),
        *_by_turn(messages, spread, talks.height, read, seed),
        *_tests("all", together, read),
        *_tests("without_loops", numbers["contraction_without_loops"], read),
    ]


def _basins(attractors: pl.DataFrame, talks: int, read: Validity) -> Iterator[Measure]:
    for row in attractors.iter_rows(named=True):
        name = row["attractor"]
        yield measure_of(name, _interval(row, "basin", talks), read, _why("unread"), part="basin", unit="share")
        yield measure_of(name, _interval(row, "axis_sd", row["talks"]), read, _why("unread"), part="axis", unit="sd")


def _by_turn(messages: pl.DataFrame, spread: pl.DataFrame, talks: int, read: Validity, seed: int) -> Iterator[Measure]:
    for (turn,), part in messages.sort("turn", maintain_order=True).group_by("turn", maintain_order=True):
        mean = bootstrap_mean(floats(part["axis_sd_cold"]), part["opening"].to_list(), seed=seed)
        yield measure_of(str(turn), mean, read, _why("unread"), part="axis_by_turn", unit="sd")
    for row in spread.iter_rows(named=True):
        apart = Interval(row["spread"], row["low"], row["high"], talks)
        yield measure_of(str(row["turn"]), apart, read, _why("unread"), part="spread", unit="spread of roles")


def _tests(whose: str, found: dict[str, Any], read: Validity) -> Iterator[Measure]:
    for name in TESTS:
        chance = (found.get(f"{name}_null_low"), found[f"{name}_null_high"])
        made = Interval(found[name], *chance, found["talks"])
        yield measure_of(f"{whose}/{name}", made, read, _why("apart"), p=found[f"{name}_p"], part="contraction")


def _read(messages: pl.DataFrame) -> Validity:
    """How much of each talk could be read."""
    shares = messages.group_by("talk", maintain_order=True).agg(pl.col("axis_sd_cold").is_not_null().mean())
    return assess([validity.readable(shares["axis_sd_cold"])])


def _interval(row: dict[str, Any], name: str, n: int) -> Interval:
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], n)


def _why(key: str) -> str:
    """Why there is no estimate, as words.yaml says it."""
    return about("selftalk")["missing"][key]
