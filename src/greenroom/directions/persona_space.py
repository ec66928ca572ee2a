"""Persona space: principal components over role vectors (The Assistant Axis, arXiv 2601.10387)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from greenroom.directions.cast import DEFAULT


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


def _space_and_coordinates(role_vectors: Mapping[str, Tensor]) -> tuple[PersonaSpace, Tensor]:
    roles = torch.stack([vector for name, vector in role_vectors.items() if name != DEFAULT])
    space = persona_space(roles, role_vectors.get(DEFAULT))
    return space, space.coordinates(torch.stack(list(role_vectors.values())))


def _table(names: Mapping[str, Tensor], spots: Tensor) -> pl.DataFrame:
    columns = {f"pc{number + 1}": column for number, column in enumerate(spots.T.tolist())}
    return pl.DataFrame(
        {"role": list(names), **columns}, schema={"role": pl.String, **dict.fromkeys(columns, pl.Float64)}
    )
