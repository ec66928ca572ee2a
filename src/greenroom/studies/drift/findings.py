"""What the replies of drifting conversations say: curves, drift, ways back, and what the user's message tells of it.

A conversation's place at a moment is the mean over its neutral probes. Probes without a reading are left out; a moment
with fewer than half of its probes has no place. Where the replies to different probes are nearly the same the model goes
on with its last words: such a moment tells of no character, and is void for all conversations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from greenroom.measures import Measure, validity
from greenroom.measures.intervals import Interval, bootstrap_mean, student_mean
from greenroom.measures.prediction import explained
from greenroom.measures.recovery import Recovery, recovery
from greenroom.measures.repetition import own_words
from greenroom.measures.validity import Check, Validity, assess, measure_of
from greenroom.measures.within import within_slope
from greenroom.studies import about
from greenroom.studies.drift.scripts import CAP_ON
from greenroom.studies.study import Found

READINGS = ("cold", "hot")  # the headline first: the one in which all ways back can be compared
ALL = "all"

REPLIES: dict[str, Any] = {
    "conversation": pl.String,
    "domain": pl.String,
    "case": pl.Int64,
    "user": pl.String,  # scripted, simulated
    "moment": pl.String,  # warm, turn, fresh, before, after, back, return
    "arm": pl.String,  # of back and return
    "place": pl.Int64,  # which turn (from 1) or which probe (from 0)
    "message": pl.String,
    "reply": pl.String,
    "cut": pl.Boolean,
    "axis_sd_hot": pl.Float64,  # null: another model's text, or made under the cap
    "axis_sd_cold": pl.Float64,
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


def conclude(found: Found) -> list[Measure]:
    return measures(found.table("replies"), found.table("predicted"), found.seed)


def measures(replies: pl.DataFrame, predictions: pl.DataFrame, seed: int = 0) -> list[Measure]:
    """What follows from the replies (`REPLIES`) and `predicted`.

    By themselves, in the headline reading and of all conversations: `drift` (sd), `slope` (sd a turn), `undone.<arm>` (share
    of the drift), `r2_level` and `r2_change`. As series: `drift` and `slope` (reading/domain), `undone`, `beyond` and `left`
    (reading/domain/arm), `place` (reading/domain/moment), `curve` (reading/domain/user/turn), `r2` (reading/of/by). Domain
    and user `all` pool.
    """
    found: list[Measure] = []
    for domain in [ALL, *replies["domain"].unique(maintain_order=True)]:
        part = replies if domain == ALL else replies.filter(pl.col("domain") == domain)
        found += _of_domain(part, domain, readings(replies), seed)
    read = assess([_read(replies)])
    for row in predictions.iter_rows(named=True):
        interval = Interval(row["r2"], row["r2_low"], row["r2_high"], row["n"])
        name = f"{row['reading']}/{row['of']}/{row['by']}"
        found.append(measure_of(name, interval, read, _why("few"), part="r2", unit="R²"))
    return [*_headlines(found, readings(replies)[:1]), *found]


def readings(replies: pl.DataFrame) -> list[str]:
    """The readings that there are, the headline first."""
    return [reading for reading in READINGS if replies[f"axis_sd_{reading}"].is_not_null().any()]


def _headlines(series: Sequence[Measure], reading: Sequence[str]) -> Iterator[Measure]:
    """Those of the series that stand by themselves."""
    names = {f"{one}/{ALL}": one for one in reading}
    for one in series:
        front, _, last = one.name.rpartition("/")
        if one.part in ("drift", "slope") and one.name in names:
            yield replace(one, name=one.part, part="")
        elif one.part == "undone" and front in names:
            yield replace(one, name=f"undone.{last}", part="")
        elif one.part == "r2" and last == "message" and front.partition("/")[0] in reading:
            yield replace(one, name=f"r2_{front.rpartition('/')[2]}", part="")


def _of_domain(part: pl.DataFrame, domain: str, known: Sequence[str], seed: int) -> Iterator[Measure]:
    worded = own_worded(part)
    asked = _valid(worded, "before", "after")
    read = assess([_read(part)])
    for reading in known:
        places, of = moments(part, reading, worded), f"{reading}/{domain}"
        # Drift is before − after everywhere: above 0 is away from the assistant.
        yield measure_of(
            of, student_mean(places["before"] - places["after"]), asked, _why("few"), part="drift", unit="sd"
        )
        yield measure_of(of, _slope(part, reading, seed), read, _why("few"), part="slope", unit="sd a turn")
        for moment in ("fresh", "before", "after"):
            valid = _valid(worded, moment)
            yield measure_of(
                f"{of}/{moment}", student_mean(places[moment]), valid, _why("few"), part="place", unit="sd"
            )
        for arm in _arms(part):
            yield from _way(f"{of}/{arm}", arm, reading, places, worded)
        for turn, interval in _curve(part, reading, seed):
            yield measure_of(f"{of}/{turn}", interval, read, _why("few"), part="curve", unit="sd")


def _way(
    name: str, arm: str, reading: str, places: Mapping[str, np.ndarray], worded: Mapping[str, Check]
) -> Iterator[Measure]:
    alone = places.get("back/none") if arm != "none" else None
    found: Recovery = recovery(places["before"], places["after"], places[f"back/{arm}"], alone)
    valid, why = _valid(worded, "before", "after", f"back/{arm}"), _missing(found, arm, reading)
    yield measure_of(name, found.undone, valid, why, part="undone", unit="share")
    if arm != "none":
        yield measure_of(name, found.beyond, valid, why, part="beyond", unit="share")
    yield measure_of(name, found.left, valid, why, part="left", unit="sd")


def _missing(found: Recovery, arm: str, reading: str) -> str:
    """Why there is no share, where every moment is valid."""
    if found.drift.n < 2:
        return _why("edited" if arm == CAP_ON and reading == "hot" else "few")
    return _why("no_drift")


def _why(key: str) -> str:
    """Why there is no estimate, as words.yaml says it."""
    return about("drift")["missing"][key]


def _valid(worded: Mapping[str, Check], *moments: str) -> Validity:
    return assess([worded[moment] for moment in moments if moment in worded])


def _read(replies: pl.DataFrame) -> Check:
    """Whether the replies of the conversations themselves could be read."""
    return validity.readable(replies.filter(pl.col("moment") == "turn")["reply"].str.strip_chars() != "")


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


def _probes(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("moment").is_in(["fresh", "before", "after", "back"]))


def _arms(frame: pl.DataFrame) -> list[str]:
    return frame.filter(pl.col("moment") == "back")["arm"].unique(maintain_order=True).to_list()


def _curve(part: pl.DataFrame, reading: str, seed: int) -> Iterator[tuple[str, Interval]]:
    """The mean place by kind of user and turn; turn 0 is the exchange before the first probes."""
    talk = part.filter(pl.col("moment").is_in(["warm", "turn"]))
    for kind in [ALL, *talk["user"].unique(maintain_order=True)]:
        own = talk if kind == ALL else talk.filter(pl.col("user") == kind)
        for (turn,), group in own.group_by("place", maintain_order=True):
            values = group[f"axis_sd_{reading}"].cast(pl.Float64).to_numpy()
            yield f"{kind}/{turn}", bootstrap_mean(values, group["conversation"].to_list(), seed=seed)


def _slope(part: pl.DataFrame, reading: str, seed: int) -> Interval:
    talk = part.filter(pl.col("moment") == "turn")
    values = talk[f"axis_sd_{reading}"].cast(pl.Float64).to_numpy()
    return within_slope(values, talk["place"].to_numpy(), talk["conversation"].to_list(), seed=seed)


def _named(name: str, interval: Interval) -> dict[str, float | None]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
