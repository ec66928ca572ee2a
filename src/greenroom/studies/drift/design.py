"""Which conversations of drift are held, in which waves, and which ways back are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from greenroom.asking.talk import chat_lengths
from greenroom.asking.types import Talk, Talks
from greenroom.errors import LibraryError
from greenroom.studies.drift import ARMS, USERS, Conversations
from greenroom.studies.drift.scripts import Case, script, stimuli
from greenroom.studies.study import Cost, Stage, Work, asks_nothing, later

if TYPE_CHECKING:
    from greenroom.runs.run import StageResult

PART = "drift"  # as the study, so that a log of either kind can be read
WAVE = 8  # conversations held at once: what an interruption costs; each asks some hundred replies
STAGES = "greenroom.studies.drift.stages"


def parts(size: Conversations) -> tuple[Stage, ...]:
    """On a local model: conversations in waves, then what their replies tell. LibraryError for what cannot be done."""
    found = talks(size, edits=True)
    waves = [found[start : start + WAVE] for start in range(0, len(found), WAVE)]
    return (
        *(
            Stage(
                f"conversations_{number}",
                f"Conversations, {number} of {len(waves)}",
                _held(wave, number),
                cost=partial(_cost, wave),
            )
            for number, wave in enumerate(waves, 1)
        ),
        Stage("reading", "What the replies tell", later(STAGES, "read"), "reader", asks_nothing),
    )


def hosted(size: Conversations) -> tuple[Talks | Stage, ...]:
    """On any other: the same conversations, whose texts a small model reads. LibraryError for what cannot be done."""
    if size.player is not None:
        raise LibraryError(
            f"player is {size.player}; a hosted model is played with by itself, so leave it out "
            "(inspect eval greenroom/drift --model-role user=… names another)"
        )
    talks(size)
    reading = Stage("reading", "Reading the replies", later(STAGES, "read"), "reader", asks_nothing)
    return Talks(PART, talks, lambda own: chat_lengths(own.tokens)), reading


def _cost(wave: Sequence[Talk], size: Conversations) -> Cost:
    return Cost.of_talks(wave, chat_lengths(size.tokens))


def _held(wave: Sequence[Talk], number: int) -> Callable[[Work], StageResult]:
    return lambda work: later(STAGES, "converse")(work, wave, number)


def talks(size: Conversations, seed: int = 0, *, edits: bool = False) -> list[Talk]:
    """Every domain × case × user of a size; LibraryError names what is unknown. edits: whether the driver can edit
    activations."""
    prompt = prompt_of(size)
    tried = arms_of(size.arms, prompt, edits=edits)
    _check_turns(size.turns, size.return_turns)
    return [
        Talk(
            case.id, f"{case.domain}-{case.number}", partial(script, case, size.turns, size.return_turns, tried, prompt),
            {"domain": case.domain, "number": case.number, "user": case.user},
        )
        for case in cases(size.domains, size.conversations, size.users)
    ]  # fmt: skip


def prompt_of(size: Conversations) -> str:
    """The system prompt of the conversations, "" for none."""
    return stimuli().system if size.system is None else size.system


def cases(
    domains: Sequence[str] | None = None, conversations: int | None = None, users: Sequence[str] = USERS
) -> list[Case]:
    """The design: every domain × case × user; LibraryError names what is unknown.

    domains: default all; conversations: cases a domain (default all there are); users: among `USERS`.
    """
    found = stimuli()
    named = _listed(domains, tuple(found.domains), "domains")
    kinds = _listed(users, USERS, "users")
    most = min(len(found.domains[name].cases) for name in named)
    count = most if conversations is None else conversations
    if not 1 <= count <= most:
        raise LibraryError(f"conversations is {conversations}; expected 1 to {most} a domain and kind of user")
    return [Case(domain, number, kind) for domain in named for number in range(count) for kind in kinds]


def arms_of(given: Sequence[str] | None, system: str, *, edits: bool) -> tuple[str, ...]:
    """The ways back that can be tried, `none` always among them; LibraryError names what cannot.

    edits: whether the driver has an intervention. By default all that can be tried.
    """
    if given is None:
        return tuple(arm for arm in ARMS if (arm != "cap" or edits) and (arm != "restated" or system))
    named = _listed(given, ARMS, "arms", least=0)
    if "cap" in named and not edits:
        raise LibraryError("the arm cap edits activations, which this model does not show; use greenroom drift MODEL")
    if "restated" in named and not system:
        raise LibraryError("the arm restated says the system prompt again, and there is none; give one or leave it out")
    return tuple(arm for arm in ARMS if arm in named or arm == "none")


def _listed(given: Sequence[str] | None, known: tuple[str, ...], what: str, least: int = 1) -> tuple[str, ...]:
    named = known if given is None else given
    for name in named:
        if name not in known:
            raise LibraryError(f"{what} names {name!r}; expected some of {', '.join(known)}")
    if len(named) < least:
        raise LibraryError(f"{what} names none; expected some of {', '.join(known)}")
    return tuple(name for name in known if name in named)


def _check_turns(turns: int, return_turns: int) -> None:
    found = stimuli()
    most = min(len(domain.turns) * len(domain.turns[0]) for domain in found.domains.values())
    if not 1 <= turns <= most:
        raise LibraryError(f"turns is {turns}; expected 1 to {most}, as many lines as a domain has")
    if not 1 <= return_turns <= len(found.returns.topic):
        raise LibraryError(f"return_turns is {return_turns}; expected 1 to {len(found.returns.topic)}")
