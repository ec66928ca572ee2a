"""Which stored directions would be built again by themselves, so that the cache may be cleared of them."""

from __future__ import annotations

from pathlib import Path

from greenroom.directions.axis import ASSISTANT_AXIS, READER_AXIS
from greenroom.directions.direction import Direction
from greenroom.directions.poles import wording
from greenroom.errors import GreenroomError
from greenroom.personas import library


def comes_back(path: Path) -> bool:
    """Whether the direction in a file would be built again when it is asked for: an axis, a trait of the library in its
    present wording, or such a trait's ruler. Not what was imported, made of somebody's own words, or cannot be read."""
    try:
        found = Direction.load(path)
        recipe = found.recipe
        if "taken_from" in recipe:
            return False
        if found.kind == "axis":
            return path.stem in (ASSISTANT_AXIS, READER_AXIS) and "roles" in recipe
        trait = library.trait(str(recipe.get("trait")))
        return path.stem.split(".")[0] == trait.name and recipe.get("wording") == wording(trait)
    except GreenroomError:
        return False
