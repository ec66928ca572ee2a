"""Following a text as it grows: what was heard is kept as keys and values, so that more of it costs only what is new."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from greenroom.subject.cache import Prefix
from greenroom.subject.capture import Captured, Hooks
from greenroom.subject.forward import Stretch, run_stretches
from greenroom.subject.subject import Subject


class Listener:
    """One reader of one growing token sequence. layers: the blocks read; the forward ends at the deepest of them."""

    def __init__(self, subject: Subject, layers: Sequence[int]):
        self.subject, self.layers = subject, subject.block_ids(layers)
        self._heard: list[int] = []
        self._prefix: Prefix | None = None

    def hear(self, tokens: Sequence[int], since: int | None = None) -> Captured:
        """Activations of tokens[start:], (layer, token, hidden) float32, where start is the first token that differs from
        what was heard before, `since` at the latest. `position` says which tokens they are. Raises ConversationError
        beyond the model's context."""
        self.subject._check_length([tokens], 0)
        limit = min(len(tokens) - 1 if since is None else since, len(tokens) - 1, len(self._heard))
        start = next((index for index in range(limit) if self._heard[index] != tokens[index]), limit)
        prefix = None if self._prefix is None or start == 0 else self._prefix.cut(start)
        found: dict[int, Tensor] = {}

        def on_block(layer: int, hidden: Tensor, _: Tensor) -> None:
            found[layer] = hidden[0].float().cpu()

        network = self.subject.network
        hooks = Hooks(
            network.blocks, self.subject.sinks, (), 1, read=self.layers, on_block=on_block, stop_after=max(self.layers)
        )
        with torch.inference_mode(), hooks.attached():
            row = Stretch(0, start, tokens[start:], prefix)
            _, cache = run_stretches(network, hooks, [row], torch.tensor([len(tokens)], device=network.device), True)
        assert cache is not None
        self._heard, self._prefix = list(tokens), cache.take(0, len(tokens))
        positions = torch.arange(start, len(tokens))
        return Captured(
            self.layers, torch.stack([found[layer] for layer in self.layers]), torch.zeros_like(positions), positions
        )
