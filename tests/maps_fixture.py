"""Runs of the behavioural map and of the archetypes in which only what comes from a model is planted: replies, their
vectors, and what they lose under other characters. Everything else is done by the studies themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import plotly.graph_objects as go
import polars as pl
import torch

from greenroom.directions import Direction
from greenroom.directions.archetype_search import archetype_cast
from greenroom.report.parts import Chapter
from greenroom.runs.run import StageResult
from greenroom.studies.archetypes import stages as searching
from greenroom.studies.behavioural_map import stages as mapping
from greenroom.studies.study import Work
from greenroom.subject import Subject
from reader_fixture import random_direction

BLOCK, MANNERS = 2, ("nonhuman", "fictional", "ai", "everyday", "professional")


def planted_axis(subject: Subject) -> Direction:
    """An axis along the first coordinate."""
    first = torch.eye(subject.d_model)[0]
    return replace(random_direction(subject, BLOCK, "assistant_axis"), vectors={BLOCK: first})


@contextmanager
def planted(signal: float = 2.0, seed: int = 0) -> Iterator[None]:
    """Manners shared by roles of a kind, and characters that talk as they lie; noise alone with a signal of 0."""
    with (
        patch.object(searching, "reply", lambda work: _manners(work, signal)),
        patch.object(mapping, "read", lambda work, number: _losses(work, number, signal, seed)),
        patch.object(mapping, "activations", _vectors),
    ):
        yield


def check_chapter(chapter: Chapter) -> None:
    """First a sentence, then pictures that are also told in words, each with its table."""
    assert chapter.finding
    assert chapter.headline
    for exhibit in chapter.exhibits:
        assert exhibit.caption
        assert exhibit.table
        assert exhibit.table.rows
        assert all(panel.alt for panel in (*exhibit.panels, *exhibit.rows))
        assert "{" not in exhibit.caption + "".join(panel.alt for panel in (*exhibit.panels, *exhibit.rows))
        for panel in exhibit.panels:
            go.Figure({"data": panel.spec["data"], "layout": panel.spec["layout"]})


def _manners(work: Work, signal: float) -> StageResult:
    rng = np.random.default_rng(12)
    frame = archetype_cast(work.size.questions, work.size.tokens).frame().filter(pl.col("instruction") < 9)
    frame = frame.with_columns(reply=pl.format("{} says this to {}", "role", "question"))
    width = work.subject.d_model
    values = rng.normal(size=(frame.height, width))
    for row, kind in enumerate(frame["kind"]):
        if kind in MANNERS:
            values[row, MANNERS.index(kind)] += signal * 4

    def save(path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"values": values.astype(np.float32)}, path)

    return StageResult({"rollouts": frame}, {"block": BLOCK, "empty": 3}, {searching.REPLY_VECTORS: save})


def _spots(work: Work) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(13)
    names = list(dict.fromkeys(work.table("replies")["role"]))
    return {name: rng.normal(size=3) * [3, 2, 1] for name in names}


def _losses(work: Work, number: int, signal: float, seed: int) -> StageResult:
    rng, spots = np.random.default_rng([seed, number]), _spots(work)
    rows: list[dict[str, Any]] = []
    for role, own in spots.items():
        for reader, other in spots.items():
            apart = 0.22 if role == reader else 0.15 * signal * float(np.linalg.norm(own - other))
            bits = apart + 0.1 * float(rng.normal())
            rows.append({"role": role, "reader": reader, "question": f"q{number}", "bits": bits, "n_tokens": 4})
    return StageResult({f"losses_{number}": pl.DataFrame(rows)})


def _vectors(work: Work) -> StageResult:
    width = work.subject.d_model

    def save(path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({name: np.pad(spot, (0, width - 3)).astype(np.float32) for name, spot in _spots(work).items()}, path)

    return StageResult({}, {"block": BLOCK, "empty": 0}, {mapping.ROLE_VECTORS: save})
