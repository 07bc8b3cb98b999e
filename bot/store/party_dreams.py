"""Which dreams belong to a party, what they came of, and the finale's way to the largest."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import aiosqlite
import msgspec

from bot.model import Person
from bot.parties.model import FinalePicture, PartyDream, Stage
from bot.store import Row
from bot.store.parties import Source, fetch

_SELECT = """
    SELECT party_dream.*, dream.person_id, dream.parent_id, dream.deleted_ms,
           person.name AS person_name,
           (SELECT json_group_array(association_id) FROM party_dream_association
            WHERE dream_id = party_dream.dream_id) AS associations
    FROM party_dream
    JOIN dream ON dream.id = party_dream.dream_id
    JOIN person ON person.id = dream.person_id
"""
OF_PARTY = f"{_SELECT} WHERE party_dream.party_id = ? ORDER BY party_dream.dream_id"
PARTY_OF = "SELECT party_id FROM party_dream WHERE dream_id = ?"
# The plus keeps to the party's own dreams.
DRAWN = """
    SELECT dream.id FROM party_dream JOIN dream ON dream.id = party_dream.dream_id
    WHERE party_dream.party_id = ? AND party_dream.stage IN ('sketch', 'elaborate')
    AND +dream.state = 'done' AND dream.deleted_ms IS NULL ORDER BY dream.id
"""
FINALE = "SELECT * FROM party_finale WHERE party_id = ? ORDER BY dream_id"
CHOSEN = """
    SELECT party_finale.*, dream.person_id AS author_id, person.name AS author_name
    FROM party JOIN party_finale ON party_finale.party_id = party.id
    JOIN dream ON dream.id = party_finale.dream_id JOIN person ON person.id = dream.person_id
    WHERE party.theme_id = ? ORDER BY party_finale.dream_id
"""
UNDER_WAY = """
    SELECT party_finale.*, person.name AS person_name
    FROM party_finale JOIN person ON person.id = party_finale.person_id WHERE done = 0
"""


async def insert(
    connection: aiosqlite.Connection,
    party_id: str,
    dream_ids: Iterable[str],
    stage: Stage,
    association_ids: Collection[int] = (),
    other_id: str | None = None,
) -> None:
    """Add dreams that have just been accepted to a party."""
    for dream_id in dream_ids:
        await connection.execute(
            "INSERT INTO party_dream (party_id, dream_id, stage, other_id) VALUES (?, ?, ?, ?)",
            (party_id, dream_id, stage, other_id),
        )
        await connection.executemany(
            "INSERT INTO party_dream_association (dream_id, association_id) VALUES (?, ?)",
            [(dream_id, association_id) for association_id in dict.fromkeys(association_ids)],
        )


async def party_of(source: Source, dream_id: str) -> str | None:
    """Return the id of the party that a dream belongs to, if it does."""
    rows = await fetch(source, PARTY_OF, (dream_id,))
    return str(rows[0]["party_id"]) if rows else None


async def of_party(source: Source, party_id: str) -> list[tuple[PartyDream, str | None, bool]]:
    """Return a party's dreams, oldest first: each with its parent's id, and whether it is there.

    Those that were deleted are among them, so that what came of them finds its ancestors.
    """
    return [
        (from_row(row), row["parent_id"], row["deleted_ms"] is None)
        for row in await fetch(source, OF_PARTY, (party_id,))
    ]


async def drawn(source: Source, party_id: str) -> list[str]:
    """Return the ids of the finished dreams that may be voted for, oldest first."""
    return [row["id"] for row in await fetch(source, DRAWN, (party_id,))]


async def choose(
    connection: aiosqlite.Connection,
    party_id: str,
    dream_id: str,
    person_id: str,
    redrawn_id: str | None,
    now_ms: int,
) -> None:
    """Note that a dream is in the finale, once; it is drawn anew as `redrawn_id`."""
    await connection.execute(
        """
        INSERT INTO party_finale (party_id, dream_id, person_id, redrawn_id, at_ms)
        VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (party_id, dream_id) DO UPDATE
        SET person_id = excluded.person_id, redrawn_id = excluded.redrawn_id, upscaled_id = NULL,
            done = 0, at_ms = excluded.at_ms
        """,
        (party_id, dream_id, person_id, redrawn_id, now_ms),
    )


async def end_chain(
    connection: aiosqlite.Connection,
    party_id: str,
    dream_id: str,
    redrawn_id: str | None,
    upscaled_id: str | None,
) -> bool:
    """Note what the last picture is and that no more comes; say whether one was waited for.

    `redrawn_id` is what was waited for: another may have been asked for meanwhile.
    """
    cursor = await connection.execute(
        """
        UPDATE party_finale SET upscaled_id = ?, done = 1
        WHERE party_id = ? AND dream_id = ? AND redrawn_id IS ? AND done = 0
        """,
        (upscaled_id, party_id, dream_id, redrawn_id),
    )
    return cursor.rowcount == 1


async def finale(source: Source, party_id: str) -> list[FinalePicture]:
    """Return the chosen dreams and what they became."""
    return [finale_from_row(row) for row in await fetch(source, FINALE, (party_id,))]


async def authors(source: Source, theme_id: int) -> dict[str, Person]:
    """Return whose what a finale made is, by its id: the authors of the chosen dreams.

    Empty where the theme is no party's.
    """
    found: dict[str, Person] = {}
    for row in await fetch(source, CHOSEN, (theme_id,)):  # what is made is younger: it comes later
        author = found.get(row["dream_id"], Person(row["author_id"], row["author_name"]))
        found |= {one: author for one in (row["redrawn_id"], row["upscaled_id"]) if one is not None}
    return found


async def under_way(source: Source) -> list[tuple[str, Person, FinalePicture]]:
    """Return what more is to come, with its party's id and who asked for it."""
    return [
        (row["party_id"], Person(row["person_id"], row["person_name"]), finale_from_row(row))
        for row in await fetch(source, UNDER_WAY)
    ]


def from_row(row: Row) -> PartyDream:
    """Read a party's dream from a row of the queries above."""
    return PartyDream(
        dream_id=row["dream_id"],
        stage=Stage(row["stage"]),
        person=Person(row["person_id"], row["person_name"]),
        association_ids=msgspec.json.decode(row["associations"], type=tuple[int, ...]),
        other_id=row["other_id"],
    )


def finale_from_row(row: Row) -> FinalePicture:
    """Read what a chosen dream became."""
    return FinalePicture(
        dream_id=row["dream_id"],
        redrawn_id=row["redrawn_id"],
        upscaled_id=row["upscaled_id"],
        done=bool(row["done"]),
    )
