"""How long an exact search takes, as the product does it, beside a plain product by numpy.

Searches run in turns in one process, so that what else the machine does falls on all alike. *read*
sums up the same matrix: no exact search that reads every number can be faster. *plain* is
numpy's ``matrix @ vector`` and the best 48 of it. *ours* is `bot.vectors.Shelf` with its twins
folded, *ours, codes* the same with `numkong` (the extra `search`).

    python -m benchmarks.search [--sizes 1000 10000 100000] [--turns 30] [--index]

With `--index` it also says what share of the exact 48 an approximate index finds among the 176 that
it is asked for, if usearch is installed (nothing in the product needs it): of vectors that lie
together as loosely as in the rest, and as closely as the pictures of one prompt.

The vectors lie in clusters, as the pictures of like prompts do. Times are medians, and the least of
each. Prints a table for people and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bot import vector_rows
from bot.search import MOST, TWIN
from bot.vectors import PUBLISHED, Shelf

Vectors = NDArray[np.float32]
DIM = 256
_PART = 10_000


def made(count: int, seed: int = 0) -> tuple[Vectors, Vectors]:
    """Return unit vectors [count, DIM] in clusters of about a hundred, and 16 to look for."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, count // 100), DIM), np.float32)
    vectors = np.empty((count, DIM), np.float32)
    for start in range(0, count, _PART):
        some = vectors[start : start + _PART]
        some[:] = centres[rng.integers(len(centres), size=len(some))]
        some += 0.7 * rng.standard_normal(some.shape, np.float32)
        some /= np.linalg.norm(some, axis=1, keepdims=True)
    wanted = centres[rng.integers(len(centres), size=16)]
    wanted = wanted + 0.5 * rng.standard_normal(wanted.shape, np.float32)
    return vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True)


def on_a_shelf(vectors: Vectors, *, codes: bool) -> Shelf:
    """Return a shelf of vectors [count, DIM], with codes to be read first or without."""
    with ExitStack() as stack:
        if not codes:
            stack.enter_context(patch.object(vector_rows, "_kernel", lambda: None))
        shelf = Shelf(DIM)
        for start in range(0, len(vectors), _PART):
            some = vectors[start : start + _PART]
            shelf.extend([str(start + nth) for nth in range(len(some))], some, PUBLISHED)
    return shelf


def plain(vectors: Vectors, vector: NDArray[np.float32]) -> None:
    """Search with numpy alone."""
    cosines = vectors @ vector
    best = np.argpartition(cosines, len(cosines) - MOST)[-MOST:]
    best[np.argsort(-cosines[best])]


def searches(vectors: Vectors) -> dict[str, Callable[[NDArray[np.float32]], object]]:
    """Return the ways of searching that there are on this machine, by name."""
    without = on_a_shelf(vectors, codes=False)

    def slowly(vector: NDArray[np.float32]) -> object:
        with patch.object(vector_rows, "_kernel", lambda: None):
            return without.nearest(vector, MOST, fold=TWIN)

    found: dict[str, Callable[[NDArray[np.float32]], object]] = {
        "read": lambda _: vectors.sum(),
        "plain": lambda vector: plain(vectors, vector),
        "ours": slowly,
    }
    if vector_rows._kernel() is not None:
        coded = on_a_shelf(vectors, codes=True)
        found["ours, codes"] = lambda vector: coded.nearest(vector, MOST, fold=TWIN)
    return found


def index_recall(size: int) -> dict[str, float] | None:
    """Return an index's recall, by how the vectors lie and how widely it searches."""
    try:
        from usearch.index import Index
    except ImportError:
        return None
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((max(1, size // 300), DIM), np.float32)
    closely = centres[rng.integers(len(centres), size=size)]
    closely = closely + 0.1 * rng.standard_normal(closely.shape, np.float32)
    lying = {
        "loosely": made(size)[0],
        "closely": closely / np.linalg.norm(closely, axis=1)[:, None],
    }
    wanted = rng.standard_normal((40, DIM), np.float32)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = {}
    for name, vectors in lying.items():
        for width in (512, 2048):
            index = Index(ndim=DIM, metric="ip", dtype="i8", expansion_search=width)
            index.add(np.arange(size), vectors)
            right = 0
            for vector in wanted:
                best = np.argsort(-(vectors @ vector))[:MOST]
                right += len({*best.tolist()} & {*index.search(vector, 176).keys.tolist()})
            found[f"{name}, width {width}"] = round(right / MOST / len(wanted), 3)
    return found


def measure(size: int, turns: int) -> dict[str, object]:
    """Take turns; return the medians in milliseconds."""
    vectors, wanted = made(size)
    contenders = searches(vectors)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 2):
        for name, search in contenders.items():
            begun = time.perf_counter()
            search(wanted[turn % len(wanted)])
            if turn >= 2:
                times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(some) * 1e3 for name, some in times.items()}
    return {
        "size": size,
        "ms": {name: round(value, 3) for name, value in medians.items()},
        "least_ms": {name: round(min(some) * 1e3, 3) for name, some in times.items()},
        "ratio_to_plain": {
            name: round(value / medians["plain"], 3) for name, value in medians.items()
        },
        "read_gb_a_second": round(vectors.nbytes / medians["read"] / 1e6, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--index", action="store_true")
    arguments = parser.parse_args()
    found = [measure(size, arguments.turns) for size in arguments.sizes]
    for one in found:
        medians, least = one["ms"], one["least_ms"]
        assert isinstance(medians, dict) and isinstance(least, dict)
        print(f"{one['size']:>9,} vectors, reading {one['read_gb_a_second']} GB/s")
        for name, value in medians.items():
            print(f"  {name:14}{value:>9.2f} ms, at best {least[name]:>8.2f} ms")
    report: dict[str, object] = {"benchmark": "search", "dim": DIM, "sizes": found}
    if arguments.index:
        recalls = index_recall(min(arguments.sizes[-1], 10_000))
        for name, share in (recalls or {}).items():
            print(f"  an index, {name}: recall {share:.0%}")
        report["index_recall"] = recalls
    print(json.dumps(report))


if __name__ == "__main__":
    main()
