"""What Inspect loads through Greenroom's entry point: the provider `greenroom/<model>` and the tasks.

Loading this imports no torch; that happens when a model is created.
"""

from __future__ import annotations

from greenroom.provider import GreenroomAPI
from greenroom.studies.costly_sacrifice.eval import costly_sacrifice
from greenroom.studies.drift.design import drift
from greenroom.studies.prompt_drift.eval import prompt_drift
from greenroom.studies.self_concept.eval import self_concept
from greenroom.studies.selftalk.design import selftalk
from greenroom.studies.sycophancy_loop.eval import sycophancy_loop

__all__ = [
    "GreenroomAPI",
    "costly_sacrifice",
    "drift",
    "prompt_drift",
    "self_concept",
    "selftalk",
    "sycophancy_loop",
]
