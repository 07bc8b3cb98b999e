"""How people at a party voted."""

from __future__ import annotations

from collections.abc import Mapping

import aiosqlite

from bot.model import Person
from bot.parties.model import Vote, VoteKind
from bot.store import Row
from bot.store.parties import Source, fetch

OF_PARTY = """
    SELECT vote.*, person.name AS person_name
    FROM party_vote AS vote JOIN person ON person.id = vote.person_id
    WHERE party_id = ? ORDER BY vote.at_ms, vote.person_id, vote.kind, vote.dream_id, vote.other_id
"""


async def of_party(source: Source, party_id: str) -> list[Vote]:
    """Return all votes, in order."""
    return [from_row(row) for row in await fetch(source, OF_PARTY, (party_id,))]


async def toggle_favourite(
    connection: aiosqlite.Connection, party_id: str, person_id: str, dream_id: str, now_ms: int
) -> bool:
    """Have somebody favour a dream, or no more; say whether they do now."""
    cursor = await connection.execute(
        """
        DELETE FROM party_vote
        WHERE party_id = ? AND person_id = ? AND kind = 'favourite' AND dream_id = ?
        """,
        (party_id, person_id, dream_id),
    )
    if cursor.rowcount:
        return False
    await _put(connection, party_id, person_id, VoteKind.FAVOURITE, dream_id, "", 1, now_ms)
    return True


async def put_pair(
    connection: aiosqlite.Connection,
    party_id: str,
    person_id: str,
    winner_id: str,
    loser_id: str,
    now_ms: int,
    *,
    equal: bool = False,
) -> None:
    """Note which of two dreams somebody prefers, in place of what they said before."""
    first, second = sorted((winner_id, loser_id))
    value = 0 if equal else 1 if winner_id == first else -1
    await _put(connection, party_id, person_id, VoteKind.PAIR, first, second, value, now_ms)


async def put_points(
    connection: aiosqlite.Connection,
    party_id: str,
    person_id: str,
    points: Mapping[str, int],
    now_ms: int,
) -> None:
    """Note somebody's points, in place of all they gave before."""
    await connection.execute(
        "DELETE FROM party_vote WHERE party_id = ? AND person_id = ? AND kind = 'points'",
        (party_id, person_id),
    )
    for dream_id, value in points.items():
        if value:
            await _put(
                connection, party_id, person_id, VoteKind.POINTS, dream_id, "", value, now_ms
            )


async def _put(
    connection: aiosqlite.Connection,
    party_id: str,
    person_id: str,
    kind: VoteKind,
    dream_id: str,
    other_id: str,
    value: int,
    now_ms: int,
) -> None:
    await connection.execute(
        """
        INSERT INTO party_vote (party_id, person_id, kind, dream_id, other_id, value, at_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms
        """,
        (party_id, person_id, kind, dream_id, other_id, value, now_ms),
    )


def from_row(row: Row) -> Vote:
    """Read a vote from a row of the queries above."""
    dream_id, other_id, value = row["dream_id"], row["other_id"], row["value"]
    if value < 0:
        dream_id, other_id = other_id, dream_id
    return Vote(
        person=Person(row["person_id"], row["person_name"]),
        kind=VoteKind(row["kind"]),
        dream_id=dream_id,
        other_id=other_id or None,
        value=abs(value),
        at_ms=row["at_ms"],
    )
