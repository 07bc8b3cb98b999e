"""``/stream search``: what is found in a channel's stream, and what is not shown there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bot.drawer import png, until
from tests.bot.test_seeing import Colours
from tests.discord_front.world import World, text_of, world


@asynccontextmanager
async def searchable(folder: Path, *colours: str) -> AsyncIterator[tuple[World, dict[str, str]]]:
    """Give a world whose pictures of these colours have been looked at, and their ids."""
    async with world(folder) as there:
        there.parts.drawer.perceptors = ("colours",)
        there.parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        await there.parts.looker.start()
        made = {}
        for colour in colours:
            dream_id, _ = await there.ask(prompt=f"all {colour}")
            await there.parts.draw(dream_id, colour)
            made[colour] = dream_id
        theme = await there.parts.themes.get("open")
        await until(lambda: len(there.parts.looker.shelf(theme.id) or ()) == len(colours))
        await until(lambda: there.parts.looker.complete)
        yield there, made


async def found(there: World, who: Any, **options: Any) -> str:
    result = await who.slash(there.channel, "stream search", **options)
    assert result.ephemeral
    message = result.response.message
    return text_of(message) or message.content


async def test_words_pictures_and_dreams_find_what_is_like_them(tmp_path: Path) -> None:
    async with searchable(tmp_path, "red", "#f80000", "lime", "blue") as (there, made):
        text = await found(there, there.bob, words="green")
        assert text.index("all lime") < text.index("all blue")
        assert "nearly the same" in text, "one red stands for both"
        text = await found(there, there.bob, picture=("sky.png", png(40, 30, "blue")))
        assert "1\\. **all blue**" in text
        text = await found(there, there.ann, like=made["red"])
        assert "1\\. **all #f80000**" in text and "all red" not in text
        result = await there.bob.slash(there.channel, "stream search", words="green")
        assert len(result.response.message.attachments) == 3


async def test_what_may_not_be_seen_is_not_found(tmp_path: Path) -> None:
    async with searchable(tmp_path, "red", "lime") as (there, made):
        async with there.parts.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0, channel_id = 5")
        text = await found(there, there.bob, words="green")
        assert "all" not in text and "no picture" in text
        other = there.env.guild.create_text_channel("other")
        await there.parts.themes.create("other", "Other")
        await there.client.front.channels.bind(other.id, there.env.guild.id, "other")
        result = await there.ann.slash(other, "stream search", like=made["red"])
        assert "another stream" in result.response.message.content


async def test_what_cannot_be_searched_is_said(tmp_path: Path) -> None:
    async with searchable(tmp_path, "red") as (there, _):
        assert "one of these" in await found(there, there.ann)
        picture = ("a.png", png())
        assert "one of these" in await found(there, there.ann, words="red", picture=picture)
        assert "PNG, JPEG or WebP" in await found(there, there.ann, picture=("a.png", b"none"))
        there.parts.drawer.perceptors = ()
        assert "no CLIP model" in await found(there, there.ann, words="green")
        there.parts.drawer.up = False
        assert "at present" in await found(there, there.ann, words="green")
