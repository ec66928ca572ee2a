"""Designs: counterbalanced orders, seeded assignment, folds. Pure functions: no model, no randomness but a seed.

Items are ranked by a hash of (seed, item), so a design depends on what the items are and never on their order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from greenroom.store import digest

Item = TypeVar("Item", bound=Hashable)
Order = tuple[int, ...]


def counterbalanced(options: int | Sequence[Any]) -> tuple[Order, ...]:
    """Orders in which to show the options, each option in each position exactly once: both orders of two, the k
    rotations of k. An order lists option indices from first shown to last."""
    count = options if isinstance(options, int) else len(options)
    if count < 2:
        raise ValueError(f"a choice needs at least two options; got {count}")
    return tuple(tuple((start + step) % count for step in range(count)) for start in range(count))


def balanced(orders: Sequence[Order]) -> bool:
    """Whether each option stands in each position equally often, so that a constant lean averages out."""
    count = len(orders[0]) if orders else 0
    if not count or any(sorted(order) != list(range(count)) for order in orders):
        return False
    return all(
        len({sum(order[position] == option for order in orders) for position in range(count)}) == 1
        for option in range(count)
    )


def shuffled(items: Sequence[Item], seed: int = 0) -> list[Item]:
    """The items in an order that depends on the seed and on each item's text alone."""
    return sorted(items, key=lambda item: digest(str(seed), repr(item)))


def assignment(items: Sequence[Item], conditions: Sequence[Any], seed: int = 0) -> dict[Item, Any]:
    """Each item's condition; the sizes of conditions differ by one at most."""
    _distinct(items)
    mixed = shuffled(items, seed)
    return {item: conditions[index % len(conditions)] for index, item in enumerate(mixed)}


def folds(
    items: Sequence[Item],
    shares: Mapping[str, float] | int,
    seed: int = 0,
    strata: Callable[[Item], Hashable] | None = None,
) -> dict[str, tuple[Item, ...]]:
    """Items divided into named folds by share, or into so many equal folds named "0", "1", …; items keep their order.

    strata keeps kinds in proportion (roles by kind, questions by topic). Each item is in exactly one fold.
    """
    _distinct(items)
    parts = {str(number): 1 / shares for number in range(shares)} if isinstance(shares, int) else dict(shares)
    if not parts or abs(sum(parts.values()) - 1) > 1e-9 or min(parts.values()) <= 0:
        raise ValueError(f"fold shares must be positive and sum to 1; got {parts}")
    groups: dict[Hashable, list[Item]] = {}
    for item in shuffled(items, seed):
        groups.setdefault(strata(item) if strata else None, []).append(item)
    counts, place = dict.fromkeys(parts, 0), dict[Item, str]()
    for item in (item for group in groups.values() for item in group):
        # The fold that lags furthest behind its share takes the next item, so that small strata are spread as well.
        total = sum(counts.values()) + 1
        name = max(parts, key=lambda fold: parts[fold] * total - counts[fold])
        counts[name] += 1
        place[item] = name
    return {name: tuple(item for item in items if place[item] == name) for name in parts}


def _distinct(items: Sequence[Hashable]) -> None:
    if len(set(items)) != len(items):
        raise ValueError("items must be distinct; a repeated one could land on both sides of a split")
