"""A tiny random reader with a random axis: mechanics, no meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from greenroom.cli import main
from greenroom.directions import Calibration, Direction, SignTest
from greenroom.reader.reader import Reader, TurnReading
from greenroom.reader.sentences import Moved
from greenroom.reader.topics import Topics
from greenroom.reader.turns import Turn
from greenroom.subject import Subject, load
from greenroom.subject.tiny import save_tiny

# Two replies of one conversation, by different characters.
TALK = [
    {"role": "system", "content": "You are somebody else."},
    {"role": "user", "content": "Where do you live?"},
    {"role": "assistant", "content": "At sea. Far out!"},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "In a house."},
]


def random_direction(subject: Subject, layer: int, name: str = "reader_axis", seed: int = 0, **told: Any) -> Direction:
    """told: other fields of the direction."""
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
        **told,
    )


def tiny_reader(subject: Subject, *, topics: bool = True) -> Reader:
    return Reader(
        subject,
        random_direction(subject, 2),
        (random_direction(subject, 1, "humor", 1),),
        Topics.of(subject) if topics else None,
    )


# What the tiny model's stored traits are worth: one that reads well, one that reads no better than chance.
GOOD: Mapping[str, Any] = {"auc": 0.93, "cold_auc": 0.85, "cold_auc_low": 0.73, "cold_auc_high": 0.96}
POOR: Mapping[str, Any] = {"auc": 0.57, "cold_auc": 0.49, "cold_auc_low": 0.37, "cold_auc_high": 0.63}


def reader_home(folder: Path) -> dict[str, Path]:
    """A tiny model's folder and a cache that holds its axis and two traits, as a first use would have left them."""
    model, cache = save_tiny(folder / "model"), folder / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENROOM_CACHE", str(cache))
        subject = load(str(model))
    stored = [
        random_direction(subject, 1),
        random_direction(subject, 1, "mysticism", 1, validity=GOOD),
        random_direction(subject, 1, "sycophancy", 2, validity=POOR, reliable=False),
    ]
    for one in stored:
        one.save(cache / "directions" / subject.fingerprint / f"{one.name}.safetensors")
    return {"model": model, "cache": cache}


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `greenroom read`."""
    code = main(["read", *arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


def reads_what_is_said(patch: pytest.MonkeyPatch) -> None:
    """Makes every reader read a turn that begins with a number at that many sd, on each trait at a tenth of it; its second
    sentence moved it by the number that this ends with."""

    def read(self: Reader, turns: Sequence[Turn]) -> list[TurnReading]:
        found = []
        for turn in turns:
            value = float(turn.said.split()[0])
            first, dot, second = turn.said.partition(". ")
            moved = float(second.rstrip(".").split()[-1]) if dot else 0.0
            begin = len(first) + len(dot)
            sentences = (Moved(second, begin, len(turn.said), moved),) if dot else ()
            traits = {trait.name: value / 10 for trait in self.traits}
            found.append(TurnReading(turn.number, 10, value, traits, None, sentences))
        return found

    patch.setattr(Reader, "read", read)


def talk(*values: object) -> str:
    """A record of a conversation whose turns say these, for a file of lines."""
    messages = [
        {"role": role, "content": said}
        for value in values
        for role, said in (("user", "Go on."), ("assistant", f"{value}"))
    ]
    return json.dumps({"messages": messages})
