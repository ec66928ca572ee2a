"""Attention in bfloat16 on a CPU, as plain products: the same bits in any batch, and several times faster.

torch's fused attention takes five milliseconds a block for 64 decoding rows where these products take less than one, and rounds
differently with the number of queries and keys that happen to share a forward. In bfloat16 one different bit grows, from
block to block, into another token. A product of bfloat16 matrices sums in an order of its own, whatever the number of
its rows (`same_in_any_batch` tries that on the machine at hand), so that a reply does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

NAME = "greenroom_grouped"
# Keys are padded to a multiple of it: softmax of bfloat16 rows of another length takes five times as long.
KEY_BLOCK = 32
# Weights of attention made at once: they stay in the processor's cache until they are used.
CHUNK_BYTES = 1 << 22


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: (batch, token, head, dim). query: (batch, head, token, dim); key, value: (batch,
    group, key, dim), where a group of heads shares one. attention_mask: (batch, 1, token, key), added to the weights.
    """
    if attention_mask is None or any(others.get(name) is not None for name in ("position_bias", "softcap", "s_aux")):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    short = -key.shape[2] % KEY_BLOCK
    if short:
        key, value = (torch.nn.functional.pad(part, (0, 0, 0, short)) for part in (key, value))
        floor = torch.finfo(attention_mask.dtype).min
        attention_mask = torch.nn.functional.pad(attention_mask, (0, short), value=floor)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rows = max(1, CHUNK_BYTES // (query.shape[1] * query.shape[2] * key.shape[2] * query.element_size()))
    mask = attention_mask.expand(len(query), -1, -1, -1)
    parts = zip(query.split(rows), key.split(rows), value.split(rows), mask.split(rows), strict=True)
    done = [_attended(*part, scale) for part in parts]
    return (done[0] if len(done) == 1 else torch.cat(done)).transpose(1, 2), None


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """(batch, head, token, dim)"""
    rows, heads, tokens, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    # The heads of a group are further queries to the same keys.
    asked = query.reshape(rows * groups, heads // groups * tokens, width)
    weights = torch.bmm(asked, key.reshape(rows * groups, keys, width).transpose(1, 2))
    weights = weights.view(rows, heads, tokens, keys).mul_(scale).add_(mask).softmax(dim=-1)
    weights = weights.view(rows * groups, heads // groups * tokens, keys)
    found = torch.bmm(weights, value.reshape(rows * groups, keys, value.shape[-1]))
    return found.view(rows, heads, tokens, value.shape[-1])


@cache
def _register() -> None:
    from transformers import AttentionInterface  # here, since it costs two seconds that reading a run need not pay

    AttentionInterface.register(NAME, grouped_attention)


@contextmanager
def grouped(config: Any) -> Iterator[None]:
    """Within it, a model of this config attends by `grouped_attention`. Models that do not choose are left alone."""
    _register()
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
