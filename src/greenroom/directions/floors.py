"""The published floor: quantiles of single tokens over role and default replies (The Assistant Axis, arXiv 2601.10387)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from greenroom.directions.direction import Direction
from greenroom.directions.rollouts import Rollouts
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

# Replies re-read for the quantiles. Of 32 tokens each: some 6,000 tokens, where the paper has 912,000 replies.
ROLLOUT_REPLIES = 192
# Replies whose token activations are held at a time: 32 × 100 tokens × 19 blocks × 576 are 140 MB.
CHUNK = 32


def rollout_token_projections(
    subject: Subject,
    vectors: Mapping[int, Tensor],
    rollouts: Rollouts,
    *,
    replies: int = ROLLOUT_REPLIES,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[int, np.ndarray]:
    """Token projections of a sample of the replies, read hot: block → (tokens,) residual units.

    rollouts: of roles and of the default character, in the proportion in which they were asked; the sample is drawn
    without replacement and keeps it. The replies are re-read, since a rollout keeps means only, and projected chunk by
    chunk, so that memory stays small.
    """
    layers = sorted(vectors)
    stacked = torch.stack([vectors[layer] for layer in layers])
    drawn = np.random.default_rng(seed).permutation(len(rollouts.replies))[:replies].tolist()
    found: list[Tensor] = []  # (layer, tokens)
    for begin in range(0, len(drawn), CHUNK):
        found.append(_projections(subject, stacked, layers, rollouts, drawn[begin : begin + CHUNK]))
        if progress is not None:
            progress(min(begin + CHUNK, len(drawn)), len(drawn))
    joined = torch.cat(found, dim=1).numpy() if found else np.zeros((len(layers), 0))
    return {layer: joined[index] for index, layer in enumerate(layers)}


def _projections(
    subject: Subject, stacked: Tensor, layers: Sequence[int], rollouts: Rollouts, rows: Sequence[int]
) -> Tensor:
    """(layer, tokens): the tokens of these replies and no others."""
    prompts = [rollouts.prompts[row] for row in rows]
    begins = torch.tensor([len(subject.chat.encode(prompt, generate=True).tokens) for prompt in prompts])
    replies = [rollouts.replies[row] for row in rows]
    captured = subject.activations(prompts, layers, "all", replies=replies)
    of_replies = captured.position >= begins[captured.conversation]
    return torch.einsum("lnd,ld->ln", captured.values[:, of_replies], stacked)


def with_rollout_floors(direction: Direction, tokens: Mapping[int, np.ndarray]) -> Direction:
    """The direction with the quantiles that `rollouts:pNN` names, at every calibrated block whose tokens are given.

    tokens: `rollout_token_projections` along this direction's vectors.
    """
    return replace(
        direction,
        calibration={
            layer: scale.with_rollouts(tokens[layer]) if layer in tokens and tokens[layer].size else scale
            for layer, scale in direction.calibration.items()
        },
    )
