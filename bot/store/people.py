"""People: the id they ask under, what they are called, and by what the logs name them.

The stream and the log of decisions can never be changed, so they name people by a random pseudonym
that is given at first sight. Who is forgotten is parted from it: their row, and all rows but those
logs, go on under an id that is made of the pseudonym, and nothing says any more whose it was.
"""

from __future__ import annotations

import aiosqlite

from bot.model import Person
from bot.store import Store

PARTED = "gone:"
"""How the ids begin of people who were parted from theirs; the pseudonym follows."""

NAMING = (
    ("dream", "person_id"),
    ("dream", "deleted_by"),
    ("pending_steer", "person_id"),
    ("favourite", "person_id"),
    ("portrait", "person_id"),
    ("party_member", "person_id"),
    ("party_association", "person_id"),
    ("party_saying", "person_id"),
    ("party_vote", "person_id"),
    ("party_finale", "person_id"),
    ("game", "host_id"),
    ("game_entry", "person_id"),
    ("game_entry", "withdrawn_by"),
    ("game_heart", "person_id"),
    ("blocked_person", "blocked_by"),
    ("forgotten_person", "person_id"),
    ("picture_check", "decided_by"),
)
"""What names people by their ids, and goes on under another when somebody is parted from theirs."""
KEEPING = (
    ("blocked_person", "person_id"),
    ("game_try", "person_id"),
    ("wall_session", "person_id"),
)
"""What would do nothing if it did not know whom it is about."""
PRIVATE = (("dream", "person_id"), ("game", "host_id"))
"""What may have been asked for in a direct message, whose channel is one person's."""

PUBLISHES = "SELECT publishes FROM person WHERE id = ?"


async def upsert(connection: aiosqlite.Connection, person: Person, now_ms: int) -> None:
    """Make sure the person is known under the present name."""
    await connection.execute(
        """
        INSERT INTO person (id, name, first_seen_ms) VALUES (?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name <> excluded.name
        """,
        (person.id, person.name, now_ms),
    )


async def known(connection: aiosqlite.Connection, person: Person, now_ms: int) -> None:
    """Make sure the person is known, under whatever name they have.

    For what is written later than it happened: it must not bring an older name back, least of all
    that of somebody who has been forgotten meanwhile.
    """
    await connection.execute(
        "INSERT INTO person (id, name, first_seen_ms) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (person.id, person.name, now_ms),
    )


async def publishes(store: Store, person_id: str) -> bool:
    """Say whether what a person asks for is shown outside the place where they ask."""
    row = await store.read_one(PUBLISHES, (person_id,))
    return row is None or bool(row["publishes"])


async def publishes_now(connection: aiosqlite.Connection, person_id: str) -> bool:
    """Say the same within a transaction, of a person who is known."""
    (row,) = await connection.execute_fetchall(PUBLISHES, (person_id,))
    return bool(row["publishes"])


async def set_publishes(
    connection: aiosqlite.Connection, person_id: str, *, publishes: bool
) -> None:
    """Record what a person who is known wants to become of what they ask for from now on."""
    await connection.execute("UPDATE person SET publishes = ? WHERE id = ?", (publishes, person_id))


async def with_pseudonym(connection: aiosqlite.Connection, pseudonym: str) -> str | None:
    """Return the id of the person whom the logs here, or elsewhere, name so; None for nobody."""
    found = await connection.execute_fetchall(
        "SELECT id FROM person WHERE pseudonym = ? OR id = ?", (pseudonym, PARTED + pseudonym)
    )
    for row in found:
        return str(row["id"])
    return None


async def part(
    connection: aiosqlite.Connection, person_id: str, pseudonym: str | None = None
) -> str:
    """Part a person who is known from their id, and return the one that they go on under.

    That is made of their own pseudonym, or of the one that another database knows them by. A block,
    how often they tried in a game that is open, and that they have signed in since, stay with the
    id, of somebody who is seen for the first time. Who is parted already stays as they are.
    """
    if person_id.startswith(PARTED):
        return person_id
    if pseudonym is None:
        (row,) = await connection.execute_fetchall(
            "SELECT pseudonym FROM person WHERE id = ?", (person_id,)
        )
        pseudonym = str(row["pseudonym"])
    new_id = PARTED + pseudonym
    # For the rest of the transaction: the row's id changes before those that point at it.
    await connection.execute("PRAGMA defer_foreign_keys = ON")
    await connection.execute("UPDATE person SET id = ? WHERE id = ?", (new_id, person_id))
    for table, column in NAMING:
        await connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE {column} = ?",  # noqa: S608 (own text)
            (new_id, person_id),
        )
    for table, column in PRIVATE:
        await connection.execute(
            f"UPDATE {table} SET channel_id = NULL WHERE {column} = ? AND guild_id IS NULL",  # noqa: S608 (own text)
            (new_id,),
        )
    for table, column in KEEPING:
        await connection.execute(
            f"""
            INSERT OR IGNORE INTO person (id, name, first_seen_ms, publishes)
            SELECT :old, name, CAST(strftime('%s', 'now') AS INTEGER) * 1000, publishes FROM person
            WHERE id = :new AND EXISTS (SELECT 1 FROM {table} WHERE {column} = :old)
            """,  # noqa: S608 (own text)
            {"old": person_id, "new": new_id},
        )
    return new_id
