"""How a party's tree is laid out, whatever grew of what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.model import Dream, DreamState, Person
from bot.parties.model import Node, PartyDream, Stage
from bot.wall.party.tree import COLUMNS, lanes_of, rows_of
from generation.protocol import Recipe

ANN = Person("guest:ann", "Ann")


def node(number: int, parent: int | None = None, prompt: str = "a fox") -> Node:
    dream = Dream(
        id=f"{number:016}",
        ask_id="",
        theme_id=1,
        person=ANN,
        prompt=prompt,
        recipe=Recipe(
            prompt=prompt, engine="clip", model="x", width=64, height=64, steps=1, seed=1
        ),
        state=DreamState.DONE,
    )
    entry = PartyDream(dream_id=dream.id, stage=Stage.SKETCH, person=ANN)
    return Node(entry=entry, dream=dream, parent_id=None if parent is None else f"{parent:016}")


def test_the_tree_that_changed_last_comes_first_and_says_what_is_new() -> None:
    rows = rows_of([node(0), node(1), node(2, 0, "a fox, at night"), node(3, 2, "an owl")])
    assert [int(row.node.dream.id) for row in rows] == [0, 2, 3, 1]
    assert [row.depth for row in rows] == [0, 1, 2, 0]
    assert (rows[1].kept, rows[1].added, rows[1].news) == ("a fox", ", at night", "at night")
    assert (rows[2].kept, rows[2].news) == ("", "an owl"), "it says something else altogether"


def test_what_grew_of_something_that_is_not_shown_is_a_root() -> None:
    (row,) = rows_of([node(5, parent=4)])
    assert row.depth == 0


parents = st.lists(st.integers(-1, 60), max_size=40)


@given(parents)
def test_every_picture_stands_once_under_what_it_came_of(parents: list[int]) -> None:
    nodes = [
        node(number, parent if 0 <= parent < number else None)
        for number, parent in enumerate(parents)
    ]
    rows = rows_of(nodes)
    assert sorted(row.node.dream.id for row in rows) == [one.dream.id for one in nodes]
    depths: dict[str, int] = {}
    for row in rows:
        parent_id = row.node.parent_id
        assert row.depth == (0 if parent_id is None else depths[parent_id] + 1)
        depths[row.node.dream.id] = row.depth
    lanes = lanes_of(rows)
    assert all(lane.rows and lane.end <= COLUMNS for lane in lanes)
    shown = [row for lane in lanes for row in lane.rows]
    assert len(shown) == len({row.node.dream.id for row in shown})
    assert len(shown) == len(rows) or any(lane.skipped for lane in lanes)
    for lane in lanes:
        for before, after in zip(lane.rows, lane.rows[1:], strict=False):
            assert after.node.parent_id == before.node.dream.id
