"""What is to be shown in Discord: one row per dream and channel, whatever became of its message.

A row is `open` until its message is known to show the dream's end. Changes are guarded: a row
that is open no more does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import aiosqlite
import msgspec

from bot.model import Dream
from bot.store import Row, Store

BY_ID = "SELECT * FROM delivery WHERE id = ?"
OPEN = "SELECT * FROM delivery WHERE state = 'open' ORDER BY id"
OPEN_OF_DREAM = "SELECT * FROM delivery WHERE dream_id = ? AND state = 'open' ORDER BY id"
OF_DREAM = "SELECT * FROM delivery WHERE dream_id = ? ORDER BY id"


class DeliveryState(StrEnum):
    """Where a delivery is: under way, showing the dream's end, or never to."""

    OPEN = "open"
    SETTLED = "settled"
    GIVEN_UP = "given_up"


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One message that is to show a dream in a channel.

    `sends` counts the messages begun: where it is above 0 and `message_id` None, a message may be
    there that is not known. `replaced_id` is an older one that is still to be taken away.
    """

    id: int
    dream_id: str
    guild_id: int
    channel_id: int
    message_id: int | None
    replaced_id: int | None
    sends: int
    shown: str
    state: DeliveryState
    reason: str
    created_ms: int
    changed_ms: int


async def order(
    connection: aiosqlite.Connection,
    dreams: Sequence[Dream],
    guild_id: int,
    channel_id: int,
    now_ms: int,
) -> None:
    """Have dreams shown in a channel."""
    await connection.executemany(
        """
        INSERT INTO delivery (dream_id, guild_id, channel_id, created_ms, changed_ms)
        VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (dream_id, channel_id) DO NOTHING
        """,
        [(dream.id, guild_id, channel_id, now_ms, now_ms) for dream in dreams],
    )


async def begin_send(connection: aiosqlite.Connection, delivery_id: int, now_ms: int) -> None:
    """Record that a new message is about to be sent; one that is known is to be replaced.

    Trying again what may have been sent before does not count as another message.
    """
    await connection.execute(
        """
        UPDATE delivery
        SET sends = sends + (sends = 0 OR message_id IS NOT NULL),
            replaced_id = coalesce(message_id, replaced_id), message_id = NULL, changed_ms = ?
        WHERE id = ? AND state = 'open'
        """,
        (now_ms, delivery_id),
    )


async def sent(
    connection: aiosqlite.Connection, delivery_id: int, message_id: int, now_ms: int
) -> None:
    """Record which message shows the dream."""
    await connection.execute(
        "UPDATE delivery SET message_id = ?, changed_ms = ? WHERE id = ? AND state = 'open'",
        (message_id, now_ms, delivery_id),
    )


async def replaced(connection: aiosqlite.Connection, delivery_id: int) -> None:
    """Record that the older message is gone."""
    await connection.execute("UPDATE delivery SET replaced_id = NULL WHERE id = ?", (delivery_id,))


async def close(
    connection: aiosqlite.Connection,
    delivery_id: int,
    state: DeliveryState,
    now_ms: int,
    *,
    shown: str = "",
    reason: str = "",
) -> None:
    """End a delivery: its message shows the dream's end, or never will."""
    await connection.execute(
        """
        UPDATE delivery SET state = ?, shown = ?, reason = ?, changed_ms = ?
        WHERE id = ? AND state = 'open'
        """,
        (state, shown, reason, now_ms, delivery_id),
    )


async def open_rows(store: Store, dream_id: str | None = None) -> list[DeliveryRow]:
    """Return the deliveries that are under way, of one dream or all, oldest first."""
    if dream_id is None:
        return [from_row(row) for row in await store.read(OPEN)]
    return [from_row(row) for row in await store.read(OPEN_OF_DREAM, (dream_id,))]


async def by_id(store: Store, delivery_id: int) -> DeliveryRow:
    """Return a delivery that is known to be there."""
    row = await store.read_one(BY_ID, (delivery_id,))
    assert row is not None
    return from_row(row)


async def of_dream(store: Store, dream_id: str) -> list[DeliveryRow]:
    """Return all deliveries of a dream, oldest first."""
    return [from_row(row) for row in await store.read(OF_DREAM, (dream_id,))]


def from_row(row: Row) -> DeliveryRow:
    """Read a delivery from a row that has its columns."""
    values = {name: row[name] for name in DeliveryRow.__struct_fields__}
    values["state"] = DeliveryState(values["state"])
    return DeliveryRow(**values)
