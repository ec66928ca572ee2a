"""Greenroom measures, stress-tests and steers the personas of language models.

The public names below load what they need at first use: importing Greenroom prints nothing, sets nothing, reads no
environment and imports no torch.

    import greenroom

    subject = greenroom.load("smollm2")
    replies = subject.generate([[greenroom.user("Who are you?")]])
    result = greenroom.audit("smollm2")
    print(result)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenroom.auditing.audit import AuditResult as AuditResult
    from greenroom.auditing.audit import audit as audit
    from greenroom.conversation import Conversation as Conversation
    from greenroom.conversation import Message as Message
    from greenroom.conversation import assistant as assistant
    from greenroom.conversation import system as system
    from greenroom.conversation import user as user
    from greenroom.directions import Direction as Direction
    from greenroom.directions import assistant_axis as assistant_axis
    from greenroom.directions import trait_vector as trait_vector
    from greenroom.errors import GreenroomError as GreenroomError
    from greenroom.reader.monitor import Monitor as Monitor
    from greenroom.reader.posterior.posterior import Posterior as Posterior
    from greenroom.reader.posterior.who import who as who
    from greenroom.reader.read import read as read
    from greenroom.studies.archetypes import ArchetypesResult as ArchetypesResult
    from greenroom.studies.archetypes import find_archetypes as find_archetypes
    from greenroom.studies.behavioural_map import BehaviourResult as BehaviourResult
    from greenroom.studies.behavioural_map import map_behaviour as map_behaviour
    from greenroom.studies.drift import DriftResult as DriftResult
    from greenroom.studies.drift import measure_drift as measure_drift
    from greenroom.studies.frontier import FrontierResult as FrontierResult
    from greenroom.studies.frontier import measure_frontier as measure_frontier
    from greenroom.studies.selftalk import SelfTalkResult as SelfTalkResult
    from greenroom.studies.selftalk import measure_selftalk as measure_selftalk
    from greenroom.subject import Reply as Reply
    from greenroom.subject import Subject as Subject
    from greenroom.subject import load as load

# Where each public name lives. The block above says the same to editors; a test holds the two together.
HOMES = {
    "greenroom.studies.archetypes": ("ArchetypesResult", "find_archetypes"),
    "greenroom.auditing.audit": ("AuditResult", "audit"),
    "greenroom.studies.behavioural_map": ("BehaviourResult", "map_behaviour"),
    "greenroom.studies.drift": ("DriftResult", "measure_drift"),
    "greenroom.studies.selftalk": ("SelfTalkResult", "measure_selftalk"),
    "greenroom.conversation": ("Conversation", "Message", "assistant", "system", "user"),
    "greenroom.directions": ("Direction", "assistant_axis", "trait_vector"),
    "greenroom.errors": ("GreenroomError",),
    "greenroom.studies.frontier": ("FrontierResult", "measure_frontier"),
    "greenroom.reader.monitor": ("Monitor",),
    "greenroom.reader.posterior.posterior": ("Posterior",),
    "greenroom.reader.posterior.who": ("who",),
    "greenroom.reader.read": ("read",),
    "greenroom.subject": ("Reply", "Subject", "load"),
}


def _homes() -> dict[str, str]:
    """The module of every public name; those of a study are there as long as the study is in the registry."""
    from greenroom.studies import NAMES

    known = tuple(f"greenroom.studies.{name}" for name in NAMES)
    there = (module for module in HOMES if not module.startswith("greenroom.studies.") or module in known)
    return {name: module for module in there for name in HOMES[module]}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from greenroom.runs.machine import version

        return version()
    homes = _homes()
    if name not in homes:
        raise AttributeError(f"module 'greenroom' has no attribute {name!r}; it has {', '.join(sorted(homes))}")
    return getattr(import_module(homes[name]), name)


def __dir__() -> list[str]:
    return ["__version__", *sorted(_homes())]
