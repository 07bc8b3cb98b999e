"""A whole party over the wire, with the program killed in three stages, or in every one.

`DREAMSTREAM_SLOW_TESTS=1` kills it in every one.
"""

from __future__ import annotations

import os
from typing import Any

from tests.discord_front.looks import labels_of, text_of, walk
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import ANN, CHANNEL, Json
from tests.discord_front.rest import Asked
from tests.discord_front.shipped import SETTINGS, Bot

BOB = ANN + 1


def cards_of(discord: Discord) -> list[Json]:
    return [card for card in discord.cards() if "Party · stage" in text_of(card)]


async def at(discord: Discord, stage: str, words: str = "") -> Json:
    """Wait for the card of a stage that goes on."""

    def shown() -> Json | None:
        for card in reversed(cards_of(discord)):
            text = text_of(card)
            if f"**{stage}**" in text and " is over." not in text and words in text:
                return card
        return None

    card: Json = await discord.until(shown, f"the card of {stage} with “{words}”")
    return card


async def fill(discord: Discord, form: Json, by: int, **given: Any) -> Asked:
    """Fill and send a form with fields of several kinds."""
    rows = []
    for number, row in enumerate(form["components"]):
        field = row["component"]
        value = given.get(field["custom_id"], [] if field["type"] == 3 else "")
        filled = {"type": field["type"], "id": 2 * number + 2, "custom_id": field["custom_id"]}
        filled |= {"values": value} if field["type"] == 3 else {"value": value}
        rows.append({"type": 18, "id": 2 * number + 1, "component": filled})
    data = {"custom_id": form["custom_id"], "components": rows}
    return await discord._interact(5, data, by, CHANNEL)


async def form_of(discord: Discord, card: Json, label: str, by: int) -> Json:
    return dict((await discord.callback(await discord.press(card, label, by=by)))["data"])


async def menu_of(discord: Discord, card: Json, label: str, by: int) -> Json:
    """Press what answers with a menu; return a message with that."""
    asked = await discord.press(card, label, by=by)
    message: Json = await discord.until(lambda: asked.answer, "the menu")
    menus = [one for one in walk(message["components"]) if one["type"] == 3]
    assert menus, text_of(message) or message
    row = {"type": 1, "id": 1, "components": [{"id": 2} | menus[0]]}
    return card | {"components": [row]}


async def killed(bot: Bot, *, always: bool = False) -> None:
    """Kill and start the program; not `always`, only where there is time for slow tests."""
    if always or "DREAMSTREAM_SLOW_TESTS" in os.environ:
        await bot.kill()
        await bot.joined()


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
    await killed(bot, always=True)  # with the form open
    said = await fill(discord, form, BOB, words="waves\nfog", kind=["idea"])
    assert await discord.answer(said) == "2 things were said."
    card = await at(discord, "Gather", "waves · fog")
    await discord.answer(await discord.press(card, "Next: Sketch", by=ANN))

    card = await at(discord, "Sketch")
    form = await form_of(discord, card, "Sketch", BOB)
    asked = await fill(discord, form, BOB, words="a harbour")
    assert "4 sketches." in await discord.answer(asked)
    await killed(bot)  # while they are drawn
    card = await at(discord, "Sketch", "4 finished.")
    await discord.answer(await discord.press(card, "Next: Elaborate", by=ANN))
    await killed(bot, always=True)  # before or after the new card: nobody knows

    card = await at(discord, "Elaborate")
    message = await menu_of(discord, card, "Combine", BOB)
    [menu] = message["components"][0]["components"]
    both = [one["value"] for one in menu["options"]][:2]
    asked = await discord.pick(message, menu, both, by=BOB)
    assert "put together" in await discord.answer(asked)
    card = await at(discord, "Elaborate", "5 finished.")
    await discord.answer(await discord.press(card, "Next: Choose", by=ANN))

    card = await at(discord, "Choose")
    form = await form_of(discord, card, "Points", BOB)
    await killed(bot)
    best = form["components"][0]["component"]["options"][0]["value"]
    asked = await fill(discord, form, BOB, point1=[best])
    assert "You have 4 left." in await discord.answer(asked)
    card = await at(discord, "Choose", "1 person")
    await discord.answer(await discord.press(card, "Next: Finale", by=ANN))

    card = await at(discord, "Finale")
    message = await menu_of(discord, card, "Choose for the finale …", ANN)
    [menu] = message["components"][0]["components"]
    asked = await discord.pick(message, menu, [best], by=ANN)
    assert "1 are drawn anew" in await discord.answer(asked)
    await killed(bot, always=True)
    card = await at(discord, "Finale")
    asked = await discord.press(card, "Next: Published", by=ANN)
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
    assert "Traceback" not in bot.said()
