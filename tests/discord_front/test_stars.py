"""⭐ on a card is a favourite: by whom, of what, and what it costs where it is none of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.model import Person
from bot.rights import Actor
from tests.bot.drawer import Services, until
from tests.discord_front.test_behaviour_cards import grid
from tests.discord_front.world import World, buttons_of, world


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.delivery.stars.GATHER_S", 0.01)


async def likes(parts: Services, dream_id: str, wanted: int) -> None:
    """Wait until so many people like a dream."""
    async with asyncio.timeout(10):
        while (await parts.moderation.favourites([dream_id]))[dream_id] != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def drawn(there: World, **options: Any) -> tuple[str, Any]:
    dream_id, _ = await there.ask(**options)
    await there.parts.draw(dream_id)
    return dream_id, await there.shows(-1, "seed")


async def test_a_star_is_a_like_until_it_is_taken_away(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await drawn(there)
        await there.bob.react(card, "⭐")
        await likes(there.parts, dream_id, 1)
        await there.shows(-1, "seed")
        await until(lambda: "♥ 1" in buttons_of(there.cards()[-1]))
        assert await there.parts.moderation.liked(Person(f"discord:{there.bob.id}", "")) == [
            dream_id
        ]
        # It is the same like as by the button: once for each person.
        await there.ann.click(there.cards()[-1], label="♥ 1")
        await likes(there.parts, dream_id, 2)
        await there.ann.react(card, "⭐")
        await there.bob.unreact(card, "⭐")
        await likes(there.parts, dream_id, 1)
        await there.ann.unreact(card, "⭐")
        await likes(there.parts, dream_id, 0)


async def test_what_is_no_star_of_ones_own_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await drawn(there)
        several, many = await grid(there, 2)
        for one in several:
            await there.parts.draw(one)
            await there.parts.dreams.wait(one)
        guild_id = there.env.guild.id
        moderator = Actor(
            Person(f"discord:{there.ann.id}", "ann"), guild_id=guild_id, moderates=True
        )
        blocked = there.env.guild.add_member(there.env.create_user("cee"))
        await there.parts.moderation.block(
            guild_id, Person(f"discord:{blocked.id}", "cee"), moderator
        )
        looked = []
        write = there.client.stars._write

        async def written(stars: list[Any]) -> None:
            looked.extend(stars)
            await write(stars)

        monkeypatch.setattr(there.client.stars, "_write", written)
        await blocked.react(card, "⭐")
        await there.bob.react(many, "⭐")  # it does not say which one is meant
        await there.bob.react(card, "🦊")
        own = await there.ann.send(there.channel, "look at this")
        await there.bob.react(own, "⭐")
        await there.bob.react(card, "⭐")  # comes after all others, and counts
        await likes(there.parts, dream_id, 1)
        mine = [star for star in looked if star.person.id == f"discord:{there.bob.id}"]
        assert sorted(star.message_id for star in mine) == sorted([card.id, many.id, own.id])
        counts = await there.parts.moderation.favourites([dream_id, *several])
        assert counts == {dream_id: 1, **dict.fromkeys(several, 0)}


async def test_reactions_to_what_others_wrote_are_not_looked_up(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        stars = there.client.stars
        raw: Any = {"user_id": "1", "channel_id": "2", "guild_id": "3", "type": 0}
        for message_id, (author_id, emoji, kind) in enumerate(
            [
                (7, "⭐", "REACTION_ADD"),
                (9, "🦊", "REACTION_ADD"),
                (None, "🦊", "REACTION_REMOVE"),
                (9, "⭐", "REACTION_ADD"),
                (None, "⭐", "REACTION_REMOVE"),  # Discord does not say whose message it is
            ]
        ):
            data = raw | {"message_id": str(message_id), "message_author_id": author_id}
            event = discord.RawReactionActionEvent(data, discord.PartialEmoji(name=emoji), kind)  # type: ignore[arg-type]
            stars.note(event, 9)
        assert [stars._coming.get_nowait().message_id for _ in range(stars._coming.qsize())] == [
            3,
            4,
        ]


async def test_the_last_of_several_left_on_a_card_is_meant(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        [first, second], card = await grid(there, 2)
        for one in (first, second):
            await there.parts.draw(one)
            await there.parts.dreams.wait(one)
        ann = Actor(Person(f"discord:{there.ann.id}", "ann"))
        await there.parts.dreams.delete(first, ann)
        await there.bob.react(card, "⭐")
        await likes(there.parts, second, 1)


async def test_a_flood_is_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await drawn(there)
        monkeypatch.setattr("bot.delivery.stars.GATHER_S", 0.5)
        writes = []
        there.parts.store.on_commit(lambda: writes.append(1))
        for _ in range(10):
            await there.bob.react(card, "⭐")
            await there.bob.unreact(card, "⭐")
        await there.bob.react(card, "⭐")
        await likes(there.parts, dream_id, 1)
        assert len(writes) <= 4
