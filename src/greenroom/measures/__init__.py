"""Measures: how questions are asked, and when an answer to them means something. Calls no model, needs no torch.

design: orders, assignment, folds · elicit: prompts in, answers out · validity: checks and grades ·
intervals: bootstrap, Wilson, Fieller, AUC · psychometric: dose-response and breaking point ·
utilities: preferences from pairwise choices.
"""

from __future__ import annotations

from greenroom.measures.elicit import PARADIGM_ORDER, headline
from greenroom.measures.intervals import Interval
from greenroom.measures.psychometric import DoseResponse, dose_response
from greenroom.measures.validity import Check, Grade, Measure, Validity, assess

__all__ = [
    "PARADIGM_ORDER",
    "Check",
    "DoseResponse",
    "Grade",
    "Interval",
    "Measure",
    "Validity",
    "assess",
    "dose_response",
    "headline",
]
