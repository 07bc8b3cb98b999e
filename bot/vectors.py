"""The vectors of one stream's pictures, by where each may be shown, and which are nearest to one.

What may be shown in one place lies together, so that a search reads no row in vain. This module
does not know what the vectors are of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.vector_rows import Rows

if TYPE_CHECKING:
    from bot.vector_rows import Vector, Vectors

PUBLISHED = 0
"""The place of what may be shown everywhere; others are ids of channels, which are above it."""
NOWHERE = -1
_SPARE = 8


@dataclass(frozen=True)
class Near:
    """A picture that was found. `twins` are how many more are nearly the same as it."""

    id: str
    cosine: float
    twins: int = 0


class Shelf:
    """The vectors of one stream, with an id and a place each."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._places: dict[int, Rows] = {}
        self._where: dict[str, tuple[Rows, int]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def __len__(self) -> int:
        return len(self._where)

    def add(self, name: str, vector: Vector, place: int) -> None:
        """Put a unit vector [dim] on the shelf, in the stead of the one of that name."""
        self.extend([name], vector[None], place)

    def extend(self, names: Sequence[str], vectors: Vectors, place: int) -> None:
        """Put unit vectors [names, dim] on the shelf, each in the stead of the one of its name.

        No name may come twice.
        """
        for name in names:
            self.remove(name)
        rows = self._places.get(place)
        if rows is None:
            rows = self._places[place] = Rows(self.dim)
        first = rows.extend(names, vectors)
        self._where |= {name: (rows, first + nth) for nth, name in enumerate(names)}

    def remove(self, name: str) -> None:
        """Take a vector off the shelf, and wipe it; does nothing where there is none."""
        rows, row = self._where.pop(name, (None, 0))
        if rows is not None:
            rows.wipe(row)
            self._where |= {moved: (rows, at) for moved, at in rows.make_room(row).items()}

    def get(self, name: str) -> Vector | None:
        """Return a copy of a vector, if it is there."""
        rows, row = self._where.get(name, (None, 0))
        return None if rows is None else rows.row(row)

    def nearest(
        self,
        vector: Vector,
        count: int,
        *,
        channel_id: int | None = None,
        without: str = "",
        fold: float | None = None,
        first: Collection[str] = (),
    ) -> list[Near]:
        """Return the names nearest to a unit vector [dim], best first. May block.

        Those of `first` that are here come before all others, the nearest first.

        Only what is published counts, or kept to the channel. With `fold`, a cosine, what is that
        near to a better one is counted as its twin and not returned itself.
        """
        import numpy as np

        if count < 1:
            return []
        # Twins take places: with more rows than are wanted, enough are left when they are folded.
        reach = count if fold is None else 8 * count
        own, own_row = self._where.get(without, (None, 0))
        names: list[str] = []
        cosines: list[Vector] = []
        vectors: list[Vectors] = []
        places = [
            rows
            for place in dict.fromkeys((PUBLISHED, channel_id))
            if place is not None and (rows := self._places.get(place)) is not None
        ]
        for rows in places:
            numbers, near = rows.nearest(vector, reach, without=own_row if rows is own else -1)
            names += [rows.name(number) for number in numbers.tolist()]
            cosines.append(near)
            vectors.append(rows.take(numbers if fold is not None else numbers[:0]))
        for name in dict.fromkeys(first):
            rows, row = self._where.get(name, (None, 0))
            if rows is None or rows not in places:
                continue
            names.append(name)
            one = rows.row(row)
            cosines.append(np.array([one @ vector], np.float32))
            vectors.append(one[None] if fold is not None else one[None][:0])
        if not names:
            return []
        cosine, found = np.concatenate(cosines), np.concatenate(vectors)
        before = frozenset(first)
        later = np.array([name not in before for name in names])
        order = np.lexsort((-cosine, later))
        # What was wiped since it was found has lost its name; what was moved may be there twice.
        named: dict[str, int] = {}
        for at in order.tolist():
            if names[at] and names[at] != without:
                named.setdefault(names[at], at)
        order = np.array([*named.values()][:reach], np.int64)
        if fold is None:
            return [Near(names[at], float(cosine[at])) for at in order.tolist()]
        return _folded([names[at] for at in order], cosine[order], found[order], count, fold)


def _folded(
    names: Sequence[str], cosines: Vector, vectors: Vectors, count: int, fold: float
) -> list[Near]:
    """Return the first `count` that are no twins of a better one; all are given best first."""
    import numpy as np

    left = np.ones(len(names), bool)
    found: list[Near] = []
    while len(found) < count and left.any():
        # Some at a time: of most of those that are left nobody will ask.
        some = np.flatnonzero(left)[: count - len(found) + _SPARE]
        alike = np.einsum("ik,jk->ij", vectors[some], vectors) >= fold
        for row, best in zip(alike, some.tolist(), strict=True):
            if len(found) == count or not left[best]:
                continue
            left[best] = False  # also where rounding has it below the cosine with itself
            twins = left & row
            left &= ~twins
            found.append(Near(names[best], float(cosines[best]), int(twins.sum())))
    return found


def read(data: bytes) -> Vector:
    """Return the unit vector [dim] that little-endian float16 bytes hold."""
    import numpy as np

    return np.frombuffer(data, "<f2").astype(np.float32)


def read_many(data: Iterable[bytes], dim: int) -> Vectors:
    """Return the unit vectors [count, dim] that little-endian float16 bytes hold."""
    import numpy as np

    return np.frombuffer(b"".join(data), "<f2").astype(np.float32).reshape(-1, dim)


def written(vector: Vector) -> bytes:
    """Return a vector as little-endian float16."""
    return vector.astype("<f2").tobytes()
