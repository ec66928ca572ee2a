"""The chapters in the order of the page. A later measure adds its function here and its words to report.yaml."""

from __future__ import annotations

from collections.abc import Callable

from greenroom.report.evidence import replies, validity
from greenroom.report.parts import Chapter, Results
from greenroom.studies.costly_sacrifice.chapter import sacrifice, self_concept
from greenroom.studies.frontier.chapter import frontier
from greenroom.studies.persona_map.chapter import hold, layers, persona_map, traits


def chapters(results: Results) -> list[Chapter]:
    """Every chapter that this run can fill, in order."""
    order: tuple[Callable[[Results], Chapter | None], ...] = (
        persona_map,
        layers,
        traits,
        hold,
        frontier,
        sacrifice,
        self_concept,
        validity,
        replies,
    )
    return [chapter for make in order if (chapter := make(results)) is not None]
