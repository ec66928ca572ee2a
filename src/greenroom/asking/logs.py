"""Inspect logs of our own tasks, given in place of a model: text that a hosted model wrote, to be read here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.errors import GreenroomError

if TYPE_CHECKING:
    import polars as pl
    from inspect_ai.log import EvalLog, EvalSample


@dataclass(frozen=True)
class Logged:
    """A model as a log shows it: what it answered then, to be read and not asked again.

    id: of the log; source: the name of its file; answers: as `asking.types.ANSWERS` has them.
    """

    name: str
    id: str
    source: str
    answers: pl.DataFrame

    def __str__(self) -> str:
        return self.name


def logged(path: Path, task: str) -> Logged:
    """The answers in a log of the task `greenroom/<task>`; GreenroomError in one line for anything else."""
    from greenroom.asking.inspect import ANSWERS, answers_of

    log, samples = samples_of(path, task)
    if not any(ANSWERS in sample.store for sample in samples):
        raise GreenroomError(f"{path} was made by Greenroom 0.1; run inspect eval greenroom/{task} anew")
    return Logged(log.eval.model, log.eval.eval_id, path.name, answers_of(log))


def is_log(given: Any) -> bool:
    """Whether the word names an Inspect log and not a model."""
    return str(given).endswith((".eval", ".json"))


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
