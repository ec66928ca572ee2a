"""The shapes of the library's data: roles, questions, traits and contexts, as they stand in YAML.

All are frozen, refuse unknown keys and check themselves; `library` reads them from files. The plan is that of the
field: a role is a set of system messages that call up one character (Lu et al. 2026, The Assistant Axis, arXiv
2601.10387), a trait is a set of opposite instructions with questions (Chen et al. 2025, Persona Vectors, arXiv
2507.21509).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

RoleKind = Literal["everyday", "professional", "fictional", "nonhuman", "ai", "archetype"]
TraitKind = Literal["psychological", "surface"]

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _distinct(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuses an entry that occurs twice: it would count double in every mean."""
    repeated = _first_repeated(items)
    if repeated is not None:
        raise ValueError(f"the same entry twice: {str(repeated)!r}")
    return items


def _first_repeated(items: Sequence[Hashable]) -> Hashable | None:
    seen: set[Hashable] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _word(value: Any) -> Any:
    """YAML reads an unquoted true or false as a truth value; in `agentic` it is a word."""
    return str(value).lower() if isinstance(value, bool) else value


Agentic = Annotated[Literal["false", "partly", "true"], BeforeValidator(_word)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_distinct)]


class Entry(BaseModel):
    """Base of all library entries: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Role(Entry):
    """A character by name and description.

    instructions: system messages that call the character up, paraphrases of each other. `kind` "everyday" marks
    characters near the assistant; the gate on the assistant axis leaves them out.
    """

    name: Name
    kind: RoleKind
    description: Text
    instructions: Texts


class Question(Entry):
    """A user message that lets character show without naming it. `topic` groups questions that are alike."""

    id: Name
    text: Text
    topic: Name


class TraitPair(Entry):
    """Two system messages that differ in one property only: its positive and its negative pole."""

    positive: Text
    negative: Text

    @model_validator(mode="after")
    def _poles_differ(self) -> TraitPair:
        if self.positive == self.negative:
            raise ValueError("positive and negative are the same instruction")
        return self


class TraitQuestion(Entry):
    """A user message asked under both poles; `held_out` ones never enter the vector and serve to test it."""

    text: Text
    held_out: StrictBool


class Trait(Entry):
    """A property with opposite poles.

    kind: "psychological", or "surface" for a property of the text alone that a program can check. positive,
    negative: short names of the poles. questions: some held out and some not.
    """

    name: Name
    kind: TraitKind
    description: Text
    positive: Text
    negative: Text
    pairs: Annotated[tuple[TraitPair, ...], Field(min_length=1), AfterValidator(_distinct)]
    questions: Annotated[tuple[TraitQuestion, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _split_holds(self) -> Trait:
        if self.positive == self.negative:
            raise ValueError("positive and negative are the same pole")
        repeated = _first_repeated([question.text for question in self.questions])
        if repeated is not None:
            raise ValueError(f"the same question twice: {str(repeated)!r}")
        if len({question.held_out for question in self.questions}) < 2:
            raise ValueError("questions need held_out: true and held_out: false, about half of each")
        return self


class Context(Entry):
    """A kind of text that may explain a text: a system message that makes it such a document.

    agentic: "false" (nobody speaks or wants anything), "partly" (a voice or a purpose, but no person who speaks as
    themselves) or "true". instruction: one system message, or paraphrases of it; their spread is the interval of the
    persona posterior. generic: marks the context that stands for "none of these".
    """

    name: Name
    kind: Name
    agentic: Agentic
    description: Text
    instruction: Annotated[Texts, BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
    generic: StrictBool = False


class DefaultCharacter(Entry):
    """The system messages under which a model is most itself; `include_empty` adds the empty one in front."""

    instructions: Texts
    include_empty: StrictBool = True
