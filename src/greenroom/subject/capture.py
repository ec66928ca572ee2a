"""Reading and editing the residual stream: one hook a block, alive only while the engine's own forward runs.

Layer l is the residual stream after block l. Capture sees the residual after that block's interventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from greenroom.subject.interventions import Intervention, edited

Pool = Literal["reply", "message", "last", "all"]


@dataclass(frozen=True)
class Captured:
    """Activations with their coordinates.

    layers: block ids in storage order. values: (layer, sample, hidden) float32. conversation: (sample,) which
    conversation a sample belongs to. position: (sample,) the message index (pool "message"), the token index (pool
    "all"), the number of pooled tokens (pool "reply"), or the index of the last token (pool "last").
    """

    layers: tuple[int, ...]
    values: Tensor
    conversation: Tensor
    position: Tensor

    def at(self, layer: int) -> Tensor:
        """(sample, hidden) at block `layer`; ValueError if that block was not captured."""
        if layer not in self.layers:
            raise ValueError(f"block {layer} was not captured; captured are {self.layers}")
        return self.values[self.layers.index(layer)]


@dataclass(frozen=True)
class Sinks:
    """Attention sinks: position 0, and any position whose norm exceeds 10 × the median of its block.

    norm_limit: (layers,) float32, 10 × the median norm found at load. The rule is definitions.md's; the phenomenon
    is that of Xiao et al. 2023 (arXiv 2309.17453) and Sun et al. 2024 (arXiv 2402.17762).
    """

    norm_limit: Tensor

    def spared(self, hidden: Tensor, positions: Tensor, layer: int) -> Tensor:
        """(batch, token) bool, true where the token is a sink. hidden: (batch, token, d); positions: (batch, token)."""
        return (positions == 0) | (hidden.float().norm(dim=-1) > self.norm_limit[layer])


@dataclass
class Pass:
    """What the hooks need to know of the forward that is running.

    rows: (batch,) index of each row's conversation in the call. positions: (batch, token). reply_start: (batch,) the
    position at which each row's reply begins.
    """

    rows: Tensor
    positions: Tensor
    reply_start: Tensor


class Stop(Exception):
    pass


@dataclass
class Hooks:
    """Edits and readings for one engine call. `attached` puts one hook on each block that needs it.

    on_block(layer, hidden (batch, token, d), sinks (batch, token) bool) is called for every block in `read`.
    """

    blocks: Sequence[nn.Module]
    sinks: Sinks | None
    interventions: Sequence[Intervention] = ()
    count: int = 0
    read: Sequence[int] = ()
    on_block: Callable[[int, Tensor, Tensor], None] | None = None
    stop_after: int | None = None
    current: Pass | None = None
    _edits: dict[int, list[tuple[Intervention, Tensor, Tensor]]] = field(default_factory=dict)

    @contextmanager
    def attached(self) -> Iterator[Hooks]:
        device = next(self.blocks[0].parameters()).device
        self._edits = {}
        for edit in self.interventions:
            amounts = torch.tensor(edit.amounts(self.count), dtype=torch.float32, device=device)
            self._edits.setdefault(edit.layer, []).append((edit, edit.vector.to(device), amounts))
        wanted = set(self._edits) | set(self.read) | ({self.stop_after} if self.stop_after is not None else set())
        handles = []
        try:
            for layer in sorted(wanted):
                handles.append(self.blocks[layer].register_forward_hook(self._hook(layer)))
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int) -> Callable[..., Any]:
        edits = self._edits.get(layer, [])
        reads = layer in self.read

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            assert self.current is not None
            state = self.current
            sinks = None
            if self.sinks is not None and (reads or any(edit.spare_sinks for edit, _, _ in edits)):
                sinks = self.sinks.spared(hidden, state.positions, layer)
            for edit, vector, amounts in edits:
                changed = edited(hidden, edit.kind, vector, amounts[state.rows].unsqueeze(-1))
                keep = sinks if (edit.spare_sinks and sinks is not None) else None
                if edit.tokens != "all":
                    is_reply = state.positions >= state.reply_start.unsqueeze(-1)
                    outside = ~is_reply if edit.tokens == "reply" else is_reply
                    keep = outside if keep is None else keep | outside
                hidden = changed if keep is None else torch.where(keep.unsqueeze(-1), hidden, changed)
            if reads and self.on_block is not None:
                if sinks is None:
                    sinks = torch.zeros(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
                self.on_block(layer, hidden, sinks)
            if layer == self.stop_after:
                raise Stop
            if not edits:
                return None
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return hook
