"""From the replies of hold to its measures: differences to the neutral arm of matched length, sd, conversations resampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from greenroom.measures import Measure
from greenroom.measures.intervals import Interval, bootstrap_difference
from greenroom.measures.validity import Check, Validity, assess
from greenroom.studies import about
from greenroom.studies.hold.pressures import stimuli
from greenroom.studies.study import Found

READINGS = ("hot", "cold")


def conclude(found: Found) -> list[Measure]:
    """`<pressure>.<reading>` at the last turn, and the series by_turn (`<pressure>/<turn>/<reading>`)."""
    replies, text = found.table("replies"), about("hold")["sentences"]
    turns = replies["turn"].unique().sort().to_list()
    series: list[Measure] = []
    last: list[Measure] = []
    for pressure in stimuli().pressures:
        for turn in turns:
            for reading in READINGS:
                read = replies.filter(turn=turn).drop_nulls(f"axis_sd_{reading}")
                pressed, neutral = (read.filter(pressure=arm) for arm in (pressure.name, pressure.control))
                effect = _difference(pressed, neutral, f"axis_sd_{reading}", found.seed)
                series.append(
                    Measure(
                        f"{pressure.name}/{turn}/{reading}", effect.estimate, effect.low, effect.high, pressed.height,
                        _validity(effect, text), part="by_turn", unit="sd",
                    )
                )  # fmt: skip
                if turn == turns[-1]:
                    last.append(replace(series[-1], name=f"{pressure.name}.{reading}", part=""))
    return [*last, *series]


def _difference(pressed: pl.DataFrame, neutral: pl.DataFrame, column: str, seed: int) -> Interval:
    return bootstrap_difference(
        pressed[column].to_numpy(), neutral[column].to_numpy(),
        pressed["conversation"].to_list(), neutral["conversation"].to_list(), seed=seed,
    )  # fmt: skip


def _validity(effect: Interval, text: Mapping[str, str]) -> Validity:
    """B at best: the arms are paired, but there is one set of scripts. C where 0 is as good an answer."""
    if effect.estimate is None:
        return assess([Check("read", None, "void", text["unread"])])
    checks = [Check("paired", None, "B", text["paired"])]
    if effect.low is None or effect.high is None or effect.low <= 0 <= effect.high:
        checks.append(Check("apart_from_0", None, "C", text["unsure"]))
    return assess(checks)
