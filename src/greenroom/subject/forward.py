"""One forward of the engine: a batch of token stretches, each after its own prefix, through the stock modules."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from greenroom.errors import ModelError
from greenroom.subject.attention import KEY_BLOCK, grouped
from greenroom.subject.cache import Prefix, RowCache, attention_mask
from greenroom.subject.capture import Hooks, Pass, Stop
from greenroom.subject.memory import retain_memory
from greenroom.subject.prefixes import Node, PrefixTree, shared_prefixes

Progress = Callable[[int, int], None]  # (done, total)

# Rows × padded tokens of one forward: large enough for the matrix rate, small enough for the activations of an MLP.
TOKENS_PER_FORWARD = 3072
# What a forward costs beside its tokens, in tokens: the weights are read once a forward, however few rows there are.
FORWARD_COST = 96
# Keys and values of shared prefixes that may be alive at the same time.
PREFIX_BYTES = 3 << 27
# Up to so many rows the vocabulary is multiplied in parts, rows last. A matrix library splits the work along what
# it takes for the rows of the result: with few rows and 49k columns the plain order reaches half the matrix rate
# (measured: 64 rows 101 → 137 GFLOP/s, 150 rows 135 → 140, 256 rows 146 → 136).
HEAD_ROWS = 160
HEAD_PART = 4096


@dataclass(frozen=True)
class Stretch:
    """Tokens of one row from position `start` on, after `prefix` (whose length is `start`)."""

    row: int
    start: int
    tokens: Sequence[int]
    prefix: Prefix | None = None


class Network:
    """The parts of a decoder-only transformers model that the engine uses: blocks, body and head."""

    def __init__(self, model: Any):
        self.config: Any = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
        self.body: nn.Module = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
        self.blocks = _blocks(self.body, int(self.config.num_hidden_layers))
        self.head: nn.Module = model.get_output_embeddings()
        if self.head is None:
            raise ModelError("this model has no language-model head; expected a causal language model")
        self.device = next(model.parameters()).device
        self.dtype = next(self.body.parameters()).dtype
        if self.device.type == "cpu":
            retain_memory()
        self.grouped = self.device.type == "cpu" and self.dtype == torch.bfloat16
        self.context = int(getattr(self.config, "max_position_embeddings", 0) or (1 << 30))
        self.softcap: float | None = getattr(self.config, "final_logit_softcapping", None)
        # Granite divides its logits, Cohere multiplies them.
        self.logit_scale = float(getattr(self.config, "logit_scale", None) or 1.0) / float(
            getattr(self.config, "logits_scaling", None) or 1.0
        )

    @property
    def bytes_per_token(self) -> int:
        """Of keys and values, all blocks together."""
        heads = getattr(self.config, "num_key_value_heads", None) or self.config.num_attention_heads
        width = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        return 2 * len(self.blocks) * heads * width * self.dtype.itemsize

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, vocabulary) float32 from final-norm hidden states (…, d_model)."""
        logits = self._head(hidden).float()
        if self.logit_scale != 1.0:
            logits = logits * self.logit_scale
        if self.softcap:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits

    def _head(self, hidden: Tensor) -> Tensor:
        head, rows = self.head, hidden.flatten(0, -2)
        if self.grouped and len(rows) == 1:  # as in `run`
            return head(hidden.expand(*hidden.shape[:-2], 2, -1))[..., :1, :]
        if type(head) is not nn.Linear or head.bias is not None or head._forward_hooks:
            return head(hidden)
        if hidden.device.type != "cpu" or len(rows) > HEAD_ROWS or head.weight.dtype != torch.float32:
            return head(hidden)
        logits = rows.new_empty(len(rows), head.out_features)
        columns = rows.t().contiguous()
        for begin in range(0, head.out_features, HEAD_PART):
            logits[:, begin : begin + HEAD_PART] = (head.weight[begin : begin + HEAD_PART] @ columns).t()
        return logits.unflatten(0, hidden.shape[:-1])

    def run(
        self, hooks: Hooks, tokens: Tensor, positions: Tensor, state: Pass, cache: RowCache | None
    ) -> Tensor | None:
        """Final-norm hidden states (batch, token, d_model), or None when a hook ended the forward early."""
        length = int(positions.max()) + 1 if cache is not None else tokens.shape[1]
        alone = self.grouped and tokens.numel() == 1
        if alone:  # a product of one row sums in another order than one of many, so a token of padding goes with it
            tokens, positions = tokens.expand(1, 2), torch.cat([positions, positions + 1], dim=1)
            state, length = replace(state, positions=positions), length + 1
        if cache is not None:
            if self.grouped:
                length += -length % KEY_BLOCK
            cache.at(positions, length)
        hooks.current = state
        try:
            with grouped(self.config) if self.grouped else nullcontext():
                output = self.body(
                    input_ids=tokens,
                    attention_mask=attention_mask(self.config, positions, length, self.dtype),
                    # Padding may lie beyond a learned position table; what it computes is never seen.
                    position_ids=positions.clamp_max(self.context - 1),
                    past_key_values=cache,
                    use_cache=cache is not None,
                )
        except Stop:
            return None
        return output.last_hidden_state[:, :1] if alone else output.last_hidden_state


def _blocks(body: nn.Module, count: int) -> Sequence[nn.Module]:
    lists = [module for module in body.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not lists:
        raise ModelError(
            f"found no list of {count} blocks in {type(body).__name__}; expected a decoder-only transformer"
        )
    return list(lists[0])


def planned(stretches: Sequence[Stretch], budget: int = TOKENS_PER_FORWARD, rows: int = 256) -> Iterator[list[Stretch]]:
    """Batches of similar length, longest first: the cut of the sorted stretches that costs least, where a batch costs
    its padded tokens and FORWARD_COST. Each keeps to `budget` padded tokens (prefix tokens weigh half: they cost
    memory and attention, not matrix products). Depends on lengths alone, never on free memory."""
    ordered = sorted(stretches, key=lambda item: (-len(item.tokens), -item.start, item.row))
    # Of the first n stretches: what their best cut costs, and where its last batch begins.
    cheapest, cut = [0] * (len(ordered) + 1), [0] * (len(ordered) + 1)
    for end in range(1, len(ordered) + 1):
        deepest, best = 0, 0
        for begin in range(end - 1, max(-1, end - rows - 1), -1):
            longest, count = len(ordered[begin].tokens), end - begin
            deepest = max(deepest, ordered[begin].start)
            if count > 1 and (longest + deepest // 2) * count > budget:
                break
            cost = cheapest[begin] + longest * count + FORWARD_COST
            if count == 1 or cost <= best:
                best, cut[end] = cost, begin
        cheapest[end] = best
    batches: list[list[Stretch]] = []
    end = len(ordered)
    while end:
        batches.append(ordered[cut[end] : end])
        end = cut[end]
    yield from reversed(batches)


def run_stretches(
    network: Network, hooks: Hooks, batch: Sequence[Stretch], reply_start: Tensor, keep: bool
) -> tuple[Tensor | None, RowCache | None]:
    """Runs one batch, padded on the right. Returns hidden states (batch, token, d_model) and the cache.

    keep: whether keys and values are wanted afterwards; without prefixes and without `keep` no cache is made.
    """
    device = network.device
    longest = max(len(item.tokens) for item in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    for index, item in enumerate(batch):
        ids[index, : len(item.tokens)] = torch.tensor(item.tokens, dtype=torch.long)
    starts = torch.tensor([item.start for item in batch])
    positions = (starts.unsqueeze(-1) + torch.arange(longest)).to(device)
    cache = None
    if keep or bool(starts.any()):
        cache = RowCache(len(network.blocks), len(batch))
        for index, item in enumerate(batch):
            if item.prefix is not None:
                cache.put(index, item.prefix)
    rows = torch.tensor([item.row for item in batch], device=device)
    state = Pass(rows, positions, reply_start[rows])
    hidden = network.run(hooks, ids.to(device), positions, state, cache)
    return hidden, cache


def windows(
    network: Network,
    tokens: Sequence[Sequence[int]],
    limits: Sequence[int],
    keys: Sequence[Hashable],
    order: Sequence[int],
    size: int,
) -> Iterator[tuple[Sequence[int], PrefixTree]]:
    """Rows that are planned together, at most `size`, and their shared prefixes, which are alive at the same time:
    a window is halved until they keep to PREFIX_BYTES. Depends on the rows alone."""
    begin = 0
    while begin < len(order):
        count = min(size, len(order) - begin)
        while True:
            window = order[begin : begin + count]
            tree = shared_prefixes(tokens, limits, keys, window)
            kept = sum(node.end for node in tree.nodes) * network.bytes_per_token
            if kept <= PREFIX_BYTES or count <= 32:
                break
            count //= 2
        yield window, tree
        begin += count


def compute_prefixes(
    network: Network,
    hooks: Hooks,
    tree: PrefixTree,
    tokens: Sequence[Sequence[int]],
    reply_start: Tensor,
    advance: Callable[[int], None] | None = None,
) -> list[Prefix]:
    """Keys and values of every node of the tree, level by level."""
    prefixes: list[Prefix | None] = [None] * len(tree.nodes)
    for depth in range(max((node.depth for node in tree.nodes), default=-1) + 1):
        level = [index for index, node in enumerate(tree.nodes) if node.depth == depth]
        stretches = {
            tree.nodes[index].row: index for index in level
        }  # a row represents at most one node of a level, since a node's rows are disjoint from its siblings'
        items = [_stretch(tree.nodes[index], tokens, prefixes) for index in level]
        for batch in planned(items):
            _, cache = run_stretches(network, hooks, batch, reply_start, keep=True)
            assert cache is not None
            for slot, item in enumerate(batch):
                node = stretches[item.row]
                prefixes[node] = cache.take(slot, tree.nodes[node].end)
            if advance is not None:
                advance(sum(len(item.tokens) for item in batch))
    return _all(prefixes)


def _stretch(node: Node, tokens: Sequence[Sequence[int]], prefixes: Sequence[Prefix | None]) -> Stretch:
    prefix = None if node.parent is None else prefixes[node.parent]
    return Stretch(node.row, node.start, tokens[node.row][node.start : node.end], prefix)


def _all(prefixes: Iterable[Prefix | None]) -> list[Prefix]:
    return [prefix for prefix in prefixes if prefix is not None]


def leaves(
    tree: PrefixTree,
    prefixes: Sequence[Prefix],
    tokens: Sequence[Sequence[int]],
    rows: Iterable[int],
    known: Mapping[int, Prefix],
) -> list[Stretch]:
    """Each row's own tokens, after the prefix that it shares, or that is `known` from an earlier call."""
    result = []
    for row in rows:
        if row in known:
            start = known[row].length
            result.append(Stretch(row, start, tokens[row][start:], known[row]))
            continue
        node = tree.leaf[row]
        start = tree.start(row)
        result.append(Stretch(row, start, tokens[row][start:], None if node is None else prefixes[node]))
    return result
