"""The behavioural map beside the map of activations: do characters that speak alike look alike inside?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from greenroom.directions.behavioural_map import BehaviouralMap, behavioural_map, compared, split_half
from greenroom.directions.direction import Direction
from greenroom.measures.intervals import Array
from greenroom.measures.scaling import Scaled, scaled, turned

FLOOR = ("floor_bits", "floor_low", "floor_high")


@dataclass(frozen=True)
class ComparedMaps:
    """places: one row a character: role, kind, x, y (behavioural, turned to lie as activation_x, activation_y do), axis_sd,
    nearest, nearest_bits, floor_bits with floor_low and floor_high. pairs: one row an ordered pair: role, reader, bits_lost,
    bits (symmetrised), activation_distance. numbers: of the Mantel test and of the maps."""

    places: pl.DataFrame
    pairs: pl.DataFrame
    numbers: dict[str, Any]


def compare_maps(
    losses: pl.DataFrame,
    role_vectors: Mapping[str, Array],
    kinds: Mapping[str, str],
    axis: Direction | None,
    block: int,
    *,
    seed: int = 0,
) -> ComparedMaps:
    """Distances, the Mantel test, and both maps scaled to the plane in the same way.

    losses: of `bits_lost`; characters without a vector are left out. role_vectors: name → (hidden,) float32 at `block`,
    from other replies. kinds: of every character. axis: on which the vectors are placed, if there is one.
    Raises DirectionError with fewer than four characters.
    """
    both = list(role_vectors)
    losses = losses.filter(pl.col("role").is_in(both) & pl.col("reader").is_in(both))
    found = behavioural_map(losses, seed=seed)
    test, apart = compared(found, role_vectors, seed=seed)
    inside, said = scaled(apart), scaled(found.distances)
    along = {
        name: None if axis is None else float(axis.sd(torch.from_numpy(role_vectors[name]), block))
        for name in found.names
    }
    above = found.distances[np.triu_indices(len(found.names), 1)]
    floor = float(np.nanmean(found.floor[:, 0]))
    return ComparedMaps(
        _places(found, inside, said, kinds, along),
        pl.DataFrame(
            [
                {"role": one, "reader": other, "bits_lost": float(found.lost[row, column]),
                 "bits": float(found.distances[row, column]), "activation_distance": float(apart[row, column])}
                for row, one in enumerate(found.names)
                for column, other in enumerate(found.names)
            ]
        ),
        {
            "n_roles": len(found.names), "n_replies": losses.select("role", "question").n_unique(),
            "mantel_r": test.r, "mantel_low": test.low, "mantel_high": test.high, "mantel_p": test.p,
            "mantel_null_p95": test.null_p95,
            "split_half": split_half(losses, found.names), "stress": said.stress, "activation_stress": inside.stress,
            "median_bits": float(np.median(above)), "floor_bits": floor, "below_floor": float(np.mean(above < floor)),
        },
    )  # fmt: skip


def _places(
    found: BehaviouralMap,
    inside: Scaled,
    said: Scaled,
    kinds: Mapping[str, str],
    along: Mapping[str, float | None],
) -> pl.DataFrame:
    spots = turned(said.points, inside.points)
    rows = []
    for row, name in enumerate(found.names):
        others = np.where(np.arange(len(found.names)) == row, np.inf, found.distances[row])
        rows.append(
            {"role": name, "kind": kinds[name], "x": float(spots[row, 0]), "y": float(spots[row, 1]),
             "activation_x": float(inside.points[row, 0]), "activation_y": float(inside.points[row, 1]),
             "axis_sd": along[name], "nearest": found.names[int(others.argmin())], "nearest_bits": float(others.min()),
             **{column: None if np.isnan(value) else float(value)
                for column, value in zip(FLOOR, found.floor[row], strict=True)}}
        )  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(("axis_sd", *FLOOR), pl.Float64))
