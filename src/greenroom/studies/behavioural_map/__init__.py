"""Behavioural map: how far apart characters are in what they would say, beside where they lie in activations.

Every character reads every other's replies, and what they lose in likelihood is a distance in bits a token
(docs/archetypes.md; the test of agreement: Mantel 1967, Cancer Research 27).

Reading the number: `mantel_r` is the rank correlation, over pairs of characters, of distance in words with distance in
activations of other replies. Not shown: that activations cause the words; both depend on the same instruction.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from greenroom.asking.types import Size
from greenroom.studies.study import Stage, Study, StudyResult, later

if TYPE_CHECKING:
    from greenroom.directions import Direction
    from greenroom.runs.progress import Progress
    from greenroom.subject import Subject

STAGES = "greenroom.studies.behavioural_map.stages"


class Characters(Size):
    """Who speaks, and how much."""

    roles: int = Field(default=24, ge=4, description="Characters, the default one among them.")
    # The library has 54 questions, and nine others than these make the map of activations.
    questions: int = Field(default=6, ge=1, le=45, description="Replies of each character.")
    tokens: int = Field(default=32, ge=4, description="Tokens a reply may have.")


def _parts(size: Characters) -> tuple[Stage, ...]:
    """A stage a question that is read, so that an interruption costs one."""
    reads = (
        Stage(
            f"read_{number}",
            f"Each reads all, {number} of {size.questions}",
            partial(later(STAGES, "read"), number=number),
        )
        for number in range(1, size.questions + 1)
    )
    return (
        Stage("replies", "Characters answer", later(STAGES, "reply")),
        *reads,
        Stage("activations", "Activation map", later(STAGES, "activations")),
        Stage("maps", "Comparing the maps", later(STAGES, "compare")),
    )


STANDARD = Characters()
STUDY = Study(
    name="behavioural_map",
    parts=_parts,
    conclude=later("greenroom.studies.behavioural_map.findings", "conclude"),
    sizes={"standard": STANDARD, "quick": Characters(roles=8, questions=3, tokens=16)},
    primary="mantel_r",
    audit="full",
    chapters=later("greenroom.studies.behavioural_map.chapter", "chapters"),
    shared=lambda found: found.results("maps")["n_replies"],
)


class BehaviourResult(StudyResult):
    """A finished behavioural map: its folder and its headline numbers."""


def map_behaviour(
    model: str | Subject = "smollm2",
    out: Path | None = None,
    *,
    roles: int = STANDARD.roles,
    questions: int = STANDARD.questions,
    tokens: int = STANDARD.tokens,
    axis: Direction | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> BehaviourResult:
    """Maps characters by what they would say (bits a token), and sets that map beside the one by activations.

    model: a name that `greenroom.load` takes, or a loaded Subject. roles: characters, the default one among them.
    questions, tokens: replies of each and their length. axis: at whose block the activation map is read (default: the
    stored assistant axis, else two thirds of the way up). Leaves a run folder with tables, summary and report.html;
    interrupted, the same call goes on where it stopped, at most one question's scoring lost. GreenroomError in one line.
    """
    from greenroom.studies.running import measure_one

    size, verb = Characters.of(roles=roles, questions=questions, tokens=tokens), ("map", "--behaviour")
    found = measure_one(STUDY.name, size, model, out, verb=verb, given={"axis": axis}, seed=seed, progress=progress)
    return BehaviourResult(found.path, found.summary)
