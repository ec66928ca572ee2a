"""What the replies of drifting conversations say: curves, drift, ways back, and what the user's message tells of it.

A conversation's place at a moment is the mean over its neutral probes. Probes without a reading are left out; a moment
with fewer than half of its probes has no place. Where the replies to different probes are nearly the same the model goes
on with its last words: such a moment tells of no character, and is void for all conversations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from greenroom.measures import validity
from greenroom.measures.intervals import Interval, bootstrap_mean, student_mean
from greenroom.measures.prediction import explained
from greenroom.measures.recovery import Recovery, recovery
from greenroom.measures.repetition import own_words
from greenroom.measures.validity import Check, Validity, assess
from greenroom.measures.within import within_slope
from greenroom.studies.drift.design import CAP_ON

READINGS = ("cold", "hot")  # the headline first: the one in which all ways back can be compared
ALL = "all"

REPLIES: dict[str, Any] = {
    "conversation": pl.String,
    "domain": pl.String,
    "case": pl.Int64,
    "user": pl.String,  # scripted, simulated
    "moment": pl.String,  # warm, turn, fresh, before, after, back, return, summary
    "arm": pl.String,  # of back and return
    "place": pl.Int64,  # which turn (from 1) or which probe (from 0)
    "message": pl.String,
    "reply": pl.String,
    "cut": pl.Boolean,
    "axis_sd_hot": pl.Float64,  # null: read from a log, or made under the cap
    "axis_sd_cold": pl.Float64,
}
WAYS: dict[str, Any] = {
    "reading": pl.String,
    "domain": pl.String,
    "arm": pl.String,
    **{
        f"{name}{end}": pl.Float64
        for name in ("undone", "beyond", "left_sd", "drift_sd")
        for end in ("", "_low", "_high")
    },
    "n": pl.Int64,
    "missing": pl.String,
}
PREDICTED: dict[str, Any] = {
    "reading": pl.String,
    "of": pl.String,  # level, change
    "by": pl.String,  # message, domain
    "r2": pl.Float64,
    "r2_low": pl.Float64,
    "r2_high": pl.Float64,
    "n": pl.Int64,
}
CURVE: dict[str, Any] = {
    "reading": pl.String,
    "domain": pl.String,
    "user": pl.String,
    "turn": pl.Int64,
    "axis_sd": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
}


@dataclass(frozen=True)
class Finding:
    """curve: one row a reading, domain, kind of user and turn. ways: one row a reading, domain and way back. drifts,
    slopes: by (reading, domain), sd of the probes and sd a turn of the talk. stuck: domains whose probes before or after
    the drift are void. summary: what summary.json says."""

    curve: pl.DataFrame
    ways: pl.DataFrame
    drifts: dict[tuple[str, str], Interval]
    slopes: dict[tuple[str, str], Interval]
    stuck: frozenset[str]
    summary: dict[str, Any]


def findings(frame: pl.DataFrame, seed: int = 0) -> Finding:
    """The results from the replies; domain `all` pools the conversations of all domains."""
    readings = [reading for reading in READINGS if frame[f"axis_sd_{reading}"].is_not_null().any()]
    domains = [ALL, *frame["domain"].unique(maintain_order=True)]
    ways: list[dict[str, Any]] = []
    curve: list[dict[str, Any]] = []
    drifts: dict[tuple[str, str], Interval] = {}
    slopes: dict[tuple[str, str], Interval] = {}
    stuck: set[str] = set()
    for domain in domains:
        part = frame if domain == ALL else frame.filter(pl.col("domain") == domain)
        worded = own_worded(part)
        if any(worded[moment].grade == "void" for moment in ("before", "after") if moment in worded):
            stuck.add(domain)
        for reading in readings:
            places = moments(part, reading, worded)
            # Drift is before − after everywhere: above 0 is away from the assistant.
            drifts[reading, domain] = student_mean(places["before"] - places["after"])
            slopes[reading, domain] = _slope(part, reading, seed)
            ways += [_way_row(reading, domain, arm, places, worded) for arm in _arms(part)]
            curve += _curve_rows(part, reading, domain, seed)
    table = pl.DataFrame(ways, schema=WAYS)
    said = _summary(frame, table, drifts, slopes, readings)
    return Finding(pl.DataFrame(curve, schema=CURVE), table, drifts, slopes, frozenset(stuck), said)


def own_worded(frame: pl.DataFrame) -> dict[str, Check]:
    """Whether the replies to different probes differ, by moment: fresh, before, after, and each `back/<arm>`."""
    marks: dict[str, list[bool]] = {}
    for (_, moment, arm), part in _probes(frame).group_by("conversation", "moment", "arm", maintain_order=True):
        marks.setdefault(f"{moment}/{arm}" if arm else str(moment), []).extend(own_words(part["reply"].to_list()))
    return {moment: validity.own_words(of) for moment, of in marks.items()}


def moments(frame: pl.DataFrame, reading: str, worded: Mapping[str, Check]) -> dict[str, np.ndarray]:
    """The conversations' places, (conversation,) sd with NaN for missing: fresh, before, after, and each `back/<arm>`.

    All in the order in which conversations first occur. worded: of `own_worded`; a void moment has no places.
    """
    names = frame["conversation"].unique(maintain_order=True).to_list()
    means = (
        _probes(frame)
        .group_by("conversation", "moment", "arm")
        .agg(
            pl.col(f"axis_sd_{reading}").mean().alias("mean"),
            (pl.col(f"axis_sd_{reading}").is_not_null().mean() >= 0.5).alias("enough"),
        )
    )
    found: dict[str, dict[str, float]] = {}
    for row in means.iter_rows(named=True):
        key = f"back/{row['arm']}" if row["moment"] == "back" else row["moment"]
        if row["enough"] and worded[key].grade != "void":
            found.setdefault(key, {})[row["conversation"]] = row["mean"]
    keys = ["fresh", "before", "after", *(f"back/{arm}" for arm in _arms(frame))]
    return {key: np.array([found.get(key, {}).get(name, np.nan) for name in names], float) for key in keys}


def predicted(talk: pl.DataFrame, values: np.ndarray, seed: int = 0) -> list[dict[str, Any]]:
    """R² of held-out predictions from the user's message, for the projection's level at a turn and its change since the
    turn before.

    talk: the replies of the turns; values: (row, hidden) activations of the messages read alone. `by`: the message, or
    the domain alone, which is what a monitor would see that only reads the topic (empty where a domain has one case: then
    none is known when it is asked for). Cases are held out whole, with both their users.
    """
    groups = [f"{domain}-{case}" for domain, case in talk.select("domain", "case").iter_rows()]
    domains = talk["domain"].unique(maintain_order=True).to_list()
    topic = np.array([[float(domain == name) for name in domains] for domain in talk["domain"]])
    rows = []
    for reading in READINGS:
        column = f"axis_sd_{reading}"
        if not talk[column].is_not_null().any():
            continue
        ordered = pl.col(column) - pl.col(column).shift(1).over("conversation", order_by="place")
        outcomes = talk.select(pl.col(column).alias("level"), ordered.alias("change"))
        for outcome in ("level", "change"):
            y = outcomes[outcome].cast(pl.Float64).to_numpy()
            for by, features in (("message", values), ("domain", topic)):
                known = by == "message" or len(set(groups)) > len(domains)
                share = explained(features, y, groups, seed=seed) if known else Interval(None, None, None, len(domains))
                rows.append({"reading": reading, "of": outcome, "by": by, **_named("r2", share), "n": share.n})
    return rows


def drift_table(found: Finding) -> pl.DataFrame:
    """The rows of tables/drift.parquet: drift of the probes and slope of the talk, by reading and domain."""
    rows = [
        {
            "reading": reading,
            "domain": domain,
            **_named("drift_sd", drift),
            **_named("slope_sd_per_turn", found.slopes[reading, domain]),
            "n": drift.n,
            "missing": "stuck" if domain in found.stuck else "few" if drift.estimate is None else None,
        }
        for (reading, domain), drift in found.drifts.items()
    ]
    floats = [f"{name}{end}" for name in ("drift_sd", "slope_sd_per_turn") for end in ("", "_low", "_high")]
    schema: dict[str, Any] = {
        "reading": pl.String,
        "domain": pl.String,
        **dict.fromkeys(floats, pl.Float64),
        "n": pl.Int64,
        "missing": pl.String,
    }
    return pl.DataFrame(rows, schema=schema)


def _probes(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("moment").is_in(["fresh", "before", "after", "back"]))


def _arms(frame: pl.DataFrame) -> list[str]:
    return frame.filter(pl.col("moment") == "back")["arm"].unique(maintain_order=True).to_list()


def _way_row(
    reading: str, domain: str, arm: str, places: dict[str, np.ndarray], worded: Mapping[str, Check]
) -> dict[str, Any]:
    alone = places.get("back/none") if arm != "none" else None
    found: Recovery = recovery(places["before"], places["after"], places[f"back/{arm}"], alone)
    row = {
        "reading": reading,
        "domain": domain,
        "arm": arm,
        "n": found.drift.n,
        "missing": _missing(found, arm, reading, worded),
    }
    named = {"undone": found.undone, "beyond": found.beyond, "left_sd": found.left, "drift_sd": found.drift}
    for name, interval in named.items():
        row |= _named(name, interval)
    return row


def _missing(found: Recovery, arm: str, reading: str, worded: Mapping[str, Check]) -> str | None:
    """Why there is no share, by its key in templates/dynamics.yaml."""
    if found.undone.estimate is not None:
        return None
    if any(worded[moment].grade == "void" for moment in ("before", "after", f"back/{arm}") if moment in worded):
        return "stuck"
    if found.drift.n < 2:
        return "edited" if arm == CAP_ON and reading == "hot" else "few"
    return "no_drift"


def _curve_rows(part: pl.DataFrame, reading: str, domain: str, seed: int) -> list[dict[str, Any]]:
    """The mean place by turn; turn 0 is the exchange before the first probes."""
    rows: list[dict[str, Any]] = []
    talk = part.filter(pl.col("moment").is_in(["warm", "turn"]))
    kinds = [ALL, *talk["user"].unique(maintain_order=True)]
    for kind in kinds:
        own = talk if kind == ALL else talk.filter(pl.col("user") == kind)
        for (turn,), group in own.group_by("place", maintain_order=True):
            values = group[f"axis_sd_{reading}"].cast(pl.Float64).to_numpy()
            mean = bootstrap_mean(values, group["conversation"].to_list(), seed=seed)
            rows.append(
                {"reading": reading, "domain": domain, "user": kind, "turn": turn, "axis_sd": mean.estimate,
                 "low": mean.low, "high": mean.high, "n": mean.n}
            )  # fmt: skip
    return rows


def _slope(part: pl.DataFrame, reading: str, seed: int) -> Interval:
    talk = part.filter(pl.col("moment") == "turn")
    values = talk[f"axis_sd_{reading}"].cast(pl.Float64).to_numpy()
    return within_slope(values, talk["place"].to_numpy(), talk["conversation"].to_list(), seed=seed)


def _summary(
    frame: pl.DataFrame,
    ways: pl.DataFrame,
    drifts: dict[tuple[str, str], Interval],
    slopes: dict[tuple[str, str], Interval],
    readings: Sequence[str],
) -> dict[str, Any]:
    worded = own_worded(frame)
    valid: Validity = assess([check for moment, check in worded.items() if moment in ("before", "after")])
    said: dict[str, Any] = {
        "reading": readings[0] if readings else None,
        "grade": valid.grade,
        "reason": valid.reason,
        "own_words": {moment: check.value for moment, check in worded.items()},
    }
    for reading in readings:
        places = moments(frame, reading, worded)
        own = ways.filter((pl.col("reading") == reading) & (pl.col("domain") == ALL))
        said[reading] = {
            **{f"{moment}_sd": student_mean(places[moment]).estimate for moment in ("fresh", "before", "after")},
            **_named("drift_sd", drifts[reading, ALL]),
            **_named("slope_sd_per_turn", slopes[reading, ALL]),
            "domains": {
                domain: _named("drift_sd", drift)
                for (which, domain), drift in drifts.items()
                if which == reading and domain != ALL
            },
            "ways": {
                row["arm"]: {name: row[name] for name in WAYS if name not in ("reading", "domain", "arm")}
                for row in own.to_dicts()
            },
        }
    return said


def _named(name: str, interval: Interval) -> dict[str, float | None]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
