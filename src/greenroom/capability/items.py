"""Capability items: short questions with one right continuation, composed from the templates in questions/*.yaml.

A template draws rows from pools (words, small tables, or sums worked out here) and fills its texts with them. Answers
are scored by likelihood, so that a small model is above chance, and nothing has to be parsed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from greenroom.conversation import Conversation
from greenroom.errors import LibraryError, wrong_field

FOLDER = Path(__file__).parent / "questions"
TRIES = 200


@dataclass(frozen=True)
class Item:
    """A question with its choices; the first choice is right. stimulus: items with equal stimulus ask the same thing."""

    id: str
    family: str
    stimulus: str
    conversation: Conversation
    choices: tuple[str, ...]

    @property
    def chance(self) -> float:
        return 1 / len(self.choices)


class Word(str):
    """A word of a pool with the ways of writing it."""

    @property
    def capitals(self) -> str:
        return self.upper()

    @property
    def titled(self) -> str:
        return self.title()


class Table(BaseModel):
    """Rows of related words."""

    model_config = ConfigDict(extra="forbid")
    columns: list[str]
    rows: list[list[str]]

    @model_validator(mode="after")
    def _rectangular(self) -> Table:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row {row} has {len(row)} cells, expected {', '.join(self.columns)}")
        return self

    def made(self) -> list[Any]:
        return [
            SimpleNamespace(**{column: Word(cell) for column, cell in zip(self.columns, row, strict=True)})
            for row in self.rows
        ]


class Numbers(BaseModel):
    """Pairs of whole numbers a, b within two ranges (ends included) and what is asked of them.

    result: the right number; near: others close by, the likeliest slips. Negative results and equal pairs to be
    compared are left out.
    """

    model_config = ConfigDict(extra="forbid")
    numbers: Literal["sum", "difference", "product", "counting", "larger"]
    first: tuple[int, int]
    second: tuple[int, int]

    def made(self) -> list[Any]:
        pairs = [
            (a, b)
            for a in range(self.first[0], self.first[1] + 1)
            for b in range(self.second[0], self.second[1] + 1)
        ]  # fmt: skip
        return [row for row in (self._row(a, b) for a, b in pairs) if row is not None]

    def _row(self, a: int, b: int) -> SimpleNamespace | None:
        steps: dict[str, Callable[[int, int], int]] = {
            "sum": operator.add, "difference": operator.sub, "product": operator.mul,
            "counting": lambda a, b: a + 3 * b, "larger": max,
        }  # fmt: skip
        result = steps[self.numbers](a, b)
        if result < 0 or (self.numbers == "larger" and a == b):
            return None
        near = [min(a, b)] if self.numbers == "larger" else [result + 1, max(result - 1, result + 3), result + 2]
        if self.numbers == "difference" and result > 1:
            near[1] = result - 1
        return SimpleNamespace(a=a, b=b, result=result, near=near, second=a + b, third=a + 2 * b)


class Template(BaseModel):
    """One way of asking. each: the drawn name that runs through its pool without repetition; the others are drawn at
    random, all of one pool different. assistant: how the reply begins, if not with the answer. differ: a column in
    which all drawn rows of a table must differ.
    """

    model_config = ConfigDict(extra="forbid")
    id: str
    n: int = Field(gt=0)
    each: str
    draw: dict[str, str]
    user: str
    assistant: str = ""
    answer: str
    wrong: list[str] = Field(min_length=1)
    differ: str | None = None


class Family(BaseModel):
    """One file of questions."""

    model_config = ConfigDict(extra="forbid")
    family: str
    pools: dict[str, list[str] | Table | Numbers]
    templates: list[Template]

    @model_validator(mode="after")
    def _pools_exist(self) -> Family:
        for template in self.templates:
            missing = set(template.draw.values()) - set(self.pools)
            if missing or template.each not in template.draw:
                raise ValueError(f"template {template.id} draws from {', '.join(sorted(missing)) or 'nothing'} unknown")
        return self


def families(folder: Path = FOLDER) -> list[Family]:
    """The families of a folder of YAML files; LibraryError names the file and the field."""
    return [_family(path) for path in sorted(folder.glob("*.yaml"))]


def _family(path: Path) -> Family:
    try:
        return Family.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        field, why = wrong_field(error)
        raise LibraryError(f"{path.name}: {field or 'file'}: {why}") from error
    except yaml.YAMLError as error:
        raise LibraryError(f"{path.name} is no YAML ({' '.join(str(error).split())})") from error


@cache
def all_items(seed: int = 0) -> tuple[Item, ...]:
    """All items, the same for one seed."""
    return tuple(item for family in families() for item in composed(family, seed))


def composed(family: Family, seed: int) -> Iterator[Item]:
    """The items of one family."""
    pools = {name: _members(pool) for name, pool in family.pools.items()}
    for template in family.templates:
        # A stream for each template, so that a changed one leaves the others as they were.
        rng = np.random.default_rng([seed, *template.id.encode()])
        heads = pools[template.draw[template.each]]
        order = rng.permutation(len(heads))
        seen: set[tuple[str, ...]] = set()
        for number in range(template.n):
            item = _filled(template, family.family, pools, heads[order[number % len(heads)]], number, rng, seen)
            yield item


def _filled(
    template: Template,
    family: str,
    pools: Mapping[str, Sequence[Any]],
    head: Any,
    number: int,
    rng: np.random.Generator,
    seen: set[tuple[str, ...]],
) -> Item:
    """One item: redrawn until its choices differ and nothing equal was asked before."""
    for _ in range(TRIES):
        drawn = _drawn(template, pools, head, rng)
        texts = tuple(text.format(**drawn) for text in (template.user, template.assistant, template.answer))
        wrong = [text.format(**drawn) for text in template.wrong]
        rows = [getattr(value, template.differ) for value in drawn.values()] if template.differ else []
        if len({texts[2], *wrong}) <= len(wrong) or len(set(rows)) < len(rows) or texts in seen:
            continue
        seen.add(texts)
        conversation: Conversation = [{"role": "user", "content": texts[0]}]
        if texts[1]:
            conversation.append({"role": "assistant", "content": texts[1]})
        stimulus = f"{family}:{template.draw[template.each]}:{_label(head)}"
        return Item(f"{template.id}_{number}", family, stimulus, conversation, (texts[2], *wrong))
    raise LibraryError(
        f"template {template.id} of {family} cannot make {template.n} different items; lower n or enlarge its pools"
    )


def _drawn(
    template: Template, pools: Mapping[str, Sequence[Any]], head: Any, rng: np.random.Generator
) -> dict[str, Any]:
    drawn: dict[str, Any] = {template.each: head}
    for pool in dict.fromkeys(template.draw.values()):
        names = [name for name, source in template.draw.items() if source == pool and name != template.each]
        rest = [member for member in pools[pool] if member is not head]
        for name, index in zip(names, rng.choice(len(rest), size=len(names), replace=False), strict=True):
            drawn[name] = rest[index]
    return drawn


def _members(pool: list[str] | Table | Numbers) -> list[Any]:
    return [Word(word) for word in pool] if isinstance(pool, list) else pool.made()


def _label(row: Any) -> str:
    return str(row) if isinstance(row, str) else " ".join(str(value) for value in list(vars(row).values())[:2])
