"""Which dreams a Discord message of ours shows."""

from __future__ import annotations

from bot.store import Store

SHOWN = """
    SELECT delivery_dream.dream_id FROM delivery
    JOIN delivery_dream ON delivery_dream.delivery_id = delivery.id
    WHERE delivery.message_id = ? AND delivery.channel_id = ?
    ORDER BY delivery_dream.position
"""


async def dreams_on(store: Store, channel_id: int, message_id: int) -> list[str]:
    """Return the ids of the dreams on a message, in order; none where it is not a card."""
    rows = await store.read(SHOWN, (message_id, channel_id))
    return [row["dream_id"] for row in rows]
