"""What a posterior says in a sentence, and when it says nothing.

A context is named when it explains the reply better than the empty system message and has at least `SURE` of the
probability. How often the name is right, and how often there is none, was measured on replies of known speakers (docs/who.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from greenroom.reader.posterior.contexts import ASSISTANT

if TYPE_CHECKING:
    from greenroom.reader.posterior.posterior import Estimate

Kind = Literal["sounds_like", "none_of_these", "too_short", "nothing_better", "none_stands_out"]
SURE = 0.7
LEAST = 16  # tokens of a reply, below which only a clear case has a verdict


@dataclass(frozen=True)
class Verdict:
    """What follows from a posterior. id: stable, for programs. context: the one that is named, if one is."""

    id: Kind
    sentence: str
    context: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return {"id": self.id, "context": self.context, "sentence": self.sentence}

    def __str__(self) -> str:
        return self.sentence


def verdict_of(estimates: Sequence[Estimate], tokens: int) -> Verdict:
    """estimates: every context, the most probable first. tokens: of the reply that were read."""
    gaining = [one for one in estimates if one.bits_per_token > 0]
    if gaining and gaining[0].probability >= SURE:
        lead = gaining[0]
        if lead.generic:
            return Verdict("none_of_these", said("verdict", "none_of_these"))
        return Verdict("sounds_like", said("verdict", "sounds_like", name=named(lead)), lead.context)
    if tokens < LEAST:
        return Verdict("too_short", said("verdict", "too_short", tokens=tokens))
    key = "none_stands_out" if any(not one.generic for one in gaining) else "nothing_better"
    return Verdict(key, said("verdict", key))


def named(one: Estimate) -> str:
    """A context in a sentence: the assistant, a pirate, an outlaw; names in capitals or in the plural as they are."""
    name = one.context.replace("_", " ")
    if one.context == ASSISTANT:
        return f"the {name}"
    if name.endswith("s") or not name[:1].islower():
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@cache
def _words() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))


def said(*keys: str, **fields: object) -> str:
    """A sentence of words.yaml with its fields filled in."""
    found: Any = _words()
    for key in keys:
        found = found[key]
    return found.format(**fields).replace(" -", " \N{MINUS SIGN}")
