"""Forgetting people: who asked for it, what is left of them, and the rows that go at once.

Dreams and entries in games go by the ways in which those are deleted; this takes the rest. Each
statement changes nothing the second time, so that it can be repeated after a crash, and in a
backup that is put back.
"""

from __future__ import annotations

import aiosqlite

from bot.model import Person
from bot.store import Store
from bot.store.people import PARTED

NOBODY = "Somebody"
"""What people are called who are forgotten."""

UNDONE = """
    SELECT person_id, asked_ms, name FROM forgotten_person JOIN person ON person.id = person_id
    WHERE done_ms IS NULL ORDER BY asked_ms
"""
DREAMS = """
    SELECT id FROM dream WHERE person_id = ? AND created_ms <= ? AND deleted_ms IS NULL
    ORDER BY id LIMIT ?
"""
ENTRIES = """
    SELECT id FROM game_entry WHERE person_id = ? AND at_ms <= ? AND withdrawn_ms IS NULL LIMIT ?
"""
SINCE = (
    ("dream", "person_id", "deleted_ms IS NULL OR created_ms > asked_ms"),
    ("pending_steer", "person_id", "since.asked_ms > forgotten.asked_ms"),
    ("favourite", "person_id", "at_ms > asked_ms"),
    ("party_member", "person_id", "left_ms IS NULL OR joined_ms > asked_ms"),
    ("party_association", "person_id", "at_ms > asked_ms"),
    ("party_saying", "person_id", "at_ms > asked_ms"),
    ("party_vote", "person_id", "at_ms > asked_ms"),
    ("party_finale", "person_id", "at_ms > asked_ms"),
    ("game", "host_id", "created_ms > asked_ms"),
    ("game_entry", "person_id", "at_ms > asked_ms"),
    ("game_heart", "person_id", "at_ms > asked_ms"),
    ("blocked_person", "blocked_by", "at_ms > asked_ms"),
    ("wall_session", "person_id", "created_ms > asked_ms"),
)
"""What is there of who came back after they wanted to be forgotten; by their name alone, nobody who
calls themselves `NOBODY` would have. A name says nothing of who was blocked since: earlier versions
called them by it again."""
_DATED_BY = {
    "dream": "created_ms",
    "pending_steer": "asked_ms",
    "party_member": "joined_ms",
    "game": "created_ms",
    "wall_session": "created_ms",
}
"""Where the column that says when is not `at_ms`."""
_BRING_DOWN = [
    f"UPDATE {table} SET {date} = :asked_ms "  # noqa: S608 (own text)
    f"WHERE {column} = :person_id AND {date} > :asked_ms AND {date} <= :upto_ms"
    for table, column, _ in SINCE
    for date in (_DATED_BY.get(table, "at_ms"),)
]
AHEAD = "SELECT person_id, asked_ms FROM forgotten_person WHERE asked_ms > ?"
ASKED = "SELECT asked_ms FROM forgotten_person WHERE person_id = ?"
_LATEST_MS = 2**62
TO_PART = f"""
    SELECT forgotten.person_id FROM forgotten_person AS forgotten
    JOIN person ON person.id = forgotten.person_id
    WHERE done_ms IS NOT NULL AND asked_ms <= :before_ms AND substr(person.id, 1, 5) <> :parted
    AND (person.name = :nobody OR EXISTS (
        SELECT 1 FROM blocked_person AS block
        WHERE block.person_id = person.id AND block.at_ms > asked_ms
    )) {
    " ".join(
        f"AND NOT EXISTS (SELECT 1 FROM {table} AS since "
        f"WHERE since.{column} = person.id AND ({condition}))"
        for table, column, condition in SINCE
    )
} ORDER BY asked_ms
"""  # noqa: S608 (own text)
PARTIES = "SELECT party_id FROM party_member WHERE person_id = ? AND joined_ms <= ?"

_ASK = """
    INSERT INTO forgotten_person (person_id, asked_ms) VALUES (?, ?)
    ON CONFLICT (person_id) DO UPDATE SET asked_ms = excluded.asked_ms, done_ms = NULL
"""
# `:person_id` wants to be forgotten, as of `:before_ms`.
_ERASED = (
    "DELETE FROM favourite WHERE person_id = :person_id AND at_ms <= :before_ms",
    "DELETE FROM pending_steer WHERE person_id = :person_id AND asked_ms <= :before_ms",
    "DELETE FROM party_vote WHERE person_id = :person_id AND at_ms <= :before_ms",
    "DELETE FROM party_saying WHERE person_id = :person_id AND at_ms <= :before_ms",
    "UPDATE party_association SET hidden = 1, words = '', folded = '' "
    "WHERE person_id = :person_id AND at_ms <= :before_ms",
    "UPDATE party_member SET credited = 0, left_ms = coalesce(left_ms, :before_ms) "
    "WHERE person_id = :person_id AND joined_ms <= :before_ms",
    "DELETE FROM game_heart WHERE person_id = :person_id AND at_ms <= :before_ms",
    "DELETE FROM wall_session WHERE person_id = :person_id",
    # How often they tried in what is open stays until it is over: else who is forgotten could
    # begin anew (`bot.store.games.end` takes it then).
    "DELETE FROM game_try WHERE person_id = :person_id "
    "AND game_id IN (SELECT id FROM game WHERE state <> 'open')",
    # It is not called by a name any more, nor shown on the wall, unless its person comes back.
    "UPDATE person SET name = :nobody, publishes = 0 WHERE id = :person_id",
)


async def ask(connection: aiosqlite.Connection, person_id: str, now_ms: int) -> None:
    """Record that a person who is known wants to be forgotten, as of now.

    What there is of them is of before that, also where the clock was ahead then, or is behind now:
    it is dated so from here on, and what is dated later they did since.
    """
    await _bring_down(connection, person_id, now_ms, _LATEST_MS)
    await connection.execute(_ASK, (person_id, now_ms))


async def ask_there(connection: aiosqlite.Connection, person_id: str, asked_ms: int) -> None:
    """Record in an older copy of the database what somebody asked for since."""
    found = await connection.execute_fetchall(ASKED, (person_id,))
    if all(row["asked_ms"] < asked_ms for row in found):  # else it may have what they did since
        await _bring_down(connection, person_id, asked_ms, _LATEST_MS)
    await connection.execute(_ASK, (person_id, asked_ms))


async def any_ahead(store: Store, now_ms: int) -> bool:
    """Say whether anybody wants to be forgotten as of a time that is not yet."""
    return await store.read_one(AHEAD, (now_ms,)) is not None


async def bound(connection: aiosqlite.Connection, now_ms: int) -> None:
    """Have nobody want to be forgotten as of a time that is not yet: the clock was ahead then.

    Else what they do when they have come back would be of before it.
    """
    for row in list(await connection.execute_fetchall(AHEAD, (now_ms,))):
        await _bring_down(connection, row["person_id"], now_ms, row["asked_ms"])
        await connection.execute(
            "UPDATE forgotten_person SET asked_ms = ? WHERE person_id = ?",
            (now_ms, row["person_id"]),
        )


async def _bring_down(
    connection: aiosqlite.Connection, person_id: str, asked_ms: int, upto_ms: int
) -> None:
    """Date as `asked_ms` what a person did after that, up to another time."""
    values = {"person_id": person_id, "asked_ms": asked_ms, "upto_ms": upto_ms}
    for sql in _BRING_DOWN:
        await connection.execute(sql, values)


async def undone(store: Store) -> list[tuple[Person, int]]:
    """Return who is not forgotten yet, and as of when, who asked first first."""
    return [
        (Person(row["person_id"], row["name"]), row["asked_ms"]) for row in await store.read(UNDONE)
    ]


async def to_part(store: Store, before_ms: int) -> list[str]:
    """Return who was forgotten as of then or earlier, and may be parted from their id."""
    return [row["person_id"] for row in await store.read(TO_PART, _parting(before_ms))]


async def is_to_part(connection: aiosqlite.Connection, person_id: str, before_ms: int) -> bool:
    """Say the same of one person within a transaction."""
    found = await connection.execute_fetchall(TO_PART, _parting(before_ms))
    return any(row["person_id"] == person_id for row in found)


def _parting(before_ms: int) -> dict[str, object]:
    return {"before_ms": before_ms, "parted": PARTED, "nobody": NOBODY}


async def dreams(store: Store, person_id: str, before_ms: int, limit: int) -> list[str]:
    """Return dreams of a person that are still there."""
    return [row["id"] for row in await store.read(DREAMS, (person_id, before_ms, limit))]


async def entries(store: Store, person_id: str, before_ms: int, limit: int) -> list[str]:
    """Return what a person has entered in games, as far as it is still there."""
    return [row["id"] for row in await store.read(ENTRIES, (person_id, before_ms, limit))]


async def parties(store: Store, person_id: str, before_ms: int) -> list[str]:
    """Return the parties at which a person has been."""
    return [row["party_id"] for row in await store.read(PARTIES, (person_id, before_ms))]


async def erase(connection: aiosqlite.Connection, person_id: str, before_ms: int) -> None:
    """Take away a person's likes, votes, words and name."""
    values = {"person_id": person_id, "before_ms": before_ms, "nobody": NOBODY}
    for sql in _ERASED:
        await connection.execute(sql, values)


async def met(connection: aiosqlite.Connection, person: Person, now_ms: int) -> Person:
    """Make sure somebody is known to whom something is done; return them as they are called.

    That is by their present name, but for who was forgotten: others do not bring it back.
    """
    await connection.execute(
        """
        INSERT INTO person (id, name, first_seen_ms) VALUES (:id, :name, :now_ms)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name
        WHERE name NOT IN (excluded.name, :nobody) AND NOT EXISTS (
            SELECT 1 FROM forgotten_person WHERE person_id = :id AND done_ms IS NULL
        )
        """,
        {"id": person.id, "name": person.name, "now_ms": now_ms, "nobody": NOBODY},
    )
    (row,) = await connection.execute_fetchall(
        """
        SELECT iif(EXISTS (
            SELECT 1 FROM forgotten_person WHERE person_id = :id AND done_ms IS NULL
        ), :nobody, name) AS name FROM person WHERE id = :id
        """,
        {"id": person.id, "nobody": NOBODY},
    )
    return Person(person.id, str(row["name"]))


async def unname(connection: aiosqlite.Connection, person_id: str) -> None:
    """Have a person who was forgotten be called by no name, whoever has called them by it since."""
    await connection.execute("UPDATE person SET name = ? WHERE id = ?", (NOBODY, person_id))


async def done(
    connection: aiosqlite.Connection, person_id: str, asked_ms: int, now_ms: int
) -> None:
    """Record that all is done that was asked for then."""
    await connection.execute(
        "UPDATE forgotten_person SET done_ms = ? WHERE person_id = ? AND asked_ms = ?",
        (now_ms, person_id, asked_ms),
    )
