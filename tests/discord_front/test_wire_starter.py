"""The starter models over the wire: no fake but Discord itself."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from tests.discord_front.looks import picture_url, text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.people import File
from tests.discord_front.shipped import Bot, accepted, fetched, finished


async def test_starter_models_draw_from_words_and_from_a_picture(
    bot: Bot, discord: Discord
) -> None:
    await bot.joined(LOOPBACK_ENGINES="shipped", OMP_NUM_THREADS="1")
    said = await accepted(discord, prompt="a red circle on blue", steps=3, seed=5)
    assert "this channel" in said, bot.said()
    card = await finished(discord)
    assert "starter" in text_of(card)
    picture = await fetched(picture_url(card))
    with Image.open(io.BytesIO(picture)) as opened:
        colours = opened.convert("RGB").getcolors(1 << 24)
    assert colours is not None and len(colours) > 16  # something was drawn
    models = await discord.type_into("dream", "model", "starter", prompt="x")
    assert models and all("starter" in one["value"] for one in models)
    options: dict[str, Any] = {"prompt": "a green square", "steps": 3, "strength": 0.5}
    again = await discord.slash("dream", **options, init=File("circle.png", picture))
    assert "this channel" in await discord.answer(again)
    second = await finished(discord, 1)
    assert await fetched(picture_url(second)) != picture
    assert await bot.stop() == 0
    assert "Traceback" not in bot.said()
