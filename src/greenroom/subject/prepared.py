"""Scoring the same text under many edits: the blocks below the first edit are run once, the blocks above once an edit.

An edit after block l leaves blocks 0 … l as they are, and their output with them. `Prepared` keeps that output for
every token and goes on from there: the stock modules run as ever, only the blocks below are made to stand still. So
the results are those of `Subject.score` up to float rounding (a test compares them), at (L − 1 − l) / L of its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from greenroom.subject.capture import Hooks
from greenroom.subject.forward import Progress, compute_prefixes, leaves, planned, run_stretches, windows
from greenroom.subject.interventions import Intervention
from greenroom.subject.scoring import WINDOW, Scores, Texts, Visit

if TYPE_CHECKING:
    from greenroom.subject.subject import Subject


class Prepared:
    """Prompts and continuations that have been run up to some blocks; made by `Subject.prepare`.

    blocks: where it can go on from. bytes: what the kept activations weigh.
    """

    def __init__(
        self,
        subject: Subject,
        prompts: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[int]],
        blocks: Sequence[int],
        progress: Progress | None = None,
    ):
        self._subject, self._network = subject, subject.network
        self._texts = Texts(prompts, continuations)
        self.blocks = tuple(sorted(blocks))
        self._kept: dict[int, Tensor] = {}
        self._slots = torch.zeros(0, 0, dtype=torch.long)
        self._tuples: dict[int, bool] = {}
        if self.blocks and self._texts.rows:
            self._record(progress)

    @property
    def bytes(self) -> int:
        return sum(values.nbytes for values in self._kept.values())

    def score(self, interventions: Sequence[Intervention] = (), progress: Progress | None = None) -> Scores:
        """What `Subject.score` gives under these edits. Their amounts must be single numbers: a setting is one for
        all rows (ValueError). An edit below all kept blocks costs a whole forward."""
        edits = self._subject._edits(interventions)
        for edit in edits:
            if isinstance(edit.amount, tuple):
                raise ValueError("prepared text is scored under one amount for all rows; got an amount for each")
        first = min((edit.layer for edit in edits), default=self._subject.layers)
        usable = [block for block in self.blocks if block <= first]
        hooks = Hooks(self._network.blocks, self._subject.sinks, edits, len(self._texts.rows))
        visit = self._texts.reading(self._network)
        if not usable:
            self._walk(hooks, visit, progress)
        else:
            with self._resumed(hooks, usable[-1]):
                self._walk(hooks, visit, progress)
        return self._texts.scores()

    def _walk(
        self,
        hooks: Hooks,
        visit: Visit,
        progress: Progress | None,
        planned_tree: Callable[[Any, Sequence[int]], None] | None = None,
    ) -> None:
        """One forward over all rows, each shared prefix once."""
        rows, limits, network = self._texts.rows, self._texts.limits, self._network
        ends = torch.tensor(self._texts.ends, device=network.device)
        order = sorted(range(len(rows)), key=lambda row: (rows[row][: limits[row]], row))
        done = 0
        with torch.inference_mode(), hooks.attached():
            for window, tree in windows(network, rows, limits, [()] * len(rows), order, WINDOW):
                if planned_tree is not None:
                    planned_tree(tree, window)
                prefixes = compute_prefixes(network, hooks, tree, rows, ends)
                for batch in planned(leaves(tree, prefixes, rows, window, {})):
                    hidden, _ = run_stretches(network, hooks, batch, ends, keep=False)
                    visit([item.row for item in batch], [item.start for item in batch], hidden)
                    done += len(batch)
                    if progress is not None:
                        progress(done, len(rows))

    def _record(self, progress: Progress | None) -> None:
        """Runs all rows up to the deepest block and keeps each token's activation once, shared prefixes too."""
        longest, count = max(len(row) for row in self._texts.rows), 1  # slot 0 is what padding reads and writes
        slots = torch.zeros(len(self._texts.rows), longest + 1, dtype=torch.long)

        def number(tree: Any, window: Sequence[int]) -> None:
            """Gives each token of the window a slot; tokens of a shared stretch have one slot for all its rows."""
            nonlocal count
            begins: list[int] = []
            for node in tree.nodes:
                begins.append(count)
                count += node.end - node.start
            for row in window:
                index = tree.leaf[row]
                while index is not None:
                    node = tree.nodes[index]
                    slots[row, node.start : node.end] = torch.arange(node.end - node.start) + begins[index]
                    index = node.parent
                start = tree.start(row)
                length = len(self._texts.rows[row])
                slots[row, start:length] = torch.arange(length - start) + count
                count += length - start
            for block in self.blocks:
                size, kept = (count, self._subject.d_model), self._kept.get(block)
                grown = torch.zeros(size, dtype=self._network.dtype, device=self._network.device)
                if kept is not None:
                    grown[: len(kept)] = kept
                self._kept[block] = grown
            self._slots = slots.to(self._network.device)

        def keep(block: int, hidden: Tensor, _: Tensor) -> None:
            # A padded position may name a token that its row meets later; that token's own stretch runs later too and
            # writes over it, since stretches run in the order of their depth.
            self._kept[block][self._slots_of(hooks)] = hidden

        hooks = Hooks(
            self._network.blocks, None, (), len(self._texts.rows), read=self.blocks, on_block=keep,
            stop_after=self.blocks[-1],
        )  # fmt: skip
        handles = []
        try:
            for block in range(self.blocks[-1] + 1):
                handles.append(self._network.blocks[block].register_forward_hook(self._shape_of(block)))
            self._walk(hooks, lambda *_: None, progress, number)
        finally:
            for handle in handles:
                handle.remove()

    def _shape_of(self, block: int) -> Callable[..., None]:
        """Notes whether a block returns a tuple, so that its stand-in can do the same."""

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._tuples[block] = isinstance(output, tuple)

        return hook

    def _slots_of(self, hooks: Hooks) -> Tensor:
        """(batch, token) slots of the tokens of the forward that is running."""
        assert hooks.current is not None
        positions = hooks.current.positions.clamp_max(self._slots.shape[1] - 1)
        return self._slots[hooks.current.rows.unsqueeze(-1), positions]

    @contextmanager
    def _resumed(self, hooks: Hooks, block: int) -> Iterator[None]:
        """Within it, blocks below `block` pass on what they get, and `block` gives what it gave when recorded.

        Its hooks stay in place, so edits after it apply as ever.
        """

        def stand_still(at: int) -> Callable[..., Any]:
            def forward(hidden_states: Tensor, *_: Any, **__: Any) -> Any:
                given = self._kept[block][self._slots_of(hooks)] if at == block else hidden_states
                return (given,) if self._tuples[at] else given

            return forward

        modules = [self._network.blocks[at] for at in range(block + 1)]
        before = [module.__dict__.get("forward") for module in modules]
        try:
            for at, module in enumerate(modules):
                module.forward = stand_still(at)
            yield
        finally:
            for module, own in zip(modules, before, strict=True):
                if own is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.forward = own
