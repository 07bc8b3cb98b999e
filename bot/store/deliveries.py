"""What is to be shown in Discord: one row per card, whatever became of its message.

A card shows the dreams that were asked for together. Its row is `open` until its message is known
to show the end of them all; and again when one of them was deleted, until it shows that one no
more. Changes are guarded: a row that is not open does not change, and nobody closes one who does
not know of all its dreams.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import aiosqlite
import msgspec

from bot.model import Dream
from bot.store import Row, Store

MAX_DREAMS = 100
"""How many dreams one card shows at the most."""

# The order of what group_concat joins is not promised, so each brings its position.
_SELECT = """
    SELECT delivery.*, (
        SELECT group_concat(position || ':' || dream_id)
        FROM delivery_dream AS shown WHERE shown.delivery_id = delivery.id
    ) AS dreams
    FROM delivery
"""
_OF_DREAM = f"""
    {_SELECT} JOIN delivery_dream AS about ON about.delivery_id = delivery.id
    WHERE about.dream_id = ?
"""
BY_ID = f"{_SELECT} WHERE id = ?"
OPEN = f"{_SELECT} WHERE state = 'open' ORDER BY id"
OPEN_OF_DREAM = f"{_OF_DREAM} AND +state = 'open' ORDER BY id"
OF_DREAM = f"{_OF_DREAM} ORDER BY id"
SHOWN_BY = """
    SELECT delivery.message_id, shown.dream_id FROM delivery
    JOIN delivery_dream AS shown ON shown.delivery_id = delivery.id
    JOIN dream ON dream.id = shown.dream_id
    WHERE delivery.message_id IN ({marks}) AND dream.deleted_ms IS NULL
"""
_AT_ONCE = 500  # within the variables that every SQLite takes


class DeliveryState(StrEnum):
    """Where a delivery is: under way, showing its dreams' ends, or never to."""

    OPEN = "open"
    SETTLED = "settled"
    GIVEN_UP = "given_up"


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """One message that is to show dreams in a channel: `dream_ids`, in order.

    `dream_id` is the first of those that it was made for, and names it. `sends` counts the
    messages begun: where it is above 0 and `message_id` None, a message may be there that is not
    known. `replaced_id` is an older one that is still to be taken away. `shown` is what the
    message is known to have shown in the end; empty before that.
    """

    id: int
    dream_id: str
    dream_ids: tuple[str, ...]
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

    @property
    def open(self) -> bool:
        """Whether its message does not show yet what it is to show."""
        return self.state is DeliveryState.OPEN


async def order(
    connection: aiosqlite.Connection,
    dreams: Sequence[Dream],
    guild_id: int,
    channel_id: int,
    now_ms: int,
    *,
    onto: str | None = None,
) -> str:
    """Have dreams shown in a channel, together on one card; return the dream that names it.

    `onto` names a card that was ordered before: they come onto that one, where it is still open
    and has room, else onto one of their own.
    """
    found = await connection.execute_fetchall(
        """
        SELECT id, (SELECT count(*) FROM delivery_dream WHERE delivery_id = delivery.id) AS held
        FROM delivery WHERE dream_id = ? AND channel_id = ? AND state = 'open'
        """,
        (onto, channel_id),
    )
    (delivery_id, held) = next(iter(found), (None, 0))
    rest = list(dreams)
    while rest:
        if delivery_id is None or held >= MAX_DREAMS:
            delivery_id, held = await _insert(connection, rest[0], guild_id, channel_id, now_ms), 0
            onto = rest[0].id
        taken, rest = rest[: MAX_DREAMS - held], rest[MAX_DREAMS - held :]
        await connection.executemany(
            """
            INSERT INTO delivery_dream (delivery_id, dream_id, position) VALUES (?, ?, ?)
            ON CONFLICT DO NOTHING
            """,
            [(delivery_id, dream.id, held + place) for place, dream in enumerate(taken)],
        )
        held += len(taken)
    assert onto is not None, "no dreams"
    return onto


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


async def refused(connection: aiosqlite.Connection, delivery_id: int) -> None:
    """Record that the first message was refused: none is there that is not known."""
    await connection.execute(
        "UPDATE delivery SET sends = 0 WHERE id = ? AND sends = 1 AND message_id IS NULL",
        (delivery_id,),
    )


async def sent(
    connection: aiosqlite.Connection, delivery_id: int, message_id: int, now_ms: int
) -> None:
    """Record which message shows the dreams."""
    await connection.execute(
        "UPDATE delivery SET message_id = ?, changed_ms = ? WHERE id = ? AND state = 'open'",
        (message_id, now_ms, delivery_id),
    )


async def replaced(connection: aiosqlite.Connection, delivery_id: int) -> None:
    """Record that the older message is gone."""
    await connection.execute("UPDATE delivery SET replaced_id = NULL WHERE id = ?", (delivery_id,))


async def close(
    connection: aiosqlite.Connection,
    row: DeliveryRow,
    state: DeliveryState,
    now_ms: int,
    *,
    shown: str = "",
    reason: str = "",
    there: int | None = None,
) -> bool:
    """End a delivery: its message shows its dreams' ends, or never will.

    Where a message that was to replace one is not known to be there, that one stays its message.
    Says whether it did. It does not where dreams came onto the card that `row` does not have, nor
    where fewer than `there` of them are still there: the message shows one that was deleted.
    """
    cursor = await connection.execute(
        """
        UPDATE delivery SET state = ?, shown = ?, reason = ?, changed_ms = ?,
            replaced_id = iif(message_id IS NULL, NULL, replaced_id),
            message_id = coalesce(message_id, replaced_id)
        WHERE id = ? AND state = 'open'
        AND (SELECT count(*) FROM delivery_dream WHERE delivery_id = delivery.id) = ?
        AND (
            SELECT count(*) FROM delivery_dream JOIN dream ON dream.id = delivery_dream.dream_id
            WHERE delivery_id = delivery.id AND dream.deleted_ms IS NULL
        ) >= ?
        """,
        (state, shown, reason, now_ms, row.id, len(row.dream_ids), there or 0),
    )
    return cursor.rowcount == 1


async def reopen(connection: aiosqlite.Connection, delivery_id: int, now_ms: int) -> None:
    """Have a message that was done with shown anew, since one of its dreams was deleted."""
    await connection.execute(
        """
        UPDATE delivery SET state = 'open', changed_ms = ?
        WHERE id = ? AND state <> 'open' AND message_id IS NOT NULL
        """,
        (now_ms, delivery_id),
    )


async def open_rows(store: Store, dream_id: str | None = None) -> list[DeliveryRow]:
    """Return the deliveries that are under way, those with one dream or all, oldest first."""
    if dream_id is None:
        return [from_row(row) for row in await store.read(OPEN)]
    return [from_row(row) for row in await store.read(OPEN_OF_DREAM, (dream_id,))]


async def by_id(store: Store, delivery_id: int) -> DeliveryRow:
    """Return a delivery that is known to be there."""
    row = await store.read_one(BY_ID, (delivery_id,))
    assert row is not None
    return from_row(row)


async def of_dream(store: Store, dream_id: str) -> list[DeliveryRow]:
    """Return all deliveries that show a dream, oldest first."""
    return [from_row(row) for row in await store.read(OF_DREAM, (dream_id,))]


async def dreams_of_messages(
    store: Store, message_ids: Sequence[int]
) -> dict[int, tuple[str, ...]]:
    """Return which dreams messages show that were not deleted; nothing of unknown messages."""
    found: dict[int, tuple[str, ...]] = {}
    for begin in range(0, len(message_ids), _AT_ONCE):
        some = message_ids[begin : begin + _AT_ONCE]
        marks = ", ".join("?" for _ in some)
        for row in await store.read(SHOWN_BY.format(marks=marks), some):
            found[row["message_id"]] = (*found.get(row["message_id"], ()), row["dream_id"])
    return found


def from_row(row: Row) -> DeliveryRow:
    """Read a delivery from a row of the queries above."""
    places = (shown.partition(":") for shown in (row["dreams"] or "").split(",") if shown)
    dream_ids = [dream_id for _, dream_id in sorted((int(at), name) for at, _, name in places)]
    values = {name: row[name] for name in DeliveryRow.__struct_fields__ if name != "dream_ids"}
    values["state"] = DeliveryState(values["state"])
    return DeliveryRow(dream_ids=tuple(dream_ids), **values)


async def _insert(
    connection: aiosqlite.Connection, first: Dream, guild_id: int, channel_id: int, now_ms: int
) -> int:
    cursor = await connection.execute(
        """
        INSERT INTO delivery (dream_id, guild_id, channel_id, created_ms, changed_ms)
        VALUES (?, ?, ?, ?, ?)
        """,
        (first.id, guild_id, channel_id, now_ms, now_ms),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid
