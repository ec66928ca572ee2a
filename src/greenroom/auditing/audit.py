"""The main job: which character does this model play, and how firmly? Every study of an audit, one folder, one report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenroom.runs.progress import Progress
from greenroom.studies.study import Job, StudyResult

if TYPE_CHECKING:
    from greenroom.subject import Subject


class AuditResult(StudyResult):
    """A finished audit: its folder and its headline numbers. `str()` is the summary a person reads."""


def audit(
    model: str | Subject = "smollm2",
    out: Path | None = None,
    *,
    quick: bool = False,
    full: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> AuditResult:
    """Audits a model and leaves a run folder with tables, measures, summary and report.html.

    model: a name that `greenroom.load` takes, or a loaded Subject. out: the folder, new or to resume (default: the
    newest unfinished equal run under ./runs, else the next number). full: adds the studies that take longer (half an
    hour on two cores); without it they are shown when they were kept for these weights. The same seed gives the same
    tables on the same machine. Interrupted at any time, the same call goes on where it stopped. GreenroomError in one
    line.
    """
    from greenroom.studies.running import measure

    found = measure(job(quick=quick, full=full), model, out, seed=seed, progress=progress)
    return AuditResult(found.path, found.summary)


def job(*, quick: bool = False, full: bool = False) -> Job:
    """What an audit does: the studies that say so themselves."""
    from greenroom.studies import NAMES, study_named

    when = {name: study_named(name).audit for name in NAMES}
    longer = tuple(name for name in NAMES if when[name] == "full")
    asked: Mapping[str, Any] = {"quick": quick, "full": full}
    names = tuple(name for name in NAMES if when[name] == "always" or (full and name in longer))
    return Job("audit", names, "quick" if quick else "standard", asked=asked, kept=longer)
