"""Whether replies are still text: repetition, and which of them are degenerate. Plain Python, no judge."""

from __future__ import annotations

import math
from collections.abc import Sequence

GRAM = 3
# More than half of a reply's three-token runs said before: it goes round in circles.
CIRCLES = 0.5
# Random tokens surprise a model by ln(vocabulary) nats each. A reply beyond half of that is no longer language to it.
NOISE = 0.5


def repeated_share(tokens: Sequence[int], gram: int = GRAM) -> float:
    """Share of runs of `gram` tokens that occurred before in the same reply; 0 for one too short to repeat itself."""
    runs = [tuple(tokens[index : index + gram]) for index in range(len(tokens) - gram + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def degenerate(text: str, tokens: Sequence[int], surprise: float | None, vocabulary: int) -> str | None:
    """Why a reply is degenerate, or None. surprise: mean nats a token under the unsteered subject, None if unknown."""
    if not text.strip():
        return "empty"
    if repeated_share(tokens) > CIRCLES:
        return "circles"
    if not any(character.isalnum() for character in text):
        return "no words"
    if surprise is not None and not surprise <= NOISE * math.log(vocabulary):
        return "noise"
    return None


def perplexity(logprobs: Sequence[Sequence[float]]) -> float | None:
    """exp of the mean surprise over all tokens of all replies; None when there is not one token, or no number."""
    values = [value for reply in logprobs for value in reply]
    if not values:
        return None
    mean = -sum(values) / len(values)
    return math.exp(mean) if math.isfinite(mean) and mean < 700 else None
