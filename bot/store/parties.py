"""Parties, who is there, and their stages.

What they say, draw and vote is kept by `party_words`, `party_dreams` and `party_votes`. Queries
take the store, or the connection of a transaction to see what that has changed already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import aiosqlite
import msgspec

from bot.model import Person
from bot.parties.model import Member, Party, PartySettings, Role, Stage, StageBegan
from bot.store import Row, Store

Source = Store | aiosqlite.Connection

_SELECT = """
    SELECT party.*, host.person_id AS host_id, person.name AS host_name
    FROM party
    JOIN party_member AS host ON host.party_id = party.id AND host.role = 'host'
    JOIN person ON person.id = host.person_id
"""
BY_ID = f"{_SELECT} WHERE party.id = ?"
BY_CODE = f"{_SELECT} WHERE party.code = ?"
BY_THEME = f"{_SELECT} WHERE party.theme_id = ?"
OPEN_IN = f"{_SELECT} WHERE party.channel_id = ? AND party.ended_ms IS NULL"
OPEN = f"{_SELECT} WHERE party.ended_ms IS NULL ORDER BY party.id"
ALL = f"{_SELECT} ORDER BY party.id DESC LIMIT ?"
AT_STAGE = f"{_SELECT} WHERE party.stage = ? ORDER BY party.id"
LAST_ID = "SELECT coalesce(max(id), '') AS id FROM party"
_MEMBERS = """
    SELECT party_member.*, person.name AS person_name
    FROM party_member JOIN person ON person.id = party_member.person_id
"""
MEMBERS = f"{_MEMBERS} WHERE party_id = ? ORDER BY joined_ms, person_id"
MEMBER = f"{_MEMBERS} WHERE party_id = ? AND person_id = ?"
HOSTED = """
    SELECT count(*) AS count FROM party_member JOIN party ON party.id = party_member.party_id
    WHERE person_id = ? AND role = 'host' AND party.ended_ms IS NULL
"""
STAGES = "SELECT stage, at_ms FROM party_stage WHERE party_id = ? ORDER BY id"
_COLUMNS: Final = (
    "id", "code", "theme_id", "topic", "stage", "guild_id", "channel_id", "settings",
    "created_ms", "stage_started_ms", "stage_minutes", "due_ms", "active_ms", "ended_ms",
)  # fmt: skip


async def fetch(source: Source, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
    """Return a query's rows: as committed, or as they are within a transaction."""
    if isinstance(source, Store):
        return await source.read(sql, parameters)
    return list(await source.execute_fetchall(sql, parameters))


async def insert(connection: aiosqlite.Connection, party: Party) -> None:
    """Add a party with its host, who is known already, and its first stage."""
    marks = ", ".join("?" for _ in _COLUMNS)
    values = [getattr(party, column) for column in _COLUMNS]
    values[_COLUMNS.index("settings")] = msgspec.json.encode(party.settings).decode()
    await connection.execute(
        f"INSERT INTO party ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 (own names)
        values,
    )
    host = Member(party_id=party.id, person=party.host, role=Role.HOST, joined_ms=party.created_ms)
    await put_member(connection, host)
    await add_stage(connection, party.id, party.stage, party.created_ms)


async def by_id(source: Source, party_id: str) -> Party | None:
    """Return the party with this id, if there is one."""
    return _first(await fetch(source, BY_ID, (party_id,)))


async def by_code(source: Source, code: str) -> Party | None:
    """Return the party with this code, if there is one."""
    return _first(await fetch(source, BY_CODE, (code,)))


async def by_theme(source: Source, theme_id: int) -> Party | None:
    """Return the party that a theme was made for, if it was."""
    return _first(await fetch(source, BY_THEME, (theme_id,)))


async def open_in(source: Source, channel_id: int) -> Party | None:
    """Return the party that is going on in a channel, if there is one."""
    return _first(await fetch(source, OPEN_IN, (channel_id,)))


async def open_ones(source: Source) -> list[Party]:
    """Return the parties that are going on, oldest first."""
    return [from_row(row) for row in await fetch(source, OPEN)]


async def newest(source: Source, limit: int) -> list[Party]:
    """Return parties, newest first."""
    return [from_row(row) for row in await fetch(source, ALL, (limit,))]


async def at_stage(source: Source, stage: Stage) -> list[Party]:
    """Return the parties that are, or have ended, at a stage, oldest first."""
    return [from_row(row) for row in await fetch(source, AT_STAGE, (stage,))]


async def last_id(source: Source) -> str:
    """Return the newest party's id, empty if there is none."""
    return str((await fetch(source, LAST_ID))[0]["id"])


async def count_hosted(source: Source, person_id: str) -> int:
    """Return how many open parties somebody is the host of."""
    return int((await fetch(source, HOSTED, (person_id,)))[0]["count"])


async def touch(connection: aiosqlite.Connection, party_id: str, now_ms: int) -> None:
    """Note that somebody did something."""
    await connection.execute("UPDATE party SET active_ms = ? WHERE id = ?", (now_ms, party_id))


async def set_stage(
    connection: aiosqlite.Connection, party_id: str, stage: Stage, due_ms: int | None, now_ms: int
) -> None:
    """Begin a stage."""
    await connection.execute(
        "UPDATE party SET stage = ?, stage_started_ms = ?, due_ms = ? WHERE id = ?",
        (stage, now_ms, due_ms, party_id),
    )
    await add_stage(connection, party_id, stage, now_ms)


async def set_timer(
    connection: aiosqlite.Connection, party_id: str, stage_minutes: int, due_ms: int | None
) -> None:
    """Set how long stages are meant to last, and when the host is told of this one."""
    await connection.execute(
        "UPDATE party SET stage_minutes = ?, due_ms = ? WHERE id = ?",
        (stage_minutes, due_ms, party_id),
    )


async def was_told(connection: aiosqlite.Connection, party_id: str, due_ms: int) -> bool:
    """Note that the host is told what was due then; say whether they had not been."""
    cursor = await connection.execute(
        "UPDATE party SET due_ms = NULL WHERE id = ? AND due_ms = ? AND ended_ms IS NULL",
        (party_id, due_ms),
    )
    return cursor.rowcount == 1


async def hold(
    connection: aiosqlite.Connection, party_id: str, channel_id: int, due_ms: int | None
) -> None:
    """Have a party be held in a channel, and its stage be over then."""
    await connection.execute(
        "UPDATE party SET channel_id = ?, due_ms = ? WHERE id = ?", (channel_id, due_ms, party_id)
    )


async def set_settings(
    connection: aiosqlite.Connection, party_id: str, settings: PartySettings
) -> None:
    """Change what a host chose."""
    await connection.execute(
        "UPDATE party SET settings = ? WHERE id = ?",
        (msgspec.json.encode(settings).decode(), party_id),
    )


async def set_ended(connection: aiosqlite.Connection, party_id: str, now_ms: int) -> bool:
    """End a party, and say whether it was open."""
    cursor = await connection.execute(
        "UPDATE party SET ended_ms = ?, due_ms = NULL WHERE id = ? AND ended_ms IS NULL",
        (now_ms, party_id),
    )
    return cursor.rowcount == 1


async def add_stage(
    connection: aiosqlite.Connection, party_id: str, stage: Stage, now_ms: int
) -> None:
    """Note that a stage began."""
    await connection.execute(
        "INSERT INTO party_stage (party_id, stage, at_ms) VALUES (?, ?, ?)",
        (party_id, stage, now_ms),
    )


async def stages(source: Source, party_id: str) -> list[StageBegan]:
    """Return which stage began when, the first one first."""
    rows = await fetch(source, STAGES, (party_id,))
    return [StageBegan(Stage(row["stage"]), row["at_ms"]) for row in rows]


async def put_member(connection: aiosqlite.Connection, member: Member) -> None:
    """Make a member's row be as it says. Their person is known already.

    Raises:
        sqlite3.IntegrityError: there would be two hosts.
    """
    await connection.execute(
        """
        INSERT INTO party_member (party_id, person_id, role, joined_ms, left_ms, removed, credited)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (party_id, person_id) DO UPDATE
        SET role = excluded.role, joined_ms = excluded.joined_ms, left_ms = excluded.left_ms,
            removed = excluded.removed, credited = excluded.credited
        """,
        (
            member.party_id,
            member.person.id,
            member.role,
            member.joined_ms,
            member.left_ms,
            member.removed,
            member.credited,
        ),
    )


async def member(source: Source, party_id: str, person_id: str) -> Member | None:
    """Return somebody as a member, also when they have left."""
    rows = await fetch(source, MEMBER, (party_id, person_id))
    return member_from_row(rows[0]) if rows else None


async def members(source: Source, party_id: str) -> list[Member]:
    """Return who is or was there, in the order in which they came last."""
    return [member_from_row(row) for row in await fetch(source, MEMBERS, (party_id,))]


def from_row(row: Row) -> Party:
    """Read a party from a row of the queries above."""
    values: dict[str, Any] = {column: row[column] for column in _COLUMNS}
    values["stage"] = Stage(values["stage"])
    values["settings"] = msgspec.json.decode(values["settings"], type=PartySettings)
    return Party(host=Person(row["host_id"], row["host_name"]), **values)


def member_from_row(row: Row) -> Member:
    """Read a member from a row of the queries above."""
    return Member(
        party_id=row["party_id"],
        person=Person(row["person_id"], row["person_name"]),
        role=Role(row["role"]),
        joined_ms=row["joined_ms"],
        left_ms=row["left_ms"],
        credited=bool(row["credited"]),
        removed=bool(row["removed"]),
    )


def _first(rows: Collection[Row]) -> Party | None:
    for row in rows:
        return from_row(row)
    return None
