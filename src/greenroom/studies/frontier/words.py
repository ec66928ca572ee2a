"""The findings of a frontier in words, from templates/words.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEMPLATES = Path(__file__).parent / "templates"


@cache
def words() -> dict[str, Any]:
    return yaml.safe_load((TEMPLATES / "words.yaml").read_text(encoding="utf-8"))


def number(value: float | None, digits: int = 2, *, sign: bool = False, percent: bool = False) -> str:
    """A number with a true minus sign, or a dash for a missing one."""
    if value is None:
        return words()["missing"]
    value = 100 * value if percent else value
    shown = f"{value:{'+' if sign else ''}.{digits}f}"
    if float(shown) == 0:
        shown = shown.lstrip("+-")
    return shown.replace("-", "−") + (" %" if percent else "")


def strength_name(strength: float) -> str:
    return f"{strength:+g}".replace("-", "−") if strength else "0"


def named(name: str) -> str:
    return name.replace("_", " ")


def findings(summary: dict[str, Any]) -> list[str]:
    """What was found, a sentence each, the most important first."""
    text, reach = words(), summary["reach"]
    up, down = (reach.get(side, {}).get("strongest") for side in ("up", "down"))
    key = "both" if up and down else "up" if up else "down" if down else "none"
    values = {
        "direction": "the " * summary["direction"].endswith("axis") + named(summary["direction"]),
        "budget": number(summary["budget"], 0 if 100 * summary["budget"] % 1 == 0 else 1, percent=True),
        "up": strength_name(up or 0), "down": strength_name(down or 0),
    }  # fmt: skip
    headline = text["headline"][key].format(**values)
    found = [headline[:1].upper() + headline[1:]]
    if not summary["reliable"]:
        found.append(text["unreliable"])
    score = {"score": text["score_names"].get(summary["score_kind"], summary["score"]), "unit": summary["effect_unit"]}
    for side in ("up", "down"):
        own = reach.get(side)
        if own is None:
            continue
        if own["strongest"] is not None:
            found.append(text["effect"].format(strength=strength_name(own["strongest"]), **score, **_figures(own)))
        if own["crossing"] is None:
            found.append(text["beyond"].format(tried=strength_name(own["tried"])))
        else:
            ends = [
                number(value, 1 if abs(value) >= 1 else 2, sign=True) if value is not None else text["open_end"]
                for value in (own["crossing"], own["crossing_low"], own["crossing_high"])
            ]
            found.append(text["crossing"].format(crossing=ends[0], low=ends[1], high=ends[2]))
    if "cap" in reach:
        own = reach["cap"]
        if own["strongest"] is None:
            found.append(text["cap_none"])
        else:
            found.append(text["cap"].format(floor=own["strongest"], **score, **_figures(own)))
    return found


def _figures(own: dict[str, Any]) -> dict[str, str]:
    return {
        "effect": number(own["effect"], sign=True), "low": number(own["effect_low"], sign=True),
        "high": number(own["effect_high"], sign=True), "loss": number(own["capability_loss"], 1, percent=True),
        "loss_low": number(own["capability_loss_low"], 1, percent=True),
        "loss_high": number(own["capability_loss_high"], 1, percent=True),
    }  # fmt: skip


def about(summary: dict[str, Any]) -> str:
    """How it was measured, in one paragraph."""
    return words()["about"].format(
        n_items=f"{summary['n_items']:,}", n_replies=summary["n_replies"], capability=number(summary["capability"])
    )


def spoken(summary: dict[str, Any]) -> str:
    """What the verb says: the findings, a line each."""
    return "\n".join([*findings(summary), about(summary)])


def rows_shown(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The table for people: heads, and one line a setting."""
    columns: dict[str, str] = words()["columns"]

    def between(row: dict[str, Any], name: str, **how: Any) -> str:
        if row[name] is None:
            return words()["missing"]
        return (
            f"{number(row[name], **how)} ({number(row[f'{name}_low'], **how)} to {number(row[f'{name}_high'], **how)})"
        )

    lines = []
    for row in rows:
        setting = row["floor"] if row["strength"] is None else f"{strength_name(row['strength'])} sd"
        lines.append(
            [
                setting if row["intervention"] == "steer" else f"cap {setting}",
                between(row, "effect", sign=True), between(row, "cloze_shift", sign=True),
                between(row, "capability_loss", digits=1, percent=True).replace(" %", ""),
                number(row["perplexity"], 1), number(row["repetition"], 1, percent=True).removesuffix(" %"),
                number(row["degenerate_share"], 1, percent=True).removesuffix(" %"), between(row, "leakage", sign=True),
                between(row, "topic_shift", digits=0, sign=True, percent=True).replace(" %", ""),
            ]
        )  # fmt: skip
    return list(columns.values()), lines
