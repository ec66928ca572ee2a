"""A tiny random reader with a random axis: mechanics, no meaning."""

from __future__ import annotations

import numpy as np
import torch

from greenroom.directions import Calibration, Direction, SignTest
from greenroom.reader.reader import Reader
from greenroom.reader.topics import Topics
from greenroom.subject import Subject


def random_direction(subject: Subject, layer: int, name: str = "reader_axis", seed: int = 0) -> Direction:
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(seed))
    tokens = np.random.default_rng(seed).normal(size=(200, 64))
    return Direction(
        name=name,
        kind="axis",
        layer=layer,
        vectors={layer: vector / vector.norm()},
        calibration={layer: Calibration.of(tokens)},
        subject=subject.name,
        fingerprint=subject.fingerprint,
        sign_test=SignTest("towards", "away", 1.0, 0.0),
    )


def tiny_reader(subject: Subject, *, topics: bool = True) -> Reader:
    return Reader(
        subject,
        random_direction(subject, 2),
        (random_direction(subject, 1, "humor", 1),),
        Topics.of(subject) if topics else None,
    )
