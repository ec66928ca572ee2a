"""The chapters in the order of the page. A later measure adds its function here and its words to report.yaml."""

from __future__ import annotations

from collections.abc import Callable

from greenroom.auditing.report.answers import sacrifice, self_concept
from greenroom.auditing.report.character import hold, layers, persona_map, traits
from greenroom.auditing.report.evidence import replies, validity
from greenroom.auditing.report.parts import Chapter, Results
from greenroom.auditing.report.space import archetypes, behaviour
from greenroom.auditing.report.steering import frontier


def chapters(results: Results) -> list[Chapter]:
    """Every chapter that this run can fill, in order."""
    order: tuple[Callable[[Results], Chapter | None], ...] = (
        persona_map,
        layers,
        behaviour,
        archetypes,
        traits,
        hold,
        frontier,
        sacrifice,
        self_concept,
        validity,
        replies,
    )
    return [chapter for make in order if (chapter := make(results)) is not None]
