"""The batched loop: many conversations at once, rows retired when they end and refilled from the queue.

Where its speed comes from: no work for finished rows, none for padding (right-packed rows at their own positions),
prompts that share a prefix compute it once, and the vocabulary is cut to k before anything is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from greenroom.subject.cache import Prefix, PrefixCache, RowCache
from greenroom.subject.capture import Hooks, Pass, Sinks
from greenroom.subject.forward import Network, Progress, compute_prefixes, leaves, planned, run_stretches, windows
from greenroom.subject.interventions import Intervention, signature
from greenroom.subject.prefixes import PrefixTree
from greenroom.subject.sampling import Sampling, drawn

# The stated budget of the plan: rows that decode together, and the keys and values they may hold.
ROWS = 256
CACHE_BYTES = 768 << 20
# Rows planned together: their shared prefixes are alive at the same time.
WINDOW = 512


@dataclass(frozen=True)
class Capture:
    """What to keep of a reply's activations while it is generated.

    layers: block ids (negatives count from the end). pool: "reply" keeps the mean over the reply's tokens, (layer,
    hidden); "all" keeps each token, (layer, token, hidden).
    """

    layers: tuple[int, ...]
    pool: Literal["reply", "all"] = "reply"


@dataclass
class Reply:
    """One generated reply.

    tokens exclude the stop token. logprobs: log-probability (nats) of each token under the raw distribution
    (temperature 1, untruncated). finish: "stop" or "length". activations: (layer, hidden) or (layer, token, hidden)
    float32 for `layers`, sinks left out of means; None without capture, and for an empty reply.
    """

    text: str
    tokens: list[int]
    finish: Literal["stop", "length"]
    logprobs: list[float]
    layers: tuple[int, ...] = ()
    activations: Tensor | None = None


@dataclass
class _Row:
    """A conversation on the stage."""

    row: int
    position: int  # of the token to be fed next
    token: int = 0
    draining: bool = False  # cut at the cap; one more forward gives its last token an activation


@dataclass
class _Generated:
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Literal["stop", "length"] = "length"


class Loop:
    """One call of `Subject.generate`, which says what the arguments mean. prompts: as tokens."""

    def __init__(
        self,
        network: Network,
        sinks: Sinks | None,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        stop_tokens: frozenset[int],
        streams: np.ndarray,
        capture: Capture | None,
        interventions: Sequence[Intervention],
        progress: Progress | None,
        prefix_cache: PrefixCache | None,
        decode: Callable[[list[int]], str],
        finished: Callable[[int, Reply], None] | None = None,
    ):
        """streams: (prompt, token) random numbers. decode: token ids to text. finished: hears of each reply as it ends."""
        self.network, self.prompts, self.sampling, self.stop_tokens = network, prompts, sampling, stop_tokens
        self.capture, self.progress, self.prefix_cache = capture, progress, prefix_cache
        self.keys = [signature(interventions, row, len(prompts)) for row in range(len(prompts))]
        self.reply_start = torch.tensor([len(prompt) for prompt in prompts], device=network.device)
        self.streams, self.decode, self.heard = streams, decode, finished
        self.generated = [_Generated() for _ in prompts]
        self.finished = 0
        layers = capture.layers if capture is not None else ()
        self.hooks = Hooks(network.blocks, sinks, interventions, len(prompts), read=layers, on_block=self._read)
        self._sums: Tensor | None = None  # (layer, conversation, hidden)
        self._counts = torch.zeros(len(layers), len(prompts), device=network.device)
        self._tokens: dict[int, list[Tensor]] = {}  # conversation → per token (layer, hidden)
        self._reading: list[_Row] | None = None  # the decoding rows of the running forward; None while prompts run
        self._step: list[Tensor] = []

    def replies(self) -> list[Reply]:
        """Runs the loop; one reply a prompt, in order."""
        with torch.inference_mode(), self.hooks.attached():
            self._run()
        return [self._reply(row) for row in range(len(self.prompts))]

    # The plan ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        # Neighbours in token order share prefixes; windows of them bound what is alive at once.
        order = sorted(range(len(self.prompts)), key=lambda row: (self.keys[row], list(self.prompts[row]), row))
        limits = [len(prompt) - 1 for prompt in self.prompts]
        known = {} if self.prefix_cache is None else self.prefix_cache.known(self.prompts, limits)
        # A row that goes on from an earlier call shares nothing with the others.
        limits = [0 if row in known else limit for row, limit in enumerate(limits)]
        for window, tree in windows(self.network, self.prompts, limits, self.keys, order, WINDOW):
            self._window(list(window), tree, known)

    def _window(self, rows: list[int], tree: PrefixTree, known: dict[int, Prefix]) -> None:
        capacity = max(len(self.prompts[row]) for row in rows) + self.sampling.max_new_tokens
        slots = max(1, min(ROWS, len(rows), CACHE_BYTES // max(1, self.network.bytes_per_token * capacity)))
        prefixes = compute_prefixes(self.network, self.hooks, tree, self.prompts, self.reply_start)
        queue = sorted(rows, key=lambda row: (-len(self.prompts[row]), self.keys[row], list(self.prompts[row]), row))
        cache = RowCache(len(self.network.blocks), slots)
        active: list[_Row] = []
        refill = max(1, slots // 6)
        while queue or active:
            free = slots - len(active)
            if queue and (free >= refill or not active):
                arriving, queue = queue[:free], queue[free:]
                self._admit(arriving, known, tree, prefixes, cache, active)
            if active:
                self._decode(active, cache)

    def _admit(
        self,
        arriving: list[int],
        known: dict[int, Prefix],
        tree: PrefixTree,
        prefixes: list[Prefix],
        cache: RowCache,
        active: list[_Row],
    ) -> None:
        for batch in planned(leaves(tree, prefixes, self.prompts, arriving, known)):
            self._reading = None
            hidden, filled = run_stretches(self.network, self.hooks, batch, self.reply_start, keep=True)
            assert hidden is not None
            assert filled is not None
            longest = max(len(self.prompts[item.row]) for item in batch)
            cache.copy_rows(filled, len(active), longest)
            last = torch.tensor([len(item.tokens) - 1 for item in batch], device=hidden.device)
            logits = self.network.logits(hidden[torch.arange(len(batch), device=hidden.device), last])
            fresh = [_Row(item.row, len(self.prompts[item.row])) for item in batch]
            active.extend(fresh)
            self._choose(fresh, logits)
        self._retire(active, cache)

    def _decode(self, active: list[_Row], cache: RowCache) -> None:
        device = self.network.device
        positions = torch.tensor([[row.position] for row in active], device=device)
        tokens = torch.tensor([[row.token] for row in active], device=device)
        rows = torch.tensor([row.row for row in active], device=device)
        self._reading, self._step = active, []
        hidden = self.network.run(self.hooks, tokens, positions, Pass(rows, positions, self.reply_start[rows]), cache)
        assert hidden is not None
        self._keep_step(active)
        for row in active:
            row.position += 1
        self._choose(active, self.network.logits(hidden[:, 0]))
        self._retire(active, cache)

    def _choose(self, rows: list[_Row], logits: Tensor) -> None:
        """Draws the next token of each row, or marks it as ended."""
        steps = [len(self.generated[row.row].tokens) for row in rows]
        uniform = [0.0 if row.draining else self.streams[row.row, step] for row, step in zip(rows, steps, strict=True)]
        chosen = drawn(logits, torch.tensor(uniform, dtype=torch.float64, device=logits.device), self.sampling)
        logprobs = logits.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)
        for row, token, logprob in zip(rows, chosen.tolist(), logprobs.tolist(), strict=True):
            reply = self.generated[row.row]
            if row.draining:
                row.token = -1
            elif token in self.stop_tokens:
                reply.finish, row.token = "stop", -1
            else:
                reply.tokens.append(token)
                reply.logprobs.append(logprob)
                row.token = token
                if len(reply.tokens) == self.sampling.max_new_tokens:
                    row.draining = self.capture is not None
                    if not row.draining:
                        row.token = -1

    def _retire(self, active: list[_Row], cache: RowCache) -> None:
        """Drops ended rows and closes the gaps with rows from the end."""
        slot = 0
        ended = 0
        while slot < len(active):
            if active[slot].token >= 0:
                slot += 1
                continue
            ended += 1
            self._remember(active[slot], slot, cache)
            if self.heard is not None:
                self.heard(active[slot].row, self._reply(active[slot].row))
            last = active.pop()
            if slot < len(active):
                cache.move(len(active), slot, last.position)
                active[slot] = last
        self.finished += ended
        if self.progress is not None:
            # In tokens: replies of one batch tend to end together, which would show nothing for a long time.
            under_way = sum(len(self.generated[row.row].tokens) for row in active)
            most = self.sampling.max_new_tokens
            self.progress(self.finished * most + under_way, len(self.prompts) * most)

    def _remember(self, row: _Row, slot: int, cache: RowCache) -> None:
        if self.prefix_cache is not None:
            tokens = [*self.prompts[row.row], *self.generated[row.row].tokens][: row.position]
            self.prefix_cache.keep(tokens, cache.take(slot, row.position))

    # Readings ---------------------------------------------------------------------------------------------------

    def _read(self, layer: int, hidden: Tensor, sinks: Tensor) -> None:
        if self._reading is None or self.capture is None:
            return
        values = hidden[:, 0].float()
        if self.capture.pool == "all":
            self._step.append(values.clone())
            return
        if self._sums is None:
            self._sums = values.new_zeros(len(self.capture.layers), len(self.prompts), values.shape[-1])
        index = self.capture.layers.index(layer)
        assert self.hooks.current is not None
        rows = self.hooks.current.rows
        kept = (~sinks[:, 0]).to(values.dtype)
        self._sums[index].index_add_(0, rows, values * kept.unsqueeze(-1))
        self._counts[index].index_add_(0, rows, kept)

    def _keep_step(self, active: list[_Row]) -> None:
        if not self._step or self.capture is None:
            return
        stacked = torch.stack(self._step, dim=1)  # (row, layer, hidden), in the order in which blocks run
        order = [sorted(self.capture.layers).index(layer) for layer in self.capture.layers]
        for index, row in enumerate(active):
            self._tokens.setdefault(row.row, []).append(stacked[index, order].cpu())

    def _reply(self, row: int) -> Reply:
        made = self.generated[row]
        reply = Reply(self.decode(made.tokens), made.tokens, made.finish, made.logprobs)
        if self.capture is None:
            return reply
        reply.layers = self.capture.layers
        if self.capture.pool == "all":
            if row in self._tokens:
                reply.activations = torch.stack(self._tokens[row], dim=1)
        elif self._sums is not None and bool((self._counts[:, row] > 0).all()):
            reply.activations = (self._sums[:, row] / self._counts[:, row].unsqueeze(-1)).cpu()
        return reply
