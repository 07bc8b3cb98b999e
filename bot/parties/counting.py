"""Count votes: favourites, points and pairs, put together so that anybody can follow.

A dream's score is the sum of three things:

- a favourite counts 1;
- a point counts 1;
- pairs count their `chance` once for each person who compared any: the chance, by all
  comparisons together, that this picture is preferred to an average one. So a picture that
  everybody would prefer to every other gets nearly 1 of each person, like a favourite.

The chance comes of the Bradley-Terry model, where the chance that i is preferred to j is
p_i / (p_i + p_j): whoever was compared with strong ones is not wronged. Each picture is also given
one win and one loss against an average one (p = 1), so that a few comparisons decide little.

Source: Hunter 2004, "MM algorithms for generalized Bradley-Terry models", eq. 3.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from bot.parties.model import Standing, Vote, VoteKind

P = ParamSpec("P")
T = TypeVar("T")

_ROUNDS = 500
_PRECISE = 1e-9
_DIGITS = 6  # scores that agree so far are equal


def count_votes(dream_ids: Sequence[str], votes: Iterable[Vote]) -> tuple[Standing, ...]:
    """Return how dreams stand, the best first; the older one first of those that share a place.

    Votes for other dreams do not count. The order of the votes does not matter.
    """
    known = set(dream_ids)
    votes = [vote for vote in votes if vote.dream_id in known]
    favourites: Counter[str] = Counter()
    points: Counter[str] = Counter()
    pairs = [
        vote
        for vote in votes
        if vote.kind is VoteKind.PAIR and vote.value and vote.other_id in known
    ]
    for vote in votes:
        if vote.kind is VoteKind.FAVOURITE:
            favourites[vote.dream_id] += 1
        elif vote.kind is VoteKind.POINTS:
            points[vote.dream_id] += vote.value
    wins = Counter(vote.dream_id for vote in pairs)
    losses = Counter(vote.other_id for vote in pairs)
    compared_by = len({vote.person.id for vote in pairs})
    chances = _chances(sorted(known), pairs) if pairs else {}
    scores = {
        one: round(favourites[one] + points[one] + compared_by * chances.get(one, 0.0), _DIGITS)
        for one in dream_ids
    }
    found: list[Standing] = []
    for index, one in enumerate(sorted(known, key=lambda one: (-scores[one], one))):
        shared = bool(found) and found[-1].score == scores[one]
        found.append(
            Standing(
                dream_id=one,
                place=found[-1].place if shared else index + 1,
                score=scores[one],
                favourites=favourites[one],
                points=points[one],
                wins=wins[one],
                losses=losses[one],
                chance=round(chances[one], _DIGITS) if chances else None,
            )
        )
    return tuple(found)


def next_pair(
    dream_ids: Sequence[str], votes: Iterable[Vote], person_id: str
) -> tuple[str, str] | None:
    """Return two dreams for somebody to compare: those that were compared least.

    None where they have compared all. Who is asked at the same time is asked about others.
    """
    times: Counter[str] = Counter()
    done: set[frozenset[str | None]] = set()
    for vote in votes:
        if vote.kind is VoteKind.PAIR and vote.other_id is not None:
            times[vote.dream_id] += 1
            times[vote.other_id] += 1
            if vote.person.id == person_id:
                done.add(frozenset((vote.dream_id, vote.other_id)))

    def rank(dream_id: str) -> tuple[int, bytes]:
        mixed = hashlib.blake2b(f"{person_id} {dream_id}".encode(), digest_size=8)
        return times[dream_id], mixed.digest()

    order = sorted(set(dream_ids), key=rank)
    for index, first in enumerate(order):
        for second in order[index + 1 :]:
            if frozenset((first, second)) not in done:
                return first, second
    return None


async def in_another_thread(count: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Count off the event loop: many votes take a while."""
    return await asyncio.to_thread(count, *arguments, **options)


def _chances(dream_ids: Sequence[str], pairs: Sequence[Vote]) -> dict[str, float]:
    """Return each dream's chance, 0..1, to be preferred to an average one."""
    met: dict[str, Counter[str]] = {one: Counter() for one in dream_ids}
    won: Counter[str] = Counter()
    for vote in pairs:
        assert vote.other_id is not None
        met[vote.dream_id][vote.other_id] += 1
        met[vote.other_id][vote.dream_id] += 1
        won[vote.dream_id] += 1
    strength = dict.fromkeys(dream_ids, 1.0)
    for _ in range(_ROUNDS):
        new = {
            one: (won[one] + 1)
            / (
                2 / (strength[one] + 1)
                + sum(
                    count / (strength[one] + strength[other]) for other, count in met[one].items()
                )
            )
            for one in dream_ids
        }
        moved = max(abs(new[one] - strength[one]) / new[one] for one in dream_ids)
        strength = new
        if moved < _PRECISE:
            break
    return {one: value / (1 + value) for one, value in strength.items()}
