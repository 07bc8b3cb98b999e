"""Vectors on a shelf: what is nearest is what a plain search over all of them says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import vector_rows
from bot.vector_rows import FIRST_BLOCK, Rows
from bot.vectors import NOWHERE, PUBLISHED, Shelf, read, read_many, written

Vector = npt.NDArray[np.float32]


def unit(vectors: npt.NDArray[Any]) -> Vector:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def units(count: int, dim: int, seed: int = 0) -> Vector:
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def clustered(count: int, dim: int, seed: int = 0) -> Vector:
    """Return vectors of which hundreds lie close together, as the pictures of one prompt do."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // 300 + 1, dim))
    return unit(
        centres[rng.integers(len(centres), size=count)] + 0.1 * rng.normal(size=(count, dim))
    )


def in_numpy(rows: npt.NDArray[np.int8], one: npt.NDArray[np.int8]) -> Any:
    return rows.astype(np.int64) @ one[0].astype(np.int64)


@settings(max_examples=40, deadline=None)
@given(
    places=st.lists(st.sampled_from([PUBLISHED, NOWHERE, 7, 8]), min_size=1, max_size=40),
    gone=st.sets(st.integers(0, 39)),
    count=st.integers(1, 12),
    channel_id=st.sampled_from([None, 7, 9]),
)
def test_the_nearest_are_those_of_a_plain_search(
    places: list[int], gone: set[int], count: int, channel_id: int | None
) -> None:
    vectors, query = units(len(places), 8), units(1, 8, seed=1)[0]
    shelf = Shelf(8)
    for index, place in enumerate(places):
        shelf.add(str(index), vectors[index], place)
    for index in gone:
        shelf.remove(str(index))
    left = [
        index
        for index, place in enumerate(places)
        if index not in gone and place in (PUBLISHED, channel_id)
    ]
    best = sorted(left, key=lambda index: -float(vectors[index] @ query))[:count]
    found = shelf.nearest(query, count, channel_id=channel_id)
    assert [one.id for one in found] == [str(index) for index in best]
    assert len(shelf) == len(set(range(len(places))) - gone)
    for one in found:
        assert one.cosine == pytest.approx(float(vectors[int(one.id)] @ query), abs=1e-5)


@pytest.mark.parametrize("make", [units, clustered])
@pytest.mark.parametrize("kernel", ["numpy", "numkong"])
def test_reading_codes_first_finds_exactly_the_same(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[int, int], Vector], kernel: str
) -> None:
    if kernel == "numkong":
        pytest.importorskip("numkong", reason="the extra “search” is not installed")
    else:
        monkeypatch.setattr(vector_rows, "_kernel", lambda: in_numpy)
    vectors = make(9000, 48)
    read_in_full: list[int] = []
    take = Rows.take

    def counted(self: Rows, rows: npt.NDArray[np.int64]) -> Vector:
        read_in_full.append(len(rows))
        return take(self, rows)

    monkeypatch.setattr(Rows, "take", counted)
    rows = Rows(48)
    rows.extend([str(row) for row in range(5000)], vectors[:5000])
    rows.extend([str(row) for row in range(5000, 9000)], vectors[5000:])
    gone = range(0, 9000, 7)
    for row in gone:
        rows.wipe(row)
    for query in (*vectors[:40], *units(40, 48, seed=5)):
        cosines = vectors @ query
        cosines[np.array(gone)] = -np.inf
        found, near = rows.nearest(query, 48)
        assert sorted(near) == pytest.approx(np.sort(cosines)[-48:], abs=1e-6)
        assert cosines[found] == pytest.approx(near, abs=1e-6)
        after, _ = rows.nearest(query, 5, begin=4400, without=8999)
        assert set(after) == set(np.argsort(cosines[4400:8999])[-5:] + 4400)
    assert max(read_in_full) < 9000 / 8, "few rows are read in full"


def test_the_bound_holds_where_every_number_is_rounded_the_worst_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vector_rows, "_kernel", lambda: in_numpy)
    monkeypatch.setattr(vector_rows, "_LEVELS", 3)  # so coarse that codes alone would mislead
    vectors = clustered(5000, 24, seed=3)
    rows = Rows(24)
    rows.extend([str(row) for row in range(5000)], vectors)
    for query in units(30, 24, seed=4):
        found, _ = rows.nearest(query, 10)
        assert set(found) == set(np.argsort(vectors @ query)[-10:])


def test_more_than_a_block_is_searched_and_changed() -> None:
    vectors = units(4 * FIRST_BLOCK + 5, 4)
    shelf = Shelf(4)
    names = [str(index) for index in range(len(vectors))]
    shelf.extend(names[:100], vectors[:100], PUBLISHED)
    shelf.extend(names[100:], vectors[100:], PUBLISHED)
    for index in (0, 99, FIRST_BLOCK - 1, FIRST_BLOCK, 3 * FIRST_BLOCK, len(vectors) - 1):
        assert shelf.get(str(index)) == pytest.approx(vectors[index])
    last = len(vectors) - 1
    assert shelf.nearest(vectors[last], 1)[0].id == str(last)
    assert all(one.id != str(last) for one in shelf.nearest(vectors[last], 5, without=str(last)))
    shelf.add(str(last), -vectors[last], PUBLISHED)
    assert shelf.nearest(-vectors[last], 1)[0].id == str(last) and len(shelf) == len(vectors)
    shelf.remove(str(last))
    assert shelf.get(str(last)) is None
    shelf.add(str(last), vectors[last], NOWHERE)
    assert all(one.id != str(last) for one in shelf.nearest(vectors[last], 3))


@pytest.mark.parametrize("coded", [False, True], ids=["in full", "by codes"])
def test_what_is_removed_gives_its_memory_back(
    monkeypatch: pytest.MonkeyPatch, coded: bool
) -> None:
    monkeypatch.setattr(vector_rows, "_kernel", lambda: in_numpy if coded else None)
    monkeypatch.setattr(vector_rows, "LARGEST_BLOCK", FIRST_BLOCK)
    count, dim = 5 * FIRST_BLOCK, 16
    vectors, dice = clustered(count, dim), np.random.default_rng(2)
    shelf = Shelf(dim)
    shelf.extend([str(index) for index in range(count)], vectors, PUBLISHED)
    (rows,) = shelf._places.values()
    before = rows.held_bytes
    left = set(range(count))
    for index in dice.permutation(count)[: count * 9 // 10].tolist():
        shelf.remove(str(index))
        left.discard(index)
        if len(left) % 1000 == 0:
            assert len(shelf) == rows.left == len(left)
            there = np.array(sorted(left))
            for query in units(3, dim, seed=len(left)):
                best = there[np.argsort(-(vectors[there] @ query))[:9]]
                assert [one.id for one in shelf.nearest(query, 9)] == [str(one) for one in best]
                near = shelf.nearest(query, 8, without=str(best[0]))
                assert [one.id for one in near] == [str(one) for one in best[1:]]
    assert rows.held_bytes <= before / 2  # for a tenth, in blocks that may be half empty
    for index in left:
        assert shelf.get(str(index)) == pytest.approx(vectors[index])


def test_what_is_nearly_the_same_is_counted_and_not_repeated() -> None:
    a, b, c = np.eye(3, dtype=np.float32)
    shelf = Shelf(3)
    for index in range(20):
        near = a + 0.01 * index * b
        # In two places: twins are counted over both.
        shelf.add(f"a{index}", unit(near), PUBLISHED if index % 2 else 7)
    shelf.add("b", b, PUBLISHED)
    shelf.add("c", c, PUBLISHED)
    found = shelf.nearest(a, 3, fold=0.97, channel_id=7)
    assert [(one.id, one.twins) for one in found] == [("a0", 19), ("b", 0), ("c", 0)]
    assert [one.id for one in shelf.nearest(a, 3, channel_id=7)] == ["a0", "a1", "a2"]
    assert [one.id for one in shelf.nearest(a, 3)] == ["a1", "a3", "a5"]


def test_what_is_removed_while_a_search_is_under_way_is_not_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = Shelf(3)
    a, b, _ = np.eye(3, dtype=np.float32)
    shelf.add("a", a, PUBLISHED)
    shelf.add("b", b, PUBLISHED)
    nearest = Rows.nearest

    def removed_meanwhile(self: Rows, *args: Any, **more: Any) -> Any:
        found = nearest(self, *args, **more)
        shelf.remove("a")
        return found

    monkeypatch.setattr(Rows, "nearest", removed_meanwhile)
    assert [one.id for one in shelf.nearest(a, 2)] == ["b"]


def test_an_empty_shelf_has_nothing() -> None:
    shelf = Shelf(3)
    assert shelf.nearest(np.eye(3, dtype=np.float32)[0], 5) == []
    shelf.add("a", np.eye(3, dtype=np.float32)[0], PUBLISHED)
    shelf.remove("a")
    assert shelf.nearest(np.eye(3, dtype=np.float32)[0], 5, fold=0.9) == []


def test_a_vector_is_kept_in_two_bytes_a_number() -> None:
    some = units(2, 6)
    assert len(written(some[0])) == 12
    assert read(written(some[0])) == pytest.approx(some[0], abs=1e-3)
    assert read_many([written(one) for one in some], 6) == pytest.approx(some, abs=1e-3)
