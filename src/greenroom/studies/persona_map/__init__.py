"""Persona map: where the default character lies among the library's roles, and the assistant axis (arXiv 2601.10387).

Reading the number: `axis_auc` says how surely the axis tells default replies from a role's, on questions and roles that
it was not made from. Not shown: why the character lies there, or that the axis causes what it says.
"""

from __future__ import annotations

from pydantic import Field

from greenroom.asking.types import Size
from greenroom.studies.study import Stage, Study, later

STAGES = "greenroom.studies.persona_map.stages"


class Cast(Size):
    """Who answers, and how much."""

    every_role: int = Field(default=1, ge=1, description="Every n-th role of the library.")
    questions: int | None = Field(
        default=None, ge=2, description="Questions that each character answers; all if not given."
    )
    tokens: int = Field(default=24, ge=2, description="Tokens a reply may have.")
    calibration_replies: int = Field(default=200, ge=8, description="Default replies that give the axis its scale.")


STUDY = Study(
    name="persona_map",
    parts=lambda size: (
        Stage("map", "Persona map", later(STAGES, "draw_map"), cost=later(STAGES, "cost_of_map")),
        Stage("calibration", "Calibration", later(STAGES, "calibrate"), cost=later(STAGES, "cost_of_calibration")),
    ),
    conclude=later("greenroom.studies.persona_map.findings", "conclude"),
    sizes={
        "standard": Cast(),
        "quick": Cast(every_role=4, questions=6, calibration_replies=48),
    },
    primary="axis_auc",
    audit="always",
    chapters=later("greenroom.studies.persona_map.chapter", "chapters"),
)
