"""What channels are shown as the best of their days: one row for a channel and a local day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import aiosqlite
import msgspec

from bot.store import Row, Store
from bot.store.sent_messages import SentMessages

BY_ID = "SELECT * FROM digest WHERE id = ?"
OPEN = "SELECT id FROM digest WHERE open = 1 ORDER BY id"
DREAMS = "SELECT dream_id FROM digest_dream WHERE digest_id = ? ORDER BY position"
NEWEST_UNTIL = """
    SELECT max(until_ms) AS until_ms FROM digest WHERE channel_id = ? AND until_ms <= ?
"""
SHOWING = """
    SELECT digest.id FROM digest_dream JOIN digest ON digest.id = digest_dream.digest_id
    WHERE digest_dream.dream_id = ? AND digest.sends > 0
"""
_SET = "SELECT changed_ms FROM channel_settings WHERE channel_id = ?"

MESSAGES = SentMessages("digest")


class DigestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One channel's best of one local day: what was asked for from `since_ms` to before `until_ms`.

    `sends` counts the messages begun: where it is above 0 and `message_id` None, a message may be
    there that is not known. `shown` is a digest of what the message is known to show. It is `open`
    until the message shows what it is to show, and again from the deletion of a picture.
    """

    id: int
    guild_id: int
    channel_id: int
    theme_id: int
    day: date
    since_ms: int
    until_ms: int
    message_id: int | None
    sends: int
    shown: str
    open: bool
    created_ms: int


async def newest_until(store: Store, channel_id: int, until_ms: int) -> int | None:
    """Return when the span of a channel's last digest up to a time ended, None where it had none.

    One that ends later is of a time when the clock was wrong.
    """
    row = await store.read_one(NEWEST_UNTIL, (channel_id, until_ms))
    return None if row is None else row["until_ms"]


async def set_ms(store: Store, channel_id: int) -> int:
    """Return when a channel's settings were last changed, 0 where it has none."""
    row = await store.read_one(_SET, (channel_id,))
    return 0 if row is None else int(row["changed_ms"])


async def order(
    connection: aiosqlite.Connection,
    *,
    guild_id: int,
    channel_id: int,
    theme_id: int,
    day: date,
    since_ms: int,
    until_ms: int,
    dream_ids: Sequence[str],
    now_ms: int,
) -> int | None:
    """Have a channel's day shown; return the row's id, None where that day has one already.

    Without dreams there is nothing to be posted, and the row only says so.
    """
    cursor = await connection.execute(
        """
        INSERT INTO digest
            (guild_id, channel_id, theme_id, day, since_ms, until_ms, open, created_ms)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (channel_id, day) DO NOTHING
        """,
        (
            guild_id,
            channel_id,
            theme_id,
            day.isoformat(),
            since_ms,
            until_ms,
            int(bool(dream_ids)),
            now_ms,
        ),
    )
    if not cursor.rowcount:
        return None
    digest_id = cursor.lastrowid
    assert digest_id is not None
    await connection.executemany(
        "INSERT INTO digest_dream (digest_id, dream_id, position) VALUES (?, ?, ?)",
        [(digest_id, dream_id, place) for place, dream_id in enumerate(dream_ids)],
    )
    return digest_id


async def by_id(store: Store, digest_id: int) -> DigestRow | None:
    """Return a digest, if there is one with this id."""
    row = await store.read_one(BY_ID, (digest_id,))
    return None if row is None else _from_row(row)


async def open_ids(store: Store) -> list[int]:
    """Return the digests that do not show yet what they are to show, oldest first."""
    return [row["id"] for row in await store.read(OPEN)]


async def dreams_of(store: Store, digest_id: int) -> list[str]:
    """Return the ids of a digest's dreams, the best first."""
    return [row["dream_id"] for row in await store.read(DREAMS, (digest_id,))]


async def close(connection: aiosqlite.Connection, digest_id: int, there: int) -> bool:
    """Record that a digest shows what it is to show; say whether it does.

    It does not where fewer than `there` of its dreams are still there: the message shows one that
    was deleted.
    """
    cursor = await connection.execute(
        """
        UPDATE digest SET open = 0 WHERE id = ? AND (
            SELECT count(*) FROM digest_dream JOIN dream ON dream.id = digest_dream.dream_id
            WHERE digest_id = digest.id AND dream.deleted_ms IS NULL
        ) >= ?
        """,
        (digest_id, there),
    )
    return cursor.rowcount == 1


async def reopen(connection: aiosqlite.Connection, dream_id: str) -> list[int]:
    """Have the messages that show a dream shown anew, since it was deleted; return their rows."""
    rows = await connection.execute_fetchall(SHOWING, (dream_id,))
    found = [int(row["id"]) for row in rows]
    await connection.executemany(
        "UPDATE digest SET open = 1 WHERE id = ?", [(digest_id,) for digest_id in found]
    )
    return found


def _from_row(row: Row) -> DigestRow:
    values = {name: row[name] for name in DigestRow.__struct_fields__}
    values |= {"day": date.fromisoformat(row["day"]), "open": bool(row["open"])}
    return DigestRow(**values)
