"""The menus of messages over the wire, with the starter models."""

from __future__ import annotations

import io
import re

from PIL import Image

from tests.discord_front import payloads
from tests.discord_front.looks import text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import ANN, CHANNEL, Json
from tests.discord_front.shipped import Bot, finished


def picture() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(out, "PNG")
    return out.getvalue()


def sent(discord: Discord) -> Json:
    """Return a message with a picture, which Ann sent."""
    file = discord.rest.upload(CHANNEL, "gradient.png", picture())
    made = payloads.message(payloads.snowflake(), CHANNEL, {"content": ""}, [file])
    return made | {"author": payloads.user(ANN, "ann")}


async def test_pictures_on_messages_are_seen_and_dreamt_from(bot: Bot, discord: Discord) -> None:
    await bot.joined(LOOPBACK_ENGINES="shipped", OMP_NUM_THREADS="1")
    message = sent(discord)
    asked = await discord.slash("dream", prompt="a green sea", steps=2)
    assert "this channel" in await discord.answer(asked), bot.said()
    card = await finished(discord)
    discord.speaks[ANN] = "de"
    asked = await discord.slash("cancel")
    assert await discord.answer(asked) == "Du hast keinen Traum, der wartet oder entsteht."
    asked = await discord.slash("help")
    await discord.answer(asked)
    assert asked.answer is not None and "`/traum motiv" in text_of(asked.answer)
    discord.speaks.clear()
    for shown in (card, message):
        form = (await discord.callback(await discord.choose("Score against a text", shown)))["data"]
        said = await discord.answer(await discord.submit(form, "a red strawberry"))
        found = re.match(r"\*\*(-?\d\.\d+)\*\*", said)
        assert found is not None, said
        assert -1 <= float(found[1]) <= 1
    form = (await discord.callback(await discord.choose("Dream from this picture", message)))[
        "data"
    ]
    assert "this channel" in await discord.answer(await discord.submit(form, "a storm"))
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()
