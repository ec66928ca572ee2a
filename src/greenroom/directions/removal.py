"""Takes stored directions out of the cache, with what was kept for them alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenroom.directions.direction import Direction
from greenroom.directions.rulers import ruler_places
from greenroom.directions.stored import places
from greenroom.directions.trial import trials
from greenroom.errors import DirectionError, RunError


def remove(directions: Sequence[Direction]) -> list[Path]:
    """Removes the directions from the cache, each with its ruler and its trials; the files of the directions.

    All or none: raises DirectionError before anything goes where one of them ships with the package.
    """
    found = []
    for one in directions:
        shipped, cached = places(one.fingerprint, one.name)
        if not cached.is_file():
            why = "ships with the package" if shipped.is_file() else "is not in the cache"
            raise DirectionError(f"{one.name} {why} and cannot be removed; directions of your own can")
        found.append(cached)
    for one, path in zip(directions, found, strict=True):
        _unlink(path)
        trait = str(one.recipe.get("trait", one.name))
        # Vectors of one trait by several methods (NAME.METHOD) share its ruler.
        if not (path.parent / f"{trait}.safetensors").exists() and not list(path.parent.glob(f"{trait}.*.safetensors")):
            _unlink(ruler_places(one.fingerprint, trait)[1])
        for trial in trials(one.fingerprint).glob(f"{one.name}-*.json"):
            _unlink(trial)
    return found


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot remove {path}: {error.strerror}; change its rights, or remove it yourself") from error
