"""Conversations in Inspect's logs, one sample at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenroom.reader.transcripts.transcript import Unreadable


def samples(path: Path) -> Iterator[Any]:
    """The messages of each sample as plain objects, or the Unreadable that the sample (or the log) is."""
    from inspect_ai.log import read_eval_log_sample, read_eval_log_sample_summaries

    try:
        summaries = read_eval_log_sample_summaries(str(path))
    except Exception as error:  # noqa: BLE001 - whatever a damaged log raises, it is the file that is broken
        yield Unreadable(f"not a readable Inspect log ({_first_line(error)})")
        return
    for summary in summaries:
        try:
            sample = read_eval_log_sample(str(path), id=summary.id, epoch=summary.epoch, resolve_attachments=True)
        except Exception as error:  # noqa: BLE001 - the other samples of the log are still good
            yield Unreadable(f"sample {summary.id} cannot be read ({_first_line(error)})")
            continue
        yield {"messages": [message.model_dump() for message in sample.messages]}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
