"""The best of the day in a channel: posted once, changed by deletions, and never in two places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.delivery.digest_cards import DigestCards
from bot.digest import LATEST_MS, Digests
from bot.model import Person
from bot.rights import Actor
from bot.settings import DigestPlace
from bot.store import digests as rows
from tests.bot.drawer import until
from tests.discord_front.test_behaviour_cards import items_of
from tests.discord_front.test_commands import member
from tests.discord_front.world import World, text_of, world

HOUR_MS = 3600 * 1000


@pytest.fixture(autouse=True)
def of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let histories be searched from their beginning: simcord's messages are months old."""
    monkeypatch.setattr("bot.delivery.sender.snowflake_at", lambda at_ms: 1)
    monkeypatch.setattr("bot.delivery.posting.FIRST_DELAY_S", 0.05)


class Clock:
    """A clock that is set; the hour strikes soon."""

    def __init__(self) -> None:
        hour = datetime.now(UTC) + timedelta(hours=2)
        self.hour = hour.hour
        self.at_ms = int(hour.replace(minute=0, second=0, microsecond=0).timestamp() * 1000)

    def __call__(self) -> int:
        return self.at_ms


async def begin(there: World, clock: Callable[[], int]) -> DigestCards:
    """Have the digests looked after by another, as after a restart, whose clock is this one."""
    client, front = there.client, there.client.front
    await client.digests.stop()
    digests = Digests(front.store, front.settings, front.channels, clock=clock)
    made = DigestCards(front, client, client.delivery.lane, digests)
    client.delivery._when_deleted = [made.deleted]
    client.delivery.companions = (client.party_cards, made)
    client.digests = made
    await made.start()
    return made


async def liked(there: World, *people: Any, **options: Any) -> str:
    """Have Ann ask for a picture, and people like it."""
    dream_id, _ = await there.ask(**options)
    await there.parts.draw(dream_id)
    for one in people:
        person = Person(f"discord:{one.id}", one.name)
        await there.parts.moderation.favourite(dream_id, person)
    await until(lambda: not there.client.delivery.unsettled)
    return dream_id


def digests_in(there: World) -> list[discord.Message]:
    return [card for card in there.cards() if "The best of the day" in text_of(card)]


async def settled(there: World) -> None:
    async with asyncio.timeout(20):
        while await rows.open_ids(there.parts.store):  # noqa: ASYNC110 (a row tells nobody)
            await asyncio.sleep(0.005)


async def set_hour(there: World, clock: Clock) -> Any:
    host = member(there, "admin", manage_guild=True)
    result = await host.slash(there.channel, "settings channel", digest_hour=clock.hour)
    assert f"at {clock.hour}:00 (UTC)" in result.response.content
    return host


async def test_the_best_of_the_day_is_posted_once_and_loses_what_is_deleted(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        one = await liked(there, there.ann, prompt="a *red* fox @everyone")
        two = await liked(there, there.ann, there.bob, prompt="a lighthouse")
        await liked(there, prompt="nobody likes this")
        await set_hour(there, clock)
        cards = await begin(there, clock)
        await until(lambda: digests_in(there))
        await settled(there)
        [card] = digests_in(there)
        said = text_of(card)
        assert said.index("a lighthouse") < said.index(r"a \*red\* fox")
        assert "♥ 2" in said and "♥ 1" in said and "nobody likes" not in said
        assert "@everyone" not in said and f"<t:{clock.at_ms // 1000}:f>" in said
        assert len(items_of(card)) == 2
        # Its menu leads to the picture with all its buttons, for whoever chose it.
        result = await there.bob.select(card, [one])
        assert result.ephemeral and one in text_of(result.response.message)
        posts = there.posts()
        for _ in range(3):
            await cards.look()
            await (await begin(there, clock)).look()
        clock.at_ms += HOUR_MS
        await there.client.digests.look()
        await settled(there)
        assert there.posts() == posts and len(digests_in(there)) == 1

        ann = Actor(Person(f"discord:{there.ann.id}", "ann"))
        await there.parts.dreams.delete(two, ann)
        await until(lambda: "a lighthouse" not in text_of(digests_in(there)[0]))
        await settled(there)
        assert len(items_of(digests_in(there)[0])) == 1
        await there.parts.dreams.delete(one, ann)
        await until(lambda: not digests_in(there))
        await settled(there)
        assert there.posts() == posts


async def test_a_crash_in_mid_post_gives_one_message(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        await liked(there, there.bob)
        await set_hour(there, clock)
        await begin(there, clock)
        await until(lambda: digests_in(there))
        await settled(there)
        posts = there.posts()
        # The message was made, but that it was is not known.
        async with there.parts.store.write() as connection:
            await connection.execute("UPDATE digest SET message_id = NULL, shown = '', open = 1")
        await begin(there, clock)
        await settled(there)
        assert there.posts() == posts and len(digests_in(there)) == 1
        [row] = await there.parts.store.read("SELECT * FROM digest")
        assert (row["message_id"], row["sends"]) == (digests_in(there)[0].id, 1)


def refused(there: World, times: int) -> None:
    """Have Discord not take the next messages: a permission is lacking."""
    there.env.inject_error("POST", "/channels/*/messages", status=403, code=50013, times=times)


async def test_one_that_was_written_down_is_posted_whatever_goes_wrong_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        await liked(there, there.bob)
        await set_hour(there, clock)
        order_due, failed = Digests.order_due, asyncio.Event()

        async def failing(self: Digests, parent_of: Any) -> list[int]:
            await order_due(self, parent_of)
            failed.set()
            raise RuntimeError("a mistake")

        monkeypatch.setattr(Digests, "order_due", failing)
        await begin(there, clock)
        await until(failed.is_set)
        await until(lambda: digests_in(there))
        await settled(there)


async def test_where_it_may_not_post_it_tries_for_half_a_day(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        dream_id = await liked(there, there.bob)
        await set_hour(there, clock)
        refused(there, 1)
        cards = await begin(there, clock)
        await until(lambda: digests_in(there))
        await settled(there)
        assert len(digests_in(there)) == 1 and not cards._retries

        async with there.parts.store.write() as connection:
            await rows.order(
                connection,
                guild_id=there.env.guild.id,
                channel_id=there.channel.id,
                theme_id=1,
                day=date(2020, 1, 1),
                since_ms=clock.at_ms - 30 * HOUR_MS,
                until_ms=clock.at_ms - LATEST_MS + 60_000,
                dream_ids=[dream_id],
                now_ms=clock.at_ms,
            )
        refused(there, 10**6)
        cards = await begin(there, clock)
        await until(lambda: cards._retries)
        clock.at_ms += 2 * 60_000
        await settled(there)  # as one that is not to be shown any more
        [row] = await there.parts.store.read("SELECT * FROM digest WHERE day = '2020-01-01'")
        assert (row["message_id"], row["sends"]) == (None, 0)
        assert len(digests_in(there)) == 1


@pytest.mark.usefixtures("impatient")
async def test_one_that_may_not_be_changed_for_too_long_waits_for_the_next_deletion(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        words = ("a red fox", "a lighthouse", "a cliff")
        made = [await liked(there, there.ann, prompt=prompt) for prompt in words]
        await set_hour(there, clock)
        await begin(there, clock)
        await until(lambda: digests_in(there))
        await settled(there)
        ann = Actor(Person(f"discord:{there.ann.id}", "ann"))
        digest = digests_in(there)[0]
        path = f"/channels/*/messages/{digest.id}"
        there.env.inject_error("PATCH", path, status=403, code=50013)
        await there.parts.dreams.delete(made[0], ann)
        await until(lambda: "will not be shown: 403" in caplog.text)
        await settled(there)
        assert all(one in text_of(digests_in(there)[0]) for one in words)
        await there.parts.dreams.delete(made[1], ann)
        await until(lambda: "a lighthouse" not in text_of(digests_in(there)[0]))
        await settled(there)
        assert "a red fox" not in text_of(digests_in(there)[0])


async def test_zones_are_offered_and_the_digest_is_turned_off(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = await set_hour(there, Clock())
        offered = await host.autocomplete(there.channel, "settings server", "time_zone", "berl")
        assert [choice["value"] for choice in offered] == ["Europe/Berlin"]
        offered = await host.autocomplete(there.channel, "settings server", "time_zone", "new y")
        assert offered[0]["value"] == "America/New_York"
        result = await host.slash(there.channel, "settings server", time_zone="europe/berlin")
        assert "(Europe/Berlin)" in result.response.content
        result = await host.slash(there.channel, "settings server", time_zone="Mars/Olympus")
        assert "There is no such time zone" in result.response.content
        result = await host.slash(there.channel, "settings channel", digest_hour=-1)
        assert "The best of the day is posted: **never**" in result.response.content
        assert there.parts.settings.digests() == []


async def test_a_server_that_has_sent_the_bot_away_is_not_asked_about(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        await set_hour(there, clock)
        cards = await begin(there, clock)
        gone = DigestPlace(there.env.guild.id + 1, there.channel.id + 1, clock.hour, "UTC")
        there.env.inject_error("GET", "/channels/*", status=403, code=50001, times=10**6)
        with pytest.raises(LookupError):
            await cards._parent_of(gone)
