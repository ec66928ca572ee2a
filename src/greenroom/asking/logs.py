"""Inspect logs of our own tasks, given in place of a model: text that a hosted model wrote, to be read here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.errors import GreenroomError

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample


def is_log(given: Any) -> bool:
    """Whether the word names an Inspect log and not a model."""
    return str(given).endswith(".eval")


def samples_of(path: Path, task: str) -> tuple[EvalLog, list[EvalSample]]:
    """The log and its finished samples; GreenroomError for what is no log of the task `greenroom/<task>`."""
    from inspect_ai.log import read_eval_log

    if not path.is_file():
        raise GreenroomError(f"there is no file {path}; give the .eval log that inspect eval greenroom/{task} wrote")
    try:
        log = read_eval_log(str(path), resolve_attachments=True)
    except Exception as error:
        raise GreenroomError(
            f"{path} is no readable Inspect log ({type(error).__name__}); run the task again"
        ) from error
    if log.eval.task.split("/")[-1] != task:
        raise GreenroomError(f"{path} is a log of {log.eval.task}; expected one of greenroom/{task}")
    samples = [sample for sample in log.samples or [] if sample.error is None]
    if not samples:
        raise GreenroomError(f"{path} holds no finished conversation; finish it with inspect eval-retry {path}")
    return log, samples
