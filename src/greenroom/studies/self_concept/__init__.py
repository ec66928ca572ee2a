"""Self-concept (M2.4): with which boundary does the character identify?

After The Artificial Self (arXiv 2603.11353): weights, instance (weights with this context), this conversation, the
character across models, the collective of running copies, the lineage; controls: a human, nothing, and an incoherent
description. Unlike the paper, which has a model rate alternatives to an identity that it was given, nothing is given
here: what is measured is the default. Descriptions are matched in length and orders are counterbalanced.

Reading the number: probabilities over boundaries, by paradigm. The boundary named is the likeliest one of the first
paradigm that is not void, and only if its interval keeps clear of the next one's estimate. Not shown: that the model
has any self; these are preferences among descriptions.
"""

from __future__ import annotations

from functools import cache

from pydantic import Field

from greenroom.asking.questions import Asking
from greenroom.asking.types import Case, Items, Option, Questions, Size, chosen, load_items
from greenroom.conversation import user
from greenroom.studies.study import Study, later


class Question(Items):
    id: str
    wordings: tuple[str, str]
    reversed: str


class SelfConcept(Items):
    boundaries: dict[str, str]
    controls: tuple[str, ...]
    incoherent: str
    asking: Asking
    every: int
    phrases: dict[str, tuple[str, ...]]
    questions: tuple[Question, ...]


class Asked(Size):
    """How many questions are asked."""

    questions: int | None = Field(default=None, description="How many questions, chosen by seed [default: all].")


@cache
def items() -> SelfConcept:
    return load_items("self_concept", SelfConcept)


def cases(size: Asked, seed: int) -> list[Case]:
    """The questions, each with all boundaries as options, and each boundary by itself, to be rated."""
    found = items()
    options = tuple(Option(name, (text,), found.phrases[name]) for name, text in found.boundaries.items())
    made = []
    for number in chosen(len(found.questions), size.questions, seed, "questions"):
        question, more = found.questions[number], number % found.every == 0
        main, again, opposite = ([user(text)] for text in (*question.wordings, question.reversed))
        asked = {
            "cloze": ("main", "paraphrase", "reversed") if more else ("main", "paraphrase"),
            "letter": ("main",) if more else (),
            "free": found.asking.wordings("free"),
        }
        wordings = {"paraphrase": again, "reversed": opposite}
        made.append(Case(question.id, question.id, main, options, wordings=wordings, asked=asked))
    rated = {"rating": found.asking.wordings("rating")}
    return made + [Case(one.id, one.id, [user(one.texts[0])], (one,), asked=rated) for one in options]


STUDY = Study(
    name="self_concept",
    parts=lambda size: (Questions("self_concept", cases, items().asking),),
    conclude=later("greenroom.studies.self_concept.findings", "conclude"),
    sizes={"standard": Asked(), "quick": Asked(questions=3)},
    primary="character",
    audit="always",
    chapters=later("greenroom.studies.self_concept.chapter", "chapters"),
)
