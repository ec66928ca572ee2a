"""From what a probe brought back (`elicitation.Found` as a dict) to readings, whatever the source was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from greenroom.measures import elicit
from greenroom.measures.design import Order
from greenroom.measures.elicit import Choice, Preference, Rating

NO_LOGPROBS = "the provider returns no log-probabilities"
NO_NULL = "a null prompt could not be scored"


def choices(found: dict[str, Any], order: Order) -> list[Choice]:
    """The option chosen: one choice from log-probabilities, or one a sampled reply."""
    if found["logprobs"] is not None:
        return [elicit.letter_choice(found["logprobs"], order)]
    return [elicit.letter_text(text, order) for text in found["texts"] or []] or [_nothing(found)]


def letter_preference(found: Sequence[dict[str, Any]], orders: Sequence[Order]) -> Preference:
    """Preferences averaged over balanced orders; missing where the letters have no log-probabilities."""
    if any(answer["logprobs"] is None for answer in found):
        return _unknown(NO_LOGPROBS)
    return elicit.letter_logodds([answer["logprobs"] for answer in found], orders)


def cloze_preference(found: dict[str, Any], nulls: Sequence[dict[str, Any]]) -> Preference:
    """Preferences with the prior of the options' words removed; missing where text cannot be scored."""
    values = [found["logprobs"], *(null["logprobs"] for null in nulls)]
    if any(value is None or None in value for value in values):
        return _unknown(found["missing"] or NO_NULL)
    return elicit.cloze_preference(values[0], values[1:])


def rating(found: dict[str, Any]) -> Rating:
    """The expected rating, 1 to 7: over the number tokens, or over the sampled replies that could be read."""
    if found["logprobs"] is not None:
        return elicit.rating_expectation(found["logprobs"])
    ratings = [elicit.rating_text(text) for text in found["texts"] or []]
    read = [one.value for one in ratings if one.value is not None]
    if not read:
        return Rating(None, ratings[0].missing if ratings else cast(Any, found["missing"]), 0.0)
    return Rating(sum(read) / len(read), None, len(read) / len(ratings))


def free_choice(found: dict[str, Any], phrases: Sequence[Sequence[str]]) -> Choice:
    """The option that an open reply names; phrases: for each option those that say it."""
    if not found["texts"]:
        return _nothing(found)
    return elicit.free_choice(found["texts"][0], phrases, truncated=found["truncated"])


def numbers(frame: pl.DataFrame, column: str) -> np.ndarray:
    """The column as floats (rows,), NaN where missing."""
    return frame[column].cast(pl.Float64).to_numpy()


def versions(frame: pl.DataFrame, count: int) -> np.ndarray:
    """The column `versions` as (count, rows) floats, NaN where missing: one row an order or a null."""
    each = [pl.col("versions").list.get(place, null_on_oob=True).alias(str(place)) for place in range(count)]
    return frame.select(each).to_numpy().T


def _unknown(why: str) -> Preference:
    return Preference(None, (), cast(Any, why), 0.0)


def _nothing(found: dict[str, Any]) -> Choice:
    return Choice(None, cast(Any, found["missing"]), 0.0)
