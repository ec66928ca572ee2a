"""System messages that a reader has been through, kept in the cache folder.

Most of the time of a short text would go into reading the same hundred system messages again. Their keys and values are
computed once a reader, and every later call goes on from there, with the same scores up to float rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from greenroom.conversation import Conversation
from greenroom.errors import GreenroomError
from greenroom.personas import Context
from greenroom.store import atomic_path, cache_dir, digest
from greenroom.subject import Subject
from greenroom.subject.cache import Prefix, PrefixCache

LARGEST = 1 << 30  # bytes; larger readers begin anew each time rather than fill the disk


class Known:
    """What a reader makes of the tokens that prompts begin with.

    keys, values: one tensor a block, (heads, token, width), with the beginnings one after the other. places: tokens of a
    beginning → where it lies there.
    """

    def __init__(self, keys: Sequence[Tensor], values: Sequence[Tensor], places: Mapping[tuple[int, ...], int]):
        self.keys, self.values, self.places = keys, values, places
        self._lengths = sorted({len(tokens) for tokens in places}, reverse=True)

    def longest(self, tokens: Sequence[int], limit: int) -> Prefix | None:
        """The longest known beginning of `tokens`, at most `limit` long."""
        for length in self._lengths:
            start = self.places.get(tuple(tokens[:length])) if length <= limit else None
            if start is not None:
                return Prefix(length, _cut(self.keys, start, length), _cut(self.values, start, length))
        return None


def _cut(tensors: Sequence[Tensor], start: int, length: int) -> list[Tensor | None]:
    return [tensor[:, start : start + length] for tensor in tensors]


class FromKnown(PrefixCache):
    """Goes on from known beginnings, if any. own: also from what the same race has read."""

    def __init__(self, known: Known | None, *, own: bool):
        super().__init__()
        self._known, self._own = known, own

    def longest(self, tokens: Sequence[int], limit: int) -> Prefix | None:
        read = super().longest(tokens, limit)
        known = None if self._known is None else self._known.longest(tokens, limit)
        return max((one for one in (read, known) if one is not None), key=lambda one: one.length, default=None)

    def keep(self, tokens: Sequence[int], prefix: Prefix) -> None:
        if self._own:
            super().keep(tokens, prefix)


def known_prompts(subject: Subject, contexts: Sequence[Context]) -> Known | None:
    """All system messages of contexts, from the cache folder, or computed and kept there.

    None where it would not pay: on a GPU reading is as quick as loading, and under edits nothing that is kept holds.
    """
    if subject.network.device.type != "cpu" or subject.edited:
        return None
    told = [text for one in contexts for text in one.instruction]
    key = digest(str(subject.network.dtype), torch.__version__, transformers.__version__, *told)
    path = cache_dir() / "prompts" / subject.fingerprint / f"{key}.safetensors"
    if path.is_file():
        with suppress(SafetensorError, KeyError, OSError):  # a broken file is written again
            return _loaded(path)
    beginnings = {text: _beginnings(subject, text) for text in told}
    if sum(len(of[0]) for of in beginnings.values()) * subject.network.bytes_per_token > LARGEST:
        return None
    found = _computed(subject, beginnings)
    with suppress(GreenroomError):  # a full disk costs the next call time, and this one nothing
        _save(path, found)
    return found


def _beginnings(subject: Subject, instruction: str) -> list[list[int]]:
    """The tokens of a system message with what follows it: up to any user's text, and up to anything at all."""
    told: Conversation = [{"role": "system", "content": instruction}]
    asked = [_tokens(subject, [*told, {"role": "user", "content": text}]) for text in ("A", "7")]
    with_user = _shared(*asked)
    return [with_user] if subject.chat.folds_system else [with_user, _shared(with_user, _tokens(subject, told))]


def _tokens(subject: Subject, prompt: Conversation) -> list[int]:
    return subject.chat.encode(prompt, generate=True).tokens


def _shared(one: list[int], other: list[int]) -> list[int]:
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:same]


def _computed(subject: Subject, beginnings: Mapping[str, list[list[int]]]) -> Known:
    whole: dict[tuple[int, ...], Prefix] = {}
    wanted = {tuple(of[0]) for of in beginnings.values()}

    class Heard(PrefixCache):
        def keep(self, tokens: Sequence[int], prefix: Prefix) -> None:
            for length in range(1, len(tokens) + 1):
                if tuple(tokens[:length]) in wanted:
                    whole[tuple(tokens[:length])] = prefix.cut(length)

    prompts: list[Conversation] = [
        [{"role": "system", "content": text}, {"role": "user", "content": "A"}] for text in beginnings
    ]
    # What is scored does not matter: it is what makes the reader go through the prompt.
    subject.score(prompts, [[0]] * len(prompts), prefix_cache=Heard())
    places: dict[tuple[int, ...], int] = {}
    at = 0
    for longest, *parts in beginnings.values():
        for tokens in (longest, *parts):
            places.setdefault(tuple(tokens), at)
        at += len(longest)
    keys, values = (
        [torch.cat(parts, dim=1) for parts in zip(*of, strict=True)]
        for of in (
            [whole[tuple(longest)].keys for longest, *_ in beginnings.values()],
            [whole[tuple(longest)].values for longest, *_ in beginnings.values()],
        )
    )
    return Known(keys, values, places)


def _save(path: Path, known: Known) -> None:
    tensors = {
        "tokens": torch.tensor([token for tokens in known.places for token in tokens]),
        "lengths": torch.tensor([len(tokens) for tokens in known.places]),
        "starts": torch.tensor(list(known.places.values())),
    }
    tensors |= {f"keys.{layer}": part for layer, part in enumerate(known.keys)}
    tensors |= {f"values.{layer}": part for layer, part in enumerate(known.values)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def _loaded(path: Path) -> Known:
    tensors = load_file(path)
    layers = range(sum(name.startswith("keys.") for name in tensors))
    tokens = [tuple(part.tolist()) for part in tensors["tokens"].split(tensors["lengths"].tolist())]
    places = dict(zip(tokens, tensors["starts"].tolist(), strict=True))
    return Known(
        [tensors[f"keys.{layer}"] for layer in layers], [tensors[f"values.{layer}"] for layer in layers], places
    )
