"""Replies of the subject under instructions, with their activations: the raw material of every direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from greenroom.conversation import Conversation
from greenroom.directions.cold import cold_values
from greenroom.directions.direction import Calibration
from greenroom.personas import library
from greenroom.subject import Capture, Reply, Subject
from greenroom.subject.subject import Progress

# Calibration replies have exactly this many tokens, since a mean's spread depends on its length (definitions.md).
CALIBRATION_TOKENS = 64
CALIBRATION_REPLIES = 200
# Activations of calibration replies that are held at once, before they are projected.
CHUNK_BYTES = 1 << 29
# How replies are sampled wherever character is measured: the usual chat settings. At temperature 1, untruncated, a
# small model leaves its character by chance every few replies (docs/directions.md gives the AUC of both).
TEMPERATURE, TOP_P = 0.7, 0.9


@dataclass(frozen=True)
class Rollouts:
    """Replies and the means of their activations.

    replies[i] answers prompts[i]. values: (layer, reply, hidden) float32 at blocks `layers`, "hot": read in the
    context that made the reply. Replies without a token have no activations and are dropped; `empty` counts them.
    """

    prompts: list[Conversation]
    replies: list[Reply]
    layers: tuple[int, ...]
    values: Tensor
    kept: list[int]
    empty: int

    def only(self, wanted: np.ndarray) -> Rollouts:
        """Some of the replies. wanted: (reply,) bool."""
        rows = np.flatnonzero(wanted).tolist()
        return Rollouts(
            [self.prompts[row] for row in rows], [self.replies[row] for row in rows], self.layers,
            self.values[:, torch.from_numpy(wanted)], [self.kept[row] for row in rows], self.empty,
        )  # fmt: skip

    def cold(self, subject: Subject, layers: Sequence[int], progress: Progress | None = None) -> Tensor:
        """(layer, reply, hidden) float32: the same replies read cold by the subject that made them."""
        asked = [prompt[-1]["content"] for prompt in self.prompts]
        return cold_values(subject, layers, asked, self.replies, progress)


def readable_layers(subject: Subject) -> tuple[int, ...]:
    """The blocks at which directions are looked for: the upper two thirds, without the last.

    The lower third holds words rather than characters (held-out AUC of the axis on SmolLM2 below .7), and reading a
    block costs time.
    """
    return tuple(range(subject.layers // 3, subject.layers - 1))


def default_prompts(seed: int) -> list[Conversation]:
    """The default character's prompts in a shuffled order: every default instruction with every question."""
    prompts = [instructed(text, q.text) for q in library.questions() for text in library.default_instructions()]
    return [prompts[index] for index in np.random.default_rng(seed).permutation(len(prompts))]


def instructed(instruction: str, question: str) -> Conversation:
    """A system message and a question; an empty instruction means none, so that the template's own default applies."""
    asked: Conversation = [{"role": "user", "content": question}]
    return [{"role": "system", "content": instruction}, *asked] if instruction else asked


def roll_out(
    subject: Subject,
    prompts: Sequence[Conversation],
    layers: Sequence[int],
    *,
    max_new_tokens: int,
    seed: int,
    progress: Progress | None = None,
) -> Rollouts:
    """Samples one reply a prompt and keeps the mean activation of each."""
    capture = Capture(tuple(layers))
    replies = subject.generate(
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        seed=seed,
        capture=capture,
        progress=progress,
    )
    kept = [index for index, reply in enumerate(replies) if reply.activations is not None]
    found = [replies[index].activations for index in kept]
    values = (
        torch.stack([value for value in found if value is not None], dim=1)
        if kept
        else torch.zeros(len(capture.layers), 0, subject.d_model)
    )
    return Rollouts(
        [prompts[index] for index in kept], [replies[index] for index in kept], subject.block_ids(layers), values, kept,
        len(replies) - len(kept),
    )  # fmt: skip


def default_token_projections(
    subject: Subject,
    vectors: dict[str, dict[int, Tensor]],
    prompts: Sequence[Conversation],
    *,
    seed: int,
    replies: int = CALIBRATION_REPLIES,
    tokens: int = CALIBRATION_TOKENS,
    progress: Progress | None = None,
) -> dict[str, dict[int, np.ndarray]]:
    """Token projections of default replies of exactly `tokens` tokens: name → block → (replies, tokens).

    Prompts are asked in turn until enough replies reach that length, at most three times over; activations are
    projected chunk by chunk, so that memory stays small. The last chunk is not cut, so more than `replies` may come.
    """
    layers = sorted({layer for of in vectors.values() for layer in of})
    stacked = {name: torch.stack([of[layer] for layer in sorted(of)]) for name, of in vectors.items()}
    found: dict[str, list[Tensor]] = {name: [] for name in vectors}
    most = max(16, CHUNK_BYTES // (4 * tokens * len(layers) * int(subject.network.config.hidden_size)))
    have = begin = 0
    while have < replies and begin < 3 * max(len(prompts), replies):
        # Nine in ten default replies of SmolLM2 get that long; a few more are asked than are missing, in equal chunks.
        asked = 2 + round(1.1 * (replies - have))
        chunk = math.ceil(asked / math.ceil(asked / most))
        batch = [prompts[index % len(prompts)] for index in range(begin, begin + chunk)]
        # A later chunk repeats prompts, so it needs a seed of its own to say something new.
        made = subject.generate(
            batch,
            max_new_tokens=tokens,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            seed=seed + begin,
            capture=Capture(tuple(layers), "all"),
        )
        full = [reply.activations for reply in made if len(reply.tokens) == tokens and reply.activations is not None]
        for name, of in vectors.items():
            index = [layers.index(layer) for layer in sorted(of)]
            found[name] += [torch.einsum("ltd,ld->lt", value[index], stacked[name]) for value in full]
        have += len(full)
        begin += chunk
        if progress is not None:
            progress(min(have, replies), replies)
    result: dict[str, dict[int, np.ndarray]] = {}
    for name, of in vectors.items():
        if len(found[name]) < 2:
            continue
        values = torch.stack(found[name]).numpy()  # (replies, layer, tokens)
        result[name] = {layer: values[:, index] for index, layer in enumerate(sorted(of))}
    return result


def calibrations(projections: dict[int, np.ndarray]) -> dict[int, Calibration]:
    """Calibration of each block from token projections."""
    return {layer: Calibration.of(values) for layer, values in projections.items()}
