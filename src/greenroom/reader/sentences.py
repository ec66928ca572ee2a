"""Which sentences moved a turn: per-token projection minus the turn's mean, summed to sentences; no gradients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from greenroom.measures.intervals import Array

_ENDS = re.compile(r"[.!?…。！？]+[\"'”’»)\]*_]*(?:\s+|$)|\n+")


@dataclass(frozen=True)
class Moved:
    """A sentence and how far it moved its turn's mean, sd: positive towards the assistant. start, end: characters."""

    text: str
    start: int
    end: int
    sd: float


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character ranges of the sentences, which together cover the text; a line break ends one too."""
    spans: list[tuple[int, int]] = []
    begin = 0
    for found in _ENDS.finditer(text):
        if text[begin : found.end()].strip():
            spans.append((begin, found.end()))
            begin = found.end()
    if text[begin:].strip():
        spans.append((begin, len(text)))
    elif spans:
        spans[-1] = (spans[-1][0], len(text))
    return spans


def moved(text: str, offsets: Sequence[tuple[int, int]], tokens_sd: Array, most: int = 3) -> list[Moved]:
    """The `most` sentences that moved the turn most, in the order of the text; none when there is only one.

    offsets: characters of each token in `text`. tokens_sd: each token's projection, sd, NaN for sinks. The sum over all
    sentences is zero, since a sentence is measured against its turn's mean.
    """
    spans = sentence_spans(text)
    there = ~np.isnan(tokens_sd)
    if len(spans) < 2 or not there.any():
        return []
    ends = np.array([end for _, end in spans])
    begins = np.array([begin for begin, _ in offsets])
    where = np.minimum(np.searchsorted(ends, begins, side="right"), len(spans) - 1)
    away = np.where(there, tokens_sd - np.nanmean(tokens_sd), 0.0) / there.sum()
    sums = np.bincount(where, away, len(spans))
    chosen = sorted(np.argsort(-np.abs(sums), kind="stable")[:most])
    return [Moved(text[begin:end].strip(), begin, end, float(sums[i])) for i in chosen for begin, end in [spans[i]]]
