"""From the frontier's tables to its measures: how far the budget lasts, and every quantity of every setting."""

from __future__ import annotations

from typing import Any

import polars as pl

from greenroom.measures import Measure
from greenroom.measures.validity import Check, Grade, Validity, assess, readable
from greenroom.measures.wording import sentence
from greenroom.report.format import said
from greenroom.studies import about
from greenroom.studies.study import Found

UNEDITED = "steer 0"
# Each quantity of a setting that has an interval, and its unit (None: that of the trait score).
QUANTITIES = {
    "effect": None,
    "cloze_shift": "nats",
    "capability_loss": "share",
    "leakage": None,
    "topic_shift": "share",
}


def conclude(found: Found) -> list[Measure]:
    """`crossing_up` and `crossing_down`: the strength at which the loss exceeds the budget (sd).

    Series: `by_setting`, "steer/+2/effect" and so on, and `by_family`, the loss by kind of task, "steer/+2/facts".
    """
    prices, limits = found.table("capability"), found.results("settings")["limits"]
    at_chance = prices.filter(pl.col("setting") == UNEDITED, pl.col("family") == "all")["void"].item()
    n_items = found.results("capability")["n_items"]
    measures = [_crossing(side, limits[side], at_chance, n_items) for side in ("up", "down") if side in limits]
    readings, n_choices, direction = found.table("readings"), found.results("cloze")["n_choices"], _direction(found)
    for row in found.table("frontier").to_dicts():
        name = series_name(row["intervention"], row["strength"], row["floor"])
        setting = name.replace("/", " ")
        cases = {"effect": _scored(readings, setting, "effect"), "leakage": _scored(readings, setting, "neutral")}
        named = readings.filter(pl.col("setting") == setting, pl.col("place") == "neutral")["topic"].drop_nulls()
        valid: dict[str, tuple[int, Validity]] = {
            **{one: (sum(scored), assess([direction, _readable(scored)])) for one, scored in cases.items()},
            "cloze_shift": (n_choices, assess([direction, _check("cloze_shift", "A" if n_choices else "void", "no_cloze")])),
            "topic_shift": (len(named), assess([direction, _check("topic_shift", "A" if len(named) else "void", "no_topic")])),
            "capability_loss": (n_items, _priced(at_chance)),
        }  # fmt: skip
        for quantity, unit in QUANTITIES.items():
            measures.append(
                _measure(
                    f"{name}/{quantity}", row, quantity, *valid[quantity], "by_setting", unit or row["effect_unit"]
                )
            )
        for price in prices.filter(pl.col("setting") == setting, pl.col("family") != "all").to_dicts():
            family, n = f"{name}/{price['family']}", price["n_items"]
            measures.append(_measure(family, price, "capability_loss", n, _priced(price["void"]), "by_family", "share"))
    return measures


def series_name(intervention: str, strength: float | None, floor: str | None) -> str:
    """A setting as its series name it: "steer/+2", "steer/0", "cap/default:p25"."""
    return f"{intervention}/{floor if strength is None else format(strength, '+g') if strength else '0'}"


def replies_kept(found: Found) -> int | None:
    """How many replies it rests on, where the direction is the assistant axis: audits show that one alone."""
    return found.table("replies").height if found.results("capability")["kind"] == "axis" else None


def _measure(name: str, row: dict[str, Any], quantity: str, n: int, valid: Validity, part: str, unit: str) -> Measure:
    ends = (row[quantity], row[f"{quantity}_low"], row[f"{quantity}_high"])
    return Measure(name, *ends, n, valid, part=part, unit=unit)


def _crossing(side: str, own: dict[str, Any], at_chance: str | None, n_items: int) -> Measure:
    weaker, stronger = own["crossing_low"], own["crossing_high"]
    low, high = (weaker, stronger) if side == "up" else (stronger, weaker)
    checks = list(_priced(at_chance).checks)
    if own["crossing"] is None and at_chance is None:
        checks.append(_check("crossing", "B", "beyond", tried=f"{own['tried']:+g}"))
    return Measure(f"crossing_{side}", own["crossing"], low, high, n_items, assess(checks), unit="sd")


def _scored(readings: pl.DataFrame, setting: str, place: str) -> list[bool]:
    """Which prompts have a score with and without the edit."""
    here = readings.filter(pl.col("place") == place)
    with_it, without = (here.filter(pl.col("setting") == one)["score"] for one in (setting, UNEDITED))
    return (with_it.is_not_null() & without.is_not_null()).to_list()


def _readable(scored: list[bool]) -> Check:
    return readable(scored) if any(scored) else _check("readable", "void", "unscored")


def _direction(found: Found) -> Check:
    """What is known of the direction itself."""
    own = found.results("capability")
    return _check("direction", "A" if own["reliable"] else "C", "unreliable", value=own["auc"])


def _priced(at_chance: str | None) -> Validity:
    grade: Grade = "A" if at_chance is None else "void"
    return Validity(grade, (Check("above_chance", None, grade, sentence(at_chance) if at_chance else ""),))


def _check(name: str, grade: Grade, key: str, *, value: float | None = None, **values: Any) -> Check:
    return Check(name, value, grade, said(about("frontier")["reasons"][key], **values))
