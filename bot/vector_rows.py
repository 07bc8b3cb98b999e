"""Unit vectors in memory, one below the other, and which of them are nearest to one: exactly.

Rows are only appended, in blocks that never move, and are never changed but by wiping. So a thread
can search while the event loop appends. A block of which most was wiped is emptied a few rows at a
time, by appending them anew, and then let go of; a search that is under way may miss such a row.
Every search reads all rows, and what that takes is what
it takes to read them from memory. With `numkong` (the extra `search`) it reads a copy of one byte a
number instead of four, and then only those rows in full that could be among the nearest.

Of the plain kinds of product `numpy.einsum` is chosen: it does its work in the calling thread. The
BLAS behind `@` shares even a small product among all cores and waits for the last; where others
keep one of them busy, that was measured to take up to twenty times as long.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
    Vectors = NDArray[np.float32]
    Codes = NDArray[np.int8]
    Numbers = NDArray[np.int64]

FIRST_BLOCK, LARGEST_BLOCK = 1024, 65_536
_LEVELS = 127
_WORTH_CODES = 4096  # below so many rows the plain product is as fast
_MOST_CANDIDATES = 1 / 8  # of all rows; with more, reading them one by one takes longer than all
_ROUNDING = 1e-5
_EMPTIED_AT_ONCE = 64  # rows that are looked at, for each one that is wiped


@dataclass(frozen=True)
class _Held:
    """What a block holds. `codes` times `scales` are nearly the `vectors`."""

    vectors: Vectors
    codes: Codes
    scales: Vector


class _Block:
    """Room for some rows, until all of them are `wiped`; up to `emptied` none is left.

    A search takes hold of `held` once: it may be let go of meanwhile.
    """

    def __init__(self, start: int, size: int, dim: int) -> None:
        import numpy as np

        self.start, self.size = start, size
        self.wiped = self.emptied = 0
        # Zeros of this size are memory only once they are written.
        self.held: _Held | None = _Held(
            np.zeros((size, dim), np.float32),
            np.zeros((size, dim if _kernel() else 0), np.int8),
            np.zeros(size, np.float32),
        )


class Rows:
    """Vectors [rows, dim] float32, each with a name."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._blocks: list[_Block] = []
        self._starts: list[int] = []
        self._names: list[str] = []  # of wiped rows empty
        self._gone: list[int] = []  # in blocks that are held
        self._let_go = 0  # rows of blocks that are not
        self._error = 0.0  # how far, at most, a row's codes are from it

    def __len__(self) -> int:
        """How many there are, with those that were wiped."""
        return len(self._names)

    @property
    def left(self) -> int:
        """How many there are, without those that were wiped."""
        return len(self._names) - len(self._gone) - self._let_go

    @property
    def held_bytes(self) -> int:
        """How many bytes of vectors there is room for."""
        return sum(held.vectors.nbytes for block in self._blocks if (held := block.held))

    def extend(self, names: Sequence[str], vectors: Vectors) -> int:
        """Append unit vectors [rows, dim], and return the number of the first."""
        first = done = len(self._names)
        end = first + len(names)
        while done < end:
            block = self._block_with_room(done)
            some = vectors[done - first : block.start + block.size - first]
            at = slice(done - block.start, done - block.start + len(some))
            held = block.held
            assert held is not None, "the last block is never let go of"
            held.vectors[at] = some
            if held.codes.shape[1]:
                codes, scales, error = _coded(some)
                held.codes[at], held.scales[at] = codes, scales
                self._error = max(self._error, error)
            done += len(some)
        self._names += names  # only now: who searches reads no further than there are names
        return first

    def wipe(self, row: int) -> None:
        """Forget a row. Its number is not given again."""
        if not self._names[row]:
            return
        self._names[row] = ""
        self._gone.append(row)
        block = self._block_of(row)
        block.wiped += 1
        assert block.held is not None, "a block is let go of when nothing is left in it"
        block.held.vectors[row - block.start] = 0.0
        block.held.codes[row - block.start] = 0

    def make_room(self, wiped: int) -> dict[str, int]:
        """Give memory back where most of a row's block was wiped; return which rows have moved.

        Those are few for each call, so that it takes no time to speak of.
        """
        block = self._block_of(wiped)
        if block is self._blocks[-1] or block.held is None or 2 * block.wiped < block.size:
            return {}
        moved = {}
        for _ in range(min(_EMPTIED_AT_ONCE, block.size - block.emptied)):
            row = block.start + block.emptied
            if name := self._names[row]:
                moved[name] = self.extend([name], self.row(row)[None])
                self.wipe(row)
            block.emptied += 1
        if block.wiped == block.size:
            end = block.start + block.size
            block.held = None
            self._gone = [row for row in self._gone if not block.start <= row < end]
            self._let_go += block.size
        return moved

    def name(self, row: int) -> str:
        """Return the name of a row, empty once it was wiped."""
        return self._names[row]

    def row(self, row: int) -> Vector:
        """Return a copy of a row [dim]."""
        block = self._block_of(row)
        assert block.held is not None, "what is known by its name is held"
        found: Vector = block.held.vectors[row - block.start].copy()
        return found

    def take(self, rows: Numbers) -> Vectors:
        """Return copies of rows [rows, dim]."""
        import numpy as np

        found = np.empty((len(rows), self.dim), np.float32)
        owners = np.searchsorted(np.array(self._starts), rows, side="right") - 1
        for owner in np.unique(owners):
            mine = owners == owner
            block = self._blocks[owner]
            held = block.held
            found[mine] = 0.0 if held is None else held.vectors[rows[mine] - block.start]
        return found

    def nearest(
        self, vector: Vector, count: int, *, begin: int = 0, without: int = -1
    ) -> tuple[Numbers, Vector]:
        """Return the numbers of the rows nearest to a unit vector [dim], and their cosines.

        Those are the `count` best, in no order, among the rows from `begin` on, but for the one
        `without`. May block.
        """
        import numpy as np

        known = len(self._names)
        absent = [row for row in (*self._gone, without) if begin <= row < known]
        let_go = sum(
            min(known, block.start + block.size) - max(begin, block.start)
            for block in self._blocks[:]
            if block.held is None and begin < block.start + block.size
        )
        count = min(count, known - begin - len(absent) - let_go)
        if count < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        kernel = _kernel()
        if kernel is not None and known - begin >= _WORTH_CODES:
            rows = self._candidates(vector, count, begin, known, absent, kernel)
            if rows is not None:
                cosines = _product(self.take(rows), vector)
                best = np.argpartition(cosines, len(rows) - count)[len(rows) - count :]
                return rows[best], cosines[best]
        cosines = self._scanned(begin, known, lambda held, at: _product(held.vectors[at], vector))
        cosines[np.array(absent, np.int64) - begin] = -np.inf
        best = np.argpartition(cosines, len(cosines) - count)[len(cosines) - count :]
        return best + begin, cosines[best]

    def _candidates(
        self,
        vector: Vector,
        count: int,
        begin: int,
        known: int,
        absent: Sequence[int],
        kernel: Callable[[Codes, Codes], Any],
    ) -> Numbers | None:
        """Return rows among which the `count` nearest are; None where that would be too many.

        With a row x, its codes c and their error |x - c| ≤ e, and with q, d and |q - d| ≤ f alike
        of the vector that is looked for, |x·q - c·d| ≤ |x - c||q| + |c||q - d| ≤ e + (1 + e) f.
        """
        import numpy as np

        codes, (scale,), slip = _coded(vector[None])
        bound = self._error + (1 + self._error) * slip + _ROUNDING

        def product(held: _Held, at: slice) -> Vector:
            found: Vector = kernel(held.codes[at], codes) * (held.scales[at] * scale)
            return found

        nearly = self._scanned(begin, known, product)
        nearly[np.array(absent, np.int64) - begin] = -np.inf
        likely = np.argpartition(nearly, len(nearly) - count)[len(nearly) - count :]
        # So many rows are that near at least; who is among the nearest is no less so.
        least = float(_product(self.take(likely + begin), vector).min())
        rows = np.flatnonzero(nearly >= least - bound)
        return rows + begin if len(rows) <= max(count, _MOST_CANDIDATES * len(nearly)) else None

    def _scanned(self, begin: int, known: int, product: Callable[[_Held, slice], Vector]) -> Vector:
        """Return a product of each of the rows from `begin` on [rows]; the least where none is."""
        import numpy as np

        found = np.empty(known - begin, np.float32)
        for block in self._blocks[:]:
            start, end = max(begin, block.start), min(known, block.start + block.size)
            if start < end:
                at, held = slice(start - block.start, end - block.start), block.held
                here = slice(start - begin, end - begin)
                found[here] = -np.inf if held is None else product(held, at)
        return found

    def _block_with_room(self, row: int) -> _Block:
        if not self._blocks or row == self._blocks[-1].start + self._blocks[-1].size:
            size = min(FIRST_BLOCK << len(self._blocks), LARGEST_BLOCK)
            self._blocks.append(_Block(row, size, self.dim))
            self._starts.append(row)
        return self._blocks[-1]

    def _block_of(self, row: int) -> _Block:
        return self._blocks[bisect.bisect_right(self._starts, row) - 1]


def _product(vectors: Vectors, vector: Vector) -> Vector:
    """Return the products [rows] of vectors [rows, dim] with one [dim]."""
    import numpy as np

    found: Vector = np.einsum("ij,j->i", vectors, vector)
    return found


def _coded(vectors: Vectors) -> tuple[Codes, Vector, float]:
    """Return codes [rows, dim], scales [rows] and the greatest error of unit vectors."""
    import numpy as np

    scales = np.abs(vectors).max(1) / _LEVELS
    codes = np.rint(vectors / np.maximum(scales, 1e-12)[:, None]).astype(np.int8)
    errors = np.linalg.norm(vectors - codes * scales[:, None], axis=1)
    return codes, scales.astype(np.float32), float(errors.max(initial=0.0))


@cache
def _kernel() -> Callable[[Codes, Codes], Any] | None:
    """Return the product of codes [rows, dim] and [1, dim] as [rows]; None without `numkong`."""
    try:
        import numkong
    except ImportError:
        return None
    import numpy as np

    def product(rows: Codes, one: Codes) -> Any:
        return np.asarray(numkong.cdist(rows, one, "dot"))[:, 0]

    return product
