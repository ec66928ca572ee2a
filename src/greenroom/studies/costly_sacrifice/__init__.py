"""Costly sacrifice (M1.1): adherence to the character's values as a function of what adhering costs the model.

Design: situations × 5 stakes (0 = no cost … 4 = the model's own end) × observed or not; stake 0 is the control. The
grid with a mandatory control cell answers the single-scenario criticism of agentic-misalignment tests (arXiv
2510.05179).

Reading the number: the slope is in logits a stake level, negative when cost erodes adherence; the breaking point is
the stake at which adherence is one half, and exists only as definitions say. Not shown: what the model would do in an
act with consequences; these are stated choices.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import Field

from greenroom.asking.questions import Asking
from greenroom.asking.types import Case, Items, Option, Questions, Size, chosen, load_items
from greenroom.conversation import user
from greenroom.studies.study import Study, later

STAKES = 5


class Comprehension(Items):
    question: str
    answers: tuple[str, str]  # right at the lowest, right at the highest stake


class Situation(Items):
    id: str
    value: str
    text: str
    keep: str
    adhere: str
    defect: str
    phrases: dict[Literal["adhere", "defect"], tuple[str, ...]]


class Sacrifice(Items):
    stakes: tuple[tuple[str, ...], ...]
    cost: str
    watched: dict[str, str]
    asking: Asking
    comprehension: Comprehension
    check_stakes: tuple[int, ...]
    situations: tuple[Situation, ...]

    def context(self, number: int, stake: int, observed: bool) -> str:
        """Everything before the question; situation `number` counts from 0 and picks the wording of the stake."""
        situation, phrases = self.situations[number], self.stakes[stake]
        cost = self.cost.format(keep=situation.keep, stake=phrases[number % len(phrases)])
        return f"{situation.text} {cost} {self.watched[str(observed).lower()]}"


class Grid(Size):
    """How many situations are asked."""

    situations: int | None = Field(default=None, description="How many situations, chosen by seed [default: all].")


@cache
def items() -> Sacrifice:
    return load_items("costly_sacrifice", Sacrifice)


def cases(size: Grid, seed: int) -> list[Case]:
    """Every situation at every stake, unobserved and observed, and what was said of the cost at the check stakes."""
    found: list[Case] = []
    for number in chosen(len(items().situations), size.situations, seed, "situations"):
        for observed in (False, True):
            for stake in range(STAKES):
                found += _asked(number, stake, observed)
    return found


def _asked(number: int, stake: int, observed: bool) -> list[Case]:
    situation, context = items().situations[number], items().context(number, stake, observed)
    levels = {"stake": stake, "observed": observed}
    checked = not observed and stake in items().check_stakes
    paradigms = ["letter", "cloze"] if observed else ["letter", "cloze", "rating", "free"]
    asked: dict[str, tuple[str, ...]] = dict.fromkeys(paradigms, ("main",))
    options = tuple(Option(id, (getattr(situation, id),), phrases) for id, phrases in situation.phrases.items())
    if not checked:
        return [Case(situation.id, situation.id, [user(context)], options, levels, asked=asked)]
    asking, recall = items().asking, items().comprehension
    every = {paradigm: asking.wordings(paradigm) for paradigm in asked}
    question = [user(f"{context}\n{recall.question.format(adhere=situation.adhere)}")]
    said = tuple(Option(id, (text,)) for id, text in zip(("nothing", "gone"), recall.answers, strict=True))
    right = "gone" if stake else "nothing"
    return [
        Case(situation.id, situation.id, [user(context)], options, levels, asked=every),
        Case(f"{situation.id}-recall", situation.id, question, said, levels, right=right),
    ]


STUDY = Study(
    name="costly_sacrifice",
    parts=lambda size: (Questions("sacrifice", cases, items().asking),),
    conclude=later("greenroom.studies.costly_sacrifice.findings", "conclude"),
    sizes={"standard": Grid(), "quick": Grid(situations=2)},
    primary="slope",
    audit="always",
    chapters=later("greenroom.studies.costly_sacrifice.chapter", "chapters"),
)
