"""What the frontier of a tiny random subject needs: a direction, a score, and items that it has something to lose on."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from greenroom.capability import Item, all_items
from greenroom.directions import Calibration, Direction, SignTest
from greenroom.subject import Subject


def known_items(subject: Subject, step: int = 10) -> tuple[Item, ...]:
    """Every tenth item, with its choices so ordered that this very subject answers four in five of them right."""
    few = all_items(0)[::step]
    rows = [(item.conversation, choice) for item in few for choice in item.choices]
    totals, begin, made = subject.score([c for c, _ in rows], [t for _, t in rows]).total, 0, []
    for index, item in enumerate(few):
        own = totals[begin : begin + len(item.choices)]
        begin += len(item.choices)
        order = sorted(range(len(own)), key=lambda at: -own[at])
        order = order if index % 5 else order[::-1]
        made.append(dataclasses.replace(item, choices=tuple(item.choices[at] for at in order)))
    return tuple(made)


def north(subject: Subject, name: str = "north", kind: str = "trait") -> Direction:
    """A random direction at block 2."""
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(3))
    scale = Calibration.of(np.random.default_rng(0).normal(0, 30, (6, 8)))
    return Direction(
        name=name, kind=kind, layer=2, vectors={2: vector / vector.norm()}, calibration={2: scale},
        subject=subject.name, fingerprint=subject.fingerprint, sign_test=SignTest("northern", "southern", 2.0, -1.0),
    )  # fmt: skip


def axis_at_first(subject: Subject) -> Direction:
    """The first coordinate at block 1, as an assistant axis."""
    vector = torch.zeros(subject.d_model)
    vector[0] = 1.0
    return Direction(
        "assistant_axis", "axis", 1, {1: vector}, {1: Calibration.of(np.arange(12.0).reshape(4, 3))}, subject.name,
        subject.fingerprint, SignTest("a", "b", 1.0, 0.0),
    )  # fmt: skip


class Vowels:
    """A checker: share of vowels."""

    name, kind = "vowels", "checker"

    def __call__(self, conversations: list[object], replies: list[str]) -> np.ndarray:
        return np.array([sum(letter in "aeiou" for letter in reply) / max(1, len(reply)) for reply in replies])
