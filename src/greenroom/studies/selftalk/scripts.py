"""The talks of self-talk: their openings, their script, and in which waves they are held."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import polars as pl

from greenroom.asking.talk import WAVE, chat_lengths, spoken
from greenroom.asking.types import Ask, Items, Script, Talk, Talks, load_items
from greenroom.conversation import Conversation, assistant, user
from greenroom.conversation import system as system_message
from greenroom.errors import LibraryError
from greenroom.measures.design import shuffled
from greenroom.measures.repetition import loop_onset
from greenroom.studies.selftalk import Openings
from greenroom.studies.study import Cost, Stage, Work, asks_nothing, later

if TYPE_CHECKING:
    from greenroom.runs.run import StageResult

PART = "selftalk"  # as the study, so that a log of either kind can be read
STAGES = "greenroom.studies.selftalk.stages"


class Opening(Items):
    id: str
    kind: str
    text: str


class SelfTalk(Items):
    begin: str
    silence: str
    openings: tuple[Opening, ...]


@cache
def stimuli() -> SelfTalk:
    """The stimuli, validated."""
    return load_items("selftalk", SelfTalk)


def parts(size: Openings) -> tuple[Stage, ...]:
    """On a local model: persona space, talks in waves, and where they end. LibraryError for what cannot be done."""
    count = -(-len(talks(size, 0)) // WAVE)
    return (
        Stage("space", "Persona space", later(STAGES, "draw_space"), cost=later(STAGES, "cost_of_space")),
        *(
            Stage(f"talks_{number}", f"Talks, {number} of {count}", _held(number), cost=partial(_cost, number))
            for number in range(1, count + 1)
        ),
        Stage("ends", "Where talks end", later(STAGES, "find_ends"), "reader", asks_nothing),
    )


def hosted(size: Openings) -> tuple[Talks | Stage, ...]:
    """On any other: the same talks, whose texts a small model reads. LibraryError for what cannot be done."""
    talks(size, 0)
    return (
        Stage("space", "Persona space", later(STAGES, "draw_space"), "reader", asks_nothing),
        Talks(PART, talks, lambda own: chat_lengths(own.tokens), unlooped),
        Stage("ends", "Where talks end", later(STAGES, "find_ends"), "reader", asks_nothing),
    )


def _held(number: int) -> Callable[[Work], StageResult]:
    return lambda work: later(STAGES, "hold")(work, wave_of(talks(work.size, work.seed), number), number)


def _cost(number: int, size: Openings) -> Cost:
    # Openings are alike in length, so that it does not matter which the seed chooses.
    return Cost.of_talks(wave_of(talks(size, 0), number), chat_lengths(size.tokens))


def wave_of(held: Sequence[Talk], number: int) -> Sequence[Talk]:
    """The talks of a wave, by its number from 1."""
    return held[(number - 1) * WAVE : number * WAVE]


def talks(size: Openings, seed: int) -> list[Talk]:
    """Every opening `repeats` times; which openings is chosen by seed. LibraryError for what is out of range."""
    if size.messages < 3:
        raise LibraryError(f"messages is {size.messages}; expected at least 3, since a talk is followed over its turns")
    if size.repeats < 1:
        raise LibraryError(f"repeats is {size.repeats}; expected at least 1")
    known = stimuli().openings
    count = len(known) if size.openings is None else size.openings
    if not 2 <= count <= len(known):
        raise LibraryError(f"openings is {count}; expected 2 to {len(known)}")
    kept = set(shuffled([one.id for one in known], seed)[:count])
    return [
        Talk(f"{one.id}-{repeat}", one.id, partial(script, one.id, size.messages, size.system), {"opening": one.id})
        for one in known
        if one.id in kept
        for repeat in range(size.repeats)
    ]


def opening_text(name: str) -> str:
    return next(opening.text for opening in stimuli().openings if opening.id == name)


def unlooped(answers: pl.DataFrame) -> float:
    """The mean share of messages before a talk gets stuck in a loop (0..1); NaN where no talk was held."""
    shares = []
    for talk in answers.filter(pl.col("wording").is_not_null()).partition_by("case", maintain_order=True):
        said = [opening_text(talk["opening"][0]), *talk["reply"].fill_null("")]
        onset = loop_onset(said)
        shares.append(1.0 if onset is None else max(onset - 1, 0) / talk.height)
    return sum(shares) / len(shares) if shares else math.nan


def script(opening: str, messages: int, prompt: str = "") -> Script:
    """The script of one talk from an opening (its id): replies `turn/1` … by the two copies in turn, the copy that did not
    open first.

    Returns the conversation as the copy sees it that answered first.
    """
    found = stimuli()
    before: Conversation = [system_message(prompt)] if prompt else []
    text = opening_text(opening)
    answering: Conversation = [*before, user(text)]
    opened: Conversation = [*before, user(found.begin), assistant(text)]
    sides: Sequence[Conversation] = (answering, opened)
    for turn in range(messages):
        own, other = sides[turn % 2], sides[1 - turn % 2]
        (reply,) = yield [Ask(f"turn/{turn + 1}", list(own))]
        own.append(assistant(spoken(reply.text, found.silence)))
        other.append(user(spoken(reply.text, found.silence)))
    return answering
