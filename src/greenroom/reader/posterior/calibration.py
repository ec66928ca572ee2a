"""From likelihoods to probabilities that can be believed: a temperature by length, and how well it holds.

Replies are not sampled from the very distribution that scores them (colder, and cut to likely tokens), so likelihoods are
sharper or flatter than they deserve. One temperature a length, fitted on held-out replies of the reader, mends that for
replies of the reader; nothing makes it hold for anybody else's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from greenroom.personas import Context
from greenroom.store import digest, read_json, write_json

if TYPE_CHECKING:
    from greenroom.measures.intervals import Array

SHIPPED = Path(__file__).parent / "shipped"
BINS = 10
ENOUGH = 1000  # replies for a calibration that may be called one (definitions.md)


@dataclass(frozen=True)
class Calibration:
    """Temperatures by length, tokens; between lengths interpolated in log length, outside the nearest one.

    errors: expected calibration error at each length on replies that the fit did not see, None where not measured.
    replies: how many it was measured on. scope: the contexts and prior that it was measured with (`scope_of`): the
    temperatures serve others as the best guess, but nothing says that their probabilities hold.
    """

    lengths: tuple[int, ...] = (1,)
    temperatures: tuple[float, ...] = (1.0,)
    errors: tuple[float | None, ...] = (None,)
    replies: int = 0
    scope: str = ""

    def temperature(self, tokens: int) -> float:
        return float(np.exp(np.interp(np.log(max(tokens, 1)), np.log(self.lengths), np.log(self.temperatures))))

    def holds(self, contexts: Sequence[Context], prior: Array) -> bool:
        """Whether it was measured on enough replies, and with these contexts and this prior."""
        return self.replies >= ENOUGH and self.scope == scope_of(contexts, prior)

    def as_dict(self) -> dict[str, Any]:
        return {
            "lengths": list(self.lengths),
            "temperatures": [round(one, 4) for one in self.temperatures],
            "errors": [None if one is None else round(one, 4) for one in self.errors],
            "replies": self.replies,
            "scope": self.scope,
        }

    def save(self, fingerprint: str) -> Path:
        """Writes it where `calibration_of` finds it: package data."""
        path = SHIPPED / fingerprint / "who.json"
        write_json(path, self.as_dict())
        return path


def calibration_of(fingerprint: str) -> Calibration:
    """The shipped calibration of exactly these weights; temperature 1 and nothing measured where there is none."""
    path = SHIPPED / fingerprint / "who.json"
    if not path.is_file():
        return Calibration()
    kept = read_json(path)
    return Calibration(
        tuple(kept["lengths"]), tuple(kept["temperatures"]), tuple(kept["errors"]), int(kept["replies"]), kept["scope"]
    )


def scope_of(contexts: Sequence[Context], prior: Array) -> str:
    """Names contexts with their system messages, and their prior; the order does not count."""
    told = zip(contexts, np.asarray(prior, float).tolist(), strict=True)
    return digest(*sorted(repr((one.name, one.instruction, f"{share:.6f}")) for one, share in told))


def probabilities(loglikelihoods: Array, prior: Array, temperature: float = 1.0) -> Array:
    """(…, context) posterior from log-likelihoods (…, context), nats, and prior (context,)."""
    with np.errstate(divide="ignore"):
        return special.softmax(loglikelihoods / temperature + np.log(prior), axis=-1)


def fit_temperature(loglikelihoods: Array, prior: Array, truth: Sequence[int]) -> float:
    """The temperature that makes the true contexts most probable. loglikelihoods: (text, context); truth: (text,)."""
    from scipy import optimize  # slow to import, and not needed to judge a text

    rows, right = np.arange(len(truth)), np.asarray(truth)

    def loss(log_temperature: float) -> float:
        with np.errstate(divide="ignore"):
            scores = loglikelihoods / np.exp(log_temperature) + np.log(prior)
        return float(np.mean(special.logsumexp(scores, axis=1) - scores[rows, right]))

    best: Any = optimize.minimize_scalar(loss, bounds=(-2.0, 4.0), method="bounded")
    return float(np.exp(best.x))


def calibration_error(confidence: Array, correct: Array, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal mass: the mean distance of confidence and share correct."""
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(part) * abs(confidence[part].mean() - correct[part].mean()) for part in parts) / len(order))
