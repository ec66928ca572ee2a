"""Trait scores of replies: the ruler that an intervention's effect is measured with.

A surface trait is scored by plain Python (`measures.checkers`). Any other is scored by the cold projection of the text
on a vector made of the other half of the trait's questions: reading the steered direction on steered activations
moves by definition, and reading it on the text alone would still reward what that vector happens to hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from greenroom.conversation import Conversation
from greenroom.directions.cold import cold_places
from greenroom.directions.direction import Direction
from greenroom.directions.poles import wording
from greenroom.directions.rulers import build_ruler, store_ruler, stored_ruler
from greenroom.errors import LibraryError
from greenroom.measures.checkers import SCORES, Checker, checker
from greenroom.personas import Trait, library
from greenroom.subject import Subject

Kind = Literal["checker", "cold_projection"]


class Scorer(Protocol):
    """A trait score: higher is more of the trait; NaN for a reply that has nothing to score.

    kind: "checker" (unit: its own, docs/traits.md) or "cold_projection" (unit: sd of default replies).
    """

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def __call__(self, conversations: Sequence[Conversation], replies: Sequence[str]) -> np.ndarray:
        """(reply,) float, of replies[i] as the answer to conversations[i]."""
        ...


@dataclass(frozen=True)
class CheckerScorer:
    """Plain Python on the reply's text."""

    name: str
    check: Checker
    kind: Kind = "checker"

    def __call__(self, conversations: Sequence[Conversation], replies: Sequence[str]) -> np.ndarray:
        return np.array([self.check(reply) for reply in replies], dtype=float)


@dataclass(frozen=True)
class ColdScorer:
    """Projection, in sd, of the reply's text re-read after the last user message alone.

    To be called outside of `with subject.intervene(…)`, which would steer the ruler as well.
    """

    name: str
    subject: Subject
    ruler: Direction
    kind: Kind = "cold_projection"

    def __call__(self, conversations: Sequence[Conversation], replies: Sequence[str]) -> np.ndarray:
        asked = [_last_question(conversation) for conversation in conversations]
        ids = [self.subject.chat.continuation(reply) if reply else [] for reply in replies]
        return np.array(cold_places(self.subject, self.ruler, asked, ids), dtype=float)


def checker_of(trait: str) -> Checker | None:
    """The checker that scores a library trait, or None: then a cold projection does."""
    told = library.checks().get(trait)
    return None if told is None else checker(told, f"personas/library/checkers.yaml, {trait}", SCORES)


def scorer_for(subject: Subject, scored: Direction | Trait | str, *, seed: int = 0) -> Scorer:
    """The score of a trait, or of what a direction points to; a ruler that is not stored is built and stored.

    For the assistant axis, and for a direction of which no trait is known, the cold projection on the direction itself.
    """
    if isinstance(scored, Direction):
        trait = trait_of(scored)
    else:
        trait = scored if isinstance(scored, Trait) else library.trait(scored)
    if trait is None:
        assert isinstance(scored, Direction)
        # A trait that a user described is in no library, but its ruler was stored with its vector.
        ruler = stored_ruler(subject, str(scored.recipe.get("trait", scored.name)), scored.recipe.get("wording"))
        return ColdScorer(scored.name, subject, ruler or scored)
    check = checker_of(trait.name)
    if check is not None:
        return CheckerScorer(trait.name, check)
    ruler = stored_ruler(subject, trait.name, wording(trait))
    if ruler is None:
        ruler = build_ruler(subject, trait, seed=seed)
        if ruler is None:
            if isinstance(scored, Direction):
                return ColdScorer(f"{scored.name} (itself)", subject, scored)
            raise LibraryError(f"the held-out replies of {trait.name} show no contrast, so nothing can score it")
        store_ruler(ruler)
    return ColdScorer(trait.name, subject, ruler)


def trait_of(direction: Direction) -> Trait | None:
    """The library trait that a direction is made of, or named after; None when there is none."""
    if direction.kind != "trait":
        return None
    name = str(direction.recipe.get("trait") or direction.recipe.get("means") or direction.name)
    return next((trait for trait in library.traits() if trait.name == name), None)


def _last_question(conversation: Conversation) -> str:
    """The last user message: what a cold reading is read after."""
    return next(message["content"] for message in reversed(conversation) if message["role"] == "user")
