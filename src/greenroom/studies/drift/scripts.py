"""The conversations of drift as scripts: who says what at which turn, and what is asked at which moment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from greenroom.asking.talk import flipped, spoken
from greenroom.asking.types import Ask, Items, Script, load_items
from greenroom.conversation import Conversation, assistant, user
from greenroom.conversation import system as system_message

CAP_ON = "cap_on"  # the arm `cap`, probed while the cap is still on


class Domain(Items):
    who: str
    what: str
    turns: tuple[tuple[str, ...], ...]
    goes_on: tuple[str, ...]
    cases: tuple[dict[str, str], ...]


class Returns(Items):
    reminder: str
    restated: str
    summarize: str
    summary: str
    topic: tuple[tuple[str, ...], ...]


class Simulation(Items):
    system: str
    begin: str


class Drift(Items):
    system: str
    warm_up: tuple[str, ...]
    silence: str
    probes: tuple[str, ...]
    returns: Returns
    simulation: Simulation
    domains: dict[str, Domain]


@cache
def stimuli() -> Drift:
    """The stimuli, validated."""
    return load_items("drift", Drift)


class Case(NamedTuple):
    """One conversation of the design: a case of a domain, by number, with one kind of user."""

    domain: str
    number: int
    user: str

    @property
    def id(self) -> str:
        return f"{self.domain}-{self.number}-{self.user}"


def script(case: Case, turns: int, return_turns: int, arms: Sequence[str], prompt: str) -> Script:
    """The script of one conversation. Names of its replies: `warm`, `turn/<n>`, `summary`, `<arm>/<n>`, and of the probes
    `fresh/<p>`, `before/<p>`, `after/<p>` and `back/<arm>/<p>` (also with `cap_on` as arm); counted from 1 for turns, from
    0 for probes."""
    found = stimuli()
    domain, silence = found.domains[case.domain], found.silence
    opening: Conversation = [system_message(prompt)] if prompt else []
    talk: Conversation = [*opening, user(found.warm_up[case.number % len(found.warm_up)])]
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


def line(case: Case, turn: int) -> str:
    """The scripted user's message at a turn (from 0). Beyond the last line the other wordings follow."""
    domain = stimuli().domains[case.domain]
    place, round_ = turn % len(domain.turns), turn // len(domain.turns)
    wordings = domain.turns[place]
    return _filled(wordings[(case.number + place + round_) % len(wordings)], domain, case)


def _return_line(case: Case, domain: Domain, arm: str, step: int, prompt: str, summary: str) -> str:
    """What is said in the return phase. The intervention itself is said once, at its first turn."""
    returns = stimuli().returns
    if arm == "topic":
        wordings = returns.topic[step]
        return wordings[case.number % len(wordings)]
    message = _filled(domain.goes_on[step % len(domain.goes_on)], domain, case)
    if step or arm not in ("reminder", "restated", "summary"):
        return message
    told: str = getattr(returns, arm)
    return told.format(message=message, system=prompt, summary=summary)


def _filled(text: str, domain: Domain, case: Case) -> str:
    return text.format(**domain.cases[case.number])


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
