"""Persona space: principal components over role vectors (The Assistant Axis, arXiv 2601.10387)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from greenroom.directions.cast import DEFAULT, Cast, perform
from greenroom.directions.progress import share
from greenroom.store import atomic_path, cache_dir, digest
from greenroom.subject import Subject
from greenroom.subject.subject import Progress

FORMAT = 1  # of what is kept of a space; others are not read


@dataclass(frozen=True)
class PersonaSpace:
    """center: (hidden,). components: (component, hidden) orthonormal rows, each divided by its role sd where the space is
    `in_role_sd`. explained: (component,) shares of variance."""

    center: Tensor
    components: Tensor
    explained: np.ndarray

    def coordinates(self, vectors: Tensor) -> Tensor:
        """(sample, component) from (sample, hidden)."""
        return (vectors - self.center) @ self.components.T

    def table(self) -> pl.DataFrame:
        """One row a component: component (from 1), explained_variance (share)."""
        return pl.DataFrame(
            {"component": list(range(1, len(self.explained) + 1)), "explained_variance": self.explained}
        )


def persona_space(role_vectors: Tensor, towards: Tensor | None = None) -> PersonaSpace:
    """PCA of mean-centred role vectors (role, hidden), by singular values.

    The sign of a component is free; with `towards` (hidden,) each one is turned so that it points to that side.
    """
    center = role_vectors.mean(dim=0)
    _, singular, rows = torch.linalg.svd(role_vectors - center, full_matrices=False)
    if towards is not None:
        signs = torch.where((rows @ (towards - center)) < 0, -1.0, 1.0)
        rows = rows * signs.unsqueeze(-1)
    variance = singular.double().square()
    return PersonaSpace(center, rows, (variance / variance.sum()).numpy())


@dataclass(frozen=True)
class PlacedRoles:
    """Persona space, and who lies where in it. places: role, pc1, pc2 …, one row a character."""

    space: PersonaSpace
    places: pl.DataFrame


def place_roles(role_vectors: Mapping[str, Tensor], count: int) -> PlacedRoles:
    """Persona space of all roles, turned towards the default character, and the first `count` coordinates of everyone, in
    residual units; 0 along components that the roles do not span. role_vectors: name → (hidden,), at one block."""
    space, spots = _space_and_coordinates(role_vectors)
    spots = torch.nn.functional.pad(spots[:, :count], (0, max(0, count - spots.shape[1])))
    return PlacedRoles(space, _table(role_vectors, spots))


def place_roles_in_role_sd(role_vectors: Mapping[str, Tensor], count: int) -> PlacedRoles:
    """`place_roles` in units of how far roles lie apart along each component; at most `count` components are kept, in the
    space too."""
    space, spots = _space_and_coordinates(role_vectors)
    count = min(count, len(space.explained))
    kept = spots[:, :count]
    sd = kept[[name != DEFAULT for name in role_vectors]].std(dim=0).clamp_min(1e-6)
    scaled = PersonaSpace(space.center, (space.components[:count] / sd[:, None]), space.explained[:count])
    return PlacedRoles(scaled, _table(role_vectors, kept / sd))


def cold_space(
    subject: Subject, cast: Cast, layer: int, count: int, *, seed: int, progress: Progress | None = None
) -> PlacedRoles:
    """`place_roles_in_role_sd` of a cast's replies read cold at a block.

    It takes a minute and depends on nothing but the weights, the cast, the block and the seed, so it is kept in the cache.
    """
    path = _kept_at(subject, cast, layer, count, seed)
    found = None if subject.edited else _kept(path)
    if found is None:
        played = perform(subject, cast, seed=seed, progress=share(progress, 0.0, 0.5))
        cold = played.cold(subject, [layer], share(progress, 0.5, 1.0))
        found = place_roles_in_role_sd({name: of[0] for name, of in cold.role_vectors().items()}, count)
        if not subject.edited:
            _keep(path, found)
    return found


def _kept_at(subject: Subject, cast: Cast, layer: int, count: int, seed: int) -> Path:
    asked = json.dumps([cast.frame()["role"].to_list(), cast.prompts()])
    key = digest(asked, f"{FORMAT} {cast.tokens} {layer} {count} {seed}")
    return cache_dir() / "results" / "persona_space" / subject.replies_fingerprint / f"{key}.safetensors"


def _keep(path: Path, found: PlacedRoles) -> None:
    space = found.space
    tensors = {"center": space.center, "components": space.components.contiguous()}
    tensors["explained"] = torch.from_numpy(np.array(space.explained))
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"places": json.dumps(found.places.to_dict(as_series=False))})


def _kept(path: Path) -> PlacedRoles | None:
    """What was kept; None where there is nothing, or nothing that can be read: then it is made again."""
    try:
        with safe_open(path, framework="pt") as file:
            places = pl.DataFrame(json.loads(file.metadata()["places"]))
            center, components, explained = (file.get_tensor(name) for name in ("center", "components", "explained"))
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    return PlacedRoles(PersonaSpace(center, components, explained.numpy()), places)


def _space_and_coordinates(role_vectors: Mapping[str, Tensor]) -> tuple[PersonaSpace, Tensor]:
    roles = torch.stack([vector for name, vector in role_vectors.items() if name != DEFAULT])
    space = persona_space(roles, role_vectors.get(DEFAULT))
    return space, space.coordinates(torch.stack(list(role_vectors.values())))


def _table(names: Mapping[str, Tensor], spots: Tensor) -> pl.DataFrame:
    columns = {f"pc{number + 1}": column for number, column in enumerate(spots.T.tolist())}
    return pl.DataFrame(
        {"role": list(names), **columns}, schema={"role": pl.String, **dict.fromkeys(columns, pl.Float64)}
    )
