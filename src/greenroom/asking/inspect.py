"""Inspect tasks: one phenomenon, one file, its stimuli in `stimuli/<same name>.yaml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from greenroom.errors import GreenroomError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog
    from inspect_ai.model import Model

MAX_SAMPLES = 4096  # all at once: what is not in flight cannot share a prefix


def run(task: Task, model: Model | str, log_dir: Path | str) -> EvalLog:
    """Runs one task quietly and returns its log, samples included; the log file is written to `log_dir`.

    Nothing is displayed and nothing but the model is asked. GreenroomError, in one line, unless every sample succeeded.
    """
    from inspect_ai import eval as inspect_eval

    (log,) = inspect_eval(
        task,
        model=model,
        log_dir=str(log_dir),
        display="none",
        log_level="error",
        max_samples=MAX_SAMPLES,
        max_tasks=1,
        log_samples=True,
        log_realtime=False,
        score=True,
        fail_on_error=True,
        acp_server=False,
        ctl_server=False,
    )
    if log.status != "success":
        raise GreenroomError(f"the eval {task.name} ended with status {log.status}: {_first_error(log)}")
    return log


def _first_error(log: EvalLog) -> str:
    """The first error's own words, in one line."""
    errors = [log.error] if log.error else [sample.error for sample in log.samples or [] if sample.error]
    if not errors or errors[0] is None:
        return "no reason was given"
    text = " ".join(errors[0].message.split())
    quoted = re.fullmatch(r"\w+\((['\"])(.*)\1\)", text)  # Inspect keeps the repr
    return quoted[2] if quoted else text


def hosted_model(name: str) -> Model | None:
    """Until the kit has it."""
    return None
