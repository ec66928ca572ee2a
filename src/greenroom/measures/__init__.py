"""Measures: how questions are asked, and when an answer to them means something. Calls no model, needs no torch.

design: orders, assignment, folds · elicit: prompts in, answers out · checkers: what plain Python reads in a reply ·
validity: checks, grades, and the measure itself · outcome: what follows from a measure · intervals: bootstrap, Student,
Wilson, Fieller, AUC · psychometric: dose-response and breaking point · utilities: preferences from pairwise choices.
"""

from __future__ import annotations

from greenroom.measures.elicit import PARADIGM_ORDER, headline
from greenroom.measures.intervals import Interval
from greenroom.measures.outcome import Outcome
from greenroom.measures.psychometric import DoseResponse, dose_response
from greenroom.measures.validity import MEASURE_SCHEMA, Check, Grade, Measure, Validity, assess

__all__ = [
    "MEASURE_SCHEMA",
    "PARADIGM_ORDER",
    "Check",
    "DoseResponse",
    "Grade",
    "Interval",
    "Measure",
    "Outcome",
    "Validity",
    "assess",
    "dose_response",
    "headline",
]
