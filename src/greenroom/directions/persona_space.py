"""Persona space: principal components over role vectors (The Assistant Axis, arXiv 2601.10387)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PersonaSpace:
    """center: (hidden,). components: (component, hidden) orthonormal rows. explained: (component,) shares of variance."""

    center: Tensor
    components: Tensor
    explained: np.ndarray

    def coordinates(self, vectors: Tensor) -> Tensor:
        """(sample, component) from (sample, hidden)."""
        return (vectors - self.center) @ self.components.T


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
