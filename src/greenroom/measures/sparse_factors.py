"""Sparse factors: things as sums of few shared directions, each in its own strength of 0 or more.

Non-negative sparse coding (Hoyer 2002) with atoms of unit length: values ≈ codes × atoms, few codes not 0. A direction
and its opposite are two atoms, so an atom is one manner and not a scale between two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from greenroom.measures.intervals import Array

# The price of a code, in median lengths of what is coded: at .2 a SmolLM2 role uses about three atoms.
SPARSITY = 0.2
ROUNDS, CODE_STEPS, ROUND_STEPS, STARTS = 60, 80, 15, 8


class Factors(NamedTuple):
    """atoms: (atom, coordinate), rows of unit length. codes: (thing, atom), 0 or more. loss: what was minimised, a
    thing."""

    atoms: Array
    codes: Array
    loss: float


def fit_factors(
    values: Array, count: int, *, sparsity: float = SPARSITY, seed: int = 0, starts: int = STARTS
) -> Factors:
    """The best of several fits. values: (thing, coordinate), centred by the caller. Raises ValueError when there are
    fewer things than atoms."""
    if not 1 <= count <= len(values):
        raise ValueError(f"{count} atoms of {len(values)} things; expected between 1 and as many as there are things")
    rng = np.random.default_rng(seed)
    return min((_descend(values, count, sparsity, rng) for _ in range(starts)), key=lambda fit: fit.loss)


def encode(
    values: Array, atoms: Array, *, sparsity: float = SPARSITY, steps: int = CODE_STEPS, start: Array | None = None
) -> Array:
    """(thing, atom): sparse codes of things under given atoms, by accelerated proximal steps (FISTA, Beck & Teboulle
    2009). start: codes to begin with."""
    return _proximal(values, atoms, _price(values, sparsity), steps, start)


def strengths(values: Array, atoms: Array, *, sparsity: float = SPARSITY) -> Array:
    """(thing, atom): which atoms a thing has by `encode`, how much of each by least squares: the price that chooses
    atoms also shrinks their codes, and a description should not be shrunk."""
    chosen = encode(values, atoms, sparsity=sparsity)
    return _proximal(values, atoms, 0.0, CODE_STEPS, chosen, chosen > 0)


def _proximal(
    values: Array, atoms: Array, price: float, steps: int, start: Array | None, allowed: NDArray[np.bool_] | None = None
) -> Array:
    gram = atoms @ atoms.T
    pull = values @ atoms.T - price
    rate = 1 / max(float(np.linalg.eigvalsh(gram)[-1]), 1e-12)
    codes = ahead = np.zeros_like(pull) if start is None else start
    pace = 1.0
    for _ in range(steps):
        after = np.maximum(ahead + rate * (pull - ahead @ gram), 0.0)
        if allowed is not None:
            after = np.where(allowed, after, 0.0)
        quicker = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = after + (pace - 1) / quicker * (after - codes)
        codes, pace = after, quicker
    return codes


def matched(atoms: Array, others: Array) -> tuple[Array, NDArray[np.intp]]:
    """For each atom its partner among others, one to one where there are enough, and their cosine (an atom left
    without a partner has −1). Both (atom, coordinate) with rows of unit length."""
    cosines = atoms @ others.T
    rows, columns = linear_sum_assignment(-cosines)
    found, partner = np.full(len(atoms), -1.0), np.full(len(atoms), -1, dtype=np.intp)
    found[rows], partner[rows] = cosines[rows, columns], columns
    return found, partner


def _price(values: Array, sparsity: float) -> float:
    return sparsity * float(np.median(np.linalg.norm(values, axis=1)))


def _descend(values: Array, count: int, sparsity: float, rng: np.random.Generator) -> Factors:
    atoms = _start(values, count, sparsity, rng)
    codes = encode(values, atoms, sparsity=sparsity)
    best: Factors | None = None
    for _ in range(ROUNDS):
        atoms = _better_atoms(values, codes, atoms, rng)
        codes = encode(values, atoms, sparsity=sparsity, steps=ROUND_STEPS, start=codes)
        loss = _loss(values, codes, atoms, sparsity)
        # A round may lose a little where an idle atom was set anew; the best one counts.
        if best is None or loss < best.loss * (1 - 1e-4):
            best = Factors(atoms, codes, loss)
        elif (codes > 0).any(axis=0).all():
            break
    assert best is not None
    return best


def _start(values: Array, count: int, sparsity: float, rng: np.random.Generator) -> Array:
    """Each first atom is what the ones before it miss of some thing, drawn by how much that is: things that point the
    same way would otherwise take several atoms, and others none."""
    atoms = np.zeros((0, values.shape[1]))
    rest = values
    for _ in range(count):
        missed = (rest**2).sum(axis=1)
        total = float(missed.sum())
        pick = rng.choice(len(values), p=missed / total) if total > 0 else rng.integers(len(values))
        atoms = np.vstack([atoms, _unit(rest[[int(pick)]], rng)])
        rest = values - encode(values, atoms, sparsity=sparsity, steps=ROUND_STEPS) @ atoms
    return atoms


def _better_atoms(values: Array, codes: Array, atoms: Array, rng: np.random.Generator) -> Array:
    """Each atom in turn by least squares; an idle one is set to what is explained worst."""
    atoms = atoms.copy()
    rest = values - codes @ atoms
    for index in range(len(atoms)):
        own = codes[:, index]
        weight = float(own @ own)
        if weight > 1e-12:
            rest += np.outer(own, atoms[index])
            atoms[index] = _unit(np.asarray(own @ rest, float)[None], rng)[0]
            rest -= np.outer(own, atoms[index])
        else:
            atoms[index] = _unit(rest[int((rest**2).sum(axis=1).argmax())][None], rng)[0]
    return atoms


def _loss(values: Array, codes: Array, atoms: Array, sparsity: float) -> float:
    missed = float(((values - codes @ atoms) ** 2).sum()) / 2
    return (missed + _price(values, sparsity) * float(codes.sum())) / len(values)


def _unit(rows: Array, rng: np.random.Generator) -> Array:
    """Rows of unit length; one of no length at all becomes a random direction."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.where(norms > 1e-12, rows, rng.normal(size=rows.shape))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
