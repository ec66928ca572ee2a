"""What a subject said, kept in a file as it is said, so that interrupted work goes on where it stopped.

A reply depends on the weights, its prompt, the settings, its random stream and the edits, and on nothing else in its
call: those are its key. The same holds for a score.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from greenroom.store import Kept, digest
from greenroom.subject.decoding import Capture, Reply
from greenroom.subject.interventions import Intervention
from greenroom.subject.sampling import Sampling

# Of one reply's activations; larger ones are made again rather than written.
LARGEST = 1 << 18  # bytes

T = TypeVar("T")


def recalled(
    kept: Kept,
    keys: Sequence[str],
    made: Callable[[Sequence[int], Callable[[int, T], None]], list[T]],
    out: Callable[[T], Any],
    back: Callable[[Any], T],
) -> list[T]:
    """One result a key: what was kept, and the others made now and kept as each is finished.

    made: makes the results of some rows, and tells of each as it is finished, by its place among them. out, back: to JSON
    (None: not to be kept) and from it.
    """
    found = {row: back(known) for row, key in enumerate(keys) if (known := kept.get(key)) is not None}
    rest = [row for row in range(len(keys)) if row not in found]

    def finished(index: int, one: T) -> None:
        written = out(one)
        if written is not None:
            kept.add(keys[rest[index]], written)

    found.update(zip(rest, made(rest, finished) if rest else (), strict=True))
    return [found[row] for row in range(len(keys))]


def reply_keys(
    fingerprint: str,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    streams: np.ndarray,
    capture: Capture | None,
    edits: Sequence[Intervention],
) -> list[str]:
    """What each reply depends on. streams: (prompt, token) random numbers."""
    settings = f"{fingerprint}|{sampling}|{capture}"
    edited = _edits_of(edits, len(prompts))
    return [
        digest(settings, edit, ",".join(map(str, prompt)), stream.tobytes())
        for prompt, stream, edit in zip(prompts, streams, edited, strict=True)
    ]


def score_keys(
    fingerprint: str,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    starts: Sequence[int],
    edits: Sequence[Intervention],
) -> list[str]:
    """What each continuation's log-probabilities depend on."""
    edited = _edits_of(edits, len(prompts))
    return [
        digest(fingerprint, edit, ",".join(map(str, prompt)), ",".join(map(str, given)), str(start))
        for prompt, given, start, edit in zip(prompts, continuations, starts, edited, strict=True)
    ]


def reply_out(reply: Reply) -> list[object] | None:
    """A reply as JSON; None where its activations are too large to keep."""
    values = None if reply.activations is None else reply.activations.numpy()
    if values is not None and values.nbytes > LARGEST:
        return None
    shown = None if values is None else [list(values.shape), base64.b64encode(values.tobytes()).decode()]
    return [reply.text, reply.tokens, reply.finish, reply.logprobs, list(reply.layers), shown]


def reply_in(kept: list) -> Reply:  # type: ignore[type-arg]
    """The reply of `reply_out`, to the last bit."""
    text, tokens, finish, logprobs, layers, shown = kept
    values = None
    if shown is not None:
        values = torch.from_numpy(np.frombuffer(base64.b64decode(shown[1]), np.float32).reshape(shown[0]).copy())
    return Reply(text, tokens, finish, logprobs, tuple(layers), values)


def _edits_of(edits: Sequence[Intervention], count: int) -> list[str]:
    """What is done to each of `count` rows, in words."""
    shared = "|".join(
        f"{edit.kind} {edit.layer} {edit.tokens} {edit.spare_sinks} {digest(edit.vector.numpy().tobytes())}"
        for edit in edits
    )
    amounts = [edit.amounts(count) for edit in edits]
    return [f"{shared}: {[of[row] for of in amounts]}" for row in range(count)]
