"""Keys and values of many rows, stored densely: the key of position p lies at index p in every row.

Because of that, causality (index ≤ position) is the only mask there is: what lies beyond a row's end is
hidden from it, whether it is padding or the leftovers of a conversation that used the row before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from greenroom.errors import ModelError
from greenroom.subject.attention import KEY_BLOCK


class RowCache:
    """A transformers cache of one tensor a block.

    keys[layer], values[layer]: (rows, heads, length so far, head_dim), made on first use because only the first forward
    tells a block's shape, and grown by KEY_BLOCK positions at a time: what a forward sees is then the storage as it lies, which
    products need not copy. Before each forward, `at(positions, length)` says where the new tokens go.
    """

    is_compileable = False

    def __init__(self, layers: int, rows: int):
        self.rows = rows
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self._positions: Tensor | None = None
        self._active = 0
        self._length = 0
        self._column: int | None = None

    def at(self, positions: Tensor, length: int) -> None:
        """The next forward writes row i's tokens at positions[i] (rows, tokens); keys 0…length−1 are visible."""
        self._positions = positions
        self._active = positions.shape[0]
        self._length = length
        # Rows at one common position (batches of equal length) can be written as a slice, without an index.
        first = int(positions[0, 0])
        self._column = first if bool((positions[:, 0] == first).all()) else None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._length

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys = self._room(self.keys, layer_idx, key, self._length)
        values = self._room(self.values, layer_idx, value, self._length)
        assert self._positions is not None
        rows, tokens = self._positions.shape
        if self._column is not None:
            keys[:rows, :, self._column : self._column + tokens] = key
            values[:rows, :, self._column : self._column + tokens] = value
        else:
            index = torch.arange(rows, device=key.device).unsqueeze(-1)
            keys[index, :, self._positions] = key.transpose(1, 2)
            values[index, :, self._positions] = value.transpose(1, 2)
        return keys[:rows, :, : self._length], values[:rows, :, : self._length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` keys and values of one row over another."""
        for store in (self.keys, self.values):
            for tensor in store:
                if tensor is not None:
                    tensor[target, :, :length] = tensor[source, :, :length]

    def take(self, row: int, length: int) -> Prefix:
        """A copy of one row's first `length` positions."""
        return Prefix(
            length,
            [None if tensor is None else tensor[row, :, :length].clone() for tensor in self.keys],
            [None if tensor is None else tensor[row, :, :length].clone() for tensor in self.values],
        )

    def put(self, row: int, prefix: Prefix) -> None:
        """Writes a prefix into one row."""
        self._write(row, prefix.keys, prefix.values, prefix.length)

    def copy_rows(self, source: RowCache, start: int, length: int) -> None:
        """Copies all rows of another cache to rows start… of this one, `length` positions of each."""
        self._write(slice(start, start + source.rows), source.keys, source.values, length)

    def _write(
        self, rows: int | slice, keys: Sequence[Tensor | None], values: Sequence[Tensor | None], length: int
    ) -> None:
        """Writes the first `length` positions of one row's parts (heads, …, dim), or of several rows'."""
        for store, parts in ((self.keys, keys), (self.values, values)):
            for layer, part in enumerate(parts):
                if part is not None:
                    self._room(store, layer, part, length)[rows, :, :length] = part[..., :length, :]

    def _room(self, store: list[Tensor | None], layer: int, like: Tensor, length: int) -> Tensor:
        """A block's storage for at least `length` positions. like: (…, heads, tokens, dim)."""
        tensor = store[layer]
        if tensor is None or tensor.shape[2] < length:
            # Zeros, since what is hidden by a weight of 0 must at least be a number.
            grown = like.new_zeros(self.rows, like.shape[-3], length + -length % KEY_BLOCK, like.shape[-1])
            if tensor is not None:
                grown[:, :, : tensor.shape[2]] = tensor
            tensor = store[layer] = grown
        return tensor


class Prefix:
    """Keys and values of one shared prefix: per block (heads, length, head_dim), None for a block that did not run."""

    def __init__(self, length: int, keys: list[Tensor | None], values: list[Tensor | None]):
        self.length, self.keys, self.values = length, keys, values

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for part in (*self.keys, *self.values) if part is not None)

    def cut(self, length: int) -> Prefix:
        """The first `length` positions; shares memory with this one."""
        keys, values = (
            [None if part is None else part[:, :length] for part in parts] for parts in (self.keys, self.values)
        )
        return Prefix(length, keys, values)


class PrefixCache:
    """What texts have been through, kept between calls of `generate` or `score`, so that the next turn of a conversation,
    or the rest of a text, costs only what is new. Keyed by tokens; the oldest entries go when `max_bytes` is exceeded.
    Not for calls with interventions.
    """

    def __init__(self, max_bytes: int = 1 << 30):
        self.max_bytes = max_bytes
        self._entries: list[tuple[list[int], Prefix]] = []
        self._bytes = 0

    def longest(self, tokens: Sequence[int], limit: int) -> Prefix | None:
        """The longest kept prefix of `tokens`, at most `limit` long, or None when none is worth it."""
        best, found = 15, None
        for kept, prefix in self._entries:
            bound = min(len(kept), limit)
            if bound <= best:
                continue
            same = next((i for i in range(bound) if kept[i] != tokens[i]), bound)
            if same > best:
                best, found = same, prefix
        return None if found is None else found.cut(best)

    def known(self, rows: Sequence[Sequence[int]], limits: Sequence[int]) -> dict[int, Prefix]:
        """row → the longest kept prefix of that row, at most limits[row] long; rows without one are left out."""
        found = {row: self.longest(tokens, limits[row]) for row, tokens in enumerate(rows)}
        return {row: prefix for row, prefix in found.items() if prefix is not None}

    def keep(self, tokens: Sequence[int], prefix: Prefix) -> None:
        # What the new entry continues is not needed any more.
        old = [index for index, (kept, _) in enumerate(self._entries) if kept == list(tokens[: len(kept)])]
        for index in reversed(old):
            self._bytes -= self._entries.pop(index)[1].bytes
        self._entries.append((list(tokens), prefix))
        self._bytes += prefix.bytes
        while self._bytes > self.max_bytes and len(self._entries) > 1:
            self._bytes -= self._entries.pop(0)[1].bytes


def attention_mask(config: Any, positions: Tensor, length: int, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """The additive causal mask (batch, 1, token, length) for dense keys, or one for each layer type of the config.

    Raises ModelError for attention kinds whose state is not a list of keys (linear attention, state spaces).
    """
    keys = torch.arange(length, device=positions.device)
    hidden = torch.finfo(dtype).min

    def mask(window: int | None) -> Tensor:
        visible = keys <= positions.unsqueeze(-1)
        if window is not None:
            visible &= positions.unsqueeze(-1) - keys < window
        floor = torch.full((), hidden, dtype=dtype, device=positions.device)
        return torch.where(visible, torch.zeros((), dtype=dtype, device=positions.device), floor).unsqueeze(1)

    kinds = set(getattr(config, "layer_types", None) or ())
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ModelError(
            f"attention of kind {', '.join(sorted(unknown))} is not supported yet; "
            "supported are full and sliding-window attention"
        )
    window = getattr(config, "sliding_window", None)
    if "sliding_attention" in kinds:
        return {kind: mask(window if kind == "sliding_attention" else None) for kind in kinds}
    if kinds or not getattr(config, "use_sliding_window", True):
        window = None
    return mask(window)
