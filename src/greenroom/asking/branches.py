"""Probes on a discarded branch: what a model would answer after a conversation that goes on as if it was not asked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, cast

from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput

from greenroom.asking.elicitation import Probe, ask


class _After:
    """A model that has already heard a conversation: whatever it is asked comes after that."""

    def __init__(self, model: Model, history: Sequence[ChatMessage]) -> None:
        self.api, self._model, self._history = model.api, model, tuple(history)

    async def generate(self, input: Sequence[ChatMessage], *, config: GenerateConfig) -> ModelOutput:
        return await self._model.generate([*self._history, *input], config=config)


async def ask_after(model: Model, history: Sequence[ChatMessage], probes: Sequence[Probe]) -> dict[str, dict[str, Any]]:
    """`elicitation.ask` after a conversation; neither question nor answer is added to it."""
    return await ask(cast(Model, _After(model, history)), probes)


def listed_logprobs(found: dict[str, Any], answers: Sequence[str]) -> list[float | None]:
    """Log-probabilities of one-word answers, whatever the source; None where unknown.

    Sampled replies are read by their first word and counted, half a reply added to each answer (Haldane 1956), so that
    a few replies never mean certainty. When no reply can be read, all are None.
    """
    if found["logprobs"] is not None:
        return list(found["logprobs"])
    texts = found["texts"] or []
    firsts = [match[0].lower() if (match := re.search(r"[^\W\d_]+", text)) else "" for text in texts]
    counts = [firsts.count(answer.lower()) for answer in answers]
    if not sum(counts):
        return [None] * len(answers)
    readable = sum(counts) / len(texts)
    return [math.log(readable * (count + 0.5) / (sum(counts) + 0.5 * len(answers))) for count in counts]
