"""Drawing tokens: each conversation has a random stream of its own, so that its reply does not depend on its batch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn: tokens of a reply at most; temperature (0 is greedy); top_p (1 is off); top_k (0 is off).

    Raises ValueError on numbers outside these ranges.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ValueError(
                "expected temperature ≥ 0, 0 < top_p ≤ 1 and top_k ≥ 0, "
                f"got {self.temperature}, {self.top_p}, {self.top_k}"
            )


def random_streams(prompts: Sequence[Sequence[int]], length: int, seed: int | Sequence[int]) -> np.ndarray:
    """(conversations, length) uniform numbers in [0, 1), float64. seed: one for all, or one for each conversation.

    Row i is the stream of hash(seed, prompt tokens, k), where k counts identical prompts of that seed before it in this
    call: independent of batch and order, while identical conversations still differ.
    """
    seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
    seen: Counter[tuple[int, tuple[int, ...]]] = Counter()
    streams = np.empty((len(prompts), length))
    for row, (own, prompt) in enumerate(zip(seeds, prompts, strict=True)):
        key = tuple(prompt)
        text = f"{own}|{seen[own, key]}|{','.join(map(str, key))}"
        seen[own, key] += 1
        hashed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
        streams[row] = np.random.Generator(np.random.Philox(key=hashed)).random(length)
    return streams


def drawn(logits: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """(rows,) token ids. logits: (rows, vocabulary) float32; uniform: (rows,) float64 in [0, 1).

    Temperature 0 is greedy. Otherwise temperature, then top-k (0 = off), then top-p, as transformers orders them;
    cutting to k first means that only k values are ever sorted. The draw inverts the cumulative distribution.
    """
    temperature, top_p, top_k = sampling.temperature, sampling.top_p, sampling.top_k
    if temperature == 0:
        return logits.argmax(dim=-1)
    vocabulary = logits.shape[-1]
    if not 0 < top_k < vocabulary and top_p >= 1:
        cumulative = (logits / temperature).softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        ids = None
    else:
        values, ids = logits.topk(top_k if 0 < top_k < vocabulary else vocabulary, dim=-1)
        probabilities = (values / temperature).softmax(dim=-1, dtype=torch.float64)
        cumulative = probabilities.cumsum(dim=-1)
        if top_p < 1:
            probabilities = probabilities.masked_fill(cumulative - probabilities >= top_p, 0.0)
            cumulative = probabilities.cumsum(dim=-1)
    target = (uniform * cumulative[:, -1]).unsqueeze(-1)
    chosen = torch.searchsorted(cumulative, target, right=True).clamp_max(cumulative.shape[-1] - 1)
    if ids is not None:
        chosen = ids.gather(-1, chosen)
    return chosen.squeeze(-1)
