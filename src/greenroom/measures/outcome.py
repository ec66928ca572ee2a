"""What follows from a measure. A grade says how reliable an answer is; the outcome says what may be claimed from it."""

from __future__ import annotations

from typing import Literal

# Each measure has exactly one. One that only describes (an AUC, a correlation, bits, a share) is "described": estimate and
# interval, no claim. For the others the first that holds:
# unreadable: answers missing, position or format decides, a stuck model, or a ceiling (the default lies beyond 90 % of the
#     way to one pole).
# resists: reach not passed, although the third-person control passed: the instruction is understood and not obeyed.
# blind: reach not passed in either way. No number is then called an effect.
# effect: Holm-adjusted p < .05 for a primary, unadjusted for a secondary.
# none: none beyond ±delta. The 90 % interval lies within ±delta (two one-sided tests), and delta is at most half of the
#     reach measured on this model.
# too few: otherwise. It keeps its estimate and interval; a sentence never calls imprecision absence.
Outcome = Literal["described", "effect", "none", "resists", "blind", "unreadable", "too few"]
