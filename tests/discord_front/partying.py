"""What people do at parties in the loopback Discord, and the cards that they do it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.discord_front.looks import text_of, walk
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import CHANNEL, Json
from tests.discord_front.rest import Asked


def cards_of(discord: Discord, place: int = CHANNEL) -> list[Json]:
    """Return the cards of parties in a channel, oldest first."""
    return [card for card in discord.cards(place) if "Party · stage" in text_of(card)]


async def at(discord: Discord, stage: str, words: str = "") -> Json:
    """Wait for the card of a stage that goes on, with these words."""

    def shown() -> Json | None:
        for card in reversed(cards_of(discord)):
            text = text_of(card)
            if f"**{stage}**" in text and " is over." not in text and words in text:
                return card
        return None

    card: Json = await discord.until(shown, f"the card of {stage} with “{words}”")
    return card


def filled(form: Json, given: Mapping[str, Any]) -> list[Json]:
    """Return the rows of a form with fields of several kinds as they are sent."""
    rows = []
    for number, row in enumerate(form["components"]):
        field = row["component"]
        value = given.get(field["custom_id"], [] if field["type"] == 3 else "")
        sent = {"type": field["type"], "id": 2 * number + 2, "custom_id": field["custom_id"]}
        sent |= {"values": value} if field["type"] == 3 else {"value": value}
        rows.append({"type": 18, "id": 2 * number + 1, "component": sent})
    return rows


async def fill(discord: Discord, form: Json, by: int, **given: Any) -> Asked:
    """Fill and send a form."""
    return await discord.send_form(form["custom_id"], filled(form, given), by=by, place=CHANNEL)


async def form_of(discord: Discord, card: Json, label: str, by: int) -> Json:
    """Press what opens a form; return it."""
    return dict((await discord.callback(await discord.press(card, label, by=by)))["data"])


async def answer_of(discord: Discord, card: Json, label: str, by: int) -> Json:
    """Press what answers with something to use; return that as a message."""
    asked = await discord.press(card, label, by=by)
    message: Json = await discord.until(lambda: asked.answer, f"what {label} answers")
    controls = [one for one in walk(message["components"]) if "custom_id" in one]
    assert controls, text_of(message) or message
    row = {"type": 1, "id": 1, "components": [{"id": 2} | one for one in controls]}
    return card | {"components": [row]}


async def choose(discord: Discord, message: Json, values: list[str], by: int) -> Asked:
    """Choose from the menu of a message."""
    [menu] = message["components"][0]["components"]
    return await discord.pick(message, menu, values, by=by)


def offered(message: Json) -> list[str]:
    """Return the values that a message's menu offers."""
    [menu] = message["components"][0]["components"]
    return [one["value"] for one in menu["options"]]
