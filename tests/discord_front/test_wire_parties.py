"""Parties over the wire, in Discord alone, with the program killed in every stage, and before.

Only with `DREAMSTREAM_SLOW_TESTS=1`: `tests/test_whole_party.py` holds one with all fronts always.
"""

from __future__ import annotations

import os

import pytest

from tests.discord_front.looks import labels_of, text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.partying import answer_of, at, cards_of, choose, fill, form_of, offered
from tests.discord_front.payloads import ANN
from tests.discord_front.shipped import SETTINGS, Bot

BOB = ANN + 1


async def killed(bot: Bot) -> None:
    """Kill and start the program."""
    await bot.kill()
    await bot.joined()


@pytest.mark.skipif("DREAMSTREAM_SLOW_TESTS" not in os.environ, reason="takes a minute")
async def test_a_party_goes_on_whatever_dies(bot: Bot, discord: Discord) -> None:
    (bot.folder / "config.toml").write_text(
        SETTINGS.replace("[wall]", '[wall]\npublic_url = "https://wall.example"')
    )
    await bot.joined()
    asked = await discord.slash("party start", topic="the sea", by=ANN)
    assert "The party is open" in await discord.answer(asked), bot.said()
    card = await at(discord, "Gather")
    assert "https://wall.example/p/" in text_of(card)
    assert [one["filename"] for one in card["attachments"]] == ["join.png"]

    asked = await discord.press(card, "Join", by=BOB)
    assert "as guest" in await discord.answer(asked)
    form = await form_of(discord, card, "Say a word", BOB)
    await killed(bot)  # with the form open
    said = await fill(discord, form, BOB, words="waves\nfog", kind=["idea"])
    assert await discord.answer(said) == "2 things were said."
    card = await at(discord, "Gather", "waves · fog")
    await discord.answer(await discord.press(card, "Start sketching", by=ANN))

    card = await at(discord, "Sketch")
    form = await form_of(discord, card, "Sketch", BOB)
    asked = await fill(discord, form, BOB, words="a harbour")
    assert "4 sketches." in await discord.answer(asked)
    await killed(bot)  # while they are drawn
    card = await at(discord, "Sketch", "4 finished.")
    await discord.answer(await discord.press(card, "Start elaborating", by=ANN))
    await killed(bot)  # before or after the new card: nobody knows

    card = await at(discord, "Elaborate")
    message = await answer_of(discord, card, "Combine", BOB)
    asked = await choose(discord, message, offered(message)[:2], BOB)
    assert "put together" in await discord.answer(asked)
    card = await at(discord, "Elaborate", "5 finished.")
    await discord.answer(await discord.press(card, "Start choosing", by=ANN))

    card = await at(discord, "Choose")
    form = await form_of(discord, card, "Points", BOB)
    await killed(bot)
    best = form["components"][0]["component"]["options"][0]["value"]
    asked = await fill(discord, form, BOB, point1=[best])
    assert "You have 4 left." in await discord.answer(asked)
    card = await at(discord, "Choose", "1 person")
    await discord.answer(await discord.press(card, "Start the finale", by=ANN))

    card = await at(discord, "Finale")
    message = await answer_of(discord, card, "Choose for the finale …", ANN)
    asked = await choose(discord, message, [best], ANN)
    assert "It is drawn anew" in await discord.answer(asked)
    await killed(bot)
    card = await at(discord, "Finale")
    asked = await discord.press(card, "Publish the evening", by=ANN)
    assert "The bundle is being made." in await discord.answer(asked)
    await killed(bot)

    card = await at(discord, "Published", "The whole evening")
    assert "https://wall.example/b/" in text_of(card)
    asked = await discord.slash("party end", by=ANN)
    assert "The party is over." in await discord.answer(asked)
    await discord.until(
        lambda: all(not labels_of(one) for one in cards_of(discord)), "the end of all cards"
    )
    assert len(cards_of(discord)) == 6, [text_of(one) for one in cards_of(discord)]
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said(), bot.said()


@pytest.mark.skipif("DREAMSTREAM_SLOW_TESTS" not in os.environ, reason="takes half a minute")
@pytest.mark.parametrize("lost", ["messages", "messages/[0-9]*/threads"])
async def test_a_kill_after_discords_answer_makes_no_second_thread(
    bot: Bot, discord: Discord, lost: str
) -> None:
    def threads() -> set[int]:
        made = discord.rest.channels.values()
        return {int(one["id"]) for one in made if "thread_metadata" in one}

    await bot.joined()
    before = threads()
    # It is done, but its answer never comes; then the bot dies.
    discord.fail("POST", f"/channels/[0-9]*/{lost}", 502, times=9, after=True)
    await discord.slash("party start", topic="the sea", thread=True, by=ANN)
    done = discord.cards if lost == "messages" else lambda: threads() - before
    await discord.until(done, lost)
    await bot.kill()
    discord.faults.clear()
    discord.rest.nonces.clear()  # Discord remembers them for minutes only
    await bot.joined()
    await discord.until(lambda: threads() - before, "the thread")
    [place] = threads() - before
    await discord.until(lambda: cards_of(discord, place), "the party's card")
    assert len(cards_of(discord, place)) == len(discord.cards()) == 1
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said(), bot.said()
