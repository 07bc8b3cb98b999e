"""What people at a party say, each once, and who said so."""

from __future__ import annotations

from collections.abc import Collection

import aiosqlite
import msgspec

from bot.model import Person
from bot.parties.model import Association, AssociationKind
from bot.store import Row
from bot.store.parties import Source, fetch

_SELECT = """
    SELECT association.*, person.name AS person_name,
           (SELECT count(*) FROM party_saying WHERE association_id = association.id) AS count
    FROM party_association AS association JOIN person ON person.id = association.person_id
"""
OF_PARTY = f"{_SELECT} WHERE party_id = ? AND NOT hidden ORDER BY association.id"
BY_ID = f"{_SELECT} WHERE association.id = ?"
BY_WORDS = f"{_SELECT} WHERE party_id = ? AND kind = ? AND folded = ? AND hidden = 0"
# The plus keeps to what the person said lately.
SAID_BETWEEN = """
    SELECT count(*) AS count FROM party_saying
    JOIN party_association AS association ON association.id = party_saying.association_id
    WHERE party_saying.person_id = ? AND party_saying.at_ms BETWEEN ? AND ?
    AND +association.party_id = ?
"""
SAYERS = """
    SELECT association_id, person_id FROM party_saying
    WHERE association_id IN (SELECT value FROM json_each(?))
"""


async def find(
    source: Source, party_id: str, kind: AssociationKind, folded: str
) -> Association | None:
    """Return what is there already, compared by the folded words."""
    return _first(await fetch(source, BY_WORDS, (party_id, kind, folded)))


async def by_id(source: Source, association_id: int) -> Association | None:
    """Return one, also when it is hidden."""
    return _first(await fetch(source, BY_ID, (association_id,)))


async def of_party(source: Source, party_id: str) -> list[Association]:
    """Return what was said and is not hidden, in order."""
    return [from_row(row) for row in await fetch(source, OF_PARTY, (party_id,))]


async def count_between(
    source: Source, party_id: str, person_id: str, since_ms: int, until_ms: int
) -> int:
    """Return how much somebody has said at a party from a time to another, both counted."""
    values = (person_id, since_ms, until_ms, party_id)
    return int((await fetch(source, SAID_BETWEEN, values))[0]["count"])


async def sayers(source: Source, association_ids: Collection[int]) -> dict[int, set[str]]:
    """Return the ids of the people who said each."""
    found: dict[int, set[str]] = {one: set() for one in association_ids}
    ids = msgspec.json.encode(list(association_ids)).decode()
    for row in await fetch(source, SAYERS, (ids,)):
        found[row["association_id"]].add(row["person_id"])
    return found


async def insert(
    connection: aiosqlite.Connection,
    party_id: str,
    person_id: str,
    kind: AssociationKind,
    words: str,
    folded: str,
    now_ms: int,
) -> int:
    """Keep something new that somebody said, and return its id."""
    cursor = await connection.execute(
        """
        INSERT INTO party_association (party_id, person_id, kind, words, folded, at_ms)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        (party_id, person_id, kind, words, folded, now_ms),
    )
    assert cursor.lastrowid is not None
    await say(connection, cursor.lastrowid, person_id, now_ms)
    return cursor.lastrowid


async def say(
    connection: aiosqlite.Connection, association_id: int, person_id: str, now_ms: int
) -> bool:
    """Note that somebody said so, too; say whether they had not before."""
    cursor = await connection.execute(
        "INSERT INTO party_saying (association_id, person_id, at_ms) VALUES (?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (association_id, person_id, now_ms),
    )
    return cursor.rowcount == 1


async def hide(connection: aiosqlite.Connection, association_id: int) -> bool:
    """Take words away for good; say whether they were there."""
    cursor = await connection.execute(
        "UPDATE party_association SET hidden = 1, words = '', folded = '' "
        "WHERE id = ? AND hidden = 0",
        (association_id,),
    )
    return cursor.rowcount == 1


def from_row(row: Row) -> Association:
    """Read an association from a row of the queries above."""
    return Association(
        id=row["id"],
        party_id=row["party_id"],
        person=Person(row["person_id"], row["person_name"]),
        words=row["words"],
        kind=AssociationKind(row["kind"]),
        at_ms=row["at_ms"],
        count=row["count"],
        hidden=bool(row["hidden"]),
    )


def _first(rows: Collection[Row]) -> Association | None:
    for row in rows:
        return from_row(row)
    return None
