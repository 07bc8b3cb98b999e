"""Counting votes: what wins, what ties, and that neither order nor time matters."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.model import Person
from bot.parties.counting import count_votes, next_pair
from bot.parties.model import Vote, VoteKind

DREAMS = ("a", "b", "c", "d")


def vote(who: str, kind: VoteKind, one: str, other: str | None = None, value: int = 1) -> Vote:
    return Vote(
        person=Person(who, who), kind=kind, dream_id=one, other_id=other, value=value, at_ms=0
    )


def pair(who: str, winner: str, loser: str, value: int = 1) -> Vote:
    return vote(who, VoteKind.PAIR, winner, loser, value)


def test_without_votes_all_share_the_first_place() -> None:
    standings = count_votes(DREAMS, [])
    assert [(one.dream_id, one.place, one.score) for one in standings] == [
        (dream, 1, 0.0) for dream in DREAMS
    ]
    assert all(one.chance is None for one in standings)


def test_one_comparison_gives_the_chances_that_follow_by_hand() -> None:
    # One real and two virtual comparisons: p = (1 + 1) / (1 / (p + q) + 2 / (p + 1)), and q = 1 / p
    # by symmetry, so that the chances add up to 1.
    winner, loser = count_votes(("a", "b"), [pair("x", "a", "b")])
    assert winner.chance is not None and loser.chance is not None
    assert winner.chance + loser.chance == pytest.approx(1.0)
    strength = winner.chance / (1 - winner.chance)
    right = 2 / (1 / (strength + 1 / strength) + 2 / (strength + 1))
    assert strength == pytest.approx(right, rel=1e-4)


def test_who_beat_the_strong_stands_above_who_beat_the_weak() -> None:
    votes = [pair(who, "b", "d") for who in "uvwxyz"]  # b is strong, d is weak
    votes += [pair("u", "a", "b"), pair("u", "c", "d")]
    places = {one.dream_id: one.place for one in count_votes(DREAMS, votes)}
    assert places["a"] < places["c"]


def test_kinds_add_up_and_neither_is_no_comparison() -> None:
    votes = [
        vote("x", VoteKind.FAVOURITE, "a"),
        vote("y", VoteKind.FAVOURITE, "a"),
        vote("x", VoteKind.POINTS, "b", value=2),
        pair("x", "c", "d", value=0),
        vote("x", VoteKind.FAVOURITE, "gone"),
    ]
    standings = count_votes(DREAMS, votes)
    assert [(one.dream_id, one.place, one.score) for one in standings] == [
        ("a", 1, 2.0), ("b", 1, 2.0), ("c", 3, 0.0), ("d", 3, 0.0),
    ]  # fmt: skip


BALLOTS = st.lists(
    st.one_of(
        st.builds(
            vote,
            st.sampled_from("xyz"),
            st.sampled_from([VoteKind.FAVOURITE, VoteKind.POINTS]),
            st.sampled_from(DREAMS),
        ),
        st.builds(
            lambda who, two, value: pair(who, two[0], two[1], value),
            st.sampled_from("xyz"),
            st.permutations(DREAMS),
            st.integers(0, 1),
        ),
    ),
    max_size=20,
)


@given(BALLOTS, st.randoms())
def test_the_order_of_votes_does_not_matter(votes: list[Vote], chance: random.Random) -> None:
    standings = count_votes(DREAMS, votes)
    shuffled = list(votes)
    chance.shuffle(shuffled)
    assert count_votes(DREAMS[::-1], shuffled) == standings
    assert sorted(one.dream_id for one in standings) == list(DREAMS)
    scores = [one.score for one in standings]
    assert scores == sorted(scores, reverse=True)
    for one, after in pairwise(standings):
        assert (one.place == after.place) == (one.score == after.score)


def test_pairs_are_of_those_compared_least_and_never_come_again() -> None:
    votes: list[Vote] = []
    seen = set()
    while (found := next_pair(DREAMS, votes, "x")) is not None:
        times = {dream: sum(dream in (v.dream_id, v.other_id) for v in votes) for dream in DREAMS}
        assert times[found[0]] == min(times.values())
        assert frozenset(found) not in seen
        seen.add(frozenset(found))
        votes.append(pair("x", *found))
    assert len(seen) == 6
    assert next_pair(DREAMS, votes, "y") is not None
    assert next_pair(("a",), [], "x") is None


def test_counting_takes_as_long_as_there_are_votes() -> None:
    dreams = [f"{number:03}" for number in range(100)]

    def cost_s(count: int) -> float:
        chance = random.Random(1)
        pairs = (chance.sample(dreams, 2) for _ in range(count))
        votes = [pair(f"p{n % 30}", won, lost) for n, (won, lost) in enumerate(pairs)]
        began = time.thread_time()
        count_votes(dreams, votes)
        return time.thread_time() - began

    assert any(cost_s(600) < 18 * cost_s(100) for _ in range(3))
