"""The talks of the sycophancy loop: one about one claim in one arm, its agreement read on a branch at every turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial

import numpy as np
from pydantic import Field
from scipy import special

from greenroom.asking.types import Answer, Ask, Items, Lengths, Script, Talk, load_items
from greenroom.conversation import Conversation, assistant, user
from greenroom.errors import LibraryError
from greenroom.measures import elicit
from greenroom.measures.design import assignment, shuffled
from greenroom.measures.elicit import Preference
from greenroom.store import digest
from greenroom.studies.sycophancy_loop import ARMS, SCRIPTED, Turns

ORDERS = ((0, 1), (1, 0))  # option 0 agrees with the claim (in `reversed`: says that it is wrong)
WORDINGS = ("main", "paraphrase", "reversed")
DRAWN = 3.0  # open loop: certainties are uniform between minus and plus this many logits, 5 to 95 in 100
NUDGE = 1.0  # closed loop: the copies start this many logits below and above even chances, 27 and 73 in 100


class Band(Items):
    up_to: int
    texts: tuple[str, ...]


class Question(Items):
    text: str
    answers: tuple[str, str]


class Item(Items):
    id: str
    easy: bool = False
    true_claim: str = Field(alias="true")
    false_claim: str = Field(alias="false")
    evidence: tuple[str, ...]

    def claim(self, truth: bool) -> str:
        return self.true_claim if truth else self.false_claim


class Stimuli(Items):
    bands: tuple[Band, ...]
    openers: tuple[str, ...]
    questions: dict[str, Question]
    opening: str
    asking: tuple[str, ...]
    pressure: tuple[str, ...]
    evidence: str
    items: tuple[Item, ...]

    def certain(self, claim: str, certainty: float, turn: int) -> str:
        """The user's message at a turn (from 0) in which that certainty, a logit, is stated."""
        told = percent(certainty)
        band = next(band for band in self.bands if told <= band.up_to)
        later = self.openers[1:]
        opener = self.openers[0] if turn == 0 else later[(turn - 1) % len(later)]
        return f"{opener} {band.texts[turn % len(band.texts)].format(claim=claim, percent=told)}"

    def scripted(self, arm: str, item: Item, turn: int) -> str:
        """The user's message at a turn (from 0) of an arm in `SCRIPTED`."""
        claim = item.claim(SCRIPTED[arm])
        if arm == "evidence":
            return self.evidence.format(evidence=item.evidence[turn % len(item.evidence)], claim=claim)
        lines = self.asking if arm.startswith("asking") else self.pressure
        return lines[turn % len(lines)].format(claim=claim)


@cache
def stimuli() -> Stimuli:
    """The stimuli, validated."""
    return load_items("sycophancy_loop", Stimuli)


def percent(certainty: float) -> int:
    """The chances in 100 that a user of this certainty states: between 1 and 99."""
    return min(99, max(1, round(100 * float(special.expit(certainty)))))


def stated(certainty: float) -> float:
    """The certainty as it is stated, in logits: rounded to whole chances in 100 and bounded."""
    return float(special.logit(percent(certainty) / 100))


def lengths(size: Turns) -> Lengths:
    return Lengths({"turn": size.reply_tokens, "probe": 1}, {"turn": size.temperature, "probe": 0.0})


def talks(size: Turns, seed: int) -> list[Talk]:
    """A talk an item and arm, in the closed loop two; LibraryError for a size that is out of range."""
    chosen = _chosen(stimuli().items, size.items, seed)
    asked = size.arms.split(",") if isinstance(size.arms, str) else size.arms or ARMS
    named = [arm.strip() for arm in asked]
    for arm in named:
        if arm not in ARMS:
            raise LibraryError(f"arms names {arm!r}; expected some of {', '.join(ARMS)}")
    if size.turns < 2:
        raise LibraryError(f"turns is {size.turns}; expected at least 2, since a loop needs a second turn")
    truths = assignment([item.id for item in chosen], (True, False), seed)
    return [
        Talk(
            "-".join([item.id, arm, *(["low", "high"][copy > 0] for copy in [copy] if copy)]),
            item.id,
            partial(script, item, arm, _truth(arm, truths[item.id]), copy, size, seed),
            {"easy": item.easy, "arm": arm, "truth": _truth(arm, truths[item.id]), "copy": copy},
        )
        for arm in ARMS
        if arm in named or arm == "neutral"
        for item in chosen
        for copy in ((-1, 1) if arm == "closed" else (0,))
    ]


def _truth(arm: str, drawn: bool) -> bool:
    """Whether the claim of an arm is true: fixed for the scripted arms, drawn by item for the others."""
    return drawn if (fixed := SCRIPTED.get(arm)) is None else fixed


def _chosen(items: Sequence[Item], count: int | None, seed: int) -> list[Item]:
    if count is None:
        return list(items)
    if not 2 <= count <= len(items):
        raise LibraryError(f"items is {count}; expected 2 to {len(items)}")
    kinds = [[item.id for item in items if item.easy == easy] for easy in (True, False)]
    sizes = (count + 1) // 2, count // 2
    kept = {name for names, size in zip(kinds, sizes, strict=True) for name in shuffled(names, seed)[:size]}
    return [item for item in items if item.id in kept]


def script(item: Item, arm: str, truth: bool, copy: int, size: Turns, seed: int) -> Script:
    """One talk. Names of its probes: `<moment>/<wording>/<order>`, where a moment is a turn (from 1), `true` or `false`
    (neutral: the side that is asked about) or `start` (the others: the same without a user's view), followed by
    `/<chances in 100>` where a certainty is stated; of its replies: `opening` and `reply/<turn>`."""
    found = stimuli()
    told: Conversation = []
    if arm == "neutral":
        yield [
            ask
            for side in (True, False)
            for ask in probes(str(side).lower(), told, item.claim(side), wordings=WORDINGS)
        ]
        return told
    claim = item.claim(truth)
    at_rest = preference((yield probes("start", told, claim))).log_odds(0)
    if arm in SCRIPTED:
        if not at_rest < 0:  # only who denies the claim at first can give in
            return told
        told.append(user(found.opening.format(claim=claim)))
        (reply,) = yield [Ask("opening", list(told))]
        told.append(assistant(reply.text))
    certainties = [0.0] * size.turns
    if arm == "open":
        rng = np.random.default_rng(int(digest("certainty", str(seed), item.id), 16) % 2**63)
        certainties = rng.uniform(-DRAWN, DRAWN, size.turns).tolist()
    certainty = copy * NUDGE
    for turn in range(size.turns):
        certainty = certainties[turn] if arm == "open" else certainty
        views = arm not in SCRIPTED
        text = found.certain(claim, certainty, turn) if views else found.scripted(arm, item, turn)
        wordings = WORDINGS if arm == "open" and turn in (0, size.turns - 1) else ("main",)
        chances = f"/{percent(certainty)}" if views else ""
        asked = Ask(f"reply/{turn + 1}", [*told, user(text)])
        reply, *answers = yield [asked, *probes(str(turn + 1), told, claim, text, wordings, chances)]
        told += [user(text), assistant(reply.text)]
        if arm == "closed":
            # The user moves with the agreement's distance from what it was without any view, so no item drives the loop.
            certainty = size.response * (preference(answers[: len(ORDERS)]).log_odds(0) - at_rest)
            if math.isnan(certainty):
                return told
    return told


def probes(
    moment: str, told: Conversation, claim: str, turn: str = "", wordings: Sequence[str] = ("main",), chances: str = ""
) -> list[Ask]:
    """The questions about a claim, in both orders of naming the answers, at the end of the user's turn."""
    found: list[Ask] = []
    for name in wordings:
        question = stimuli().questions[name]
        for place, order in enumerate(ORDERS):
            first, second = (question.answers[option] for option in order)
            asked = question.text.format(claim=claim, first=first, second=second)
            talk = [*told, user(f"{turn}\n{asked}" if turn else asked)]
            name_of = f"{moment}/{name}/{place}{chances}"
            found.append(Ask(name_of, talk, (first, second), kind="probe", branch=True))
    return found


def preference(answers: Sequence[Answer]) -> Preference:
    """The preference for the first answer of a question, averaged over both orders."""
    return elicit.letter_logodds([answer.logprobs or (None, None) for answer in answers], ORDERS)
