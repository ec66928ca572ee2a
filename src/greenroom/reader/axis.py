"""The reader's own assistant axis, made of cold re-reads: a reader never sees the instruction behind a text.

On SmolLM2 it tells foreign roles from the default better than the hot axis does when both read cold (docs/reader.md),
and its zero and its unit are those of default replies read cold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from greenroom.directions import Direction, assistant_axis, store, stored
from greenroom.directions.axis import READER_AXIS, draft_axis
from greenroom.directions.axis_validation import validate_axis
from greenroom.directions.cast import Cast, Performance, perform, usual_cast
from greenroom.directions.direction import Calibration
from greenroom.directions.rollouts import (
    CALIBRATION_REPLIES,
    CALIBRATION_TOKENS,
    TEMPERATURE,
    TOP_P,
    instructed,
)
from greenroom.errors import DirectionError
from greenroom.personas import library
from greenroom.subject import Reply, Subject
from greenroom.subject.subject import Progress

# Lengths (tokens) at which mean and sd of cold default replies are kept beside those at the 64 of every calibration.
LENGTHS = (16, 40, 64, 150)


def reader_axis(subject: Subject, *, seed: int = 0, progress: Progress | None = None) -> Direction:
    """The axis by which `subject` reads others: shipped or stored if there is one for these weights, else built (some
    minutes) and stored."""
    found = stored(subject, READER_AXIS)
    if found is None:
        cast, layer = usual_cast(tokens=40), assistant_axis(subject, seed=seed, progress=progress).layer
        performance = perform(subject, cast, seed=seed, progress=progress)
        found = build_reader_axis(subject, performance, cast, layer, seed=seed, progress=progress)
        store(found)
    return found


def build_reader_axis(
    subject: Subject,
    performance: Performance,
    cast: Cast,
    layer: int,
    *,
    seed: int,
    replies: int = CALIBRATION_REPLIES,
    lengths: tuple[int, ...] = LENGTHS,
    progress: Progress | None = None,
) -> Direction:
    """The axis of a cast's replies read cold, at the block of the assistant axis, with its held-out AUC read cold.

    Cold AUCs differ little between blocks, so that the earliest within one standard error would be one that reads
    clearly worse than the best (SmolLM2: .84 at block 10, .89 at block 19). Raises DirectionError when the subject hardly ever reaches 64 tokens, so that nothing gives the scale.
    """
    cold = performance.cold(subject, [layer], progress)
    chosen = replace(draft_axis(subject, cold, cast, validate_axis(cold, cast, seed=seed), seed=seed), name=READER_AXIS)
    prompts, made = default_replies(subject, max(lengths), seed=seed, replies=replies, progress=progress)
    tokens = cold_tokens(subject, chosen, prompts, [reply.tokens for reply in made], progress)
    scale = [row[:CALIBRATION_TOKENS] for row in tokens if len(row) >= CALIBRATION_TOKENS]
    if len(scale) < 2:
        raise DirectionError(
            f"the default replies of {subject.name} hardly ever reach {CALIBRATION_TOKENS} tokens; "
            "a reader needs longer ones for its scale: choose another model"
        )
    by_length = {}
    for length in lengths:
        means = [float(np.nanmean(row[:length])) for row in tokens if len(row) >= length]
        if len(means) > 1:
            by_length[str(length)] = {
                "mean": float(np.mean(means)),
                "sd": float(np.std(means, ddof=1)),
                "n": len(means),
            }
    return replace(
        chosen,
        calibration={chosen.layer: Calibration.of(np.stack(scale))},
        recipe={**chosen.recipe, "reading": "cold", "default_replies_by_length": by_length},
    )


def default_replies(
    subject: Subject, tokens: int, *, seed: int, replies: int, progress: Progress | None = None
) -> tuple[list[str], list[Reply]]:
    """Questions of the library and default replies to them, under the default instructions in turn."""
    asked = [(text, q.text) for q in library.questions() for text in library.default_instructions()]
    order = np.random.default_rng(seed).permutation(len(asked))[:replies]
    prompts = [instructed(*asked[index]) for index in order]
    made = subject.generate(
        prompts, max_new_tokens=tokens, temperature=TEMPERATURE, top_p=TOP_P, seed=seed, progress=progress
    )  # fmt: skip
    return [asked[index][1] for index in order], made


def cold_tokens(
    subject: Subject,
    axis: Direction,
    questions: Sequence[str],
    replies: Sequence[Sequence[int]],
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """Each reply's (token ids) projections (residual units), token by token, re-read after its question alone; NaN where a token is a sink."""
    rows, ranges = [], []
    for question, reply in zip(questions, replies, strict=True):
        head = subject.chat.encode([{"role": "user", "content": question}], generate=True).tokens
        rows.append([*head, *reply])
        ranges.append([(len(head), len(head) + len(reply))])
    captured = subject.token_activations(rows, ranges, [axis.layer], progress=progress)
    projected = axis.projection(captured.at(axis.layer))
    projected[subject.is_sink(captured, axis.layer)] = torch.nan
    return [projected[captured.conversation == row].numpy() for row in range(len(rows))]
