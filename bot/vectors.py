"""Unit vectors in memory, and which of them are nearest to one: exact, by looking at every one.

Rows are only appended, in blocks that never move, so that a thread can search a shelf while the
event loop adds to it. This module does not know what the vectors are of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
    Places = NDArray[np.int64]

BLOCK = 2048
PUBLISHED = 0
"""The place of what may be shown everywhere; others are ids of channels, which are above it."""
NOWHERE = -1
_GONE = -2


@dataclass(frozen=True)
class Near:
    """A picture that was found. `twins` are how many more are nearly the same as it."""

    id: str
    cosine: float
    twins: int = 0


class Shelf:
    """The vectors of one stream: [rows, dim] float32, with an id and a place each."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._blocks: list[tuple[Vector, Places]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, name: str, vector: Vector, place: int) -> None:
        """Put a unit vector [dim] on the shelf, in the stead of the one of that name."""
        import numpy as np

        row = self._rows.get(name)
        if row is None:
            row = len(self._ids)
            if row == BLOCK * len(self._blocks):
                # Zeros of this size are memory only once they are written.
                block = np.zeros((BLOCK, self.dim), np.float32)
                self._blocks.append((block, np.full(BLOCK, _GONE, np.int64)))
            self._ids.append(name)
            self._rows[name] = row
        vectors, places = self._blocks[row // BLOCK]
        vectors[row % BLOCK] = vector
        places[row % BLOCK] = place

    def remove(self, name: str) -> None:
        """Take a vector off the shelf, and wipe it; does nothing where there is none."""
        row = self._rows.pop(name, None)
        if row is not None:
            vectors, places = self._blocks[row // BLOCK]
            places[row % BLOCK] = _GONE
            vectors[row % BLOCK] = 0.0

    def get(self, name: str) -> Vector | None:
        """Return a copy of a vector, if it is there."""
        row = self._rows.get(name)
        return None if row is None else self._blocks[row // BLOCK][0][row % BLOCK].copy()

    def nearest(
        self,
        vector: Vector,
        count: int,
        *,
        channel_id: int | None = None,
        without: str = "",
        fold: float | None = None,
    ) -> list[Near]:
        """Return the names nearest to a unit vector [dim], best first. May block.

        Only what is published counts, or kept to the channel. With `fold`, a cosine, what is that
        near to a better one is counted as its twin and not returned itself.
        """
        import numpy as np

        blocks, known = tuple(self._blocks), len(self._ids)
        if not blocks or count < 1:
            return []
        parts = []
        for vectors, places in blocks:
            shown = places == PUBLISHED
            if channel_id is not None:
                shown |= places == channel_id
            parts.append(np.where(shown, vectors @ vector, -np.inf))
        cosines = np.concatenate(parts)[:known]
        if (own := self._rows.get(without, known)) < known:
            cosines[own] = -np.inf
        # Twins take places: with more rows than are wanted, enough are left when they are folded.
        reach = min(known, count if fold is None else 8 * count)
        rows = np.argpartition(cosines, known - reach)[known - reach :]
        rows = rows[np.argsort(-cosines[rows], kind="stable")]
        rows = rows[np.isfinite(cosines[rows])]
        if fold is None:
            return [Near(self._ids[row], float(cosines[row])) for row in rows]
        return self._folded(rows.tolist(), cosines, count, fold)

    def _folded(self, rows: Sequence[int], cosines: Vector, count: int, fold: float) -> list[Near]:
        import numpy as np

        if not rows:
            return []
        vectors = np.stack([self._blocks[row // BLOCK][0][row % BLOCK] for row in rows])
        alike = vectors @ vectors.T >= fold
        left = np.ones(len(rows), bool)
        found: list[Near] = []
        while len(found) < count and left.any():
            best = int(left.argmax())  # the first that is left
            twins = left & alike[best]
            twins[best] = False  # also where rounding has it below the cosine with itself
            left[best] = False
            left &= ~twins
            row = rows[best]
            found.append(Near(self._ids[row], float(cosines[row]), int(twins.sum())))
        return found


def read(data: bytes) -> Vector:
    """Return the unit vector [dim] that little-endian float16 bytes hold."""
    import numpy as np

    return np.frombuffer(data, "<f2").astype(np.float32)


def written(vector: Vector) -> bytes:
    """Return a vector as little-endian float16."""
    return vector.astype("<f2").tobytes()
