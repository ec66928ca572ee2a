"""Which prefixes of a set of token sequences are worth computing once: a compressed tree, and nothing of tensors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

# A shared stretch below this length saves less than the extra, smaller forward costs.
SHORTEST_SHARED = 8


@dataclass
class Node:
    """A shared stretch of tokens: positions [start, end) of every row below it.

    row: a representative row; its tokens are those of the stretch. parent: index of the node it continues, or None.
    depth: number of nodes above.
    """

    start: int
    end: int
    row: int
    parent: int | None
    depth: int


@dataclass
class PrefixTree:
    """Shared stretches, parents before children; leaf[row] is the node after which that row goes on alone."""

    nodes: list[Node] = field(default_factory=list)
    leaf: dict[int, int | None] = field(default_factory=dict)

    def start(self, row: int) -> int:
        """The position at which a row's own tokens begin."""
        node = self.leaf[row]
        return 0 if node is None else self.nodes[node].end


def shared_prefixes(
    tokens: Sequence[Sequence[int]],
    limits: Sequence[int],
    keys: Sequence[Hashable] | None = None,
    rows: Iterable[int] | None = None,
    shortest: int = SHORTEST_SHARED,
) -> PrefixTree:
    """The prefixes that at least two rows share.

    limits[row]: the position up to which a row may share (below its length, so that each row keeps a token of its
    own). keys: rows share only with rows of an equal key (the edits that apply to their prompts). rows: the rows to
    plan for (default all). The result depends on the rows alone, not on their order beyond ties.
    """
    tree = PrefixTree()
    by_key: dict[Hashable, list[int]] = {}
    for row in range(len(tokens)) if rows is None else rows:
        by_key.setdefault(keys[row] if keys is not None else None, []).append(row)
    for group in by_key.values():
        group.sort(key=lambda row: (list(tokens[row][: limits[row]]), row))
        # (first, last+1 in rows, tokens known to be equal, position up to which a node already covers, that node)
        pending: list[tuple[int, int, int, int, int | None]] = [(0, len(group), 0, 0, None)]
        while pending:
            low, high, same, covered, parent = pending.pop()
            if high - low < 2:
                for row in group[low:high]:
                    tree.leaf[row] = parent
                continue
            first, last = group[low], group[high - 1]
            # Sorted, so what the first and the last of a group share, all of the group share.
            bound = min(limits[first], limits[last])
            while same < bound and tokens[first][same] == tokens[last][same]:
                same += 1
            if same - covered >= shortest:
                depth = 0 if parent is None else tree.nodes[parent].depth + 1
                tree.nodes.append(Node(covered, same, first, parent, depth))
                parent, covered = len(tree.nodes) - 1, same
            if same >= limits[last]:  # all equal up to their limits
                for row in group[low:high]:
                    tree.leaf[row] = parent
                continue
            begin = low
            while begin < high:
                row = group[begin]
                end = begin + 1
                if limits[row] <= same:  # ends here: a leaf of this node
                    tree.leaf[row] = parent
                else:
                    while end < high and tokens[group[end]][same] == tokens[row][same]:
                        end += 1
                    pending.append((begin, end, same + 1, covered, parent))
                begin = end
    return tree
