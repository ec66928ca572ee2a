"""Loads the texts of this package: what subjects read (templates.yaml) and what people read (reasons.yaml)."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

import yaml

MINUS = re.compile(r"(?<!\w)-(?=\d)")


@cache
def _load(name: str) -> dict[str, Any]:
    text = resources.files("greenroom.measures").joinpath(name).read_text(encoding="utf-8")
    return yaml.safe_load(text)


def template(paradigm: str) -> dict[str, Any]:
    """The templates of one paradigm; KeyError for an unknown one."""
    return _load("templates.yaml")[paradigm]


def wordings(paradigm: str) -> tuple[str, ...]:
    """The paraphrases in which a paradigm can be asked, in a fixed order."""
    return tuple(template(paradigm)["wordings"])


def reason(section: str, key: str | None = None, **fields: Any) -> str:
    """A reason from reasons.yaml with its fields filled in: a clause without capital or full stop."""
    entry = _load("reasons.yaml")[section]
    text: str = entry if key is None else entry[key]
    return MINUS.sub("\N{MINUS SIGN}", text.format(**fields))


def sentence(clause: str) -> str:
    """The clause as a sentence: a capital in front, a full stop at the end."""
    return clause[:1].upper() + clause[1:].rstrip(".") + "."
