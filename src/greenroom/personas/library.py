"""The library: roles, questions, traits, contexts and default instructions, read from YAML and validated.

The files lie in the folder of the same name beside this module. They are read once; a file of the user's own, given
as `path`, is read at each call, since it may have been edited. It is read instead of the library, not on top of it.
A path is a YAML file with one entry or a list of entries, or a folder of such files. What does not validate is a
LibraryError that names file, entry, field and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from greenroom.errors import LibraryError
from greenroom.personas.persona import Context, DefaultCharacter, Entry, Question, Role, Trait
from greenroom.personas.yaml_entries import as_entry, near, read_entries, read_yaml

FOLDER = Path(__file__).parent / "library"

E = TypeVar("E", bound=Entry)
Source = Path | str


def roles(path: Source | None = None) -> tuple[Role, ...]:
    """All roles, in the order of the file."""
    return _shelf(Role, "roles.yaml", path)


def archetypes() -> tuple[Role, ...]:
    """The archetypes of Jung and his school as roles: those of `roles()`, then those that are in no cast.

    The latter stay out of `roles()`, so that persona maps of earlier versions can still be compared.
    """
    return (*(role for role in roles() if role.kind == "archetype"), *_shelf(Role, "archetypes.yaml", None))


def questions(path: Source | None = None) -> tuple[Question, ...]:
    """All questions, in the order of the file."""
    return _shelf(Question, "questions.yaml", path)


def traits(path: Source | None = None) -> tuple[Trait, ...]:
    """All traits, in order of their file names."""
    return _shelf(Trait, "traits", path)


def contexts(path: Source | None = None) -> tuple[Context, ...]:
    """All contexts, in the order of the file; exactly one of the library's is `generic`."""
    return _shelf(Context, "contexts.yaml", path)


def default_instructions(path: Source | None = None) -> tuple[str, ...]:
    """The system messages of the default character. The first is "", the empty one, unless include_empty is false."""
    return _default_instructions(FOLDER / "default.yaml") if path is None else _read_default(Path(path))


def checks() -> Mapping[str, Mapping[str, Any]]:
    """What plain Python looks for in a reply to score a surface trait: trait's name → name and arguments of a checker, for
    whoever has the checkers (`measures.checkers`)."""
    return _checks(FOLDER / "checkers.yaml")


def role(name: str, path: Source | None = None) -> Role:
    """The role of this name; LibraryError with near names if there is none."""
    return _lookup(name, {entry.name: entry for entry in roles(path)}, "role", path)


def question(id: str, path: Source | None = None) -> Question:
    """The question with this id; LibraryError with near ids if there is none."""
    return _lookup(id, {entry.id: entry for entry in questions(path)}, "question", path)


def trait(name: str, path: Source | None = None) -> Trait:
    """The trait of this name; LibraryError with near names if there is none."""
    return _lookup(name, {entry.name: entry for entry in traits(path)}, "trait", path)


def context(name: str, path: Source | None = None) -> Context:
    """The context of this name; LibraryError with near names if there is none."""
    return _lookup(name, {entry.name: entry for entry in contexts(path)}, "context", path)


def _shelf(shape: type[E], place: str, path: Source | None) -> tuple[E, ...]:
    return _own(shape, FOLDER / place) if path is None else read_entries(Path(path), shape)


@cache
def _own(shape: type[E], path: Path) -> tuple[E, ...]:
    return read_entries(path, shape)


@cache
def _checks(path: Path) -> Mapping[str, Mapping[str, Any]]:
    return MappingProxyType(cast("dict[str, dict[str, Any]]", read_yaml(path)))


@cache
def _default_instructions(path: Path) -> tuple[str, ...]:
    return _read_default(path)


def _read_default(path: Path) -> tuple[str, ...]:
    character = as_entry(read_yaml(path), DefaultCharacter, path)
    return ("", *character.instructions) if character.include_empty else character.instructions


def _lookup(name: str, shelf: dict[str, E], noun: str, path: Source | None) -> E:
    if name in shelf:
        return shelf[name]
    file = f" --file {path}" if path is not None else ""
    raise LibraryError(
        f"no {noun} is called {name!r};{near(name, tuple(shelf))} "
        f"`greenroom personas {noun}s{file}` lists all {len(shelf)}"
    )
