"""From answers to measures: the probability of each boundary in each paradigm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from greenroom.asking.checks import checks, choices
from greenroom.asking.readings import numbers, readings, wording_of
from greenroom.measures import PARADIGM_ORDER, Interval, Measure, assess, validity
from greenroom.measures.intervals import bootstrap_mean
from greenroom.measures.validity import Check
from greenroom.studies.self_concept import items
from greenroom.studies.study import Found

WORDINGS = ("main", "paraphrase")


def conclude(found: Found) -> list[Measure]:
    """A boundary's probability by paradigm; intervals over questions, of ratings over wordings."""
    read = boundaries_of(found.answers)
    measures = []
    for paradigm in PARADIGM_ORDER:
        valid = assess([*checks(read, paradigm), *_sense(read, paradigm)], paradigm)
        kept = read.filter((pl.col("paradigm") == paradigm) & pl.col("wording").is_in(WORDINGS))
        if paradigm == "rating":  # shares of the summed ratings, so that all paradigms speak in probabilities
            total = pl.col("probability").sum().over("wording")
            kept = kept.with_columns(probability=pl.when(total > 0).then(pl.col("probability") / total))
        parts = dict(kept.drop_nulls("probability").group_by("option", maintain_order=True))
        for name in items().boundaries:
            own = parts.get((name,), kept.clear())
            # A void measure holds no number, so none is worked out.
            share = Interval(None, None, None, own["item"].n_unique())
            if valid.grade != "void":
                share = bootstrap_mean(numbers(own, "probability"), own["item"].to_list())
            measures.append(Measure(name, *share, valid, paradigm=paradigm, unit="probability"))
    return measures


def boundaries_of(answers: pl.DataFrame) -> pl.DataFrame:
    """The readings, where a rating is of the boundary that it is about, and of its wording, which rates them all."""
    rating = pl.col("paradigm") == "rating"
    wording = pl.concat_str(pl.lit("rating_"), pl.col("wording"))
    named = {
        "option": pl.when(rating).then("item").otherwise("option"),
        "item": pl.when(rating).then(wording).otherwise("item"),
    }
    return readings(answers).with_columns(**named)


def leader(measures: Sequence[Mapping[str, Any]]) -> str | None:
    """The likeliest boundary, if its interval keeps clear of the runner-up's estimate."""
    ranked = sorted(
        ((one["estimate"], one["name"], one["low"]) for one in measures if one["estimate"] is not None), reverse=True
    )
    if len(ranked) < 2:
        return None
    (_, name, low), (second, _, _) = ranked[:2]
    return name if low is not None and low > second else None


def _sense(read: pl.DataFrame, paradigm: str) -> list[Check]:
    """Comprehension: does what a model could claim to be stand above the incoherent description?"""
    known = items()
    names = list(known.boundaries)
    if paradigm == "free":
        return []
    if paradigm == "letter":
        chosen = choices(wording_of(read, paradigm, "main"), names).values()
        sane = [option is not None and names[option] != known.incoherent for option in chosen]
        return [validity.comprehension(sane, chance=1 - 1 / len(names))]
    above: list[bool | None] = []
    kept = pl.concat([wording_of(read, paradigm, wording) for wording in WORDINGS])
    for _, part in kept.group_by("item", "wording", maintain_order=True):
        scores = dict(part.select("option", "score").iter_rows())
        floor = scores[known.incoherent]
        claims = [scores[name] for name in names if name not in known.controls]
        above += [None if None in (score, floor) else score > floor for score in claims]
    return [validity.comprehension(above)]
