"""What an archetype is like: the roles and replies that show it most, and what already had a name.

Everything here describes the result of `archetypes.search` and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from greenroom.directions.archetypes import Archetype, Archetypes, ReplyVectors, averages, cube
from greenroom.measures.intervals import Array
from greenroom.measures.mixture import adjusted_rand
from greenroom.measures.sparse_factors import strengths

# A role belongs to a cluster above this probability, to a factor above this share of the largest code.
BELONGS: dict[str, float] = {"cluster": 0.5, "factor": 0.33}
REPLIES, PER_ROLE, DRAWS = 5, 2, 2000
# What fewer roles show is a character, and recurs in nothing.
RECURS = 3


@dataclass(frozen=True)
class Portraits:
    """Tables by name, and the numbers of the whole search."""

    tables: dict[str, pl.DataFrame]
    numbers: dict[str, Any]


def portraits(
    replies: ReplyVectors,
    found: Archetypes,
    texts: Sequence[str],
    questions: Mapping[str, str],
    kinds: Mapping[str, str],
    jungian: Sequence[str],
    default: str,
    axis: Array | None,
    *,
    seed: int = 0,
) -> Portraits:
    """Describes what was found.

    texts: of the replies, in order; questions: id → text. kinds: of every role. jungian, default:
    names of roles that took no part in the search. axis: (hidden,) the assistant axis at the block, if there is one.
    """
    present = list(dict.fromkeys(replies.role.tolist()))
    means = {name: found.coordinates[replies.role == name].mean(axis=0) for name in present}
    placed = [name for name in jungian if name in means]
    rng = np.random.default_rng(seed)
    scale = np.cov(found.roles.T).reshape(found.roles.shape[1], -1)
    rows, role_rows, reply_rows = [], [], []
    for one in found.archetypes:
        near = sorted(
            ((_cosine(means[name], one.direction), name) for name in present if name != default), reverse=True
        )
        searched = [(cosine, name) for cosine, name in near if name in replies.named]
        jung = next(((cosine, name) for cosine, name in near if name in placed), (None, None))
        members = _members(one, replies.named)
        counted = pl.Series([kinds[name] for name in members]).value_counts(sort=True).row(0) if members else (None, 0)
        along = found.roles @ one.direction
        rows.append(
            {
                "archetype": one.name, "method": one.method, "roles": len(members), "members": ", ".join(members),
                "stability": one.stability, "stability_low": one.stability_low, "stable": one.stable,
                "kind": counted[0], "kind_share": counted[1] / len(members) if members else None,
                "nearest_role": searched[0][1], "nearest_cosine": searched[0][0], "jungian": jung[1],
                "jungian_cosine": jung[0],
                "jungian_p": _by_chance(jung[0], [means[name] for name in placed], scale, rng),
                "axis_cosine": _axis_cosine(one, found, axis),
                "default_sd": _in_sd(float(means[default] @ one.direction), along) if default in means else None,
            }
        )  # fmt: skip
        strengths = dict(zip(replies.named, one.strength.tolist(), strict=True))
        role_rows += [
            {"archetype": one.name, "role": name, "kind": kinds[name], "searched": name in strengths,
             "member": name in members, "strength": strengths.get(name), "cosine": _cosine(means[name], one.direction)}
            for name in present
        ]  # fmt: skip
        reply_rows += _extremes(one, replies, found, texts, questions, kinds)
    spots = np.stack([means[name] for name in present])
    places = pl.DataFrame(
        [
            {"role": name, "kind": kinds[name], "searched": name in replies.named, "pc1": float(spot[0]),
             "pc2": float(spot[1]) if len(spot) > 1 else 0.0,
             "axis": None if axis is None else float(spot @ (found.space.components @ axis))}
            for name, spot in zip(present, spots, strict=True)
        ],
        schema_overrides={"axis": pl.Float64},
    )  # fmt: skip
    arrows = pl.DataFrame(
        [
            {"archetype": one.name, "pc1": float(one.direction[0]),
             "pc2": float(one.direction[1]) if len(one.direction) > 1 else 0.0,
             "length": float(np.quantile(found.roles @ one.direction, 0.95))}
            for one in found.archetypes
        ]
    )  # fmt: skip
    tables = {
        "archetypes": pl.DataFrame(rows, schema_overrides={"jungian_cosine": pl.Float64, "axis_cosine": pl.Float64,
                                                           "jungian_p": pl.Float64, "default_sd": pl.Float64}),
        "roles": pl.DataFrame(role_rows, schema_overrides={"strength": pl.Float64}),
        "replies": pl.DataFrame(reply_rows),
        "choice": _choices(found),
        "places": places,
        "arrows": arrows,
    }  # fmt: skip
    return Portraits(tables, _numbers(replies, found, kinds, placed, seed))


def _numbers(
    replies: ReplyVectors, found: Archetypes, kinds: Mapping[str, str], jungian: Sequence[str], seed: int
) -> dict[str, Any]:
    clusters, factors = found.of("cluster"), found.of("factor")
    chosen = next(choice for choice in found.factor_choice if choice.chosen)
    rand, rand_p = _against_kinds(clusters, [kinds[name] for name in replies.named], seed)
    return {
        "n_roles": len(replies.named), "n_questions": len(np.unique(replies.question)),
        "n_replies": int(np.isin(replies.role, replies.named).sum()),
        "components": len(found.space.components), "variance_kept": found.space.share,
        "n_clusters": len(clusters), "n_factors": len(factors),
        "stable_clusters": sum(one.stable for one in clusters), "stable_factors": sum(one.stable for one in factors),
        "recurring_factors": sum(one.stable and len(_members(one, replies.named)) >= RECURS for one in factors),
        "explained": chosen.explained, "reproducible": found.reproducible,
        "explained_jungian": _explained(replies, found, factors, jungian) if jungian else None,
        "kinds_rand": rand, "kinds_rand_p": rand_p,
    }  # fmt: skip


def _members(one: Archetype, names: Sequence[str]) -> list[str]:
    """The searched roles that belong, strongest first."""
    least = BELONGS[one.method] * (1.0 if one.method == "cluster" else max(float(one.strength.max()), 1e-12))
    order = np.argsort(-one.strength, kind="stable")
    return [str(names[int(index)]) for index in order if one.strength[index] > least]


def _extremes(
    one: Archetype,
    replies: ReplyVectors,
    found: Archetypes,
    texts: Sequence[str],
    questions: Mapping[str, str],
    kinds: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The searched replies farthest along, at most two of a role."""
    along = found.coordinates @ one.direction
    along = np.where(np.isin(replies.role, replies.named), along, -np.inf)
    taken: dict[str, int] = {}
    result: list[dict[str, Any]] = []
    for index in np.argsort(-along, kind="stable"):
        role = str(replies.role[index])
        if taken.get(role, 0) >= PER_ROLE or not np.isfinite(along[index]):
            continue
        taken[role] = taken.get(role, 0) + 1
        result.append(
            {"archetype": one.name, "rank": len(result) + 1, "role": role, "kind": kinds[role],
             "question": questions[str(replies.question[index])], "reply": texts[index], "along": float(along[index])}
        )  # fmt: skip
        if len(result) == REPLIES:
            break
    return result


def _by_chance(cosine: float | None, vectors: Sequence[Array], scale: Array, rng: np.random.Generator) -> float | None:
    """How often a direction drawn from the spread of the roles lies as near to one of these vectors."""
    if cosine is None:
        return None
    drawn = rng.multivariate_normal(np.zeros(len(scale)), scale, size=DRAWS)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    units = np.stack([vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors])
    return (1 + int(((drawn @ units.T).max(axis=1) >= cosine).sum())) / (1 + DRAWS)


def _explained(
    replies: ReplyVectors, found: Archetypes, factors: Sequence[Archetype], roles: Sequence[str]
) -> float | None:
    """Share of the variance of other roles that the factors explain: coded on half of the questions, read on the other."""
    questions, own = np.unique(replies.question), np.isin(replies.role, list(roles))
    table = cube(found.coordinates[own], replies.role[own], replies.question[own], list(roles), questions)
    atoms = np.stack([one.direction for one in factors])
    halves = [averages(table[:, part::2]) for part in (0, 1)]
    known = np.isfinite(np.concatenate(halves, axis=1)).all(axis=1)
    missed = total = 0.0
    for told, asked in (halves, halves[::-1]):
        missed += float(((asked[known] - strengths(told[known], atoms) @ atoms) ** 2).sum())
        total += float((asked[known] ** 2).sum())
    return 1 - missed / total if total > 0 else None


def _against_kinds(
    clusters: Sequence[Archetype], kinds: Sequence[str], seed: int, draws: int = 1999
) -> tuple[float | None, float | None]:
    """Adjusted Rand index of the clusters with the library's kinds of roles, and its permutation p."""
    if not clusters:
        return None, None
    own = np.argmax([one.strength for one in clusters], axis=0)
    named = np.unique(kinds, return_inverse=True)[1]
    index, rng = adjusted_rand(own, named), np.random.default_rng(seed)
    above = sum(adjusted_rand(rng.permutation(own), named) >= index for _ in range(draws))
    return index, (1 + above) / (1 + draws)


def _choices(found: Archetypes) -> pl.DataFrame:
    rows = [
        {"method": "cluster", "count": one.count, "score": one.log_density, "behind": one.behind,
         "behind_se": one.behind_se, "chosen": one.chosen}
        for one in found.cluster_choice
    ] + [
        {"method": "factor", "count": one.count, "score": one.explained, "behind": one.behind,
         "behind_se": one.behind_se, "chosen": one.chosen}
        for one in found.factor_choice
    ]  # fmt: skip
    return pl.DataFrame(rows)


def _axis_cosine(one: Archetype, found: Archetypes, axis: Array | None) -> float | None:
    return None if axis is None else _cosine(one.direction @ found.space.components, axis)


def _in_sd(value: float, along: Array) -> float:
    return float((value - along.mean()) / max(float(along.std(ddof=1)), 1e-12))


def _cosine(one: Array, other: Array) -> float:
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-12))
