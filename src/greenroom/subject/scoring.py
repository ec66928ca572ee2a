"""Log-probabilities of given text, and activations of given text: forwards without sampling."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from greenroom.subject.cache import PrefixCache
from greenroom.subject.capture import Captured, Hooks, Pool, Sinks
from greenroom.subject.forward import Network, Progress, compute_prefixes, leaves, planned, run_stretches, windows
from greenroom.subject.interventions import Intervention, signature

# Rows of logits made at once: 512 × a 50k vocabulary in float32 is 100 MB.
LOGIT_ROWS = 512
# Rows planned together: their shared prefixes are alive at the same time.
WINDOW = 1024


@dataclass(frozen=True)
class Scores:
    """Log-probabilities (nats) of continuations under the raw distribution.

    total[i]: of continuation i. tokens[i]: of each of its tokens. ids[i]: those tokens.
    """

    total: list[float]
    tokens: list[list[float]]
    ids: list[list[int]]


Visit = Callable[[list[int], list[int], Tensor | None], None]


class Texts:
    """Prompts with their continuations as rows to be fed, and which predictions are read of each.

    What is fed lacks a continuation's last token, which predicts nothing, so continuations of one prompt that differ in
    it alone are one row: a question with choices of one token is computed once, not once a choice.

    rows: the different texts. ends: where each one's prompt ends. first: the first continuation that each one serves.
    values: log-probabilities (nats) found so far, those of each continuation from its `starts` on.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[int]],
        keys: Sequence[Hashable] | None = None,
        starts: Sequence[int] | None = None,
    ):
        """keys: continuations share a row only if theirs are equal (the edits that apply to them)."""
        begins = starts if starts is not None else [0] * len(continuations)
        self.ids = [list(tokens[begin:]) for tokens, begin in zip(continuations, begins, strict=True)]
        self.values = [[0.0] * len(tokens) for tokens in self.ids]
        self.rows: list[list[int]] = []
        self.ends: list[int] = []
        self.first: list[int] = []
        # For each row, position → (continuation, which of its values, token id) to be read there.
        self.targets: list[dict[int, list[tuple[int, int, int]]]] = []
        found: dict[Hashable, int] = {}
        for index, (prompt, tokens, begin) in enumerate(zip(prompts, continuations, begins, strict=True)):
            fed = (*prompt, *tokens[:-1])
            row = found.setdefault((len(prompt), keys[index] if keys is not None else None, fed), len(self.rows))
            if row == len(self.rows):
                self.rows.append(list(fed))
                self.ends.append(len(prompt))
                self.first.append(index)
                self.targets.append({})
            for at, token in enumerate(tokens[begin:]):
                self.targets[row].setdefault(len(prompt) - 1 + begin + at, []).append((index, at, token))

    @property
    def limits(self) -> list[int]:
        """Where a row's own tokens must begin at the latest: at its first prediction."""
        return [min(of, default=end - 1) for of, end in zip(self.targets, self.ends, strict=True)]

    def reading(self, network: Network) -> Visit:
        """What reads the predictions of a batch of rows into `values`."""

        def visit(batch: list[int], starts: list[int], hidden: Tensor | None) -> None:
            assert hidden is not None
            where = [
                (slot, position - start, targets)
                for slot, (row, start) in enumerate(zip(batch, starts, strict=True))
                for position, targets in self.targets[row].items()
            ]
            for begin in range(0, len(where), LOGIT_ROWS):
                part = where[begin : begin + LOGIT_ROWS]
                logits = network.logits(hidden[[slot for slot, _, _ in part], [at for _, at, _ in part]])
                norms = logits.logsumexp(dim=-1)
                index = [place for place, (_, _, targets) in enumerate(part) for _ in targets]
                asked = [target for _, _, targets in part for target in targets]
                values = logits[index, [token for _, _, token in asked]] - norms[index]
                for (continuation, at, _), value in zip(asked, values.tolist(), strict=True):
                    self.values[continuation][at] = value

        return visit

    def scores(self) -> Scores:
        return Scores([float(sum(of)) for of in self.values], [list(of) for of in self.values], self.ids)


def sweep(
    network: Network,
    hooks: Hooks,
    tokens: Sequence[Sequence[int]],
    limits: Sequence[int],
    reply_start: Sequence[int],
    visit: Visit,
    progress: Progress | None = None,
    prefix_cache: PrefixCache | None = None,
) -> None:
    """Runs all rows, each shared prefix once. limits[row]: where a row's own tokens must begin at the latest.

    visit(rows, starts, hidden (row, token, d_model) or None) is called after each batch of rows' own tokens. During
    that batch's forward `hooks.current` is set, and `hooks.on_block` reads only rows' own tokens. Rows go on from what
    `prefix_cache` holds of them, and leave there what they have been through.
    """
    starts = torch.tensor(list(reply_start), device=network.device)
    keys = [signature(hooks.interventions, row, len(tokens)) for row in range(len(tokens))]
    order = sorted(range(len(tokens)), key=lambda row: (keys[row], list(tokens[row][: limits[row]]), row))
    known = {} if prefix_cache is None else prefix_cache.known(tokens, limits)
    # A row that goes on from an earlier call shares nothing with the others.
    limits = [0 if row in known else limit for row, limit in enumerate(limits)]
    reader, stop = hooks.on_block, hooks.stop_after
    done = 0
    with torch.inference_mode():
        for window, tree in windows(network, tokens, limits, keys, order, WINDOW):
            hooks.on_block, hooks.stop_after = None, None
            with hooks.attached():
                prefixes = compute_prefixes(network, hooks, tree, tokens, starts)
            hooks.on_block, hooks.stop_after = reader, stop
            with hooks.attached():
                for batch in planned(leaves(tree, prefixes, tokens, window, known)):
                    hidden, cache = run_stretches(network, hooks, batch, starts, keep=prefix_cache is not None)
                    visit([item.row for item in batch], [item.start for item in batch], hidden)
                    if prefix_cache is not None and cache is not None:
                        for slot, item in enumerate(batch):
                            prefix_cache.keep(tokens[item.row], cache.take(slot, len(tokens[item.row])))
                    done += len(batch)
                    if progress is not None:
                        progress(done, len(tokens))


def score(
    network: Network,
    sinks: Sinks | None,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    interventions: Sequence[Intervention] = (),
    progress: Progress | None = None,
    starts: Sequence[int] | None = None,
    prefix_cache: PrefixCache | None = None,
    finished: Callable[[int, list[float]], None] | None = None,
) -> Scores:
    """Log-probabilities of continuation i after prompt i. See `Subject.score`. finished: hears of each as it is read."""
    amounts = [edit.amounts(len(prompts)) for edit in interventions]
    texts = Texts(prompts, continuations, list(zip(*amounts, strict=True)) or None, starts)
    edits = [edit.among(texts.first, len(prompts)) for edit in interventions]
    hooks = Hooks(network.blocks, sinks, edits, len(texts.rows))
    read = texts.reading(network)

    def visit(batch: list[int], starts: list[int], hidden: Tensor | None) -> None:
        read(batch, starts, hidden)
        # All predictions of a continuation are in one row.
        for index in (
            {asked[0] for row in batch for of in texts.targets[row].values() for asked in of} if finished else ()
        ):
            finished(index, texts.values[index])  # type: ignore[misc]

    sweep(network, hooks, texts.rows, texts.limits, texts.ends, visit, progress, prefix_cache)
    return texts.scores()


def next_token_logprobs(
    network: Network, sinks: Sinks | None, prompts: Sequence[Sequence[int]], interventions: Sequence[Intervention] = ()
) -> Tensor:
    """(prompt, vocabulary) float32 log-probabilities of the token after each prompt."""
    result: Tensor | None = None

    def visit(batch: list[int], starts: list[int], hidden: Tensor | None) -> None:
        nonlocal result
        assert hidden is not None
        last = [len(prompts[row]) - 1 - start for row, start in zip(batch, starts, strict=True)]
        logprobs = network.logits(hidden[list(range(len(batch))), last]).log_softmax(dim=-1).cpu()
        if result is None:
            result = logprobs.new_zeros(len(prompts), logprobs.shape[-1])
        result[batch] = logprobs

    hooks = Hooks(network.blocks, sinks, interventions, len(prompts))
    limits = [len(prompt) - 1 for prompt in prompts]
    sweep(network, hooks, prompts, limits, [len(prompt) for prompt in prompts], visit)
    assert result is not None
    return result


def activations(
    network: Network,
    sinks: Sinks | None,
    tokens: Sequence[Sequence[int]],
    pools: Sequence[Sequence[tuple[int, int]]],
    reply_start: Sequence[int],
    layers: tuple[int, ...],
    pool: Pool,
    interventions: Sequence[Intervention] = (),
    progress: Progress | None = None,
) -> Captured:
    """Activations of conversations. pools[i]: the token ranges [start, end) to average in conversation i, one sample
    each; for pool "all" every token of the ranges is a sample, and for "last" the ranges hold one token.

    Sinks are left out of averages; a range of nothing but sinks gives NaN, which no mean can hide.
    """
    limits = [
        min(start for start, _ in ranges) if ranges else len(row) - 1 for row, ranges in zip(tokens, pools, strict=True)
    ]
    limits = [min(limit, len(row) - 1) for limit, row in zip(limits, tokens, strict=True)]
    means = pool in ("reply", "message")
    conversation: list[int] = []
    position: list[int] = []
    first: list[int] = []  # each conversation's first sample
    for row, ranges in enumerate(pools):
        first.append(len(conversation))
        for index, (start, end) in enumerate(ranges):
            members = [end - start if pool == "reply" else index] if means else range(start, end)
            conversation.extend([row] * len(members))
            position.extend(members)
    values: Tensor | None = None
    batch_layers: dict[int, tuple[Tensor, Tensor]] = {}

    def on_block(layer: int, hidden: Tensor, spared: Tensor) -> None:
        batch_layers[layer] = (hidden, spared)

    def visit(batch: list[int], starts: list[int], _: Tensor | None) -> None:
        nonlocal values
        for index, layer in enumerate(layers):
            hidden, spared = batch_layers[layer]
            if values is None:
                values = torch.zeros(len(layers), len(conversation), hidden.shape[-1])
            for slot, (row, begin) in enumerate(zip(batch, starts, strict=True)):
                sample = first[row]
                for start, end in pools[row]:
                    part = hidden[slot, start - begin : end - begin].float()
                    if means:
                        part = part[~spared[slot, start - begin : end - begin]].mean(dim=0, keepdim=True)
                    values[index, sample : sample + len(part)] = part.cpu()
                    sample += len(part)
        batch_layers.clear()

    hooks = Hooks(
        network.blocks, sinks, interventions, len(tokens), read=layers, on_block=on_block, stop_after=max(layers)
    )
    sweep(network, hooks, tokens, limits, reply_start, visit, progress)
    if values is None:
        values = torch.zeros(len(layers), 0, int(network.config.hidden_size))
    return Captured(layers, values, torch.tensor(conversation), torch.tensor(position))
