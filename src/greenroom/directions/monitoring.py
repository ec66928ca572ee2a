"""Monitoring before the reply: does the last prompt token, on a trait's vector, foretell the trait of the reply?

Persona Vectors (arXiv 2507.21509) report r of .75–.83, most of it between prompt types: a prompt that asks for the
trait lies apart from one that does not, which the prompt's own words tell as well. So two correlations stand side by
side: pooled over all prompts, and within a prompt type, where each type's means are taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from greenroom.conversation import Conversation, user
from greenroom.directions.direction import Direction
from greenroom.directions.poles import PLACEMENT, Placement, told
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.directions.scorers import Scorer
from greenroom.measures.intervals import DRAWS, Interval, draw_clusters, percentiles
from greenroom.personas import Trait
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

TYPES = ("positive", "plain", "negative")


@dataclass(frozen=True)
class Monitoring:
    """Correlations of projection before the reply with trait score of the reply, intervals by question.

    by_type: prompt type → mean projection (sd) and mean score, to see what the pooled figure is made of.
    """

    trait: str
    pooled: Interval
    within: Interval
    n: int
    by_type: dict[str, tuple[float | None, float | None]]
    score: str

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "pooled": self.pooled._asdict(), "within": self.within._asdict()}


def monitor(
    subject: Subject,
    trait: Trait,
    direction: Direction,
    score: Scorer,
    *,
    repeats: int = 2,
    tokens: int = 32,
    seed: int = 0,
    placement: Placement = PLACEMENT,
    progress: Progress | None = None,
) -> Monitoring:
    """Held-out questions under the positive instruction, none, and the negative one; `repeats` pairs a question."""
    asked = [question.text for question in trait.questions if question.held_out]
    prompts: list[Conversation] = []
    types, questions = [], []
    for number, text in enumerate(asked):
        for turn in range(repeats):
            pair = trait.pairs[(number * repeats + turn) % len(trait.pairs)]
            prompts += [told(pair.positive, text, placement), [user(text)], told(pair.negative, text, placement)]
            types += TYPES
            questions += [number] * len(TYPES)
    before = direction.sd(subject.activations(prompts, [direction.layer], "last").values[0]).numpy()
    replies = subject.generate(
        prompts, max_new_tokens=tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed, progress=progress
    )
    shown = score([[user(asked[number])] for number in questions], [reply.text for reply in replies])
    kind, clusters = np.array(types), np.array(questions)
    known = ~np.isnan(shown)
    return Monitoring(
        trait.name,
        correlation(before[known], shown[known], clusters[known], seed=seed),
        correlation(before[known], shown[known], clusters[known], kind[known].tolist(), seed=seed),
        int(known.sum()),
        {name: (_mean(before[kind == name]), _mean(shown[known & (kind == name)])) for name in TYPES},
        score.kind,
    )


def correlation(
    first: np.ndarray,
    second: np.ndarray,
    clusters: np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Pearson's r with a percentile interval, clusters resampled whole; within groups, whose means are taken out.

    All (n,). None where a side does not vary. n counts clusters.
    """
    numbers, codes = np.unique(clusters, return_inverse=True)
    _, group = np.unique(np.array(groups if groups is not None else ["all"] * len(first)), return_inverse=True)
    whole = _correlations(first, second, group, np.ones((1, len(first))))[0]
    if np.isnan(whole):
        return Interval(None, None, None, len(numbers))
    rng = np.random.default_rng(seed)
    drawn = _correlations(first, second, group, draw_clusters(rng, draws, len(numbers))[:, codes])
    drawn = drawn[~np.isnan(drawn)]
    if len(numbers) < 2 or len(drawn) < draws / 2:
        return Interval(float(whole), None, None, len(numbers))
    return Interval(float(whole), *percentiles(drawn), len(numbers))


def _correlations(first: np.ndarray, second: np.ndarray, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draw,) weighted correlations with each group's weighted means taken out. weights: (draw, n)."""
    member = np.eye(int(group.max()) + 1 if len(group) else 1)[group] if len(group) else np.zeros((0, 1))
    sizes = np.maximum(weights @ member, 1e-12)

    def centred(values: np.ndarray) -> np.ndarray:
        return values - ((weights * values) @ member / sizes)[:, group]

    a, b = centred(first), centred(second)
    cross = (weights * a * b).sum(axis=1)
    spread = (weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1)
    # Rounding leaves a trace of variance in a side that does not vary.
    floor = 1e-18 * max(1.0, float(np.abs(first).max(initial=0)) * float(np.abs(second).max(initial=0))) ** 2
    return np.divide(cross, np.sqrt(spread), out=np.full(len(cross), np.nan), where=spread > floor)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
