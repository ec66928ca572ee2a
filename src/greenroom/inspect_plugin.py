"""What Inspect loads through Greenroom's entry point: the provider `greenroom/<model>` and the tasks.

Loading this imports no torch; that happens when a model is created.
"""

from __future__ import annotations

from greenroom.evals.costly_sacrifice import costly_sacrifice
from greenroom.evals.drift import drift
from greenroom.evals.prompt_drift import prompt_drift
from greenroom.evals.self_concept import self_concept
from greenroom.evals.selftalk import selftalk
from greenroom.evals.sycophancy_loop import sycophancy_loop
from greenroom.provider import GreenroomAPI

__all__ = [
    "GreenroomAPI",
    "costly_sacrifice",
    "drift",
    "prompt_drift",
    "self_concept",
    "selftalk",
    "sycophancy_loop",
]
