"""Log-probabilities of given text, and activations of given text: forwards without sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from greenroom.subject.capture import Captured, Hooks, Pool, Sinks
from greenroom.subject.forward import Network, compute_prefixes, leaves, planned, run_stretches, windows
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


def sweep(
    network: Network,
    hooks: Hooks,
    tokens: Sequence[Sequence[int]],
    limits: Sequence[int],
    reply_start: Sequence[int],
    visit: Visit,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Runs all rows, each shared prefix once. limits[row]: where a row's own tokens must begin at the latest.

    visit(rows, starts, hidden (row, token, d_model) or None) is called after each batch of rows' own tokens. During
    that batch's forward `hooks.current` is set, and `hooks.on_block` reads only rows' own tokens.
    """
    starts = torch.tensor(list(reply_start), device=network.device)
    keys = [signature(hooks.interventions, row, len(tokens)) for row in range(len(tokens))]
    order = sorted(range(len(tokens)), key=lambda row: (keys[row], list(tokens[row][: limits[row]]), row))
    reader, read = hooks.on_block, hooks.read
    done = 0
    with torch.inference_mode():
        for window, tree in windows(network, tokens, limits, keys, order, WINDOW):
            stop, hooks.on_block, hooks.stop_after = hooks.stop_after, None, None
            with Hooks.attached(hooks):
                prefixes = compute_prefixes(network, hooks, tree, tokens, starts)
            hooks.on_block, hooks.read, hooks.stop_after = reader, read, stop
            with Hooks.attached(hooks):
                for batch in planned(leaves(tree, prefixes, tokens, window)):
                    hidden, _ = run_stretches(network, hooks, batch, starts, keep=False)
                    visit([item.row for item in batch], [item.start for item in batch], hidden)
                    done += len(batch)
                    if progress is not None:
                        progress(done, len(tokens))


def score(
    network: Network,
    sinks: Sinks | None,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    interventions: Sequence[Intervention] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Log-probabilities of continuation i after prompt i. See `Subject.score`."""
    rows = [list(prompt) + list(continuation) for prompt, continuation in zip(prompts, continuations, strict=True)]
    # The last token of a continuation predicts nothing that is asked for.
    fed = [row[:-1] if continuation else row for row, continuation in zip(rows, continuations, strict=True)]
    limits = [len(prompt) - 1 for prompt in prompts]
    found: list[list[float]] = [[] for _ in rows]

    def visit(batch: list[int], starts: list[int], hidden: Tensor | None) -> None:
        assert hidden is not None
        where = [
            (index, position - start, row, position + 1)
            for index, (row, start) in enumerate(zip(batch, starts, strict=True))
            for position in range(len(prompts[row]) - 1, len(rows[row]) - 1)
        ]
        for begin in range(0, len(where), LOGIT_ROWS):
            part = where[begin : begin + LOGIT_ROWS]
            logits = network.logits(hidden[[index for index, _, _, _ in part], [column for _, column, _, _ in part]])
            targets = torch.tensor([rows[row][position] for _, _, row, position in part], device=logits.device)
            values = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)
            for (_, _, row, _), value in zip(part, values.tolist(), strict=True):
                found[row].append(value)

    hooks = Hooks(network.blocks, sinks, interventions, len(rows))
    sweep(network, hooks, fed, limits, [len(prompt) for prompt in prompts], visit, progress)
    return Scores([float(sum(values)) for values in found], found, [list(tokens) for tokens in continuations])


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
    progress: Callable[[int, int], None] | None = None,
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
