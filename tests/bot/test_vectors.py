"""Vectors on a shelf: what is nearest is what a plain search over all of them says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.vectors import BLOCK, NOWHERE, PUBLISHED, Shelf, read, written

Vector = npt.NDArray[np.float32]


def units(count: int, dim: int, seed: int = 0) -> Vector:
    found = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


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


def test_more_than_a_block_is_searched_and_changed() -> None:
    vectors = units(2 * BLOCK + 5, 4)
    shelf = Shelf(4)
    for index, vector in enumerate(vectors):
        shelf.add(str(index), vector, PUBLISHED)
    last = len(vectors) - 1
    assert shelf.nearest(vectors[last], 1)[0].id == str(last)
    assert all(one.id != str(last) for one in shelf.nearest(vectors[last], 5, without=str(last)))
    shelf.add(str(last), -vectors[last], PUBLISHED)
    assert shelf.nearest(-vectors[last], 1)[0].id == str(last) and len(shelf) == len(vectors)
    shelf.remove(str(last))
    assert shelf.get(str(last)) is None
    shelf.add(str(last), vectors[last], NOWHERE)
    assert all(one.id != str(last) for one in shelf.nearest(vectors[last], 3))


def test_what_is_nearly_the_same_is_counted_and_not_repeated() -> None:
    a, b, c = np.eye(3, dtype=np.float32)
    shelf = Shelf(3)
    for index in range(20):
        near = a + 0.01 * index * b
        shelf.add(f"a{index}", np.asarray(near / np.linalg.norm(near), np.float32), PUBLISHED)
    shelf.add("b", b, PUBLISHED)
    shelf.add("c", c, PUBLISHED)
    found = shelf.nearest(a, 3, fold=0.97)
    assert [(one.id, one.twins) for one in found] == [("a0", 19), ("b", 0), ("c", 0)]
    assert [one.id for one in shelf.nearest(a, 3)] == ["a0", "a1", "a2"]


def test_an_empty_shelf_has_nothing() -> None:
    shelf = Shelf(3)
    assert shelf.nearest(np.eye(3, dtype=np.float32)[0], 5) == []
    shelf.add("a", np.eye(3, dtype=np.float32)[0], PUBLISHED)
    shelf.remove("a")
    assert shelf.nearest(np.eye(3, dtype=np.float32)[0], 5, fold=0.9) == []


def test_a_vector_is_kept_in_two_bytes_a_number() -> None:
    (vector,) = units(1, 6)
    assert len(written(vector)) == 12
    assert read(written(vector)) == pytest.approx(vector, abs=1e-3)
