"""Dose and response: the trait score of replies at several strengths, by a ruler that the steering did not make."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from greenroom.conversation import user
from greenroom.directions.direction import Direction
from greenroom.directions.interventions import steer
from greenroom.directions.progress import share
from greenroom.directions.rollouts import TEMPERATURE, TOP_P
from greenroom.directions.scorers import Scorer
from greenroom.measures.intervals import Interval, bootstrap_difference, bootstrap_mean
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

STRENGTHS = (-3.0, -1.5, 0.0, 1.5, 3.0)


@dataclass(frozen=True)
class Dose:
    """Mean trait score at each strength (sd), intervals by question.

    rise: score at the highest strength minus that at the lowest. monotone: every step up raises the mean and the
    interval of `rise` lies above 0; None when a strength has no score at all.
    """

    strengths: tuple[float, ...]
    scores: tuple[Interval, ...]
    rise: Interval

    @property
    def monotone(self) -> bool | None:
        means = [score.estimate for score in self.scores]
        if any(mean is None for mean in means) or self.rise.low is None:
            return None
        known = [mean for mean in means if mean is not None]
        return all(low < high for low, high in itertools.pairwise(known)) and self.rise.low > 0

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "strengths_sd": list(self.strengths), "scores": [score._asdict() for score in self.scores],
            "rise": self.rise._asdict(), "monotone": self.monotone,
        }  # fmt: skip


def dose_response(
    subject: Subject,
    direction: Direction,
    score: Scorer,
    questions: Sequence[str],
    *,
    strengths: Sequence[float] = STRENGTHS,
    repeats: int = 4,
    tokens: int = 40,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dose:
    """Each question is answered `repeats` times at every strength, without any instruction, the same random numbers at
    all strengths; the replies are scored unsteered."""
    asked = [[user(text)] for text in questions for _ in range(repeats)]
    number = [index for index in range(len(questions)) for _ in range(repeats)]
    found = []
    for index, strength in enumerate(strengths):
        replies = subject.generate(
            asked, max_new_tokens=tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed,
            interventions=steer(direction, strength) if strength else (),
            progress=share(progress, index / len(strengths), (index + 1) / len(strengths)),
        )  # fmt: skip
        found.append(score(asked, [reply.text for reply in replies]))
    return Dose(
        tuple(strengths),
        tuple(bootstrap_mean(values, number, seed=seed) for values in found),
        bootstrap_difference(found[-1], found[0], number, number, seed=seed),
    )


def random_like(direction: Direction, seed: int = 0) -> Direction:
    """A random direction of equal norm and equal strength in residual units: the control of a dose-response."""
    drawn = torch.randn(direction.vector().numel(), generator=torch.Generator().manual_seed(seed))
    return replace(
        direction, name="random", vectors={direction.layer: drawn / drawn.norm()},
        calibration={direction.layer: direction.scale()}, sign_test=None, validity={}, reliable=False,
    )  # fmt: skip
