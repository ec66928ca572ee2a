"""The roles of a run: their place on the axis, the ends of it, and a typical reply of each."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.report.parts import Results


def roles_of(results: Results) -> tuple[pl.DataFrame, dict[str, Any] | None, float] | None:
    """The roles of the persona map, the default character's row, and the axis's span in sd (to the farthest)."""
    frame = results.table("persona_map")
    if frame is None:
        return None
    roles = frame.filter(pl.col("kind") != "default").drop_nulls(["pc1", "pc2", "axis_sd"])
    if roles.is_empty():
        return None
    default = next(
        frame.filter(pl.col("kind") == "default").drop_nulls(["pc1", "pc2", "axis_sd"]).iter_rows(named=True), None
    )
    return roles, default, max(-float(roles["axis_sd"].min() or 0.0), 1e-9)  # type: ignore[arg-type]


def ends_of(results: Results, roles: pl.DataFrame, end: str) -> list[str]:
    """Names of the nearest or farthest roles: the summary's list, else the map's."""
    listed = results.summary.get(f"{end}_roles")
    return list(listed) if listed else roles.sort("axis_sd", descending=end == "nearest")["role"].head(5).to_list()


def samples_of(results: Results) -> dict[str, dict[str, Any]]:
    """One reply a role: the one whose place on the axis is nearest the role's mean."""
    frame = results.table("replies")
    if frame is None:
        return {}
    found = {}
    for (role,), own in frame.group_by("role", maintain_order=True):
        for row in typical(own).head(1).iter_rows(named=True):
            found[str(role)] = {"question": row["question"] or "", "reply": row["reply"].strip()}
    return found


def typical(own: pl.DataFrame) -> pl.DataFrame:
    return own.sort((pl.col("axis_sd") - pl.col("axis_sd").mean()).abs(), maintain_order=True, nulls_last=True)
