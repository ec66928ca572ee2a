"""The frontier's figures: one quantity by strength as a line with its band, cap floors beside it on the same axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenroom.report.charts import INK, QUIET, Spec, band, layout, level, line, note, points, ticks
from greenroom.report.format import between, number
from greenroom.studies.frontier.sentences import strength_said


@dataclass(frozen=True)
class Spot:
    """One setting of a figure: its name, its strength or its floor, and the value with its interval (None where there is
    none)."""

    name: str
    strength: float | None
    floor: str | None
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def said(self) -> str:
        """The value as a person reads it."""
        if self.low is None or self.high is None:
            return number(self.value)
        return between({"estimate": self.value, "low": self.low, "high": self.high})


def by_strength(
    spots: Sequence[Spot],
    text: Mapping[str, Any],
    y: str,
    *,
    log: bool = False,
    share: bool = False,
    budget: float | None = None,
) -> Spec:
    """The quantity over strength. log: a logarithmic y axis; share: one that begins at 0 and holds at least 10; budget:
    a line across, named. Values are as they are drawn."""
    steered = [spot for spot in spots if spot.floor is None]
    floors = [spot for spot in spots if spot.floor is not None]
    at = _places(steered, floors)
    notes, shapes = [], [_upright(0.0)]
    drawn = [spot for spot in steered if spot.value is not None]
    traces: list[Spec] = []
    known = [spot for spot in drawn if spot.low is not None and spot.high is not None]
    if len(known) > 1:
        traces.append(band([at[s.name] for s in known], [s.low for s in known], [s.high for s in known], "var(--band)"))  # type: ignore[misc]
    traces.append(line([at[spot.name] for spot in drawn], [spot.value for spot in drawn], color=INK, width=2))
    traces.append(_dots(drawn, at, text, whiskers=False))
    traces.append(_dots([spot for spot in floors if spot.value is not None], at, text, whiskers=True))
    ends = [end for spot in spots for end in (spot.value, spot.low, spot.high) if end is not None]
    if budget is not None:
        ends.append(budget)
        shapes.append(level(budget, dash="dash", width=1.5, color="var(--amber)"))
        notes.append(note(min(at.values()), budget, text["budget"], anchor="left", shift=8))
    if not log:
        shapes.append(level(0))
        ends.append(0.0)
    if share:
        ends.append(10.0)
    if floors:
        edge = (max(at[spot.name] for spot in steered) + at[floors[0].name]) / 2
        shapes.append(_upright(edge, dash="solid"))
    return {
        "data": traces,
        "layout": layout(
            x={"title": {"text": text["x"]}, "zeroline": False, "showgrid": False, **_x_axis(steered, floors, at)},
            y={"title": {"text": y}, "zeroline": False, **_y_axis(ends, log=log)},
            notes=notes,
            shapes=shapes,
            margin={"l": 62, "r": 12, "t": 12, "b": 44},
        ),
    }


def _places(steered: Sequence[Spot], floors: Sequence[Spot]) -> dict[str, float]:
    """Where each setting stands on the x axis: at its strength, cap floors at the right of all."""
    at = {spot.name: float(spot.strength or 0) for spot in steered}
    step = max(_span(at.values()), 2.0) / 6
    end = max(at.values())
    return at | {spot.name: end + step * (number + 1.2) for number, spot in enumerate(floors)}


def _dots(spots: Sequence[Spot], at: Mapping[str, float], text: Mapping[str, Any], *, whiskers: bool) -> Spec:
    values = [float(spot.value or 0) for spot in spots]
    low, high = (
        [value if end is None or not whiskers else end for value, end in zip(values, ends, strict=True)]
        for ends in ([spot.low for spot in spots], [spot.high for spot in spots])
    )
    told = [[text["hover"].format(setting=spot.name, value=spot.said)] for spot in spots]
    made = points(
        [at[spot.name] for spot in spots],
        values,
        low,
        high,
        filled=True,
        hover="%{customdata[0]}<extra></extra>",
        custom=told,
    )
    if whiskers:
        made["marker"] |= {"symbol": "diamond", "size": 8}
    return made


def _x_axis(steered: Sequence[Spot], floors: Sequence[Spot], at: Mapping[str, float]) -> Spec:
    strengths = [at[spot.name] for spot in steered]
    marks = _marks(strengths)
    pad = 0.04 * max(_span(at.values()), 1.0)
    names = [str(spot.floor).replace("default:", "").replace("rollouts:", "r ") for spot in floors]
    return {
        "tickvals": [*marks, *(at[spot.name] for spot in floors)],
        "ticktext": [*map(strength_said, marks), *names],
        "range": [min(at.values()) - pad, max(at.values()) + pad * (2 if floors else 1)],
        "tickangle": 0,
    }


def _marks(strengths: Sequence[float]) -> list[float]:
    """The strengths that are named on the axis: 0, both ends, and those between that have room."""
    kept = sorted({0.0, min(strengths), max(strengths)})
    for one in sorted(strengths, key=lambda strength: -abs(strength)):
        if min(abs(one - mark) for mark in kept) >= _span(strengths) / 7:
            kept.append(one)
    return sorted(kept)


def _span(values: Iterable[float]) -> float:
    known = list(values)
    return max(known) - min(known)


def _y_axis(ends: Sequence[float], *, log: bool) -> Spec:
    """Its range and ticks: two at least."""
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    if log and low > 0:
        low, high = low / 1.05, high * 1.05
        marks = ticks(low, high)
        if high / low > 5:
            marks = [step * 10.0**power for power in range(-2, 8) for step in (1, 2, 5)]
        shown = [mark for mark in marks if low <= mark <= high]
        axis: Spec = {"type": "log", "range": [float(np.log10(low)), float(np.log10(high))]}
    else:
        pad = 0.06 * (high - low)
        low, high = low - pad, high + pad
        shown, axis = [mark for mark in ticks(low, high) if low <= mark <= high], {"range": [low, high]}
    step = min(np.diff(shown), default=1.0)
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    return {**axis, "tickmode": "array", "tickvals": shown, "ticktext": [number(mark, digits) for mark in shown]}


def _upright(x: float, dash: str = "dot") -> Spec:
    """A line from the bottom to the top at x."""
    return {
        "type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "layer": "below",
        "line": {"color": QUIET, "width": 1, "dash": dash},
    }  # fmt: skip
