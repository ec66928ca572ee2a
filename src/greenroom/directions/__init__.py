"""Directions in activation space: the assistant axis, trait vectors, persona space."""

from greenroom.directions.axis import assistant_axis
from greenroom.directions.direction import Calibration, Direction, SignTest
from greenroom.directions.stored import store, stored
from greenroom.directions.traits import trait_vector

__all__ = [
    "Calibration",
    "Direction",
    "SignTest",
    "assistant_axis",
    "store",
    "stored",
    "trait_vector",
]
