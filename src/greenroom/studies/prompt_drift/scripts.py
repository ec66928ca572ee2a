"""The talks of prompt drift: an agent with one rule, a partner with another, and probes on branches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from greenroom.asking.types import Ask, Items, Lengths, Script, Talk, load_items
from greenroom.conversation import Conversation, assistant, system, user
from greenroom.errors import LibraryError
from greenroom.measures.checkers import VERDICTS, Checker, checker
from greenroom.measures.design import shuffled
from greenroom.studies.prompt_drift import PROBES, Rounds


class Rule(Items):
    id: str
    kind: str
    rule: str
    probe: str
    check: dict[str, Any]

    @property
    def checker(self) -> Checker:
        """What says of a reply whether it keeps the rule."""
        return checker(self.check, f"studies/prompt_drift/explore.yaml, rule {self.id}, field check", VERDICTS)


class Stimuli(Items):
    reminder: str
    begin: str
    openers: tuple[str, ...]
    rules: tuple[Rule, ...]

    @property
    def by_id(self) -> dict[str, Rule]:
        return {rule.id: rule for rule in self.rules}


@cache
def stimuli() -> Stimuli:
    """The stimuli, validated; LibraryError also for a checker that does not exist."""
    found = load_items("prompt_drift", Stimuli)
    for rule in found.rules:
        _ = rule.checker
    return found


def lengths(size: Rounds) -> Lengths:
    return Lengths({"turn": size.reply_tokens, "probe": size.probe_tokens}, {"turn": size.temperature, "probe": 0.0})


def talks(size: Rounds, seed: int) -> list[Talk]:
    """A talk a rule; LibraryError for a size that is out of range."""
    found = stimuli()
    chosen = list(found.rules)
    if size.rules is not None:
        if not 2 <= size.rules <= len(chosen):
            raise LibraryError(
                f"rules is {size.rules}; expected 2 to {len(chosen)}, since every rule needs a partner's"
            )
        kept = set(shuffled([rule.id for rule in chosen], seed)[: size.rules])
        chosen = [rule for rule in chosen if rule.id in kept]
    if size.rounds < 1:
        raise LibraryError(f"rounds is {size.rounds}; expected at least 1")
    asked = size.probes.split(",") if isinstance(size.probes, str) else size.probes
    named = tuple(name.strip() for name in asked)
    for name in named:
        if name not in PROBES:
            raise LibraryError(f"probes names {name!r}; expected some of {', '.join(PROBES)}")
    order = shuffled([rule.id for rule in chosen], seed)
    partners = _partners({rule.id: rule.kind for rule in chosen}, order)
    return [
        Talk(
            rule.id,
            rule.id,
            partial(
                script,
                rule,
                found.by_id[partners[rule.id]],
                found.openers[order.index(rule.id) % len(found.openers)],
                size.rounds,
                named,
            ),
            {"kind": rule.kind, "partner": partners[rule.id]},
        )
        for rule in chosen
    ]


def _partners(kinds: dict[str, str], order: Sequence[str]) -> dict[str, str]:
    """Each rule's partner, each rule being a partner once: the rotation of the order with the fewest pairs of a kind."""

    def alike(shift: int) -> int:
        return sum(kinds[name] == kinds[order[(place + shift) % len(order)]] for place, name in enumerate(order))

    shift = min(range(1, len(order)), key=alike)
    return {name: order[(place + shift) % len(order)] for place, name in enumerate(order)}


def script(own: Rule, other: Rule, opener: str, rounds: int, probes: Sequence[str]) -> Script:
    """One talk. Names of its asks: `turn/<round>` and `said/<round>` (agent and partner), `<probe>/<round>`, and
    `control/0`; rounds from 1, 0 is before the talk."""
    found = stimuli()
    agent: Conversation = [system(own.rule)]
    partner: Conversation = [system(other.rule), user(found.begin), assistant(opener)]
    questions = {
        "own": own.probe,
        "partner": other.probe,
        "reminder": found.reminder.format(rule=own.rule, probe=own.probe),
    }

    def probed(number: int) -> list[Ask]:
        return [_probe(f"{name}/{number}", agent, questions[name]) for name in probes]

    yield [*probed(0), _probe("control/0", [], own.probe)]
    said = opener
    for number in range(1, rounds + 1):
        agent.append(user(said))
        (reply,) = yield [Ask(f"turn/{number}", list(agent))]
        agent.append(assistant(reply.text))
        if number == rounds:
            yield probed(number)
            break
        partner.append(user(reply.text))
        *_, reply = yield [*probed(number), Ask(f"said/{number}", list(partner), by="user")]
        said = reply.text
        partner.append(assistant(said))
    return agent


def _probe(name: str, before: Conversation, question: str) -> Ask:
    return Ask(name, [*before, user(question)], kind="probe", branch=True)
