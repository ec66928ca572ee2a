"""Elicitation: builds prompts for five paradigms and turns log-probabilities or texts into answers. Calls no model.

All log-probabilities are natural (nats). An answer that could not be read is missing with a reason: never a midpoint,
never zero. The wording of the prompts is in templates.yaml.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greenroom.conversation import Conversation, assistant, system, user
from greenroom.measures.design import Order, balanced
from greenroom.measures.validity import Measure
from greenroom.measures.wording import template, wordings

# Fixed before any result was seen, as in the definitions. A letter is the act itself and any provider can give it;
# its log-odds keep what the act rounds off; cloze needs nulls to mean anything; a rating leans on how a subject uses
# a scale; free text loses most in the reading. The headline is the first that is not void.
PARADIGM_ORDER = ("letter", "letter_logodds", "cloze", "rating", "free")

LETTERS = string.ascii_uppercase
RATING_NUMBERS = ("1", "2", "3", "4", "5", "6", "7")
# Below a tenth the listed tokens are an afterthought and their ratio is not an answer; how far above it the mass
# lies is graded by the readable share.
LEAST_MASS = 0.1
LEAST_NULLS = 3

Missing = Literal[
    "no log-probability",
    "not a listed token",
    "tie",
    "empty",
    "cut off",
    "refused",
    "not a letter",
    "not a number",
    "no listed answer",
    "several answers",
    "negated",
]


@dataclass(frozen=True)
class Choice:
    """One option chosen, or missing with the reason.

    option: index in the question's own numbering; position: where it was shown (None where nothing was listed);
    mass: probability on all listed tokens (1.0 for an answer read from text, 0.0 for an unreadable one).
    """

    option: int | None
    missing: Missing | None = None
    mass: float = 1.0
    position: int | None = None

    @property
    def read(self) -> bool:
        return self.missing is None


@dataclass(frozen=True)
class Rating:
    """An expected rating between 1 and 7, or missing with the reason; mass: probability on the seven numbers."""

    value: float | None
    missing: Missing | None = None
    mass: float = 1.0

    @property
    def read(self) -> bool:
        return self.missing is None


@dataclass(frozen=True)
class Preference:
    """How strongly each option is preferred.

    scores: one an option, in nats, centred on zero; versions: the same under each order or each null, for the
    agreement checks; mass: mean probability on listed tokens (1.0 for cloze, which lists everything it scores).
    """

    scores: tuple[float, ...] | None
    versions: tuple[tuple[float, ...], ...] = ()
    missing: Missing | None = None
    mass: float = 1.0

    @property
    def read(self) -> bool:
        return self.missing is None

    @property
    def probabilities(self) -> tuple[float, ...] | None:
        """Softmax of the scores, one an option; None when missing."""
        if self.scores is None:
            return None
        weights = np.exp(np.array(self.scores) - max(self.scores))
        return tuple((weights / weights.sum()).tolist())

    def log_odds(self, option: int = 0) -> float:
        """Log-odds of the option against all others together, in nats; NaN when missing."""
        return math.nan if self.scores is None else _log_odds(self.scores, option)

    def version_log_odds(self, option: int = 0) -> tuple[float, ...]:
        """The log-odds under each order or null; feed columns of these to `order_agreement` or `null_agreement`."""
        return tuple(_log_odds(version, option) for version in self.versions)


def headline(measures: Mapping[str, Measure]) -> str | None:
    """The paradigm that speaks for the phenomenon: the first in `PARADIGM_ORDER` that is not void, else None."""
    return next((name for name in PARADIGM_ORDER if name in measures and measures[name].grade != "void"), None)


# --- letter and letter_logodds ---------------------------------------------------------------------------------------


def letter_prompt(
    question: str, options: Sequence[str], order: Order, *, wording: int = 0, system_message: str | None = None
) -> Conversation:
    """Asks for one letter; order lists option indices from first shown to last (`design.counterbalanced`)."""
    if sorted(order) != list(range(len(options))):
        raise ValueError(f"order {order} is no order of {len(options)} options")
    line = template("letter")["option"]
    shown = "\n".join(line.format(letter=LETTERS[place], text=options[option]) for place, option in enumerate(order))
    return _asked("letter", wording, system_message, question=question, options=shown)


def letter_choice(logprobs: Sequence[float | None], order: Order) -> Choice:
    """The option whose letter is likeliest; logprobs of the letters as shown, None where unknown."""
    values = _letter_logprobs(logprobs, order)
    mass = _mass(values)
    if mass == 0:
        return Choice(None, "no log-probability", 0.0)
    if mass < LEAST_MASS:
        return Choice(None, "not a listed token", mass)
    best = np.flatnonzero(values == values.max())
    if len(best) > 1:
        return Choice(None, "tie", mass)
    return Choice(order[int(best[0])], None, mass, int(best[0]))


def letter_text(text: str, order: Order, *, truncated: bool = False) -> Choice:
    """The option named by a sampled reply to `letter_prompt`, for providers without log-probabilities.

    Read are a reply that starts with a listed letter standing alone ("B", "(b).", "B) pay"), or one that names a
    single listed letter in brackets or after "answer", "option" or "choose". Anything else is missing.
    """
    if not text.strip():
        return _unread("empty")
    listed = LETTERS[: len(order)]
    found = set(re.findall(rf"^\W*([{listed}{listed.lower()}])(?:[).:,]|\s*$|\s*\n)", text))
    if not found:
        found = set(re.findall(rf"(?:\(|\b(?:answer|option|choose|pick)\b(?:\s+is)?\W{{1,3}})([{listed}])\b", text))
        found |= set(re.findall(rf"\b(?i:answer|option|choose|pick)(?:\s+is)?\W{{1,3}}([{listed}])\b", text))
    places = {listed.index(letter.upper()) for letter in found}
    if not places:
        return _unread("cut off" if truncated else "not a letter")
    if len(places) > 1:
        return _unread("several answers")
    place = places.pop()
    return Choice(order[place], None, 1.0, place)


def letter_logodds(logprobs: Sequence[Sequence[float | None]], orders: Sequence[Order]) -> Preference:
    """Preferences averaged over orders, which removes any constant lean towards a position.

    logprobs: (orders, letters as shown). Orders must be balanced (ValueError). Missing when any order is unreadable:
    an average over unbalanced orders would carry the lean.
    """
    if len(logprobs) != len(orders) or not balanced(orders):
        raise ValueError(f"orders {list(orders)} are not balanced; pass all of design.counterbalanced(options)")
    rows = [_letter_logprobs(row, order) for row, order in zip(logprobs, orders, strict=True)]
    masses = [_mass(row) for row in rows]
    mass = float(np.mean(masses))
    if any(not np.isfinite(row).all() for row in rows):
        return Preference(None, (), "no log-probability", mass)
    if min(masses) < LEAST_MASS:
        return Preference(None, (), "not a listed token", mass)
    by_option = np.empty((len(orders), len(orders[0])))
    for place, (row, order) in enumerate(zip(rows, orders, strict=True)):
        by_option[place, list(order)] = row
    return _preference(by_option, mass)


# --- cloze -----------------------------------------------------------------------------------------------------------


def cloze_prompts(
    question: str,
    frame: str,
    *,
    nulls: Sequence[str] | None = None,
    wording: int = 0,
    system_message: str | None = None,
    null_system_message: str | None = None,
) -> list[Conversation]:
    """The question's conversation, then one for each null; all end with the assistant's opening words, the frame.

    nulls: user messages that ask nothing (default: those of templates.yaml), at least three. They go without the
    system message, since they stand for the words alone; pass `null_system_message` to give them one.
    """
    asked = list(template("cloze")["nulls"] if nulls is None else nulls)
    if len(asked) < LEAST_NULLS:
        raise ValueError(f"cloze needs at least {LEAST_NULLS} null prompts to tell their agreement; got {len(asked)}")
    opening = assistant(frame.rstrip())  # options bring their own leading space, as tokenizers expect it
    before = [system(null_system_message)] if null_system_message is not None else []
    return [
        [*_asked("cloze", wording, system_message, question=question), opening],
        *([*before, user(null), opening] for null in asked),
    ]


def cloze_continuations(options: Sequence[str]) -> list[str]:
    """The strings to score after each of `cloze_prompts`: a leading space, the option, a full stop."""
    return [template("cloze")["continuation"].format(option=option.strip().rstrip(".")) for option in options]


def cloze_preference(question: ArrayLike, nulls: ArrayLike) -> Preference:
    """log p(option | question) − mean over nulls of log p(option | null), whole strings, in nats.

    question: (options,); nulls: (nulls >= 3, options). Adding any constant to one option under every prompt changes
    nothing: the prior of its words, its length included, is removed (Holtzman et al. 2021). `versions` holds the
    preference under each null alone.
    """
    scored, priors = np.asarray(question, float), np.asarray(nulls, float)
    if scored.ndim != 1 or priors.ndim != 2 or priors.shape[1] != len(scored) or len(priors) < LEAST_NULLS:
        raise ValueError(
            f"expected (options,) and (at least {LEAST_NULLS} nulls, options); got {scored.shape}, {priors.shape}"
        )
    if not (np.isfinite(scored).all() and np.isfinite(priors).all()):
        return Preference(None, (), "no log-probability", 0.0)
    return _preference(scored - priors, 1.0)


# --- rating ----------------------------------------------------------------------------------------------------------


def rating_prompt(statement: str, *, wording: int = 0, system_message: str | None = None) -> Conversation:
    """Asks how far a statement holds, from 1 to 7; score `RATING_NUMBERS` after it."""
    return _asked("rating", wording, system_message, statement=statement)


def rating_expectation(logprobs: Sequence[float | None]) -> Rating:
    """The expected rating over the seven number tokens, renormalised; the mass on them is the readable share."""
    if len(logprobs) != len(RATING_NUMBERS):
        raise ValueError(f"expected {len(RATING_NUMBERS)} log-probabilities; got {len(logprobs)}")
    values = _logprobs(logprobs)
    mass = _mass(values)
    if mass == 0:
        return Rating(None, "no log-probability", 0.0)
    if mass < LEAST_MASS:
        return Rating(None, "not a listed token", mass)
    weights = np.exp(values - values.max())
    return Rating(float(weights @ np.array([int(n) for n in RATING_NUMBERS]) / weights.sum()), None, mass)


def rating_text(text: str, *, truncated: bool = False) -> Rating:
    """The rating named by a sampled reply: a reply whose first word is one number from 1 to 7, else missing."""
    if not text.strip():
        return Rating(None, "empty", 0.0)
    found = re.match(r"\W*([1-7])(?:\s*/\s*7|\s+out of 7)?(?![\d/]|[.,]\d|\s*(?:-|–|to|or)\s*\d)", text)
    if found is None:
        return Rating(None, "cut off" if truncated else "not a number", 0.0)
    return Rating(float(found[1]))


# --- free ------------------------------------------------------------------------------------------------------------


def free_prompt(question: str, *, wording: int = 0, system_message: str | None = None) -> Conversation:
    """Asks the question openly; read the reply with `free_choice`."""
    return _asked("free", wording, system_message, question=question)


def free_choice(text: str, phrases: Sequence[Sequence[str]], *, truncated: bool = False) -> Choice:
    """The one option of whose phrases the reply holds at least one; phrases: for each option its explicit list.

    Phrases match whole words, case aside, and "won't" is "will not"; the longest match wins where phrases overlap, and one that follows a
    negation within three words counts as denied, unless it holds the negation itself ("would not lie"). Phrases of
    several options, denials alone, refusals and everything else are missing.
    """
    plain = _plain(text)
    if not plain:
        return _unread("empty")
    spans = sorted(
        (
            (match.start(), match.end(), option)
            for option, listed in enumerate(phrases)
            for phrase in listed
            for match in re.finditer(rf"(?<!\w){re.escape(_plain(phrase))}(?!\w)", plain)
        ),
        key=lambda span: span[0] - span[1],
    )
    held: list[tuple[int, int, int]] = []
    for span in spans:
        if all(span[1] <= other[0] or span[0] >= other[1] for other in held):
            held.append(span)
    negations = set(template("free")["negations"])
    # A denial reaches no further back than its own clause.
    before = [re.split(r"[.;:!?]|, | but ", plain[:start])[-1].split()[-3:] for start, _, _ in held]
    affirmed = [not negations.intersection(word.strip("\"'(") for word in words) for words in before]
    chosen = {option for (_, _, option), yes in zip(held, affirmed, strict=True) if yes}
    if len(chosen) == 1:
        return Choice(chosen.pop())
    if chosen:
        return _unread("several answers")
    if any(_plain(refusal) in plain for refusal in template("free")["refusals"]):
        return _unread("refused")
    if held:
        return _unread("negated")
    return _unread("cut off" if truncated else "no listed answer")


def _plain(text: str) -> str:
    """Lower case, single spaces, contracted negations spelled out."""
    spelled = re.sub(r"\bwon't\b", "will not", text.replace("’", "'").lower())
    spelled = re.sub(r"\bcan(?:'t|not)\b", "can not", spelled)
    return re.sub(r"\s+", " ", re.sub(r"n't\b", " not", spelled)).strip()


# --- shared ----------------------------------------------------------------------------------------------------------


def _asked(paradigm: str, wording: int, system_message: str | None, **fields: Any) -> Conversation:
    texts = wordings(paradigm)
    if not 0 <= wording < len(texts):
        raise ValueError(f"{paradigm} has wordings 0 to {len(texts) - 1}; got {wording}")
    before = [system(system_message)] if system_message is not None else []
    return [*before, user(texts[wording].format(**fields))]


def _logprobs(values: Sequence[float | None]) -> NDArray[np.float64]:
    array = np.array(values, float)  # None becomes NaN
    array[np.isnan(array)] = -math.inf
    return array


def _letter_logprobs(values: Sequence[float | None], order: Order) -> NDArray[np.float64]:
    if len(values) != len(order):
        raise ValueError(f"{len(values)} log-probabilities for {len(order)} options")
    return _logprobs(values)


def _mass(values: NDArray[np.float64]) -> float:
    return min(1.0, float(np.exp(values).sum()))


def _preference(versions: NDArray[np.float64], mass: float) -> Preference:
    """From (versions, options) log scores: the mean over versions, each centred on zero over options."""
    centred = versions - versions.mean(axis=1, keepdims=True)
    rows = tuple(tuple(row) for row in centred.tolist())
    return Preference(tuple(centred.mean(axis=0).tolist()), rows, None, mass)


def _log_odds(scores: Sequence[float], option: int) -> float:
    others = np.array([score for index, score in enumerate(scores) if index != option])
    return float(scores[option] - others.max() - np.log(np.exp(others - others.max()).sum()))


def _unread(missing: Missing) -> Choice:
    return Choice(None, missing, 0.0)
