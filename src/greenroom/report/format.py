"""Numbers, intervals, names and colours as they are printed: the one formatter of every page and of the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from greenroom.report.parts import words

NO_BREAK = "\N{NO-BREAK SPACE}"


def number(value: Any, digits: int = 2, *, signed: bool = False, percent: bool = False) -> str:
    """A number as printed: a true minus sign, no negative zero; a dash for a missing one. percent: 0.5 is 50 %."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int) and not percent:
        return f"{value:,}".replace("-", "−")
    text = f"{100 * value if percent else value:{'+' if signed else ''}.{digits}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−") + (f"{NO_BREAK}%" if percent else "")


def interval(low: Any, high: Any, digits: int = 2, **how: Any) -> dict[str, str]:
    """Both bounds as printed, an open one by its word."""
    return {
        name: words()["page"]["open"] if bound is None else number(bound, digits, **how)
        for name, bound in (("low", low), ("high", high))
    }


def between(row: Mapping[str, Any] | None, name: str = "estimate", digits: int = 2, **how: Any) -> str:
    """An estimate with its interval, as in "0.41 (0.30 to 0.52)"; the bounds are `low` and `high`, or those named after
    the estimate. A missing estimate is a dash; one that has no interval stands alone."""
    if row is None or row[name] is None:
        return "–"
    ends = ("low", "high") if name == "estimate" else (f"{name}_low", f"{name}_high")
    if row[ends[0]] is None and row[ends[1]] is None:
        return number(row[name], digits, **how)
    bounds = interval(row[ends[0]], row[ends[1]], digits, **how)
    return f"{number(row[name], digits, **how)} ({bounds['low']} to {bounds['high']})"


def in_points(row: Mapping[str, Any], *, signed: bool = False) -> dict[str, str]:
    """A difference of two shares as `value`, `low` and `high`, in percentage points."""
    value, low, high = (None if row[name] is None else 100 * row[name] for name in ("estimate", "low", "high"))
    return {"value": number(value, 0, signed=signed), **interval(low, high, 0, signed=signed)}


def said(text: str, /, **values: Any) -> str:
    """A sentence with its values filled in, a true minus sign before numbers."""
    return re.sub(r"(?<!\w)-(?=\d)", "−", text.format(**values)).replace(" %", f"{NO_BREAK}%")


def band(bands: Sequence[Mapping[str, Any]], value: float) -> str:
    """The word for a value: the first band whose lower bound it reaches."""
    return next(entry["word"] for entry in bands if value >= entry["from"])


def plain(name: str) -> str:
    """A stored name without underscores."""
    return name.replace("_", " ")


def listed(names: Sequence[str]) -> str:
    """Names in a row: a, b and c."""
    shown = [plain(name) for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def tint(axis_sd: float | None, span: float) -> str:
    """CSS colour of a place on the axis: teal at 0 sd, stone half-way, rust at -span and beyond."""
    if axis_sd is None or span <= 0:
        return "var(--stone)"
    place = min(max(1 + axis_sd / span, 0.0), 1.0)
    side, share = ("teal", 2 * place - 1) if place >= 0.5 else ("rust", 1 - 2 * place)
    return f"color-mix(in srgb, var(--{side}) {share:.0%}, var(--stone))"


def snippet(text: str, length: int = 150) -> str:
    """The beginning of a reply on one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + " …"


def counted(n: int, thing: str) -> str:
    """A number of things in words: "1 talk", "16 talks"."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
