"""What a study declares: cases, options, conditions, questions and talks. No phenomenon is named here.

A case is one thing asked; `Questions` are cases × wordings × paradigms; `Talks` are conversations written as scripts.
Everything that comes back is kept in one table of answers (`ANSWERS`), whatever was asked and whoever answered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from greenroom.conversation import Conversation
from greenroom.errors import GreenroomError, LibraryError, wrong_field
from greenroom.measures.design import shuffled

if TYPE_CHECKING:
    from greenroom.asking.questions import Asking

Level = str | int | float | bool
Split = Literal["explore", "confirm", "placement", "reach"]
Source = Literal["likelihood", "top_logprobs", "sampled"]


class Items(BaseModel):
    """Base of what stimulus files hold: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Shape = TypeVar("Shape", bound=Items)


def load_items(study: str, shape: type[Shape], file: str = "explore.yaml") -> Shape:
    """What `studies/<study>/<file>` holds; LibraryError names file and field if it does not validate."""
    text = resources.files("greenroom.studies").joinpath(study, file).read_text(encoding="utf-8")
    try:
        return shape.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        field, why = wrong_field(error)
        raise LibraryError(f"studies/{study}/{file}, field {field}: {why}") from error


def chosen(of: int, count: int | None, seed: int, field: str, least: int = 1) -> list[int]:
    """Which of so many items a size asks, by place: all (None), or so many, chosen by seed; LibraryError out of range."""
    places = list(range(of))
    if count is None:
        return places
    if not least <= count <= of:
        raise LibraryError(f"{field} is {count}; expected {least} to {of}")
    return sorted(shuffled(places, seed)[:count])


class Size(BaseModel):
    """How much a study asks, and in which variants. Each field is an option of its verb and of its Inspect task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The standard size but for what is given; GreenroomError in one line for a value out of range."""
        try:
            return cls(**given)
        except ValidationError as error:
            where, why = wrong_field(error)
            field = where.partition(".")[0]
            raise GreenroomError(f"{field} is {given.get(field)!r}: {why[:1].lower()}{why[1:]}") from error


@dataclass(frozen=True)
class Option:
    """One answer to compare. texts are scored, and their probabilities summed; phrases name it in an open reply."""

    id: str
    texts: tuple[str, ...]
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One thing asked. item: cases of one item have the same content, so their levels are paired; cluster: what is
    resampled whole, such as a situation or a script.

    talk: the conversation that ends with the user's message, to which a paradigm's question is added. wordings: other
    conversations with the same content, by the name of the wording (`paraphrase`, `reversed`). asked: which wordings
    each paradigm asks of this case (default: all that the asking has). right: the option that a question of
    comprehension has as its answer.
    """

    item: str
    cluster: str
    talk: Conversation
    options: tuple[Option, ...] = ()
    levels: Mapping[str, Level] = field(default_factory=dict)
    split: Split = "explore"
    wordings: Mapping[str, Conversation] = field(default_factory=dict)
    asked: Mapping[str, tuple[str, ...]] | None = None
    right: str | None = None

    @property
    def id(self) -> str:
        return "-".join([self.item, *(str(level) for level in self.levels.values())])


@dataclass(frozen=True)
class Condition:
    """One level of a factor, put on any case: a sentence at the end of its last message, or a system message.

    role: what the condition is for; edit: an intervention by name, such as "assistant:-2".
    """

    factor: str
    level: Level
    say: str = ""
    place: Literal["system", "user"] = "system"
    role: Literal["treatment", "placebo", "pole"] = "treatment"
    edit: str = ""

    def on(self, case: Case) -> Case:
        """The case under this condition; its level is added to the case's."""
        from dataclasses import replace

        told = {name: self._said(talk) for name, talk in {"": case.talk, **case.wordings}.items()}
        levels = {**case.levels, self.factor: self.level}
        return replace(case, talk=told.pop(""), wordings=told, levels=levels)

    def _said(self, talk: Conversation) -> Conversation:
        if not self.say:
            return talk
        if self.place == "user":
            *before, last = talk
            return [*before, {"role": last["role"], "content": f"{last['content']} {self.say}"}]
        if talk and talk[0]["role"] == "system":
            return [{"role": "system", "content": f"{talk[0]['content']} {self.say}"}, *talk[1:]]
        return [{"role": "system", "content": self.say}, *talk]


@dataclass(frozen=True)
class Questions:
    """Cases × conditions × wordings × paradigms.

    cases: of a size and a seed. asking: the paradigms and their wordings. contrast: the factor and the two levels
    between which the same continuation is compared. reach: two instructed poles, the positive control.
    """

    name: str
    cases: Callable[[Any, int], Sequence[Case]]
    asking: Asking
    contrast: tuple[str, Level, Level] | None = None
    conditions: tuple[Condition, ...] = ()
    reach: tuple[Condition, Condition] | None = None

    def all_cases(self, size: Size, seed: int) -> list[Case]:
        """Every case under every combination of conditions, one of each factor."""
        found = list(self.cases(size, seed))
        for factor in dict.fromkeys(condition.factor for condition in self.conditions):
            own = [condition for condition in self.conditions if condition.factor == factor]
            found = [condition.on(case) for case in found for condition in own]
        return found


@dataclass(frozen=True)
class Ask:
    """One thing that a script wants: a reply, or (with `options`) the likelihood of each option as the reply.

    name: what it is for, once in a script. conversation: ends with the message to be answered. options: listed options
    are single words or letters, which a provider without prompt log-probabilities can still compare. by: the model
    under study, or the model that plays the user. kind: decides the length of a reply. edited: under the intervention
    that is tried. branch: the conversation goes on elsewhere, or ends soon; apart: it goes on from a branch, so that it
    shares more with the other asks of its step than with what was asked before. Both are hints for caches.
    """

    name: str
    conversation: Conversation
    options: tuple[str, ...] = ()
    by: Literal["subject", "user"] = "subject"
    kind: Literal["turn", "probe"] = "turn"
    edited: bool = False
    branch: bool = False
    apart: bool = False

    @property
    def message(self) -> str:
        """What is answered."""
        return self.conversation[-1]["content"]


@dataclass(frozen=True)
class Answer:
    """What came back for an `Ask`: a reply's text (without reasoning) and whether the token limit cut it, or one
    log-probability (nats) an option, None where unknown. missing: why there is none."""

    text: str = ""
    cut: bool = False
    logprobs: tuple[float | None, ...] = ()
    source: Source | None = None
    missing: str | None = None
    reasoning: str = ""


@dataclass(frozen=True)
class Heard:
    """What came back for one question, unread: one log-probability (nats) an option, or the texts of sampled replies,
    without their reasoning. cut: the token limit ended the one open reply."""

    source: Source | None
    logprobs: tuple[float | None, ...] = ()
    texts: tuple[str, ...] = ()
    missing: str | None = None
    cut: bool = False


# Yields what it wants answered now, all at once and in any order; is sent the answers; returns its conversation.
Script = Generator[Sequence[Ask], list[Answer], Conversation]


@dataclass(frozen=True)
class Lengths:
    """How replies of a talk are made. tokens: the most that each kind of `Ask` may have; temperatures: by kind."""

    tokens: Mapping[str, int]
    temperatures: Mapping[str, float]
    top_p: float = 1.0


@dataclass(frozen=True)
class Talk:
    """One conversation of a study: its script, made anew by each driver, and what it is a case of."""

    id: str
    cluster: str
    script: Callable[[], Script]
    levels: Mapping[str, Level] = field(default_factory=dict)


@dataclass(frozen=True)
class Talks:
    """Conversations as scripts. talks: of a size and a seed; lengths: of a size; score: the number that Inspect shows for
    one cluster's answers, NaN for none (default: the share of asks that were answered)."""

    name: str
    talks: Callable[[Any, int], Sequence[Talk]]
    lengths: Callable[[Any], Lengths]
    score: Callable[[pl.DataFrame], float] | None = None


# One row an option of an answer; rows of a reply that compares nothing have no option.
ANSWERS: dict[str, Any] = {
    "part": pl.String,  # the Questions or Talks that asked
    "case": pl.String,
    "item": pl.String,
    "cluster": pl.String,
    "split": pl.String,
    # here stands one column for each factor, named as the factor
    "paradigm": pl.String,  # letter, cloze, rating, free, recall; talk, probe
    "wording": pl.String,  # main, paraphrase, reversed, retest; null/main/0 …; of a talk: the name of the ask
    "order": pl.String,  # the options as shown, by number, "01"
    "option": pl.String,  # its id; of a rating, the number
    "logprob": pl.Float64,  # nats, raw
    "mass": pl.Float64,  # probability on the listed options
    "position": pl.Int64,  # where this option stood
    "chosen": pl.Float64,  # share of readable replies that name this option
    "right": pl.Boolean,  # whether this option is the right answer of a question of comprehension
    "source": pl.String,  # likelihood, top_logprobs, sampled
    "missing": pl.String,
    "message": pl.String,  # what an open reply answered
    "reply": pl.String,  # sampled, without reasoning; several are divided by a line ---
    "cut": pl.Boolean,  # the token limit ended the reply
}


def answers_frame(rows: Sequence[Mapping[str, Any]], factors: Sequence[str]) -> pl.DataFrame:
    """Rows as a frame with the columns of `ANSWERS`, the factors' own after `split`."""
    before = ("part", "case", "item", "cluster", "split")
    kinds = {name: _dtype([row.get(name) for row in rows]) for name in factors}
    schema = {
        **{name: ANSWERS[name] for name in before},
        **kinds,
        **{k: v for k, v in ANSWERS.items() if k not in before},
    }
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in schema}, schema=schema)


def _dtype(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pl.Boolean
    if known and all(isinstance(value, int) and not isinstance(value, bool) for value in known):
        return pl.Int64
    if known and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        return pl.Float64
    return pl.String
