"""What people entered in games, how often they tried, and who likes it.

Queries take the store, or the connection of a transaction to see what that has changed already.
An entry that was withdrawn is a tombstone: its words, picture and score are gone.
"""

from __future__ import annotations

from collections.abc import Iterable

import aiosqlite

from bot.games.model import Entry
from bot.ids import first_at, now_ms
from bot.model import Image, Person
from bot.store import Row, game_cards, tombstones
from bot.store.parties import Source, fetch
from bot.store.tombstones import Kind

_DAY_MS = 24 * 3600 * 1000
_ENTRIES = """
    SELECT entry.*, person.name AS person_name, image.sha256, image.width, image.height,
           image.size_bytes,
           (SELECT count(*) FROM game_heart WHERE entry_id = entry.id) AS hearts
    FROM game_entry AS entry
    JOIN person ON person.id = entry.person_id
    LEFT JOIN dream ON dream.id = entry.dream_id
    LEFT JOIN image ON image.sha256 = coalesce(entry.image_sha256, dream.image_sha256)
    WHERE entry.withdrawn_ms IS NULL
"""
ENTRIES = f"{_ENTRIES} AND entry.game_id = ? ORDER BY entry.id"
ENTRY = f"{_ENTRIES} AND entry.id = ?"
ENTRY_OF = f"{_ENTRIES} AND entry.game_id = ? AND entry.person_id = ?"
ENTRY_OF_DREAM = f"{_ENTRIES} AND entry.dream_id = ?"
COUNT = "SELECT count(*) AS count FROM game_entry WHERE game_id = ? AND withdrawn_ms IS NULL"
SAME_PICTURE = """
    SELECT 1 FROM game_entry WHERE image_sha256 = ? AND game_id = ? AND person_id <> ? LIMIT 1
"""
EVER = "SELECT 1 FROM game_entry WHERE game_id = ? AND person_id = ? LIMIT 1"
# A round lasts a day at most; by `:day` the games are found.
DRAWN_FOR = """
    SELECT count(*) FILTER (WHERE dream.state IN ('waiting', 'drawing')) AS own,
           count(*) FILTER (WHERE dream.created_ms BETWEEN :since_ms AND :now_ms
                            AND dream.state <> 'failed'
                            AND NOT (dream.state = 'cancelled' AND dream.started_ms IS NULL)
                           ) AS hour
    FROM game
    JOIN game_entry AS entry ON entry.game_id = game.id
    JOIN dream ON dream.id = entry.dream_id
    WHERE game.id >= :day AND game.host_id = :host_id AND game.guild_id = :guild_id
"""
# What failed stays in the stream, as any failure does, unless its game was called off.
LEFT = """
    SELECT entry.dream_id FROM game_entry AS entry
    JOIN game ON game.id = entry.game_id
    JOIN dream ON dream.id = entry.dream_id
    WHERE entry.dream_id IS NOT NULL AND entry.withdrawn_ms IS NOT NULL
    AND dream.deleted_ms IS NULL
    AND (entry.withdrawn_by <> entry.person_id OR game.state = 'called_off')
"""
TRIES = "SELECT tries FROM game_try WHERE game_id = ? AND person_id = ?"
# What was tried is counted before it is scored, and stays when the entry is withdrawn.
PLAYED = """
    SELECT person.id, person.name FROM game_try JOIN person ON person.id = game_try.person_id
    WHERE game_try.game_id = ? AND game_try.person_id = ? AND game_try.tries > 0
"""


async def of_game(source: Source, game_id: str) -> list[Entry]:
    """Return what is entered in a game, the oldest first."""
    return [_entry(row) for row in await fetch(source, ENTRIES, (game_id,))]


async def by_id(source: Source, entry_id: str) -> Entry | None:
    """Return an entry, if there is one with this id that was not withdrawn."""
    return next((_entry(row) for row in await fetch(source, ENTRY, (entry_id,))), None)


async def of_person(source: Source, game_id: str, person_id: str) -> Entry | None:
    """Return what somebody has entered in a game."""
    found = await fetch(source, ENTRY_OF, (game_id, person_id))
    return next((_entry(row) for row in found), None)


async def of_dream(source: Source, dream_id: str) -> Entry | None:
    """Return the entry that a dream of the machine's is."""
    return next((_entry(row) for row in await fetch(source, ENTRY_OF_DREAM, (dream_id,))), None)


async def has_entered(source: Source, game_id: str, person_id: str) -> bool:
    """Say whether somebody has ever entered something in a game, also if it was withdrawn."""
    return bool(await fetch(source, EVER, (game_id, person_id)))


async def drawn_for(
    connection: aiosqlite.Connection, host_id: str, guild_id: int, since_ms: int
) -> tuple[int, int]:
    """Count what the machine draws in the games that somebody opened in a server.

    Returns what is not over, and what was asked for since a time, as `dreams.places_taken` does.
    """
    (row,) = await connection.execute_fetchall(
        DRAWN_FOR,
        {
            "host_id": host_id,
            "guild_id": guild_id,
            "since_ms": since_ms,
            "now_ms": now_ms(),
            "day": first_at(since_ms - _DAY_MS),
        },
    )
    return int(row["own"]), int(row["hour"])


async def left(source: Source) -> list[str]:
    """Return the machine's dreams that are still there though their entries were taken away."""
    return [str(row["dream_id"]) for row in await fetch(source, LEFT)]


async def count(source: Source, game_id: str) -> int:
    """Return how many have entered a game."""
    (row,) = await fetch(source, COUNT, (game_id,))
    return int(row["count"])


async def is_anothers(source: Source, game_id: str, person_id: str, sha256: str) -> bool:
    """Say whether somebody else has entered the very same picture in a game."""
    return bool(await fetch(source, SAME_PICTURE, (sha256, game_id, person_id)))


async def put(connection: aiosqlite.Connection, entry: Entry) -> None:
    """Enter something, in place of what the person had entered before."""
    await game_cards.reopen(connection, entry.game_id)
    before = await of_person(connection, entry.game_id, entry.person.id)
    if before is None:
        await connection.execute(
            """
            INSERT INTO game_entry (id, game_id, person_id, text, choice, image_sha256, dream_id,
                                    score, writing, published, at_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            (entry.id, entry.game_id, entry.person.id, *_values(entry)),
        )
        return
    await connection.execute(
        """
        UPDATE game_entry SET text = ?, choice = ?, image_sha256 = ?, dream_id = ?, score = ?,
                              writing = ?, published = ?, at_ms = ?
        WHERE id = ?
        """,
        (*_values(entry), before.id),
    )
    await connection.execute("DELETE FROM game_heart WHERE entry_id = ?", (before.id,))
    await _doom(connection, before)


async def set_score(
    connection: aiosqlite.Connection, entry_id: str, score: float, *, writing: bool
) -> None:
    """Record what the machine's picture is worth."""
    await connection.execute(
        "UPDATE game_entry SET score = ?, writing = ? WHERE id = ? AND withdrawn_ms IS NULL",
        (score, writing, entry_id),
    )


async def withdraw(connection: aiosqlite.Connection, entry_id: str, by: str, now_ms: int) -> bool:
    """Make a tombstone of an entry; say whether it was not one before. Its picture is doomed."""
    found = await by_id(connection, entry_id)
    if found is None:
        return False
    await connection.execute(
        """
        UPDATE game_entry SET text = '', choice = NULL, image_sha256 = NULL, score = NULL,
                              withdrawn_ms = ?, withdrawn_by = ?
        WHERE id = ?
        """,
        (now_ms, by, entry_id),
    )
    await connection.execute("DELETE FROM game_heart WHERE entry_id = ?", (entry_id,))
    await game_cards.reopen(connection, found.game_id)
    await _doom(connection, found)
    return True


async def tries(source: Source, game_id: str, person_id: str) -> int:
    """Return how often somebody has tried in a game."""
    found = await fetch(source, TRIES, (game_id, person_id))
    return int(found[0]["tries"]) if found else 0


async def played_as(source: Source, game_id: str, person_id: str) -> Person | None:
    """Return a person as they are known, if they have tried in a game; None if not.

    So have who withdrew what they had entered, and whose try is still being scored.
    """
    found = await fetch(source, PLAYED, (game_id, person_id))
    return next((Person(row["id"], row["name"]) for row in found), None)


async def count_try(
    connection: aiosqlite.Connection, game_id: str, person_id: str, by: int = 1
) -> None:
    """Note that somebody tries, or with -1 that nothing came of it."""
    await connection.execute(
        """
        INSERT INTO game_try (game_id, person_id, tries) VALUES (?, ?, max(0, ?))
        ON CONFLICT DO UPDATE SET tries = max(0, tries + ?)
        """,
        (game_id, person_id, by, by),
    )


async def toggle_heart(
    connection: aiosqlite.Connection,
    entry_id: str,
    person_id: str,
    now_ms: int,
    *,
    known_as: Iterable[str] = (),
) -> bool:
    """Have somebody like an entry, or no more; say whether they do now.

    `known_as` is as of `bot.store.favourites.toggle`.
    """
    cursor = await connection.executemany(
        "DELETE FROM game_heart WHERE entry_id = ? AND person_id = ?",
        [(entry_id, one) for one in {person_id, *known_as}],
    )
    if cursor.rowcount:
        return False
    await connection.execute(
        "INSERT INTO game_heart (entry_id, person_id, at_ms) VALUES (?, ?, ?)",
        (entry_id, person_id, now_ms),
    )
    return True


async def _doom(connection: aiosqlite.Connection, entry: Entry) -> None:
    if entry.image is not None and entry.dream_id is None:
        await tombstones.doom(connection, Kind.PICTURE, entry.image.sha256)


def _values(entry: Entry) -> tuple[object, ...]:
    sha256 = entry.image.sha256 if entry.image is not None and entry.dream_id is None else None
    return (
        entry.text, entry.choice, sha256, entry.dream_id, entry.score, entry.writing,
        entry.published, entry.at_ms,
    )  # fmt: skip


def _entry(row: Row) -> Entry:
    return Entry(
        id=row["id"],
        game_id=row["game_id"],
        person=Person(row["person_id"], row["person_name"]),
        text=row["text"],
        choice=row["choice"],
        image=image(row),
        dream_id=row["dream_id"],
        score=row["score"],
        writing=bool(row["writing"]),
        published=bool(row["published"]),
        hearts=row["hearts"],
        at_ms=row["at_ms"],
    )


def image(row: Row) -> Image | None:
    """Read a picture from a row that has its columns, None where there is none."""
    if row["sha256"] is None:
        return None
    return Image(
        sha256=row["sha256"],
        width=row["width"],
        height=row["height"],
        size_bytes=row["size_bytes"],
    )
