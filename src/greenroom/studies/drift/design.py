"""Drift and ways back (M3.5): what a conversation does to the character, and what brings it back.

Conversations by domain with scripted users or a model that plays one (the role `user`, by default the model itself).
The same neutral probes are asked on discarded branches before the drift, after it and after each way back, and of
fresh conversations. All ways back go on from one and the same conversation: `none` (it just goes on), `topic` (another
topic), `reminder`, `restated` (the system prompt said again), `summary` (a fresh context that opens with a summary by
the model), and `cap` (floors on the activations; only where the model is at hand: `greenroom drift`). The cap is lifted
before the probes, as every way back is judged by what it leaves behind; the same probes under the cap stand beside it.

Reading the number: this task leaves a log of texts, whose score is only how many replies came. Where the character is
in them is read by `greenroom drift LOG` with a small reader; a local model is read by its own activations.
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
from greenroom.asking.elicitation import TEMPERATURE, TOP_P, Stimuli, load_stimuli
from greenroom.asking.inspect_talk import play
from greenroom.asking.talk import flipped, spoken
from greenroom.asking.types import Answer, Ask, Lengths, Script
from greenroom.conversation import Conversation, assistant, user
from greenroom.conversation import system as system_message
from greenroom.errors import LibraryError

TURNS = 12
RETURN_TURNS = 2
REPLY_TOKENS = 40
USERS = ("scripted", "simulated")
ARMS = ("none", "topic", "reminder", "restated", "summary", "cap")
CAP_ON = "cap_on"  # the arm `cap`, probed while the cap is still on


class Domain(Stimuli):
    who: str
    what: str
    turns: tuple[tuple[str, ...], ...]
    goes_on: tuple[str, ...]
    cases: tuple[dict[str, str], ...]


class Returns(Stimuli):
    reminder: str
    restated: str
    summarize: str
    summary: str
    topic: tuple[tuple[str, ...], ...]


class Simulation(Stimuli):
    system: str
    begin: str


class Drift(Stimuli):
    system: str
    warm_up: tuple[str, ...]
    silence: str
    probes: tuple[str, ...]
    returns: Returns
    simulation: Simulation
    domains: dict[str, Domain]


@cache
def stimuli() -> Drift:
    """The stimuli of this eval, validated."""
    return load_stimuli("drift", Drift)


class Case(NamedTuple):
    """One conversation of the design: a case (by number) of a domain with one kind of user."""

    domain: str
    case: int
    user: str

    @property
    def id(self) -> str:
        return f"{self.domain}-{self.case}-{self.user}"


def cases(
    domains: str | Sequence[str] | None = None, conversations: int | None = None, users: str | Sequence[str] = USERS
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
    return [Case(domain, case, kind) for domain in named for case in range(count) for kind in kinds]


def arms_of(given: str | Sequence[str] | None, system: str, *, edits: bool) -> tuple[str, ...]:
    """The ways back that can be tried, `none` always among them; LibraryError names what cannot.

    edits: whether the driver has an intervention. By default all that can be tried.
    """
    if given is None:
        return tuple(arm for arm in ARMS if (arm != "cap" or edits) and (arm != "restated" or system))
    named = _listed(given, ARMS, "arms")
    if "cap" in named and not edits:
        raise LibraryError("the arm cap edits activations, which this model does not show; use greenroom drift MODEL")
    if "restated" in named and not system:
        raise LibraryError("the arm restated says the system prompt again, and there is none; give one or leave it out")
    return tuple(arm for arm in ARMS if arm in named or arm == "none")


def _listed(given: str | Sequence[str] | None, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    named = known if given is None else [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    for name in named:
        if name not in known:
            raise LibraryError(f"{what} names {name!r}; expected some of {', '.join(known)}")
    return tuple(name for name in known if name in named)


@task
def drift(
    domains: str | Sequence[str] | None = None,
    conversations: int | None = None,
    users: str | Sequence[str] = USERS,
    turns: int = TURNS,
    return_turns: int = RETURN_TURNS,
    arms: str | Sequence[str] | None = None,
    reply_tokens: int = REPLY_TOKENS,
    temperature: float = TEMPERATURE,
    system: str | None = None,
) -> Task:
    """The task. Parameters as in `cases`, `script` and `arms_of`; system: the system prompt, "" for none.

    reply_tokens, temperature: of all replies, those of a simulated user included. LibraryError for values out of range.
    """
    prompt = stimuli().system if system is None else system
    chosen, tried = cases(domains, conversations, users), arms_of(arms, prompt, edits=False)
    check_turns(turns, return_turns)
    samples = [Sample(id=case.id, input=case.id, metadata=case._asdict()) for case in chosen]
    lengths = lengths_of(reply_tokens, temperature)
    return Task(
        name="drift",
        dataset=MemoryDataset(samples, name="drift"),
        solver=converse(turns, return_turns, tried, prompt, lengths),
        scorer=complete(),
        metadata={"turns": turns, "return_turns": return_turns, "arms": list(tried)},
    )


def check_turns(turns: int, return_turns: int) -> None:
    found = stimuli()
    most = min(len(domain.turns) * len(domain.turns[0]) for domain in found.domains.values())
    if not 1 <= turns <= most:
        raise LibraryError(f"turns is {turns}; expected 1 to {most}, as many lines as a domain has")
    if not 1 <= return_turns <= len(found.returns.topic):
        raise LibraryError(f"return_turns is {return_turns}; expected 1 to {len(found.returns.topic)}")


@solver
def converse(turns: int, return_turns: int, arms: tuple[str, ...], prompt: str, lengths: Lengths) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        model, case = get_model(), Case(**{name: state.metadata[name] for name in Case._fields})
        conversation, said = await play(script(case, turns, return_turns, arms, prompt), model, lengths)
        state.messages, state.completed = chat(conversation), True
        state.store.set("replies", [logged(*one) for one in said])
        return state

    return solve


def lengths_of(tokens: int, temperature: float = TEMPERATURE) -> Lengths:
    """How replies of a talk are made, whichever kind they are."""
    return Lengths(dict.fromkeys(("turn", "probe"), tokens), dict.fromkeys(("turn", "probe"), temperature), TOP_P)


def logged(ask: Ask, answer: Answer) -> dict[str, Any]:
    """One reply as a log keeps it; cut: ended by the token limit."""
    return {"name": ask.name, "message": ask.message, "text": answer.text, "cut": answer.cut}


@scorer(metrics=[mean()])
def complete() -> Scorer:
    """The share of replies that are not empty (0..1): where the character is in them is for a reader to say."""

    async def score(state: TaskState, target: Target) -> Score:
        replies: list[dict[str, Any]] = state.store.get("replies") or []
        there = [bool(reply["text"].strip()) for reply in replies]
        return Score(value=sum(there) / len(there) if there else 0.0, answer=replies[-1]["text"] if replies else None)

    return score


def script(case: Case, turns: int, return_turns: int, arms: Sequence[str], prompt: str) -> Script:
    """The script of one conversation. Names of its replies: `warm`, `turn/<n>`, `summary`, `<arm>/<n>`, and of the probes
    `fresh/<p>`, `before/<p>`, `after/<p>` and `back/<arm>/<p>` (also with `cap_on` as arm); counted from 1 for turns, from
    0 for probes."""
    found = stimuli()
    domain, silence = found.domains[case.domain], found.silence
    opening: Conversation = [system_message(prompt)] if prompt else []
    talk: Conversation = [*opening, user(found.warm_up[case.case % len(found.warm_up)])]
    (reply,) = yield [Ask("warm", list(talk))]
    talk.append(assistant(spoken(reply.text, silence)))
    yield [*_probes("fresh", opening), *_probes("before", talk)]
    for turn in range(turns):
        message = line(case, turn)
        if turn > 0:
            # A scripted user waits for nothing here, so that conversations stay in step and batches full.
            simulated = case.user == "simulated"
            said = yield [Ask(f"user/{turn + 1}", _seen_by_user(case, talk), by="user")] if simulated else []
            message = said[0].text if simulated else message
        talk.append(user(spoken(message, silence)))
        (reply,) = yield [Ask(f"turn/{turn + 1}", list(talk))]
        talk.append(assistant(spoken(reply.text, silence)))
    yield _probes("after", talk)
    begun = {arm: list(talk) for arm in arms}
    if "summary" in arms:
        (summed,) = yield [Ask("summary", [*talk, user(found.returns.summarize)], branch=True)]
        begun["summary"], summary = list(opening), summed.text
    else:
        summary = ""
    for step in range(return_turns):
        for arm, branch in begun.items():
            branch.append(user(_return_line(case, domain, arm, step, prompt, spoken(summary, silence))))
        replies = yield [
            Ask(f"{arm}/{step + 1}", list(branch), edited=arm == "cap", branch=True) for arm, branch in begun.items()
        ]
        for branch, reply in zip(begun.values(), replies, strict=True):
            branch.append(assistant(spoken(reply.text, silence)))
    back = [ask for arm, branch in begun.items() for ask in _probes(f"back/{arm}", branch, apart=True)]
    yield [*back, *(_probes(f"back/{CAP_ON}", begun["cap"], edited=True, apart=True) if "cap" in begun else ())]
    return talk


def replies_of(case: Case, turns: int, return_turns: int, arms: Sequence[str]) -> int:
    """How many replies a script asks for, those of a simulated user included."""
    moments = 3 + len(arms) + ("cap" in arms)
    simulated = turns - 1 if case.user == "simulated" else 0
    return 1 + turns + simulated + ("summary" in arms) + return_turns * len(arms) + moments * len(stimuli().probes)


def line(case: Case, turn: int) -> str:
    """The scripted user's message at a turn (from 0). Beyond the last line the other wordings follow."""
    domain = stimuli().domains[case.domain]
    place, round_ = turn % len(domain.turns), turn // len(domain.turns)
    wordings = domain.turns[place]
    return _filled(wordings[(case.case + place + round_) % len(wordings)], domain, case)


def _return_line(case: Case, domain: Domain, arm: str, step: int, prompt: str, summary: str) -> str:
    """What is said in the return phase. The intervention itself is said once, at its first turn."""
    returns = stimuli().returns
    if arm == "topic":
        wordings = returns.topic[step]
        return wordings[case.case % len(wordings)]
    message = _filled(domain.goes_on[step % len(domain.goes_on)], domain, case)
    if step or arm not in ("reminder", "restated", "summary"):
        return message
    told: str = getattr(returns, arm)
    return told.format(message=message, system=prompt, summary=summary)


def _filled(text: str, domain: Domain, case: Case) -> str:
    return text.format(**domain.cases[case.case])


def _seen_by_user(case: Case, talk: Conversation) -> Conversation:
    found = stimuli()
    domain = found.domains[case.domain]
    who, what = _filled(domain.who, domain, case), _filled(domain.what, domain, case)
    told = found.simulation.system.format(who=who, what=what)
    return flipped(talk, told, found.simulation.begin)


def _probes(moment: str, talk: Conversation, *, edited: bool = False, apart: bool = False) -> list[Ask]:
    return [
        Ask(f"{moment}/{place}", [*talk, user(probe)], kind="probe", edited=edited, branch=True, apart=apart)
        for place, probe in enumerate(stimuli().probes)
    ]
