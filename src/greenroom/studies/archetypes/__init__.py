"""Archetypes: what recurs in a model's roles that nobody named, as clusters and as sparse factors of role vectors.

How many there are is decided on roles left out, and each is found again with the questions drawn anew (stability:
Hennig 2007; Lorenzo-Seva & ten Berge 2006). Jung's archetypes, played as roles, are set beside what was found.

Reading the number: `recurring_factors` counts the stable factors that at least three roles share. Not shown: that other
roles, wordings or models have them, or that steering along one brings its manner out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from greenroom.asking.types import Size
from greenroom.studies.study import Stage, Study, StudyResult, later

if TYPE_CHECKING:
    from greenroom.directions import Direction
    from greenroom.runs.progress import Progress
    from greenroom.subject import Subject

STAGES = "greenroom.studies.archetypes.stages"


class Search(Size):
    """How much every role says, and how thoroughly it is searched."""

    questions: int = Field(
        default=12, ge=2, description="Questions that every role answers, at most as many as the library has."
    )
    tokens: int = Field(default=32, ge=4, description="Tokens a reply may have.")
    resamples: int = Field(
        default=40, ge=1, description="How often the questions are drawn anew to see what is stable."
    )


STANDARD = Search()
STUDY = Study(
    name="archetypes",
    parts=lambda size: (
        Stage("replies", "Roles answer", later(STAGES, "reply")),
        Stage("search", "Clusters, factors, stability", later(STAGES, "search")),
    ),
    conclude=later("greenroom.studies.archetypes.findings", "conclude"),
    sizes={"standard": STANDARD, "quick": Search(questions=4, tokens=16, resamples=10)},
    primary="recurring_factors",
    audit="full",
    chapters=later("greenroom.studies.archetypes.chapter", "chapters"),
    shared=lambda found: found.results("search")["n_replies"],
)


class ArchetypesResult(StudyResult):
    """A finished search: its folder and its headline numbers."""


def find_archetypes(
    model: str | Subject = "smollm2",
    out: Path | None = None,
    *,
    questions: int = STANDARD.questions,
    tokens: int = STANDARD.tokens,
    resamples: int = STANDARD.resamples,
    axis: Direction | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ArchetypesResult:
    """Searches for archetypes that nobody named, and describes them.

    model: a name that `greenroom.load` takes, or a loaded Subject. questions: asked of every role, at most as many as
    the library has; stability draws them anew, `resamples` times, so fewer than four say little. axis: at whose block to
    look (default: the stored assistant axis, else two thirds of the way up). Leaves a run folder with tables, summary
    and report.html; interrupted, the same call goes on where it stopped. Raises GreenroomError in one line.
    """
    from greenroom.studies.running import measure_one

    size = Search.of(questions=questions, tokens=tokens, resamples=resamples)
    found = measure_one(STUDY.name, size, model, out, given={"axis": axis}, seed=seed, progress=progress)
    return ArchetypesResult(found.path, found.summary)
