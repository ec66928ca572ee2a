"""The contexts that may explain a text, and how likely each is before the text is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, StrictBool

from greenroom.errors import LibraryError
from greenroom.measures.intervals import Array
from greenroom.personas import library
from greenroom.personas.persona import Agentic, Entry, Text, Texts
from greenroom.personas.yaml_entries import near, read_entries, read_yaml

ASSISTANT = "assistant"
WORDS = ("all", "roles")
PRIORS = ("classes", "flat")
# How much of the posterior on a context counts as agentic mass (definitions.md: partly counts ½).
WEIGHTS: dict[str, float] = {"true": 1.0, "partly": 0.5, "false": 0.0}


@dataclass(frozen=True)
class Candidate:
    """A context as a rival explanation: its system messages (paraphrases of each other) and how agentic it is.

    generic: the one that stands for "none of these".
    """

    name: str
    kind: str
    agentic: Agentic
    instructions: tuple[str, ...]
    generic: bool = False


def _word(value: Any) -> Any:
    """YAML reads an unquoted true or false as a truth value; in `agentic` it is a word."""
    return str(value).lower() if isinstance(value, bool) else value


class Context(Entry):
    """An entry of `--contexts FILE`: `{name, instruction (one or a list), agentic?}`; the keys of the library's own
    contexts are allowed too."""

    name: Text
    instruction: Annotated[Texts, BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
    agentic: Annotated[Agentic, BeforeValidator(_word)] = "true"
    kind: Text = "own"
    description: str = ""
    generic: StrictBool = False


def candidates(contexts: str | Path | Sequence[Candidate] = "all") -> tuple[Candidate, ...]:
    """The rival contexts, the generic one always among them.

    contexts: "all" (the default assistant, the library's roles and contexts), "roles" (the assistant and the roles), a
    YAML file with a list of `{name, instruction, agentic?}`, or candidates. Raises LibraryError for a file that does
    not validate.
    """
    if isinstance(contexts, str | Path):
        found = _named(str(contexts)) if str(contexts) in WORDS else _of_file(Path(contexts))
    else:
        found = tuple(contexts)
    names = [one.name for one in found]
    if not found or len(set(names)) < len(names):
        raise LibraryError(f"expected at least one context and no name twice, got {', '.join(names) or 'none'}")
    if sum(one.generic for one in found) > 1:
        raise LibraryError("several contexts are marked generic; expected at most one, which stands for none of these")
    if any(one.generic for one in found):
        return found
    generic = _generic()
    if generic.name in names:
        raise LibraryError(
            f"the name {generic.name!r} belongs to the context that stands for none of these; "
            "choose another, or mark yours with generic: true"
        )
    return (*found, generic)


def prior_of(rivals: Sequence[Candidate], prior: str | Path | Mapping[str, float] = "classes") -> Array:
    """(context,) prior probabilities.

    prior: "classes" (equal over agentic, partly and non-agentic contexts, those classes that occur, then equal within
    each), "flat" (equal over contexts), or weights by name (a mapping, or a YAML file of one), where a context that is
    left out weighs nothing.
    """
    if prior == "flat":
        return np.full(len(rivals), 1 / len(rivals))
    if prior == "classes":
        classes = [one.agentic for one in rivals]
        return np.array([1 / len(set(classes)) / classes.count(one) for one in classes])
    source = "the prior" if isinstance(prior, Mapping) else str(prior)
    given: Any = dict(prior) if isinstance(prior, Mapping) else read_yaml(Path(prior))
    if not isinstance(given, dict) or not given:
        raise LibraryError(f"{source}: expected weights by name (pirate: 2), or one of {', '.join(PRIORS)}")
    names = tuple(one.name for one in rivals)
    for name, weight in given.items():
        if name not in names:
            raise LibraryError(
                f"{source}: no context is called {name!r};{near(str(name), names)} expected names of contexts"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise LibraryError(f"{source}: the weight of {name!r} is {weight!r}; expected a number of 0 or more")
    weights = np.array([float(given.get(name, 0.0)) for name in names])
    if weights.sum() <= 0:
        raise LibraryError(f"{source}: all weights are 0; expected at least one above")
    return weights / weights.sum()


def role_candidates(every: int = 1) -> tuple[Candidate, ...]:
    """Every n-th role of the library."""
    return tuple(Candidate(role.name, role.kind, "true", role.instructions) for role in library.roles()[::every])


def assistant_candidate() -> Candidate:
    """The default assistant: the library's default system messages but the empty one, which is the baseline."""
    told = tuple(text for text in library.default_instructions() if text)
    return Candidate(ASSISTANT, ASSISTANT, "true", told)


def _named(word: str) -> tuple[Candidate, ...]:
    found = (assistant_candidate(), *role_candidates())
    return found if word == "roles" else (*found, *map(_of_library, library.contexts()))


def _of_library(context: Any) -> Candidate:
    return Candidate(context.name, context.kind, context.agentic, context.instruction, context.generic)


def _generic() -> Candidate:
    return next(_of_library(context) for context in library.contexts() if context.generic)


def _of_file(path: Path) -> tuple[Candidate, ...]:
    if not path.exists():
        raise LibraryError(f"--contexts {path}: no such file; expected {', '.join(WORDS)} or a YAML file of contexts")
    return tuple(_of_library(context) for context in read_entries(path, Context))
