"""Row figures: a line an estimate with its interval, all on one scale. Estimates are rows of measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from greenroom.report.format import between, number
from greenroom.report.parts import VOID, Row, Rows

Estimates = Sequence[tuple[str, Mapping[str, Any]]]  # label, and a row with estimate, low, high, grade and reason
MARGIN = 0.02  # of the scale, left free on either side


def row_figure(
    id: str,
    rows: Estimates,
    scale: tuple[float, float],
    *,
    alt: str,
    ticks: Sequence[tuple[float, str]],
    title: str = "",
    mark: float | None = None,
    strong: str = "",
    long: bool = False,
    **how: Any,
) -> Rows:
    """One line for each estimate, drawn from 0; void, with the reason, where there is none.

    scale: lowest and highest value; what lies beyond is cut. mark: a place that is dashed on every line. strong: the label
    of the line that stands out. long: labels are of several words. how: the estimates are printed (`format.number`).
    """
    margin = MARGIN * (scale[1] - scale[0])
    left, right = scale[0] - margin, scale[1] + margin

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (min(max(value, left), right) - left) / (right - left), 2)

    lines = []
    for label, row in rows:
        at = place(row["estimate"])
        if row["grade"] == VOID or at is None:
            lines.append(Row(label, void=str(row["reason"] or "")))
            continue
        lines.append(
            Row(
                label, start=place(0.0), end=at, dot=at, low=place(row["low"]), high=place(row["high"]),
                mark=place(mark), value=between(row, **how), strong=label == strong,
            )
        )  # fmt: skip
    shown = {place(value) or 0.0: text for value, text in ticks if left <= value <= right}
    return Rows(id=id, alt=alt, rows=tuple(lines), ticks=tuple(shown.items()), title=title, long=long)


def scale_of(rows: Estimates, low: float, high: float, reach: float) -> tuple[float, float]:
    """A scale that holds low … high and the intervals, which are cut `reach` beyond these."""
    known = [value for _, row in rows for value in (row["estimate"], row["low"], row["high"]) if value is not None]
    return max(min([low, *known]), low - reach), min(max([high, *known]), high + reach)


def whole_ticks(scale: tuple[float, float]) -> list[tuple[float, str]]:
    """Signed marks at 0 and at whole (or half) units, at most nine."""
    step = next(step for step in (0.5, 1.0, 2.0, 5.0) if (scale[1] - scale[0]) / step <= 8 or step == 5.0)
    first, last = int(scale[0] / step), int(scale[1] / step)
    return [(step * index, number(step * index, 1 if step < 1 else 0, signed=True)) for index in range(first, last + 1)]


def in_words(rows: Estimates, **how: Any) -> str:
    """The numbers of a row figure, for those who do not see it."""
    return "; ".join(f"{label} {VOID if row['estimate'] is None else between(row, **how)}" for label, row in rows)
