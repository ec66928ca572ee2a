"""What `greenroom drift` and `greenroom selftalk` found, in words from templates/dynamics.yaml.

Sentences are made from a run's summary alone, kept there as `sentences`, and shown by the page and by the verb.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from greenroom.report.format import number
from greenroom.report.parts import TEMPLATES
from greenroom.studies.selftalk.findings import FEWEST, LOOP


@cache
def dynamics() -> dict[str, Any]:
    """Every word of both pages and verbs."""
    text = (TEMPLATES / "dynamics.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text.replace(" %", "\N{NO-BREAK SPACE}%"))


def between(row: dict[str, Any], name: str, digits: int = 2, *, signed: bool = False, percent: bool = False) -> str:
    """`name` of a row with its bounds `name_low` and `name_high`; the bare estimate without them, a dash without it."""

    def shown(value: float | None) -> str:
        scaled = 100 * value if percent and value is not None else value
        return number(scaled, digits, signed=signed)

    unit = "\N{NO-BREAK SPACE}%" if percent else ""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return dynamics()["nothing"]
    if low is None or high is None:
        return shown(value) + unit
    return dynamics()["between"].format(value=shown(value) + unit, low=shown(low), high=shown(high))


def direction_of(found: dict[str, Any]) -> str:
    """`away`, `towards`, `none` (the interval holds 0) or `few`: what the probes say of a drift."""
    low, high = found["drift_sd_low"], found["drift_sd_high"]
    if low is None or high is None:
        return "few"
    return "away" if low > 0 else "towards" if high < 0 else "none"


# Drift ---------------------------------------------------------------------------------------------------------------


def drift_sentences(summary: dict[str, Any]) -> dict[str, str]:
    """headline, and a finding a chapter: turns, drift, ways, left, prediction; in the headline reading."""
    text, found = dynamics()["drift"], summary[summary["reading"]] if summary["reading"] else None
    if found is None:
        return {"headline": text["headline"]["few"].format(model=summary["model"])}
    way = "void" if summary["grade"] == "void" else direction_of(found)
    drift = {name: value and abs(value) for name, value in found.items() if name.startswith("drift_sd")}
    if way == "towards":
        drift["drift_sd_low"], drift["drift_sd_high"] = drift["drift_sd_high"], drift["drift_sd_low"]
    said = {
        "headline": text["headline"][way].format(
            model=summary["model"], turns=summary["turns"], reason=summary["reason"],
            drift=between(found if way == "none" else drift, "drift_sd", signed=way == "none"),
        ),
        "ways": _ways(found, way, summary["own_words"]),
        "prediction": _predicted(summary),
    }  # fmt: skip
    known = [(one["drift_sd"], name) for name, one in found["domains"].items() if one["drift_sd"] is not None]
    if len(known) > 1:
        quiet, loud = min(known)[1], max(known)[1]
        said["drift"] = text["domains"].format(
            most=_domain(loud), most_sd=between(found["domains"][loud], "drift_sd", signed=True), least=_domain(quiet),
            least_sd=between(found["domains"][quiet], "drift_sd", signed=True), slope=between(found, "slope_sd_per_turn", 3, signed=True),
        )  # fmt: skip
    left = [
        text["left_one"].format(arm=_arm(name), left=between(one, "left_sd", signed=True))
        for name, one in found["ways"].items()
        if one["left_sd"] is not None
    ]
    if left:
        said["left"] = text["left"].format(left="; ".join(left))
    return said


def drift_spoken(summary: dict[str, Any]) -> str:
    """The findings, a line each, and one for each way back: fewer than 25 lines whatever was run."""
    said, text = summary["sentences"], dynamics()["drift"]
    lines = [said[name] for name in ("headline", "drift", "ways") if name in said]
    if summary["reading"] and summary["grade"] != "void":
        for name, one in summary[summary["reading"]]["ways"].items():
            undone = text["undone_void"] if one["undone"] is None else between(one, "undone")
            lines.append(text["line"].format(arm=_arm(name), undone=undone, left=between(one, "left_sd", signed=True)))
    lines += [said["prediction"]] if "prediction" in said else []
    return "\n".join([*lines, *warnings(summary)])


def _ways(found: dict[str, Any], way: str, own_words: dict[str, float]) -> str:
    text = dynamics()["drift"]["ways"]
    alone = found["ways"].get("none")
    if way == "void":
        return _stuck(own_words)
    if way in ("few", "none") or alone is None or alone["undone"] is None:
        bounds = {end: number(found[f"drift_sd_{end}"], 2, signed=True) for end in ("low", "high")}
        return text["void" if way == "none" else "few"].format(**bounds)
    others = {name: one for name, one in found["ways"].items() if name != "none"}
    better = [
        dynamics()["drift"]["better"].format(arm=_arm(name), beyond=between(one, "beyond"))
        for name, one in others.items()
        if one["beyond_low"] is not None and one["beyond_low"] > 0
    ]
    key = "some" if better else "same" if others else "alone"
    return text[key].format(none=between(alone, "undone"), better=", ".join(better))


def _stuck(own_words: dict[str, float]) -> str:
    """What brings a model that is stuck back to answering, told by shares of replies with words of their own."""
    shares = {moment: f"{number(100 * share, 0)}\N{NO-BREAK SPACE}%" for moment, share in own_words.items()}
    ways = [f"{_arm(moment.removeprefix('back/'))} {share}" for moment, share in shares.items() if "/" in moment]
    return dynamics()["drift"]["ways"]["stuck"].format(
        before=shares["before"], after=shares["after"], ways=", ".join(ways)
    )


def _predicted(summary: dict[str, Any]) -> str:
    text = dynamics()["drift"]
    rows = {(row["of"], row["by"]): row for row in summary["predicted"] if row["reading"] == summary["reading"]}
    level, change = rows.get(("level", "message")), rows.get(("change", "message"))
    if level is None or change is None or level["r2"] is None or change["r2"] is None:
        return text["prediction_none"]
    return text["prediction"].format(
        level=between(level, "r2"), change=between(change, "r2"),
        domain_level=between(rows["level", "domain"], "r2"), domain_change=between(rows["change", "domain"], "r2"),
    )  # fmt: skip


def _domain(name: str) -> str:
    return dynamics()["domains"].get(name, name.replace("_", " "))


def _arm(name: str) -> str:
    return dynamics()["arms"].get(name, name.replace("_", " "))


# Self-talk -----------------------------------------------------------------------------------------------------------


def selftalk_sentences(summary: dict[str, Any]) -> dict[str, str]:
    """headline, and a finding a chapter: where, basins, together."""
    text, n = dynamics()["selftalk"], summary["attractors"]
    key = "few" if n is None else "one" if n == 1 else "several"
    loop = between(summary, "loop_share", 0, percent=True)
    together = summary["contraction"]
    parts = [
        text["together"][{True: "come", False: "stay", None: "unknown"}[together["converges"]]].format(
            ratio=number(together["spread_ratio"]), low=number(together["spread_ratio_null_low"]),
            high=number(together["spread_ratio_null_high"]), p=number(together["spread_ratio_p"], 3),
        )
    ]  # fmt: skip
    without = summary["contraction_without_loops"]
    if summary["loop_share"] and without["spread_ratio"] is not None:
        parts.append(
            text["unlooped"].format(ratio=number(without["spread_ratio"]), p=number(without["spread_ratio_p"], 3))
        )
    if together["step_ratio"] is not None:
        parts.append(text["steps"].format(ratio=number(together["step_ratio"]), p=number(together["step_ratio_p"], 3)))
    if together["memory_late"] is not None:
        parts.append(
            text["memory"].format(
                early=number(together["memory_early"]), late=number(together["memory_late"]),
                null=number(together["memory_late_null_high"]),
            )
        )  # fmt: skip
    return {
        "headline": text["headline"][key].format(model=summary["model"], n=n, loop=loop),
        "where": f"{text['change'].format(change=between(summary, 'axis_sd_change', signed=True))} {_gibberish(summary)}",
        "basins": _tested(summary, key),
        "together": " ".join(parts),
    }


def selftalk_spoken(summary: dict[str, Any]) -> str:
    """The findings, a line each, and one for each attractor: fewer than 25 lines whatever was run."""
    said, text = summary["sentences"], dynamics()["selftalk"]
    lines = [said["headline"], said["basins"]]
    for name, one in summary["basins"].items():
        if name == LOOP:
            lines.append("  " + text["loop_basin"].format(share=between(one, "basin", 0, percent=True)))
        else:
            lines.append("  " + basin_line(name, one))
    return "\n".join([*lines, said["together"], said["where"], *warnings(summary)])


def basin_line(name: str, one: dict[str, Any]) -> str:
    text = dynamics()["selftalk"]
    words = text["words"].format(words=", ".join(one["words"])) if one["words"] else ""
    roles = ", ".join(role.replace("_", " ") for role in one["roles"])
    return text["basin"].format(
        name=name, share=between(one, "basin", 0, percent=True), axis=between(one, "axis_sd", signed=True), roles=roles,
        words=words,
    )  # fmt: skip


def warnings(summary: dict[str, Any]) -> list[str]:
    """What a reader must know before any number counts."""
    found = [] if summary["reliable"] else [dynamics()["unreliable"]]
    empty = summary.get("empty_replies")
    return [*found, dynamics()["gaps"].format(n=empty)] if empty else found


def _tested(summary: dict[str, Any], key: str) -> str:
    text = dynamics()["selftalk"]["tested"]
    if key == "few":
        return text["few"].format(fewest=FEWEST)
    p = summary["one_cloud_p"]
    key = "unheld" if key == "one" and p is not None and p < 0.05 else key
    return text[key].format(
        gain=number(summary["one_cloud_gain"], 1), null=number(summary["one_cloud_null_high"], 1), p=number(p),
        n=summary["attractors"],
    )  # fmt: skip


def _gibberish(summary: dict[str, Any]) -> str:
    text = dynamics()["selftalk"]
    kinds = ", ".join(f"{name} {n}" for name, n in summary["gibberish"].items())
    return text["gibberish"].format(
        share=between(summary, "gibberish_share", 1, percent=True),
        kinds=text["kinds"].format(list=kinds) if kinds else "",
    )
