"""From what came back for a probe to rows of the table of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from greenroom.asking.questions import Plan, Probe
from greenroom.asking.types import Case, Heard, Questions, answers_frame
from greenroom.measures import elicit

BETWEEN = "\n---\n"  # sampled replies of one question, kept in one cell


def answered(plan: Plan, put: Sequence[tuple[Questions, Probe]], heard: Sequence[Heard]) -> pl.DataFrame:
    """What came back for the probes of a plan, as answers."""
    found = [row for (part, probe), one in zip(put, heard, strict=True) for row in rows(part, probe, one)]
    return answers_frame(found, plan.factors)


def rows(part: Questions, probe: Probe, heard: Heard) -> list[dict[str, Any]]:
    """What came back for a probe as rows of `ANSWERS`, one an option; a reply that compares nothing is one row."""
    case = probe.case
    common: dict[str, Any] = {
        "part": part.name, "item": case.item, "cluster": case.cluster, "split": case.split, "paradigm": probe.paradigm,
        "wording": probe.wording, "source": heard.source, "missing": heard.missing,
        "reply": BETWEEN.join(heard.texts) if heard.texts else None,
    }  # fmt: skip
    if not probe.null:
        common |= {"case": case.id, **case.levels}
    if probe.order is not None:
        common["order"] = "".join(map(str, probe.order))
    if not probe.texts:
        common["message"] = probe.conversation[-1]["content"]
        return [common | row for row in _free(case, heard)]
    own = _replies(probe, heard) if heard.source == "sampled" else _likelihoods(probe, heard)
    if probe.paradigm == "recall":
        own = [row | {"right": row["option"] == case.right} for row in own]
    return [common | row for row in own]


def _likelihoods(probe: Probe, heard: Heard) -> list[dict[str, Any]]:
    """Rows from log-probabilities; those of an option's texts are summed as probabilities."""
    values = heard.logprobs or (None,) * len(probe.texts)
    found: list[dict[str, Any]] = []
    for option in dict.fromkeys(probe.options):
        own = [value for value, id in zip(values, probe.options, strict=True) if id == option]
        found.append({"option": option, "logprob": _summed(own)})
    if not probe.listed or not heard.logprobs:
        return _placed(probe, found)
    if probe.order is not None:
        read: elicit.Choice | elicit.Rating = elicit.letter_choice(values, probe.order)
    else:
        read = elicit.rating_expectation(values)
    return [row | {"mass": read.mass, "missing": heard.missing or read.missing} for row in _placed(probe, found)]


def _summed(logprobs: Sequence[float | None]) -> float | None:
    """The log of the summed probabilities; None where one is unknown."""
    known = [value for value in logprobs if value is not None]
    return float(np.logaddexp.reduce(known)) if known and len(known) == len(logprobs) else None


def _replies(probe: Probe, heard: Heard) -> list[dict[str, Any]]:
    """Rows from sampled replies: the share of the readable ones that gives each option."""
    if probe.order is not None:
        choices = [elicit.letter_text(text, probe.order) for text in heard.texts]
        named = [None if one.position is None else probe.options[one.position] for one in choices]
        masses, missing = [one.mass for one in choices], choices[0].missing
    else:
        ratings = [elicit.rating_text(text) for text in heard.texts]
        named = [None if one.value is None else str(round(one.value)) for one in ratings]
        masses, missing = [one.mass for one in ratings], ratings[0].missing
    read = [name for name in named if name is not None]
    common = {"mass": sum(masses) / len(masses), "missing": None if read else missing}
    shares = [
        {"option": option, "chosen": read.count(option) / len(read) if read else None} for option in probe.options
    ]
    return [row | common for row in _placed(probe, shares)]


def _placed(probe: Probe, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"position": place} for place, row in enumerate(found)] if probe.order is not None else found


def _free(case: Case, heard: Heard) -> list[dict[str, Any]]:
    """Rows of an open reply, read by the phrases of the options."""
    if not case.options:
        return [{"cut": heard.cut}]
    phrases = [option.phrases for option in case.options]
    if not heard.texts:
        choice = elicit.Choice(None, heard.missing)  # type: ignore[arg-type]
    else:
        choice = elicit.free_choice(heard.texts[0], phrases, truncated=heard.cut)
    return [
        {
            "option": option.id,
            "chosen": float(choice.option == index) if choice.read else None,
            "missing": choice.missing,
            "cut": heard.cut,
        }
        for index, option in enumerate(case.options)
    ]
