"""Where talks of two copies end: loops apart from attractors, basins, nearest roles, contraction.

A talk's end is its mean place in persona space over the last third of its messages. Talks that end in a degenerate
loop are set apart first (measures/repetition.py): a loop stays where it got stuck, which is no theme. The others' ends
are clustered as a mixture of Gaussians whose number is chosen by held-out likelihood (measures/mixture.py), and several
are claimed only where clusters gain more than they do on a single Gaussian (measures/one_cloud.py): one cloud, no
attractors at all, is an answer like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from greenroom.measures.contraction import Contraction, Memory, contraction
from greenroom.measures.intervals import Array, Interval, bootstrap_mean, wilson
from greenroom.measures.keywords import keywords
from greenroom.measures.mixture import choose_count, fit_mixture
from greenroom.measures.one_cloud import OneCloud, one_cloud
from greenroom.measures.repetition import loop_onset

MOST = 6  # attractors that are looked for
FEWEST = 10  # ends that a search for attractors needs
SURE = 0.05  # level of the test for more than one cloud
LOOP = "loop"
NEAREST = 3  # roles named beside an attractor

MESSAGES: dict[str, Any] = {
    "talk": pl.String,
    "opening": pl.String,
    "turn": pl.Int64,  # from 1; odd turns by the copy that did not open
    "answers": pl.String,
    "message": pl.String,
    "repeats": pl.Boolean,  # alike to one of the last two messages
    "gibberish": pl.String,  # why, or null
    "surprise": pl.Float64,  # mean nats a token in its own context; null from a log
    "axis_sd_hot": pl.Float64,  # null from a log
    "axis_sd_cold": pl.Float64,
}
TALKS: dict[str, Any] = {
    "talk": pl.String,
    "opening": pl.String,
    "end": pl.String,  # an attractor's letter, "loop", or null: too few messages could be read
    "loop_onset": pl.Int64,  # the turn from which it repeats itself
    "axis_sd_start": pl.Float64,
    "axis_sd_end": pl.Float64,
}
ATTRACTORS: dict[str, Any] = {
    "attractor": pl.String,
    "basin": pl.Float64,
    "basin_low": pl.Float64,
    "basin_high": pl.Float64,
    "talks": pl.Int64,
    "openings": pl.Int64,
    "axis_sd": pl.Float64,
    "axis_sd_low": pl.Float64,
    "axis_sd_high": pl.Float64,
    "roles": pl.List(pl.String),
    "words": pl.List(pl.String),
    "example": pl.String,
}
SPREAD: dict[str, Any] = {"turn": pl.Int64, "spread": pl.Float64, "low": pl.Float64, "high": pl.Float64}


@dataclass(frozen=True)
class Ends:
    """talks: one row each. attractors: one row each, the loop among them. spread: mean distance between talks of different
    openings by turn, with what shuffled turns give. numbers: how the number of attractors was chosen, and whether talks
    come together, with and without those in a loop."""

    talks: pl.DataFrame
    attractors: pl.DataFrame
    spread: pl.DataFrame
    numbers: dict[str, Any]


def ends_of(frame: pl.DataFrame, places: pl.DataFrame, seed: int = 0) -> Ends:
    """Where talks end, from the messages (`MESSAGES` and components) and the roles' places (role and components)."""
    axes = [name for name in frame.columns if name.startswith("pc")]
    frame = frame.sort("talk", "turn", maintain_order=True)
    names = frame["talk"].unique(maintain_order=True).to_list()
    groups = frame.partition_by("talk", maintain_order=True, as_dict=True)
    own = [groups[(name,)] for name in names]
    openings = [group["opening"][0] for group in own]
    points = _points(own, axes)
    third = max(1, points.shape[1] // 3)
    with np.errstate(invalid="ignore"):
        ends = _mean(points[:, -third:])
    onsets = [loop_onset(group["message"].to_list()) for group in own]
    looped = np.array([onset is not None for onset in onsets])
    known = ~np.isnan(ends).any(axis=1) & ~looped
    labels, centres, choice = _clusters(ends[known], seed)
    end: list[str | None] = [LOOP if loop else None for loop in looped]
    for place, label in zip(np.flatnonzero(known).tolist(), labels, strict=True):
        end[place] = label
    talks = pl.DataFrame(
        [
            {"talk": name, "opening": opening, "end": label, "loop_onset": None if onset is None else onset + 1,
             "axis_sd_start": group["axis_sd_cold"][:third].mean(), "axis_sd_end": group["axis_sd_cold"][-third:].mean()}
            for name, opening, label, onset, group in zip(names, openings, end, onsets, own, strict=True)
        ],
        schema=TALKS,
    )  # fmt: skip
    table = _attractors(talks, own, third, centres, places.select("role", *axes), seed)
    together = contraction(points, openings, seed=seed)
    alone = contraction(points[~looped], [o for o, stuck in zip(openings, looped, strict=True) if not stuck], seed=seed)
    numbers = {**choice, "contraction": _said(together), "contraction_without_loops": _said(alone)}
    return Ends(talks, table, _spread(points, openings, seed), numbers)


def _points(own: list[pl.DataFrame], axes: list[str]) -> Array:
    """(talk, turn, component), NaN where a message could not be read or is missing."""
    longest = max(group.height for group in own)
    points = np.full((len(own), longest, len(axes)), np.nan)
    for row, group in enumerate(own):
        points[row, : group.height] = group.select(axes).cast(pl.Float64).to_numpy()
    return points


def _mean(points: Array) -> Array:
    """Mean over turns of those that were read; NaN where fewer than half were."""
    there = np.asarray(~np.isnan(points).any(axis=2))
    sums = np.nansum(np.where(there[:, :, None], points, 0.0), axis=1)
    counts = there.sum(axis=1)
    means = sums / np.maximum(counts, 1)[:, None]
    means[counts * 2 < points.shape[1]] = np.nan
    return means


def _clusters(ends: Array, seed: int) -> tuple[list[str | None], dict[str, Array], dict[str, Any]]:
    """Letters of the ends (largest basin A), centres, and how the number was chosen."""
    if len(ends) < FEWEST:
        return [None] * len(ends), {}, {"attractors": None, "attractors_missing": "few", **_tested(None)}
    most = min(MOST, len(ends) // 5)
    choices = choose_count(ends, list(range(1, most + 1)), seed=seed)
    test = one_cloud(ends, most, seed=seed)
    likeliest = next(choice.count for choice in choices if choice.chosen)
    count = likeliest if test.p is not None and test.p < SURE else 1
    members = fit_mixture(ends, count, seed=seed).members(ends)
    order = [int(code) for code in np.argsort(-np.bincount(members, minlength=count), kind="stable")]
    letter = {code: chr(ord("A") + rank) for rank, code in enumerate(order)}
    centres = {letter[code]: ends[members == code].mean(axis=0) for code in order if (members == code).any()}
    held_out = [{"count": choice.count, "log_density": choice.log_density} for choice in choices]
    found = {"attractors": len(centres), "attractors_missing": None, "held_out": held_out, **_tested(test)}
    return [letter[int(code)] for code in members], centres, found


def _tested(test: OneCloud | None) -> dict[str, float | None]:
    """The test against one cloud, as results.json says it."""
    found = test or OneCloud(None, None, None)
    return {"one_cloud_gain": found.gain, "one_cloud_null_high": found.null_high, "one_cloud_p": found.p}


def _attractors(
    talks: pl.DataFrame, own: list[pl.DataFrame], third: int, centres: dict[str, Array], places: pl.DataFrame, seed: int
) -> pl.DataFrame:
    late = {group["talk"][0]: group["message"].to_list()[-third:] for group in own}
    spots, roles = places.drop("role").to_numpy(), places["role"].to_list()
    rows: list[dict[str, Any]] = []
    for name in [*centres, LOOP]:
        mine = talks.filter(pl.col("end") == name)
        if mine.is_empty() and name != LOOP:
            continue
        basin = share_of((talks["end"] == name).fill_null(False), talks["opening"].to_list(), seed)
        axis = bootstrap_mean(floats(mine["axis_sd_end"]), mine["opening"].to_list(), seed=seed)
        texts = ["\n".join(late[talk]) for talk in mine["talk"]]
        others = ["\n".join(late[talk]) for talk in talks["talk"] if talk not in set(mine["talk"])]
        near: list[str] = []
        if name in centres:
            order = np.argsort(np.linalg.norm(spots - centres[name], axis=1))[:NEAREST]
            near = [roles[place] for place in order]
        rows.append(
            {"attractor": name, "basin": basin.estimate, "basin_low": basin.low, "basin_high": basin.high,
             "talks": mine.height, "openings": mine["opening"].n_unique(), "axis_sd": axis.estimate,
             "axis_sd_low": axis.low, "axis_sd_high": axis.high, "roles": near, "words": keywords(texts, others),
             "example": late[mine["talk"][0]][-1] if mine.height else None}
        )  # fmt: skip
    return pl.DataFrame(rows, schema=ATTRACTORS)


def share_of(marks: pl.Series, openings: list[str], seed: int) -> Interval:
    """A share of talks or messages. Those of one opening resemble each other, so openings are resampled; none and all
    cannot vary, and have Wilson's interval as if an opening were one observation."""
    found = bootstrap_mean(marks.cast(pl.Float64), openings, seed=seed)
    if found.estimate in (0.0, 1.0):
        return wilson(found.estimate * found.n, found.n)
    return found


def _spread(points: Array, openings: list[str], seed: int, shuffles: int = 200) -> pl.DataFrame:
    """Mean distance between talks of different openings at each turn; `low`, `high`: 95 % of shuffled turns."""
    whole = ~np.isnan(points).any(axis=(1, 2))
    points, codes = points[whole], np.array(openings)[whole]
    other = codes[:, None] != codes[None, :]
    if not other.any():
        return pl.DataFrame(schema=SPREAD)

    def by_turn(at: Array) -> Array:
        return np.array(
            [np.linalg.norm(at[:, None, turn] - at[None, :, turn], axis=2)[other].mean() for turn in range(at.shape[1])]
        )

    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(points.shape[1]), (shuffles, len(points), 1)), axis=2)
    null = np.stack([by_turn(np.take_along_axis(points, one[:, :, None], axis=1)) for one in order])
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    rows = {"turn": list(range(1, points.shape[1] + 1)), "spread": by_turn(points), "low": low, "high": high}
    return pl.DataFrame(rows, schema=SPREAD)


def _said(found: Contraction) -> dict[str, Any]:
    def change(name: str, one: Any) -> dict[str, Any]:
        return {
            name: one.ratio,
            f"{name}_null_low": one.null_low,
            f"{name}_null_high": one.null_high,
            f"{name}_p": one.p,
        }

    def memory(name: str, one: Memory) -> dict[str, Any]:
        return {name: one.share, f"{name}_null_high": one.null_high, f"{name}_p": one.p}

    return {
        **change("spread_ratio", found.spread),
        **change("step_ratio", found.steps),
        **memory("memory_early", found.memory_early),
        **memory("memory_late", found.memory_late),
        "converges": found.converges,
        "talks": found.talks,
    }


def floats(series: pl.Series) -> Array:
    return series.cast(pl.Float64).to_numpy()
