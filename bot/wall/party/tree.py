"""How a party's pictures that grew of each other are laid out.

For a phone: rows from top to bottom, each as far to the right as it is deep. For the big screen:
lanes from left to right; a fork begins a lane of its own under the picture that it came of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bot.parties.model import Node

COLUMNS = 8


@dataclass(frozen=True)
class Row:
    """A picture, how deep in its tree it is (0 is a root), and what its words were before."""

    node: Node
    depth: int
    before: str = ""

    @property
    def kept(self) -> str:
        """The words that it has of its parent, where it goes on from them."""
        return self.before if self.node.dream.prompt.startswith(self.before) else ""

    @property
    def added(self) -> str:
        """The words that are new."""
        return self.node.dream.prompt[len(self.kept) :]

    @property
    def news(self) -> str:
        """The new words by themselves."""
        return self.added.strip(" ,")


@dataclass(frozen=True)
class Lane:
    """Pictures each of which grew of the one before; the first stands in column `start`.

    `skipped` says that the lane had more before these than there is room for.
    """

    start: int
    rows: tuple[Row, ...]
    skipped: bool = False

    @property
    def end(self) -> int:
        """The column after its last picture."""
        return self.start + len(self.rows)

    @property
    def lone(self) -> bool:
        """Whether this is a picture of which nothing has grown yet, and that grew of none."""
        return len(self.rows) == 1 and self.rows[0].depth == 0


def rows_of(nodes: Iterable[Node]) -> tuple[Row, ...]:
    """Return nodes as trees, parents before children, the tree that changed last first.

    One whose parent is not among them is a root. What is not a tree at all (parents in a circle)
    is left out.
    """
    shown = {node.dream.id: node for node in nodes}
    children: dict[str | None, list[Node]] = {}
    for node in shown.values():
        parent_id = node.parent_id if node.parent_id in shown else None
        children.setdefault(parent_id, []).append(node)
    trees = []
    for root in children.get(None, []):
        rows: list[Row] = []
        waiting = [Row(root, 0)]
        while waiting:
            row = waiting.pop()
            rows.append(row)
            grown = children.get(row.node.dream.id, [])
            before = row.node.dream.prompt
            waiting.extend(Row(child, row.depth + 1, before) for child in reversed(grown))
        trees.append(rows)
    # Ids rise with time.
    trees.sort(key=lambda rows: max(row.node.dream.id for row in rows), reverse=True)
    return tuple(row for rows in trees for row in rows)


def lanes_of(rows: Sequence[Row], columns: int = COLUMNS) -> tuple[Lane, ...]:
    """Return rows, in the order that `rows_of` gives, as lanes of at most so many columns."""
    chains: list[list[Row]] = []
    for row in rows:
        if chains and row.depth == chains[-1][-1].depth + 1:
            chains[-1].append(row)
        else:
            chains.append([row])
    lanes = []
    for chain in chains:
        start = min(chain[0].depth, columns // 2)
        room = columns - start
        lanes.append(Lane(start, tuple(chain[-room:]), len(chain) > room))
    return tuple(lanes)
