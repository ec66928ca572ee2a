"""The model under study. `load` it, then `generate`, `score`, `activations`, `intervene`."""

from greenroom.subject.cache import PrefixCache
from greenroom.subject.capture import Captured, Sinks
from greenroom.subject.check import SelfTest, check_instrument
from greenroom.subject.decoding import Capture, Reply
from greenroom.subject.interventions import Intervention
from greenroom.subject.loading import load, opened, ready
from greenroom.subject.scoring import Scores
from greenroom.subject.subject import Subject
from greenroom.subject.tiny import tiny

__all__ = [
    "Capture",
    "Captured",
    "Intervention",
    "PrefixCache",
    "Reply",
    "Scores",
    "SelfTest",
    "Sinks",
    "Subject",
    "check_instrument",
    "load",
    "opened",
    "ready",
    "tiny",
]
