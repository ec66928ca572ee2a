"""What the evidence of a direction comes to: a grade, and a sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from greenroom.directions.direction import Direction
from greenroom.measures.validity import Grade, in_words

if TYPE_CHECKING:
    from greenroom.directions.trial import Trial


@dataclass(frozen=True)
class Verdict:
    """grade: as of a measure. why: a clause."""

    grade: Grade
    why: str

    def __str__(self) -> str:
        return f"{in_words(self.grade)}: {self.why}"


def verdict(direction: Direction) -> Verdict:
    """How far a direction can be trusted to read a text, whose instruction nobody sees.

    - void: held-out replies do not surely tell its poles apart, or, read cold, no better than a random direction does
    - C: better than that, but not surely; or never re-read cold
    - B: surely better. Never A: one wording of a trait is not the trait
    """
    told, auc = direction.validity, auc_said(direction.validity)
    if told.get("auc") is None:
        return Verdict("C" if direction.reliable else "void", _text("untested"))
    if not direction.reliable:
        return Verdict("void", _text("unreliable", auc=auc))
    cold, low = told.get("cold_auc"), told.get("cold_auc_low")
    # A file that is older than the control read cold has only the hot one, which is higher: stricter, and said.
    random = told.get("random_cold_auc_p95", told.get("random_auc_p95"))
    if cold is None or random is None:
        return Verdict("C", _text("not_reread", auc=auc))
    said, hot = f"{random:.2f}", f"{told.get('random_auc_p95', random):.2f}"
    if "random_cold_auc_p95" not in told:
        said = _text("random_hot", random=said)
    # As they are printed: "surely better" must not stand between two equal figures.
    clear = low is not None and round(low, 2) > round(random, 2)
    grade, key = ("B", "holds") if clear else ("C", "barely")
    if cold <= random:
        grade, key = "void", "like_random"
    return Verdict(grade, _text(key, cold=auc_said(told, "cold_auc"), random=said, auc=auc, hot=hot))  # type: ignore[arg-type]


def warning(direction: Direction) -> str | None:
    """What a user of an unreliable direction ought to know, in one line; None for a reliable one."""
    if direction.reliable:
        return None
    told = direction.validity
    cold = "" if told.get("cold_auc") is None else _text("flagged_cold", cold=auc_said(told, "cold_auc"))
    return _text("flagged", name=direction.name, auc=auc_said(told), cold=cold)


def trial_said(found: Trial | None) -> str:
    """What a trial of strengths came to; None: there was none, since the direction is unreliable."""
    if found is None:
        return _text("untried")
    tried = ", ".join(f"{at:+g}" for at in found.strengths)
    if found.heard is None:
        return _text("none_heard", tried=tried)
    share = f"{100 * (found.strengths[found.heard].above or 0):.0f} %"
    return _text("heard", strength=f"{found.heard:+g}", tried=tried, share=share)


def auc_said(validity: Mapping[str, Any], name: str = "auc") -> str:
    """An AUC with its interval, as in "0.57 (0.43–0.71)"; "unknown" for none."""
    auc, low, high = (validity.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if auc is None:
        return "unknown"
    return f"{auc:.2f}" if low is None or high is None else f"{auc:.2f} ({low:.2f}–{high:.2f})"


@cache
def _texts() -> dict[str, str]:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def _text(key: str, **values: str) -> str:
    return _texts()[key].format(**values)
