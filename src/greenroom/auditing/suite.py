"""Any studies of the registry as one run: one folder, one report (`greenroom eval`); and the registry as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.errors import GreenroomError
from greenroom.runs.progress import Progress
from greenroom.studies.study import Job, Stage, StudyResult

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from greenroom.asking.types import Size
    from greenroom.subject import Subject


def suite(
    names: Sequence[str],
    model: str | Subject | Model = "smollm2",
    out: Path | None = None,
    *,
    quick: bool = False,
    sizes: Mapping[str, Size] | None = None,
    system: str | None = None,
    seed: int = 0,
    asked: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Runs the named studies, and those that they build on, on one model.

    model: a name that `greenroom.load` takes, an Inspect name such as openai/gpt-4o for studies of text, a loaded
    Subject or an Inspect model. sizes: how much a study asks, where it is not its standard (or quick) size. system: a
    system message, such as a persona. GreenroomError in one line.
    """
    from greenroom.studies.running import measure

    made = job(names, quick=quick, sizes=sizes, system=system, asked=asked)
    return measure(made, model, out, seed=seed, progress=progress)


def job(
    names: Sequence[str],
    *,
    quick: bool = False,
    sizes: Mapping[str, Size] | None = None,
    system: str | None = None,
    asked: Mapping[str, Any] | None = None,
) -> Job:
    """What such a run does; GreenroomError for a name that is no study, and for one that can have no system message."""
    from greenroom.studies import study_named, with_those_before

    wanted = with_those_before(tuple(names))
    size = "quick" if quick else "standard"
    for name in names if system else ():
        one = study_named(name)
        own = (sizes or {}).get(name) or one.sizes[size]
        parts = [*one.parts(own), *(one.hosted(own) if one.hosted else ())]
        if all(isinstance(part, Stage) for part in parts):
            raise GreenroomError(f"{name} brings its own system messages; leave it out, or do without --system")
    return Job("eval", wanted, size, sizes or {}, system, asked or {})


def study_table() -> str:
    """The registry as a table in markdown: what each study asks, what it needs, how to run it, whether audits have it."""
    from greenroom.studies import NAMES, about, study_named

    audits = {"always": "yes", "full": "with `--full`", "never": "no"}
    lines = ["| study | question | needs | command | in an audit |", "| --- | --- | --- | --- | --- |"]
    for name in NAMES:
        words, study = about(name), study_named(name)
        verb = words.get("verb")
        option = f" --{verb['option']}" if verb and "option" in verb else ""
        command = f"{verb['name']}{option}" if verb else f"eval {name}"
        cells = (f"`{name}`", words["about"], study.needs, f"`greenroom {command}`", audits[study.audit])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
