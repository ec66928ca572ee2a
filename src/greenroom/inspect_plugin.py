"""What Inspect loads through Greenroom's entry point: the provider `greenroom/<model>`, and a task for each study.

Loading this imports no study, so that a broken one does not take the others along, and no torch; that happens when a
model is created. Arguments of a task (`-T name=value`) are the fields of the study's size, `seed` and `system`.
"""

from __future__ import annotations

from typing import Any

from inspect_ai import Task, task
from inspect_ai._util.error import PrerequisiteError  # not public, but what makes Inspect print one line
from pydantic import ValidationError
from rich.markup import escape

from greenroom.errors import GreenroomError, wrong_field
from greenroom.provider import GreenroomAPI
from greenroom.studies import NAMES

__all__ = ["GreenroomAPI"]


def _task_of(name: str) -> Any:
    def make(**arguments: Any) -> Task:
        try:
            return _made(name, **arguments)
        except GreenroomError as error:
            raise PrerequisiteError(escape(str(error))) from error

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"The questions and talks of greenroom's study {name}."
    return task(make)


def _made(name: str, *, seed: int = 0, system: str | None = None, **fields: Any) -> Task:
    """The study's task; GreenroomError for arguments it does not have, and for a study that reads a local model."""
    from greenroom.asking.types import Questions, Talks
    from greenroom.studies import study_named

    found = study_named(name)
    standard = found.sizes["standard"]
    if "system" in type(standard).model_fields:  # it has a system message of its own, which this one replaces
        fields, system = fields | ({} if system is None else {"system": system}), None
    try:
        size = type(standard).model_validate({**standard.model_dump(), **fields})
    except ValidationError as error:
        where, why = wrong_field(error)
        allowed = ", ".join([*type(standard).model_fields, "seed", "system"])
        raise GreenroomError(f"{name}, -T {where}: {why}; allowed: {allowed} (-T name=value)") from error
    parts = (found.hosted or found.parts)(size)
    if any(isinstance(part, Talks) for part in parts):
        from greenroom.asking.inspect_talk import talk_task

        return talk_task(found, size, seed, system)
    if any(isinstance(part, Questions) for part in parts):
        from greenroom.asking.inspect import task_of

        return task_of(found, size, seed, system)
    raise GreenroomError(f"{name} reads the activations of a local model; use: greenroom eval {name} --model MODEL")


for _name in NAMES:
    globals()[_name] = _task_of(_name)
