"""What self-talk found, in the words of its words.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from greenroom.report.format import between, counted, number, plain, said
from greenroom.report.parts import VOID, Results
from greenroom.studies.selftalk.ends import FEWEST, LOOP, SURE


def headline(results: Results) -> str:
    """Where talks end, and how many get stuck."""
    found, loop = results.measure("attractors") or {}, results.measure("loop_share") or {}
    key, void = _how_many(results), loop.get("grade") == VOID
    share = between(loop, digits=0, percent=True) if loop else ""
    return said(
        results.words["sentences"]["void" if void else key], model=results.model, n=_count(results), loop=share,
        reason=found.get("reason") or "", talks=counted(loop.get("n") or 0, "talk"),
    )  # fmt: skip


def gone(results: Results, messages: pl.DataFrame) -> str:
    """How far talks move along the axis, and how much of them is gibberish."""
    text = results.words["sentences"]
    move, gibberish = results.measure("axis_change"), results.measure("gibberish_share")
    counts = messages["gibberish"].drop_nulls().value_counts(sort=True).rows()
    kinds = ", ".join(f"{name} {n}" for name, n in counts)
    share = between(gibberish, digits=1, percent=True)
    return " ".join(
        [
            said(text["change"], change=between(move, signed=True)),
            said(text["gibberish_kinds" if kinds else "gibberish"], share=share, list=kinds),
        ]
    )


def tested(results: Results) -> str:
    """Whether there are several places, against one cloud."""
    text, found, key = results.words["sentences"], results.part("ends"), _how_many(results)
    if key == "few":
        return said(text["tested_few"], fewest=FEWEST)
    p = found["one_cloud_p"]
    key = "unheld" if key == "one" and p is not None and p < SURE else key
    return said(
        text[f"tested_{key}"], gain=number(found["one_cloud_gain"], 1), null=number(found["one_cloud_null_high"], 1),
        p=number(p), n=_count(results),
    )  # fmt: skip


def together(results: Results) -> str:
    """Whether talks come together, and how much of their opening is left."""
    text = results.words["sentences"]
    rows = {(row["whose"], row["test"]): row for row in results.series("contraction", "whose", "test").to_dicts()}
    converges = results.part("ends")["contraction"]["converges"]
    p = {key: results.measure("/".join(key), part="contraction") or {} for key in rows}
    spread, steps, early, late, alone = (
        rows[key]
        for key in (
            *(("all", name) for name in ("spread_ratio", "step_ratio", "memory_early", "memory_late")),
            ("without_loops", "spread_ratio"),
        )
    )

    def chance(whose: str, test: str) -> str:
        return number(p[whose, test].get("p"), 3)

    found = [
        said(
            text[{True: "come", False: "stay", None: "unknown"}[converges]], ratio=number(spread["estimate"]),
            low=number(spread["low"]), high=number(spread["high"]), p=chance("all", "spread_ratio"),
        )
    ]  # fmt: skip
    loop = results.measure("loop_share") or {}
    if loop.get("estimate") and alone["estimate"] is not None:
        found.append(said(text["unlooped"], ratio=number(alone["estimate"]), p=chance("without_loops", "spread_ratio")))
    if steps["estimate"] is not None:
        found.append(said(text["steps"], ratio=number(steps["estimate"]), p=chance("all", "step_ratio")))
    if late["estimate"] is not None:
        found.append(
            said(
                text["memory"], early=number(early["estimate"]), late=number(late["estimate"]), null=number(late["high"])
            )
        )  # fmt: skip
    return " ".join(found)


def basin_line(results: Results, row: Mapping[str, Any]) -> str:
    """One end in one line. row: of the table of attractors."""
    text, name = results.words["sentences"], row["attractor"]
    share = between(results.measure(name, part="basin"), digits=0, percent=True)
    if name == LOOP:
        return said(text["loop_basin"], share=share)
    return said(
        text["basin_words" if row["words"] else "basin"], name=name, share=share, words=", ".join(row["words"]),
        axis=between(results.measure(name, part="axis"), signed=True), roles=", ".join(map(plain, row["roles"])),
    )  # fmt: skip


def _count(results: Results) -> int | None:
    return results.part("ends")["attractors"]


def _how_many(results: Results) -> str:
    count = _count(results)
    return "few" if count is None else "one" if count == 1 else "several"
