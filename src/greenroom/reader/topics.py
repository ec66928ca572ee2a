"""What a user's turn is about, by the reader: the topic whose examples lie nearest in activation.

The mean activation of the user's text comes for free with the forward that reads the reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import yaml
from torch import Tensor

from greenroom.errors import LibraryError
from greenroom.subject import Subject

FILE = Path(__file__).with_name("topics.yaml")
# Where topics are read: about this share of the blocks deep (docs/reader.md gives the accuracy by block).
DEPTH = 0.5


@cache
def examples() -> dict[str, tuple[str, ...]]:
    """Topic → example messages, from topics.yaml."""
    found = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for name, texts in found.items():
        if not isinstance(texts, list) or len(texts) < 4 or not all(isinstance(text, str) for text in texts):
            raise LibraryError(f"{FILE.name}: topic {name} needs a list of at least four texts")
    return {name: tuple(texts) for name, texts in found.items()}


@dataclass(frozen=True, eq=False)
class Topics:
    """Centroids of topics at one block. centre: (d_model,) the mean over topics; centroids: (topic, d_model), unit length,
    measured from the centre and divided by `spread`, (d_model,) the sd of examples around their topics."""

    layer: int
    names: tuple[str, ...]
    centre: Tensor
    spread: Tensor
    centroids: Tensor

    @classmethod
    def of(cls, subject: Subject) -> Topics:
        """Reads the examples: a forward over about a hundred short messages, up to half the blocks."""
        layer = topic_layer(subject)
        texts = [text for group in examples().values() for text in group]
        values = user_activations(subject, texts, layer)
        labels = [name for name, group in examples().items() for _ in group]
        return cls.fit(layer, values, labels)

    @classmethod
    def fit(cls, layer: int, values: Tensor, labels: Sequence[str]) -> Topics:
        """From activations (example, d_model) and their topics."""
        names = tuple(dict.fromkeys(labels))
        means = torch.stack([values[[label == name for label in labels]].mean(dim=0) for name in names])
        index = torch.tensor([names.index(label) for label in labels])
        # A few coordinates of the residual stream are hundreds of times larger than all others and say nothing of topics.
        spread = (values - means[index]).pow(2).mean(dim=0).sqrt().clamp_min(1e-6)
        centre = means.mean(dim=0)
        return cls(layer, names, centre, spread, torch.nn.functional.normalize((means - centre) / spread, dim=-1))

    def scores(self, values: Tensor) -> Tensor:
        """(message, topic) cosines, from mean activations of users' texts (message, d_model)."""
        return torch.nn.functional.normalize((values - self.centre) / self.spread, dim=-1) @ self.centroids.T

    def nearest(self, values: Tensor) -> list[str | None]:
        """The topic of each message; None for one without activations (NaN)."""
        best = self.scores(values).argmax(dim=-1).tolist()
        missing = torch.isnan(values).any(dim=-1).tolist()
        return [None if gone else self.names[index] for index, gone in zip(best, missing, strict=True)]


def topic_layer(subject: Subject) -> int:
    return min(subject.layers - 1, round(DEPTH * subject.layers))


def user_activations(subject: Subject, texts: Sequence[str], layer: int) -> Tensor:
    """(text, d_model): mean activation of each text as a user's message."""
    captured = subject.activations([[{"role": "user", "content": text}] for text in texts], [layer], "message")
    return captured.at(layer)
