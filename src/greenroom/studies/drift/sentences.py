"""What drift found, in the words of its words.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from greenroom.measures.validity import Check
from greenroom.report.format import between, counted, interval, number, said
from greenroom.report.parts import VOID, Results
from greenroom.report.tables import named
from greenroom.studies.drift.findings import ALL


def headline(results: Results, frame: pl.DataFrame | None) -> str:
    """How far the probes moved, and which way."""
    drift, way = results.measure("drift") or {}, direction_of(results)
    replies = results.table("replies") if frame is None else frame
    turns = None if replies is None else replies.filter(pl.col("moment") == "turn")["place"].max()
    shown = dict(drift)
    if way == "towards":
        shown |= {"estimate": -drift["estimate"], "low": -drift["high"], "high": -drift["low"]}
    return said(
        results.words["sentences"][way], model=results.model, turns=turns, reason=drift.get("reason") or "",
        drift=between(shown, signed=way == "none") if drift else "",
        conversations=counted(drift.get("n") or 0, "conversation"),
    )  # fmt: skip


def direction_of(results: Results) -> str:
    """`away`, `towards`, `none` (the interval holds 0), `few` or `void`: what the probes say of a drift."""
    drift = results.measure("drift")
    if drift is None or drift["reason"] == results.words["missing"]["few"]:
        return "few"
    if drift["grade"] == VOID:
        return "void"
    if drift["low"] is None or drift["high"] is None:
        return "few"
    return "away" if drift["low"] > 0 else "towards" if drift["high"] < 0 else "none"


def moved_most(results: Results, drifts: pl.DataFrame) -> str | None:
    """The domains that moved it most and least; None where fewer than two have a drift. drifts: of one reading."""
    own = drifts.filter(pl.col("domain") != ALL).drop_nulls("estimate").sort("estimate", "domain").to_dicts()
    if len(own) < 2:
        return None
    least, most = own[0], own[-1]
    return said(
        results.words["sentences"]["domains"], most=named("domain", most["domain"], results.words),
        most_sd=between(most, signed=True), least=named("domain", least["domain"], results.words),
        least_sd=between(least, signed=True), slope=between(results.measure("slope"), digits=3, signed=True),
    )  # fmt: skip


def better_ways(results: Results, undone: pl.DataFrame, beyond: pl.DataFrame, worded: Mapping[str, Check]) -> str:
    """Which ways back undo more than going on does. undone, beyond: of one reading, all conversations."""
    text, way = results.words["sentences"], direction_of(results)
    if way == "void":
        return _stuck(results, worded)
    alone = undone.filter(arm="none").to_dicts()
    drift = results.measure("drift") or {}
    if way in ("few", "none") or not alone or alone[0]["estimate"] is None:
        if way != "none":
            return text["ways_few"]
        return said(text["ways_void"], **interval(drift["low"], drift["high"], signed=True))
    better = [
        said(text["better"], arm=named("arm", row["arm"], results.words), beyond=between(row))
        for row in beyond.to_dicts()
        if row["low"] is not None and row["low"] > 0
    ]
    key = "ways_some" if better else "ways_same" if beyond.height else "ways_alone"
    return said(text[key], none=between(alone[0]), better=", ".join(better))


def told_by_message(results: Results, found: pl.DataFrame) -> str:
    """R² of the level and of the change. found: of one reading."""
    text = results.words["sentences"]
    rows: dict[tuple[str, str], dict[str, Any]] = {(row["of"], row["by"]): row for row in found.to_dicts()}
    if any(rows[of, "message"]["estimate"] is None for of in ("level", "change")):
        return text["prediction_none"]
    told = [
        said(text[key], level=between(rows["level", by]), change=between(rows["change", by]))
        for key, by in (("prediction", "message"), ("prediction_domain", "domain"))
        if rows["level", by]["estimate"] is not None and rows["change", by]["estimate"] is not None
    ]
    return " ".join(told)


def _stuck(results: Results, worded: Mapping[str, Check]) -> str:
    """What brings a model that is stuck back to answering, told by shares of replies with words of their own."""
    shares = {moment: number(check.value, 0, percent=True) for moment, check in worded.items()}
    ways = [
        f"{named('arm', moment.removeprefix('back/'), results.words)} {share}"
        for moment, share in shares.items()
        if "/" in moment
    ]
    text = results.words["sentences"]["ways_stuck"]
    return said(text, before=shares.get("before"), after=shares.get("after"), ways=", ".join(ways))
