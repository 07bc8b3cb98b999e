"""Where people ask besides a server's ordinary channel: who sees what is drawn there, and where."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.discord_front import places
from tests.discord_front.looks import labels_of, text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import ANN, Json
from tests.discord_front.shipped import Bot, finished, is_final


@pytest.mark.parametrize("place", [places.THREAD, places.ADULTS])
async def test_threads_and_age_restricted_channels_have_cards_of_their_own(
    bot: Bot, discord: Discord, place: int
) -> None:
    places.open_all(discord.rest, 2)
    await bot.joined()
    await discord.slash("dream", prompt="a red fox", steps=5, place=place)
    card = await finished(discord, place=place)
    form = (await discord.callback(await discord.press(card, "Remix")))["data"]
    await discord.submit(form, "a blue whale", place=place)
    assert "a blue whale" in text_of(await finished(discord, 1, place=place))
    assert len(discord.rest.messages) == 2
    assert await bot.stop() == 0
    with closing(sqlite3.connect(bot.folder / "data" / "dreamstream.db")) as connection:
        published = connection.execute("SELECT DISTINCT published FROM dream").fetchall()
    assert published == [(0 if place == places.ADULTS else 1,)]
    assert "Traceback" not in bot.said()


async def test_where_the_bot_was_not_invited_only_who_asked_sees_it(
    bot: Bot, discord: Discord
) -> None:
    places.open_all(discord.rest, 2)
    await bot.joined()
    for place in (places.direct(ANN), places.GROUP, places.ABROAD):
        before = len(discord.rest.follow_ups)
        asked = await discord.slash("dream", prompt="a red fox", steps=5, place=place)
        assert "only you see this" in await discord.answer(asked)

        def shown(number: int = before) -> Json | None:
            cards = [*discord.rest.follow_ups.values()][number:]
            return cards[0] if cards and is_final(cards[0]) else None

        def other(number: int = before + 1) -> bool:
            return len(discord.rest.follow_ups) > number

        card: Json = await discord.until(shown, "the follow-up")
        assert card["flags"] & 1 << 6
        assert card["channel_id"] == str(place)
        again = await discord.press(card, "Another seed")
        assert "only you see this" in await discord.answer(again)
        await discord.until(other, "the other follow-up")
        assert "Delete" in labels_of(card)
    assert not discord.rest.messages
    assert await bot.stop() == 0
    with closing(sqlite3.connect(bot.folder / "data" / "dreamstream.db")) as connection:
        assert connection.execute("SELECT DISTINCT published FROM dream").fetchall() == [(0,)]
    assert "Traceback" not in bot.said()


async def test_a_theme_is_given_a_thread_and_drawn_for_there(bot: Bot, discord: Discord) -> None:
    await bot.joined()
    asked = await discord.slash("theme thread", theme="open")
    answer = await discord.answer(asked)
    [thread] = [one for one in discord.rest.channels.values() if "thread_metadata" in one]
    place = int(thread["id"])
    assert f"<#{place}>" in answer
    await discord.until(lambda: discord.cards(place), "the guide")
    assert "Say what you would like to see" in text_of(discord.cards(place)[0])
    await discord.slash("dream", prompt="a red fox", steps=5, place=place)
    await discord.until(
        lambda: any("a red fox" in text_of(one) for one in discord.cards(place)), "its card"
    )
    again = await discord.slash("party start", topic="the sea", thread=True)
    assert "The party is open in <#" in await discord.answer(again)
    assert sum("thread_metadata" in one for one in discord.rest.channels.values()) == 2
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()
