"""What differs between finished runs: other weights, another persona, another seed, the same questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from greenroom.errors import RunError
from greenroom.runs.run import Run, open_finished

KEY = ("study", "part", "name", "paradigm", "split")


@dataclass(frozen=True)
class Difference:
    """One measure in two runs. a, b: its estimates; difference: b − a; reason: why there is none."""

    study: str
    part: str
    name: str
    paradigm: str | None
    split: str | None
    unit: str | None
    primary: bool
    a: float | None
    b: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def apart(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def weight(self) -> float:
        """How large the difference is beside its own uncertainty."""
        if self.difference is None or self.low is None or self.high is None:
            return 0.0
        return abs(self.difference) / max((self.high - self.low) / 2, 1e-12)


def compare(a: Path | Run, b: Path | Run) -> list[Difference]:
    """The measures of two finished runs and their differences b − a: primaries first, then those whose interval leaves 0
    out, the largest beside its uncertainty first.

    The interval is that of two independent estimates (MOVER: Zou & Donner 2008, Stat. Med. 27:1693): each bound lies as
    far from the difference as the square root of the summed squares of the two estimates' own distances on that side.
    Runs of the same items are not independent but usually agree, which makes the true interval narrower. Nothing is
    adjusted for the number of measures.

    A measure that is void, or missing, in either run has no difference but a reason. RunError, in one line, for runs
    that share no study, or whose items, sizes or dtype differ.
    """
    one, other = _opened(a), _opened(b)
    shared = _comparable(one, other)
    first, second = _rows(one, shared), _rows(other, shared)
    found = [_difference(first.get(key), second.get(key)) for key in dict.fromkeys([*first, *second])]
    return sorted(found, key=lambda row: (not row.primary, not row.apart, bool(row.part), -row.weight))


def _opened(run: Path | Run) -> Run:
    found = run if isinstance(run, Run) else open_finished(run)
    if "stimuli" not in found.manifest["config"]:
        raise RunError(f"{found.path} is a run of kind {found.kind}, which has no measures to compare")
    return found


def _comparable(a: Run, b: Run) -> list[str]:
    """The studies that both runs have; RunError unless they asked the same in the same way."""
    one, other = a.manifest["config"], b.manifest["config"]
    shared = [name for name in one["studies"] if name in other["studies"]]
    if not shared:
        theirs = ", ".join(other["studies"])
        raise RunError(f"{a.path} and {b.path} share no study: {', '.join(one['studies'])} and {theirs}")
    if None not in (one["dtype"], other["dtype"]) and one["dtype"] != other["dtype"]:
        _refuse(a, b, f"in dtype ({one['dtype']} and {other['dtype']})", "run both with the same --dtype")
    for name in shared:
        if one["stimuli"][name] != other["stimuli"][name]:
            _refuse(a, b, f"in the items of {name}", "run both with the same version of Greenroom")
        sizes: tuple[Mapping[str, Any], ...] = one["sizes"][name], other["sizes"][name]
        for field in {**sizes[0], **sizes[1]}:
            values = [size.get(field) for size in sizes]
            if values[0] != values[1]:
                _refuse(a, b, f"in {field} of {name} ({values[0]} and {values[1]})", "run both with the same options")
    return shared


def _refuse(a: Run, b: Run, what: str, remedy: str) -> None:
    raise RunError(f"{a.path} and {b.path} differ {what}, so their measures cannot be compared; {remedy}")


def _rows(run: Run, studies: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    from greenroom.report.results import MEASURES
    from greenroom.runs.tables import read_table

    rows = read_table(run.path / MEASURES).iter_rows(named=True)
    return {tuple(row[name] for name in KEY): row for row in rows if row["study"] in studies}


def _difference(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> Difference:
    known = a or b
    assert known is not None
    same = {name: known[name] for name in (*KEY, "unit")}
    primary = any(row is not None and bool(row["primary"]) for row in (a, b))
    first, second = (None if row is None else row["estimate"] for row in (a, b))
    found = Difference(**same, primary=primary, a=first, b=second)
    if a is None or b is None or first is None or second is None:
        return replace(found, reason=_why(a, b))
    low, high = _interval(a, b)
    return replace(found, difference=second - first, low=low, high=high)


def _interval(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[float | None, float | None]:
    if None in (a["low"], a["high"], b["low"], b["high"]):
        return None, None
    at = b["estimate"] - a["estimate"]
    return (
        at - math.hypot(b["estimate"] - b["low"], a["high"] - a["estimate"]),
        at + math.hypot(b["high"] - b["estimate"], a["estimate"] - a["low"]),
    )


def _why(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> str:
    """Why there is no difference, by run."""
    told = []
    for name, row in (("A", a), ("B", b)):
        if row is None:
            told.append(f"not in {name}")
        elif row["estimate"] is None:
            told.append(f"{row['grade']} in {name}: {row['reason']}")
    return "; ".join(told)
