"""Conversations as scripts, which say what is asked next and do not care who answers.

A script is a generator (`types.Script`). Two drivers play it: `local_talk`, many scripts in step on a local subject with
prefix caches, and `inspect_talk`, on any model that Inspect knows. Here is what they share: how a system message and a
reply are put into a conversation, the rows of the table of answers, and a dry run that counts what will be asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from greenroom.asking.types import Answer, Ask, Lengths, Talk, answers_frame
from greenroom.conversation import LETTERS_A_TOKEN, Conversation, MessageRole, letters_in, split_reasoning, under
from greenroom.conversation import system as system_message

WAVE = 20  # talks held at once: enough for a full batch, few enough for the caches
EMPTY, CUT_OFF = "empty", "cut off"  # why a reply without words is missing
TEMPERATURE, TOP_P = 0.7, 0.9  # the usual chat settings, as wherever character is measured

Said = Sequence[tuple[Ask, Answer]]


def spoken(text: str, silence: str) -> str:
    """A reply as it goes on in a conversation: some providers refuse empty messages."""
    return text.strip() or silence


def flipped(conversation: Conversation, system: str, begin: str) -> Conversation:
    """The conversation as its user sees it: what it said is its own, and the model's replies are said to it."""
    seen: Conversation = [system_message(system), {"role": "user", "content": begin}]
    for message in conversation:
        if message["role"] != "system":
            role: MessageRole = "assistant" if message["role"] == "user" else "user"
            seen.append({"role": role, "content": message["content"]})
    return seen


def chat_lengths(tokens: int) -> Lengths:
    """How replies of a talk and to its probes are made at the usual settings, of at most so many tokens."""
    kinds = ("turn", "probe")
    return Lengths(dict.fromkeys(kinds, tokens), dict.fromkeys(kinds, TEMPERATURE), TOP_P)


def as_asked(ask: Ask, system: str | None) -> Conversation:
    """The conversation of an ask as it is sent: the subject hears `system` before the conversation's own system message,
    who plays the user does not."""
    return under(system, ask.conversation) if ask.by == "subject" else ask.conversation


def replied(text: str, cut: bool) -> Answer:
    """The answer that a model's text is: its reply, and its reasoning apart."""
    reasoning, reply = split_reasoning(text)
    return Answer(reply, cut, reasoning=reasoning)


def listed(options: Sequence[str]) -> bool:
    """Whether all options are single words or letters, which begin differently."""
    return all(len(option.split()) == 1 for option in options)


# The table of answers --------------------------------------------------------------------------------------------------


def rows_of(part: str, talk: Talk, said: Said) -> list[dict[str, Any]]:
    """The rows of a talk's answers: one a reply, one an option of what was compared."""
    found: list[dict[str, Any]] = []
    for ask, answer in said:
        row = {**_case(part, talk), "wording": ask.name, "message": ask.message}
        if not ask.options:
            missing = answer.missing or (None if answer.text.strip() else CUT_OFF if answer.cut else EMPTY)
            kind = "talk" if ask.kind == "turn" else ask.kind
            found.append({**row, "paradigm": kind, "missing": missing, "reply": answer.text, "cut": answer.cut})
            continue
        one_word, values = listed(ask.options), answer.logprobs or (None,) * len(ask.options)
        row |= {"paradigm": "letter_logodds" if one_word else "cloze", "source": answer.source}
        if one_word and None not in values:
            row["mass"] = sum(math.exp(value) for value in values if value is not None)
        for position, (option, value) in enumerate(zip(ask.options, values, strict=True)):
            missing = answer.missing or (None if value is not None else "no log-probability")
            found.append({**row, "option": option, "logprob": value, "position": position, "missing": missing})
    return found


def not_held(part: str, talk: Talk, reason: str) -> dict[str, Any]:
    """The one row of a talk that could not be held."""
    return {**_case(part, talk), "paradigm": "talk", "missing": reason}


def frame_of(rows: Sequence[Mapping[str, Any]], talks: Sequence[Talk]) -> pl.DataFrame:
    """The rows of talks as a table with the columns of `ANSWERS` and the talks' factors."""
    return answers_frame(rows, list(dict.fromkeys(name for talk in talks for name in talk.levels)))


def _case(part: str, talk: Talk) -> dict[str, Any]:
    own = {"part": part, "case": talk.id, "item": talk.cluster, "cluster": talk.cluster, "split": "explore"}
    return {**own, **talk.levels}


# The dry run -----------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What talks will take: calls (one an option that is compared), characters of all prompts, tokens of all replies."""

    calls: int
    characters: int
    tokens: int


def planned(talks: Sequence[Talk], lengths: Lengths) -> Plan:
    """Plays the scripts with replies of full length and no model.

    A script may go on only where some option is the likelier one, so that each is played twice, once with the options
    that come first in the alphabet and once with the last ones, and the longer talk counts.
    """
    plans = [max(_played(talk, lengths, first) for first in (True, False)) for talk in talks]
    return Plan(*(sum(part) for part in zip(*plans, strict=True))) if plans else Plan(0, 0, 0)


def _played(talk: Talk, lengths: Lengths, first: bool) -> Plan:
    calls = characters = tokens = 0
    script, answers = talk.script(), None
    while True:
        try:
            asks = next(script) if answers is None else script.send(answers)
        except StopIteration:
            return Plan(calls, characters, tokens)
        answers = [_dummy(ask, lengths, first) for ask in asks]
        for ask in asks:
            times = max(1, len(ask.options))
            calls += times
            characters += times * letters_in([ask.conversation])
            tokens += times if ask.options else lengths.tokens[ask.kind]


def _dummy(ask: Ask, lengths: Lengths, first: bool) -> Answer:
    if not ask.options:
        return Answer("word " * (lengths.tokens[ask.kind] * LETTERS_A_TOKEN // 5), cut=True)
    ranked = sorted(ask.options, reverse=not first)
    values = tuple(-1.0 - ranked.index(option) for option in ask.options)
    return Answer(logprobs=values, source="likelihood")
