"""What goes to make room leaves Discord's messages alone."""

from __future__ import annotations

from pathlib import Path

from bot.checkpoints import CHECKPOINTS, Checkpoints
from bot.retention import Retention, RetentionRules
from bot.store import deliveries
from tests.discord_front.test_behaviour_cards import settled
from tests.discord_front.world import world


async def test_a_message_stays_when_its_dream_goes_to_make_room(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        await there.parts.draw(dream_id)
        await settled(there)
        parts = there.parts
        kept = Checkpoints(parts.library.root / CHECKPOINTS)
        retention = Retention(parts.store, parts.library, kept, RetentionRules(keep_days=1))
        async with parts.store.write() as connection:
            await connection.execute("UPDATE dream SET ended_ms = 1")
        before = there.cards()[0]
        assert [count async for count in retention.turns()] == [1]
        # What comes after it in the stream is seen after it.
        second, _ = await there.ask()
        await parts.draw(second)
        await settled(there)
        [row] = await deliveries.of_dream(parts.store, dream_id)
        assert row.state == "settled"
        first = next(card for card in there.cards() if card.id == before.id)
        assert len(first.attachments) == len(before.attachments) == 1
        result = await there.ann.click(first, label="Delete")
        assert "was deleted" in result.response.content
