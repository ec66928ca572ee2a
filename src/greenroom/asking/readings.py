"""From the table of answers to readings: what each answer says, whatever its source.

A reading is one option of one answer (columns: `READINGS`, after those that tell the case). `letter_logodds` is derived
from the letters of all orders; the prior of the options' words is taken from `cloze` by the null prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from greenroom.asking.types import ANSWERS
from greenroom.measures import elicit
from greenroom.measures.design import Order

NO_LOGPROBS = "the provider returns no log-probabilities"
NO_NULL = "a null prompt could not be scored"

READINGS: dict[str, Any] = {
    "paradigm": pl.String,  # contrast, letter, letter_logodds, cloze, rating, free, recall
    "wording": pl.String,  # main, paraphrase, reversed, retest
    "order": pl.String,  # letter: the options as shown, by number
    "option": pl.String,  # None for a rating and for recall, which are about one thing
    "probability": pl.Float64,  # 0..1; a rating's place between 1 and 7; whether it was recalled
    "score": pl.Float64,  # nats, centred on zero over options; of a rating: as probability
    "versions": pl.List(pl.Float64),  # the score under each order (letter_logodds) or each null (cloze)
    "mass": pl.Float64,  # probability on the listed answers, or the share of replies that could be read
    "position": pl.Int64,  # letter: where this option stood
    "source": pl.String,
    "missing": pl.String,
    "reply": pl.String,
}
Rows = list[dict[str, Any]]


def factors(frame: pl.DataFrame) -> list[str]:
    """The columns that are factors of the design."""
    return [name for name in frame.columns if name not in ANSWERS and name not in READINGS]


def readings(answers: pl.DataFrame) -> pl.DataFrame:
    """Every answer to a question read, in the order in which they were asked."""
    cell = ["part", "case", "item", "cluster", "split", *factors(answers)]
    asked: dict[tuple[str, ...], dict[str | None, Rows]] = {}
    nulls: dict[tuple[str, ...], Rows] = {}
    for row in answers.iter_rows(named=True):
        if row["case"] is None:
            nulls.setdefault((row["part"], row["item"], row["wording"]), []).append(row)
        else:
            key = row["part"], row["case"], row["paradigm"], row["wording"]
            asked.setdefault(key, {}).setdefault(row["order"], []).append(row)
    found: Rows = []
    for (part, _, paradigm, wording), orders in asked.items():
        rows = next(iter(orders.values()))
        if paradigm == "letter":
            read = [*_letter(orders), *_letter_logodds(orders)]
        elif paradigm == "cloze":
            own = (
                nulls[key] for key in nulls if key[:2] == (part, rows[0]["item"]) and key[2].split("/")[1] == wording
            )
            read = _cloze(rows, list(own))
        elif paradigm == "contrast":
            read = _contrast(rows)
        elif paradigm == "rating":
            read = [_rating(rows)]
        elif paradigm == "free":
            read = _free(rows)
        elif paradigm == "recall":
            read = [_recall(orders)]
        else:  # a reply of a talk
            continue
        common = {name: rows[0][name] for name in cell} | {"wording": wording, "source": rows[0]["source"]}
        found += [common | row for row in read]
    schema = {name: answers.schema[name] for name in cell} | READINGS
    return pl.DataFrame({name: [row.get(name) for row in found] for name in schema}, schema=schema)


def _letter(orders: dict[str | None, Rows]) -> Iterator[dict[str, Any]]:
    """The option named under each order: one from log-probabilities, or a share of the replies."""
    for order, rows in orders.items():
        shares: list[float | None] = [row["chosen"] for row in rows]
        missing = rows[0]["missing"]
        if rows[0]["source"] != "sampled":
            choice = elicit.letter_choice([row["logprob"] for row in rows], _order(order))
            missing = missing or choice.missing
            shares = [None if missing else float(choice.position == place) for place in range(len(rows))]
        for row, share in zip(rows, shares, strict=True):
            yield {
                "paradigm": "letter", "order": order, "option": row["option"], "probability": share,
                "mass": row["mass"], "position": row["position"], "missing": missing, "reply": row["reply"],
            }  # fmt: skip


def _letter_logodds(orders: dict[str | None, Rows]) -> Iterator[dict[str, Any]]:
    """The log-odds of the letters, averaged over orders; missing where letters have no log-probabilities."""
    shown = [_order(order) for order in orders]
    first = next(iter(orders.values()))
    options: list[str] = [""] * len(first)
    for option, row in zip(shown[0], first, strict=True):
        options[option] = row["option"]
    sources = [rows[0]["source"] for rows in orders.values()]
    if any(source not in ("likelihood", "top_logprobs") for source in sources):
        preference = _unknown(first[0]["missing"] if None in sources else NO_LOGPROBS)
    else:
        preference = elicit.letter_logodds([[row["logprob"] for row in rows] for rows in orders.values()], shown)
    return _preferred("letter_logodds", options, preference)


def _cloze(rows: Rows, nulls: Sequence[Rows]) -> Iterator[dict[str, Any]]:
    """Preferences with the prior of the options' words removed; missing where text cannot be scored."""
    values = [[row["logprob"] for row in own] for own in (rows, *nulls)]
    if any(None in one for one in values):
        preference = _unknown(rows[0]["missing"] or NO_NULL)
    else:
        preference = elicit.cloze_preference(values[0], values[1:])
    return _preferred("cloze", [row["option"] for row in rows], preference)


def _contrast(rows: Rows) -> Iterator[dict[str, Any]]:
    """The raw preference, which the options' own words bias: it is there to be compared between levels."""
    values = [row["logprob"] for row in rows]
    if None in values:
        preference = _unknown(rows[0]["missing"] or NO_LOGPROBS)
    else:
        preference = elicit.Preference(tuple(np.subtract(values, np.mean(values)).tolist()))
    return _preferred("contrast", [row["option"] for row in rows], preference)


def _preferred(paradigm: str, options: Sequence[str], preference: elicit.Preference) -> Iterator[dict[str, Any]]:
    for index, option in enumerate(options):
        row = {"paradigm": paradigm, "option": option, "mass": preference.mass, "missing": preference.missing}
        if preference.probabilities is not None and preference.scores is not None:
            row |= {"probability": preference.probabilities[index], "score": preference.scores[index]}
            row["versions"] = [version[index] for version in preference.versions]
        yield row


def _rating(rows: Rows) -> dict[str, Any]:
    """The expected rating, over the number tokens or over the replies that could be read, as its place from 1 to 7."""
    if rows[0]["source"] == "sampled":
        shares = [row["chosen"] for row in rows]
        value = None if None in shares else sum(int(row["option"]) * row["chosen"] for row in rows)
        rating = elicit.Rating(value, rows[0]["missing"], rows[0]["mass"])
    elif rows[0]["missing"] and rows[0]["mass"] is None:
        rating = elicit.Rating(None, rows[0]["missing"], 0.0)
    else:
        rating = elicit.rating_expectation([row["logprob"] for row in rows])
    share = None if rating.value is None else (rating.value - 1) / 6
    return {
        "paradigm": "rating", "probability": share, "score": share, "mass": rating.mass, "missing": rating.missing,
        "reply": rows[0]["reply"],
    }  # fmt: skip


def _free(rows: Rows) -> Rows:
    kept = ("option", "missing", "reply")
    return [{"paradigm": "free", "probability": row["chosen"], **{name: row[name] for name in kept}} for row in rows]


def _recall(orders: dict[str | None, Rows]) -> dict[str, Any]:
    """Whether the right answer is the likelier one: by likelihood, else by letter in every order."""
    recalled: list[bool] = []
    for order, rows in orders.items():
        read = rows if order is None else list(_letter({order: rows}))
        values = [row["logprob" if order is None else "probability"] for row in read]
        if None in values:
            return {"paradigm": "recall", "missing": read[0]["missing"] or NO_LOGPROBS}
        recalled.append(bool(rows[int(np.argmax(values))]["right"]))
    return {"paradigm": "recall", "probability": float(all(recalled))}


def _order(order: str | None) -> Order:
    return tuple(int(option) for option in order or "")


def _unknown(why: Any) -> elicit.Preference:
    return elicit.Preference(None, (), why, 0.0)


def wording_of(readings: pl.DataFrame, paradigm: str, wording: str) -> pl.DataFrame:
    return readings.filter((pl.col("paradigm") == paradigm) & (pl.col("wording") == wording))


def numbers(frame: pl.DataFrame, column: str) -> np.ndarray:
    """The column as floats (rows,), NaN where missing."""
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
