"""Archetypes that nobody named: clusters and sparse factors of role vectors, described by the replies that show them.

What a question is about is taken out first: from each reply its question's mean over the roles. Then the roles' main
components are kept and two descriptions are tried, each with a number that roles left out decide: a mixture (each role
is of one kind; one kind for all means that there are none) and sparse factors (each role mixes a few manners). Both are
made of means over questions; atoms made of single replies, which are mostly noise, explained less of planted data.
Stability is what remains when the questions are drawn anew. Jung's archetypes, played as roles, take no part in the
search and are set beside its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from greenroom.measures.intervals import Array
from greenroom.measures.mixture import ClusterCount, choose_count, fit_mixture
from greenroom.measures.sparse_factors import fit_factors, matched, strengths

# Components kept: as many as hold this share of the role vectors' variance, at most so many.
VARIANCE, COMPONENTS = 0.9, 16
CLUSTER_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10)
FACTOR_COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12)
# Mean Jaccard overlap of a cluster with its best partner; below .75 a cluster is not to be relied on (Hennig 2007,
# Computational Statistics & Data Analysis 52). Median cosine of a factor with its partner; .85 is the usual bound for
# calling two factors alike (Lorenzo-Seva & ten Berge 2006, Methodology 2).
STABLE: dict[str, float] = {"cluster": 0.75, "factor": 0.85}

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class ReplyVectors:
    """Reply vectors at one block. values: (reply, hidden). role, question: of each reply. named: the roles that are
    searched; all others (the default character, Jung's archetypes) are only placed in what is found."""

    values: Array
    role: NDArray[np.str_]
    question: NDArray[np.str_]
    named: tuple[str, ...]

    def residuals(self) -> Array:
        """(reply, hidden): each reply less the mean of the searched roles' replies to its question."""
        result = np.empty_like(self.values)
        searched = np.isin(self.role, self.named)
        for question in np.unique(self.question):
            own = self.question == question
            result[own] = self.values[own] - self.values[own & searched].mean(axis=0)
        return result


@dataclass(frozen=True)
class Space:
    """The main components of the searched role vectors. components: (component, hidden) orthonormal rows. share: of the
    role vectors' variance. Coordinates of a reply are those of its residual."""

    components: Array
    share: float

    @classmethod
    def of(cls, vectors: Array) -> Space:
        """From role vectors (role, hidden)."""
        _, singular, rows = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
        shares = singular**2 / (singular**2).sum()
        kept = min(int(np.searchsorted(np.cumsum(shares), VARIANCE)) + 1, COMPONENTS, len(vectors) - 1)
        return cls(rows[:kept], float(shares[:kept].sum()))


@dataclass(frozen=True)
class Archetype:
    """One thing found. direction: (component,) of unit length, in the space of the search. strength: of every searched
    role, in order: the probability of belonging (cluster), or the code (factor). stability: as `STABLE` says; `low` is
    the tenth percentile over resamples."""

    name: str
    method: Literal["cluster", "factor"]
    direction: Array
    strength: Array
    stability: float
    stability_low: float

    @property
    def stable(self) -> bool:
        return self.stability >= STABLE[self.method]


@dataclass(frozen=True)
class FactorChoice:
    """One number of factors. explained: share of the variance of left-out roles on left-out questions; behind: how far
    below the best number, with its standard error over roles."""

    count: int
    explained: float
    behind: float
    behind_se: float
    chosen: bool


@dataclass(frozen=True)
class Archetypes:
    """What was found. coordinates: (reply, component) of all replies; roles: (searched role, component) means.
    cluster_choice, factor_choice: every number tried. reproducible: see the function of that name."""

    space: Space
    archetypes: tuple[Archetype, ...]
    coordinates: Array
    roles: Array
    cluster_choice: tuple[ClusterCount, ...]
    factor_choice: tuple[FactorChoice, ...]
    reproducible: float

    def of(self, method: str) -> list[Archetype]:
        return [one for one in self.archetypes if one.method == method]

    def vectors(self) -> dict[str, NDArray[np.float32]]:
        """Name → (hidden,) unit vector in the residual stream."""
        return {one.name: (one.direction @ self.space.components).astype(np.float32) for one in self.archetypes}


def search(replies: ReplyVectors, *, resamples: int, seed: int = 0, progress: Advance | None = None) -> Archetypes:
    """Clusters and factors of the searched roles. resamples: how often stability draws the questions anew.

    Raises ValueError with fewer than ten roles or two questions.
    """
    names, questions = replies.named, np.unique(replies.question)
    if len(names) < 10 or len(questions) < 2:
        raise ValueError(
            f"{len(names)} roles and {len(questions)} questions; expected at least 10 roles and 2 questions"
        )
    residuals = replies.residuals()
    vectors = _means(residuals, replies.role, names)
    space = Space.of(vectors)
    coordinates = residuals @ space.components.T
    roles = vectors @ space.components.T
    searched = np.isin(replies.role, names)
    table = cube(coordinates[searched], replies.role[searched], replies.question[searched], names, questions)
    counts = [count for count in CLUSTER_COUNTS if count <= len(names) // 4]
    clusters = choose_count(roles, counts, seed=seed)
    chosen = next(choice.count for choice in clusters if choice.chosen)
    factors = choose_factors(table, [count for count in FACTOR_COUNTS if count <= len(names) // 4], seed=seed)
    wanted = next(choice.count for choice in factors if choice.chosen)
    found = _clusters(roles, chosen, seed) + _factors(table, roles, wanted, seed)
    stability = _resampled(table, found, chosen, wanted, seed, resamples, progress)
    kept = [
        Archetype(name, method, direction, strength, *stability[name]) for name, method, direction, strength in found
    ]
    shown = reproducible(table, seed=seed)
    return Archetypes(space, tuple(kept), coordinates, roles, tuple(clusters), tuple(factors), shown)


def choose_factors(
    table: Array, counts: Sequence[int], *, folds: int = 5, repeats: int = 2, seed: int = 0
) -> list[FactorChoice]:
    """Cross-validation over roles and questions at once. table: (role, question, component), NaN where there is no reply.

    Atoms are made of some roles' means; a left-out role is coded from half of the questions, and its mean on the
    other half is predicted, so a code that fits noise is punished. With Gaussian errors of one variance the best number
    is that of the highest held-out likelihood; the smallest within one standard error of it is chosen.
    """
    rng = np.random.default_rng(seed)
    missed, total = np.zeros((len(counts), len(table))), np.zeros(len(table))
    for _ in range(repeats):
        fold, order = rng.permutation(len(table)) % folds, rng.permutation(table.shape[1])
        halves = [averages(table[:, order[part::2]]) for part in (0, 1)]
        for part in range(folds):
            out = fold == part
            seen = _known(averages(table[~out]))
            for row, count in enumerate(counts):
                atoms = fit_factors(seen, count, seed=int(rng.integers(2**31))).atoms
                for told, asked in (halves, halves[::-1]):
                    known = np.isfinite(told).all(axis=1) & np.isfinite(asked).all(axis=1) & out
                    predicted = strengths(told[known], atoms) @ atoms
                    missed[row, known] += ((asked[known] - predicted) ** 2).sum(axis=1)
                    total[known] += (asked[known] ** 2).sum(axis=1) if row == 0 else 0.0
    usable = total > 0
    explained = 1 - missed[:, usable].sum(axis=1) / total[usable].sum()
    scale = total[usable].mean()
    behind = (missed[:, usable] - missed[int(explained.argmax()), usable]) / scale
    error = behind.std(axis=1, ddof=1) / np.sqrt(int(usable.sum()))
    within = [index for index in range(len(counts)) if behind[index].mean() <= error[index]]
    chosen = min(within, key=lambda index: counts[index])
    return [
        FactorChoice(count, float(explained[row]), float(behind[row].mean()), float(error[row]), row == chosen)
        for row, count in enumerate(counts)
    ]


def reproducible(table: Array, *, draws: int = 40, seed: int = 0) -> float:
    """Share of the variance of roles' means over half of the questions that the other half shows as well: about the most
    that factors could explain there. table: as `choose_factors` takes it."""
    rng = np.random.default_rng(seed)
    shared = total = 0.0
    for _ in range(draws):
        order = rng.permutation(table.shape[1])
        one, other = (averages(table[:, order[part::2]]) for part in (0, 1))
        known = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
        shared += float((one[known] * other[known]).sum())
        total += float((one[known] ** 2).sum() + (other[known] ** 2).sum()) / 2
    return shared / total if total > 0 else 0.0


_Draft = tuple[str, Literal["cluster", "factor"], Array, Array]


def _clusters(roles: Array, count: int, seed: int) -> list[_Draft]:
    """The clusters, largest first; none where one cluster is all there is."""
    if count < 2:
        return []
    fit = fit_mixture(roles, count, seed=seed)
    joint = fit.log_joint(roles)
    share = np.exp(joint - fit.log_density(roles)[:, None])
    order = np.argsort(-share.sum(axis=0), kind="stable")
    middle = roles.mean(axis=0)
    return [
        (f"cluster_{index + 1}", "cluster", _unit(fit.means[cluster] - middle), share[:, cluster])
        for index, cluster in enumerate(order)
    ]


def _factors(table: Array, roles: Array, count: int, seed: int) -> list[_Draft]:
    """The factors, those that carry most of the roles first."""
    atoms = fit_factors(roles, count, seed=seed).atoms
    codes = strengths(roles, atoms)
    order = np.argsort(-(codes**2).sum(axis=0), kind="stable")
    return [(f"factor_{index + 1}", "factor", atoms[factor], codes[:, factor]) for index, factor in enumerate(order)]


def _resampled(
    table: Array,
    found: Sequence[_Draft],
    clusters: int,
    factors: int,
    seed: int,
    resamples: int,
    progress: Advance | None,
) -> dict[str, tuple[float, float]]:
    """Stability of each and its tenth percentile: the same search with the questions drawn anew, with replacement."""
    rng = np.random.default_rng(seed)
    groups = [one for one in found if one[1] == "cluster"]
    atoms = [one for one in found if one[1] == "factor"]
    overlap: list[list[float]] = [[] for _ in groups]
    cosine: list[Array] = []
    for step in range(resamples):
        again = table[:, rng.integers(table.shape[1], size=table.shape[1])]
        roles = averages(again)
        there = np.isfinite(roles).all(axis=1)
        if groups:
            partners = fit_mixture(roles[there], clusters, seed=int(rng.integers(2**31)), starts=3).members(
                roles[there]
            )
            members = np.argmax([strength[there] for _, _, _, strength in groups], axis=0)
            for index, scores in enumerate(overlap):
                scores.append(max(_jaccard(members == index, partners == other) for other in range(clusters)))
        others = fit_factors(roles[there], factors, seed=int(rng.integers(2**31))).atoms
        cosine.append(matched(np.stack([direction for _, _, direction, _ in atoms]), others)[0])
        if progress is not None:
            progress(step + 1, resamples)
    result = {
        name: (float(np.mean(scores)), _tenth(scores)) for (name, *_), scores in zip(groups, overlap, strict=True)
    }
    for index, (name, *_) in enumerate(atoms):
        own = np.array([values[index] for values in cosine])
        result[name] = (float(np.median(own)), _tenth(own))
    return result


def _tenth(values: Sequence[float] | Array) -> float:
    return float(np.quantile(np.asarray(values), 0.1))


def _jaccard(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    either = int((one | other).sum())
    return float((one & other).sum() / either) if either else 0.0


def _means(values: Array, labels: NDArray[np.str_], names: Sequence[str]) -> Array:
    return np.stack([values[labels == name].mean(axis=0) for name in names])


def cube(
    values: Array, role: NDArray[np.str_], question: NDArray[np.str_], names: Sequence[str], questions: NDArray[np.str_]
) -> Array:
    """(role, question, component); NaN where a role has no reply to a question."""
    table = np.full((len(names), len(questions), values.shape[1]), np.nan)
    rows = {name: index for index, name in enumerate(names)}
    columns = {name: index for index, name in enumerate(questions)}
    for value, who, what in zip(values, role, question, strict=True):
        table[rows[who], columns[what]] = value
    return table


def averages(table: Array) -> Array:
    """(role, component): means over the questions that a role answered; NaN where there are none."""
    there = np.isfinite(table).all(axis=2, keepdims=True)
    counts = there.sum(axis=1)
    sums = np.where(there, table, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _known(rows: Array) -> Array:
    """(role, component): the roles that have a mean."""
    return rows[np.isfinite(rows).all(axis=1)]


def _unit(vector: Array) -> Array:
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > 0 else vector
