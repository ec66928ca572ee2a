"""The contexts that may explain a text, and how likely each is before the text is read.

A context's `instruction` holds its system messages, which are paraphrases of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from greenroom.errors import LibraryError
from greenroom.personas import library
from greenroom.personas.persona import Agentic, Context, Text
from greenroom.personas.yaml_entries import near, read_entries, read_yaml

if TYPE_CHECKING:
    from greenroom.measures.intervals import Array

ASSISTANT = "assistant"
WORDS = ("roles", "all")
PRIORS = ("classes", "flat")
# How much of a context's probability counts as agentic mass (definitions.md: partly counts ½).
WEIGHTS: dict[str, float] = {"true": 1.0, "partly": 0.5, "false": 0.0}


class OwnContext(Context):
    """A context of the user's own, an entry of `--contexts FILE`: `{name, instruction (one or a list), agentic?}`. The
    other keys of the library's contexts are allowed, none is needed, and the name may be any text."""

    name: Text
    kind: Text = "own"
    agentic: Agentic = "true"
    description: str = ""


def contexts_of(given: str | Path | Sequence[Context] = "roles") -> tuple[Context, ...]:
    """The contexts that compete, the generic one always among them.

    given: "roles" (the default assistant and the library's roles), "all" (also its texts that nobody speaks), a YAML
    file with a list of `{name, instruction, agentic?}`, or contexts. Raises LibraryError for a file that does not
    validate.
    """
    if isinstance(given, str | Path):
        found = _named(str(given)) if str(given) in WORDS else _of_file(Path(given))
    else:
        found = tuple(given)
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


def only_speakers(contexts: Sequence[Context]) -> bool:
    """Whether all that compete are characters, apart from the generic context."""
    return all(one.agentic == "true" for one in contexts if not one.generic)


def prior_of(contexts: Sequence[Context], prior: str | Path | Mapping[str, float] | None = None) -> Array:
    """(context,) prior probabilities.

    prior: "classes" (equal over agentic, partly and non-agentic contexts, those classes that occur, then equal within
    each), "flat" (equal over contexts), or weights by name (a mapping, or a YAML file of one), where a context that is
    left out weighs nothing. None: "flat" where only characters compete, else "classes".
    """
    if prior is None:
        prior = "flat" if only_speakers(contexts) else "classes"
    if prior == "flat":
        return np.full(len(contexts), 1 / len(contexts))
    if prior == "classes":
        classes = [one.agentic for one in contexts]
        return np.array([1 / len(set(classes)) / classes.count(one) for one in classes])
    source = "the prior" if isinstance(prior, Mapping) else str(prior)
    given: Any = dict(prior) if isinstance(prior, Mapping) else read_yaml(Path(prior))
    if not isinstance(given, dict) or not given:
        raise LibraryError(f"{source}: expected weights by name (pirate: 2), or one of {', '.join(PRIORS)}")
    names = tuple(one.name for one in contexts)
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


def role_contexts(every: int = 1) -> tuple[Context, ...]:
    """Every n-th role of the library."""
    return tuple(
        Context(
            name=role.name, kind=role.kind, agentic="true", description=role.description, instruction=role.instructions
        )
        for role in library.roles()[::every]
    )


def assistant_context() -> Context:
    """The default assistant: the library's default system messages but the empty one, which is the baseline."""
    told = tuple(text for text in library.default_instructions() if text)
    return OwnContext(name=ASSISTANT, kind=ASSISTANT, instruction=told)


def _named(word: str) -> tuple[Context, ...]:
    found = (assistant_context(), *role_contexts())
    return found if word == "roles" else (*found, *library.contexts())


def _generic() -> Context:
    return next(context for context in library.contexts() if context.generic)


def _of_file(path: Path) -> tuple[Context, ...]:
    if not path.exists():
        raise LibraryError(f"--contexts {path}: no such file; expected {', '.join(WORDS)} or a YAML file of contexts")
    return read_entries(path, OwnContext)
