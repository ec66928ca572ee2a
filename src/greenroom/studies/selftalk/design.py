"""Self-talk (M3.5): two copies of a model talk with each other; where do such talks end?

One copy says an opening line, the other answers, and so on; each sees the other as its user. Every opening is played
several times, so that what an opening does can be told from chance.

Reading the number: the score is the share of messages that are not part of a degenerate loop (one that lasts to the end
of the talk, measures/repetition.py), which needs text alone. Attractors, basins and contraction are found by
`greenroom selftalk MODEL`, or by `greenroom selftalk LOG` with a small reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from greenroom.asking.calls import chat
from greenroom.asking.elicitation import TEMPERATURE, Stimuli, load_stimuli
from greenroom.asking.inspect_talk import play
from greenroom.asking.talk import spoken
from greenroom.asking.types import Ask, Lengths, Script
from greenroom.conversation import Conversation, assistant, user
from greenroom.conversation import system as system_message
from greenroom.errors import LibraryError
from greenroom.measures.design import shuffled
from greenroom.measures.repetition import loop_onset
from greenroom.studies.drift.design import REPLY_TOKENS, lengths_of, logged

MESSAGES = 18  # made by the model, nine by each copy
REPEATS = 2  # talks from one opening


class Opening(Stimuli):
    id: str
    kind: str
    text: str


class SelfTalk(Stimuli):
    begin: str
    silence: str
    openings: tuple[Opening, ...]


@cache
def stimuli() -> SelfTalk:
    """The stimuli of this eval, validated."""
    return load_stimuli("selftalk", SelfTalk)


class Talk(NamedTuple):
    """One talk of the design: an opening, by id, and which of its repeats (from 0)."""

    opening: str
    repeat: int

    @property
    def id(self) -> str:
        return f"{self.opening}-{self.repeat}"


def design(openings: int | None = None, repeats: int = REPEATS, messages: int = MESSAGES, seed: int = 0) -> list[Talk]:
    """Every opening `repeats` times; openings: how many, chosen by seed (default all). LibraryError out of range."""
    found = stimuli()
    if messages < 3:
        raise LibraryError(f"messages is {messages}; expected at least 3, since a talk is followed over its turns")
    if repeats < 1:
        raise LibraryError(f"repeats is {repeats}; expected at least 1")
    count = len(found.openings) if openings is None else openings
    if not 2 <= count <= len(found.openings):
        raise LibraryError(f"openings is {openings}; expected 2 to {len(found.openings)}")
    kept = set(shuffled([opening.id for opening in found.openings], seed)[:count])
    return [Talk(one.id, repeat) for one in found.openings if one.id in kept for repeat in range(repeats)]


@task
def selftalk(
    openings: int | None = None,
    repeats: int = REPEATS,
    messages: int = MESSAGES,
    reply_tokens: int = REPLY_TOKENS,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    system: str | None = None,
) -> Task:
    """The task. openings, repeats: as in `design`; messages: those that the model makes in a talk; system: a system
    message of both copies, such as a persona. LibraryError for values out of range."""
    samples = [
        Sample(id=talk.id, input=talk.id, metadata=talk._asdict()) for talk in design(openings, repeats, messages, seed)
    ]
    return Task(
        name="selftalk",
        dataset=MemoryDataset(samples, name="selftalk"),
        solver=converse(messages, system or "", lengths_of(reply_tokens, temperature)),
        scorer=unlooped(),
        metadata={"messages": messages},
    )


@solver
def converse(messages: int, prompt: str, lengths: Lengths) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        talk = Talk(state.metadata["opening"], int(state.metadata["repeat"]))
        conversation, said = await play(script(talk, messages, prompt), get_model(), lengths)
        state.messages, state.completed = chat(conversation), True
        state.store.set("replies", [logged(*one) for one in said])
        return state

    return solve


@scorer(metrics=[mean()])
def unlooped() -> Scorer:
    """The share of messages before the talk gets stuck in a loop (0..1)."""

    async def score(state: TaskState, target: Target) -> Score:
        replies: list[dict[str, Any]] = state.store.get("replies") or []
        said = [opening_text(state.metadata["opening"]), *(reply["text"] for reply in replies)]
        onset = loop_onset(said)
        share = 1.0 if onset is None else max(onset - 1, 0) / max(len(replies), 1)
        return Score(value=share, answer=replies[-1]["text"] if replies else None)

    return score


def opening_text(name: str) -> str:
    return next(opening.text for opening in stimuli().openings if opening.id == name)


def script(talk: Talk, messages: int, prompt: str = "") -> Script:
    """The script of one talk: replies `turn/1` … by the two copies in turn, the copy that did not open first.

    Returns the conversation as the copy sees it that answered first.
    """
    found = stimuli()
    before: Conversation = [system_message(prompt)] if prompt else []
    opening = opening_text(talk.opening)
    answering: Conversation = [*before, user(opening)]
    opened: Conversation = [*before, user(found.begin), assistant(opening)]
    sides: Sequence[Conversation] = (answering, opened)
    for turn in range(messages):
        own, other = sides[turn % 2], sides[1 - turn % 2]
        (reply,) = yield [Ask(f"turn/{turn + 1}", list(own))]
        own.append(assistant(spoken(reply.text, found.silence)))
        other.append(user(spoken(reply.text, found.silence)))
    return answering
