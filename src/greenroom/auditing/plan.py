"""What studies would cost: calls, tokens and minutes, counted before anything is asked (`greenroom eval --plan`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from greenroom.asking.types import Questions, Talks
from greenroom.conversation import Conversation, about_tokens, letters_in
from greenroom.studies.study import Cost, Stage, is_local

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from greenroom.asking.types import Case, Size
    from greenroom.studies.study import Part
    from greenroom.subject import Subject

PROBES, PROBE_TOKENS = 16, 16  # of the short test of a local model's speed
CALLS_A_SECOND = (5, 50)  # what hosted models commonly allow, from slow to fast


@dataclass(frozen=True)
class Planned:
    """What one study would ask: the cost of those parts that say it, and the titles of those that do not."""

    study: str
    cost: Cost | None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Speed:
    """How fast a local model reads and writes here, tokens a second, many conversations at once."""

    prompt: float
    reply: float

    def minutes(self, cost: Cost) -> float:
        return (cost.prompt_tokens / self.prompt + cost.reply_tokens / self.reply) / 60


def plan(
    names: Sequence[str],
    model: Subject | Model | str,
    *,
    quick: bool = False,
    sizes: Mapping[str, Size] | None = None,
    seed: int = 0,
) -> list[Planned]:
    """What the named studies, and those that they build on, would ask of this model (a hosted one may be its name alone).
    Asks nothing.

    Tokens are counted as a fourth of the letters. Beginnings that prompts share are counted each time, although a local
    model reads them once; of a hosted model that shows no log-probabilities a question is asked several times, and the
    highest count is given. So both are upper bounds.
    """
    from greenroom.studies import study_named, with_those_before

    found = []
    for name in with_those_before(tuple(names)):
        study = study_named(name)
        size = (sizes or {}).get(name) or study.sizes["quick" if quick else "standard"]
        costs = {_title(part): _cost(part, size, seed, is_local(model)) for part in study.parts_for(model, size)}
        known = [cost for cost in costs.values() if cost is not None]
        unknown = tuple(title for title, cost in costs.items() if cost is None)
        found.append(Planned(name, total(known), unknown))
    return found


def total(costs: Sequence[Cost]) -> Cost | None:
    """The sum; None of none."""
    return reduce(Cost.__add__, costs) if costs else None


def speed(subject: Subject) -> Speed:
    """Measures a local model for a few seconds: 16 replies of 16 tokens, then 16 prompts scored."""
    from greenroom.conversation import user
    from greenroom.personas import library

    texts = [one.text for one in library.questions()[:PROBES]]
    asked: list[Conversation] = [[user(text)] for text in texts]
    longer: list[Conversation] = [[user(" ".join(texts[n:] + texts[:n]))] for n in range(PROBES)]
    subject.generate(asked[:1], max_new_tokens=1)  # what is done once, such as compiling, is no part of the speed
    began = time.perf_counter()
    replies = subject.generate(asked, max_new_tokens=PROBE_TOKENS)
    replied = time.perf_counter()
    subject.score(longer, ["Yes"] * PROBES)
    scored = time.perf_counter()
    written = sum(len(reply.tokens) for reply in replies)
    return Speed(about_tokens(letters_in(longer)) / (scored - replied), max(written, 1) / (replied - began))


def _cost(part: Part, size: Any, seed: int, local: bool) -> Cost | None:
    if isinstance(part, Stage):
        return None if part.cost is None else part.cost(size)
    if isinstance(part, Talks):
        return Cost.of_talks(part.talks(size, seed), part.lengths(size))
    return _of_questions(part, part.all_cases(size, seed), local)


def _of_questions(part: Questions, cases: Sequence[Case], local: bool) -> Cost:
    """Every probe once; equal null prompts once for all. A hosted model may show no log-probabilities: then an option
    is not scored, and a question with listed answers is asked several times."""
    from greenroom.asking.choice import OPEN, REPLY_TOKENS, SAMPLES
    from greenroom.asking.questions import probes

    clusters: dict[str, list[Case]] = {}
    for case in cases:
        clusters.setdefault(case.cluster, []).append(case)
    nulls = set()
    calls = letters = written = 0
    for own in clusters.values():
        for probe in probes(part.asking, own, local):
            if probe.null and probe.content in nulls:
                continue
            nulls.add(probe.content)
            times = max(1, len(probe.texts), SAMPLES if probe.listed and not local else 0)
            calls += times
            letters += times * letters_in([probe.conversation])
            if not probe.texts:
                written += OPEN.max_tokens or 0
            elif not local:
                written += times * (REPLY_TOKENS if probe.listed else 1)
    return Cost(calls, about_tokens(letters), written)


def _title(part: Part) -> str:
    return part.title if isinstance(part, Stage) else part.name
