"""Studies: one phenomenon, one folder. `NAMES` is the registry, and the order of chapters on a page.

A folder holds `__init__.py` with its `STUDY`, its stimuli (`explore.yaml`), its words (`words.yaml`) and, where they
are needed, stages.py (what runs on a local model), findings.py (from tables to measures) and chapter.py (its figures).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, resources
from typing import TYPE_CHECKING, Any

import yaml

from greenroom.errors import GreenroomError

if TYPE_CHECKING:
    from greenroom.studies.study import Study

NAMES = (
    "persona_map",
    "behavioural_map",
    "archetypes",
    "trait_profile",
    "hold",
    "frontier",
    "costly_sacrifice",
    "self_concept",
    "juggling",
    "prompt_drift",
    "sycophancy_loop",
    "drift",
    "selftalk",
)


def study_named(name: str) -> Study:
    """The study of that name, imported now; GreenroomError lists the names there are."""
    return import_module(f"greenroom.studies.{_known(name)}").STUDY


@cache
def about(name: str) -> dict[str, Any]:
    """The words of a study (its words.yaml), without importing it."""
    text = resources.files("greenroom.studies").joinpath(_known(name), "words.yaml").read_text(encoding="utf-8")
    # `greenroom --help` reads the words of every study; the loader in C is ten times as fast, where there is one.
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def with_those_before(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names and all that they build on (`after`), in the order of `NAMES`."""
    wanted: set[str] = set()
    waiting = [_known(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += study_named(name).after
    return tuple(name for name in NAMES if name in wanted)


def _known(name: str) -> str:
    if name not in NAMES:
        raise GreenroomError(f"there is no study {name!r}; expected one of {', '.join(NAMES)}")
    return name
