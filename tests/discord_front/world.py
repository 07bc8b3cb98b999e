"""A bot in a simulated Discord, over real services with a drawer that draws when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
import simcord
from discord import Button, TextDisplay

from bot.channels import Channels
from bot.client import Client
from bot.delivery.controls import dream_of
from bot.front import Front
from tests.bot.drawer import Services, services, until
from tests.discord_front.oracle import check_requests


def front_of(parts: Services) -> Front:
    """Return what a client works with."""
    return Front(
        store=parts.store,
        library=parts.library,
        feed=parts.feed,
        themes=parts.themes,
        channels=Channels(parts.store, parts.themes),
        dreams=parts.dreams,
        drawer=parts.drawer,
        offspring=parts.offspring,
        seeing=parts.seeing,
        search=parts.search,
        settings=parts.settings,
        moderation=parts.moderation,
        gate=parts.gate,
        parties=parts.parties,
        portraits=parts.portraits,
        publishing=parts.publishing,
        games=parts.games,
    )


@dataclass
class World:
    """A guild with one channel, and two people in it."""

    env: simcord.Env
    parts: Services
    client: Client
    channel: Any
    ann: Any
    bob: Any

    def cards(self) -> list[discord.Message]:
        """Return the bot's messages that everybody sees, oldest first."""
        return list(self.channel.history())

    async def ask(self, **options: Any) -> tuple[str, discord.Message]:
        """Have Ann ask for a dream; return its id and its card."""
        before = len(self.cards())
        result = await self.ann.slash(self.channel, "dream", **({"prompt": "a red fox"} | options))
        assert result.ephemeral
        await until(lambda: len(self.cards()) > before)
        card = self.cards()[-1]
        dream_id = dream_of(list(card.components))
        assert dream_id is not None
        return dream_id, card

    async def shows(self, number: int, words: str) -> discord.Message:
        """Wait until a card has these words; return it."""

        def shown() -> bool:
            cards = self.cards()
            there = -len(cards) <= number < len(cards)
            return there and words in text_of(cards[number])

        await until(shown)
        return self.cards()[number]

    def posts(self) -> int:
        """Return how many messages the bot has sent to the channel."""
        path = f"/channels/{self.channel.id}/messages"
        return sum((one.method, one.path) == ("POST", path) for one in self.env.http_requests)


def text_of(message: discord.Message) -> str:
    """Return all that is written on a message."""
    return " ".join(_texts(message.components))


def buttons_of(message: discord.Message) -> list[str]:
    """Return the labels of a message's buttons."""
    found: list[str] = []
    for part in message.components:
        for row in getattr(part, "children", ()):
            buttons = [one for one in getattr(row, "children", ()) if isinstance(one, Button)]
            found += [button.label or "" for button in buttons]
    return found


def gallery_of(message: discord.Message) -> discord.MediaGalleryItem | None:
    """Return a message's picture."""
    for part in message.components:
        for inner in getattr(part, "children", ()):
            if isinstance(inner, discord.components.MediaGalleryComponent):
                return inner.items[0]
    return None


def _texts(components: Any) -> Iterator[str]:
    for component in components:
        if isinstance(component, TextDisplay):
            yield component.content
        yield from _texts(getattr(component, "children", ()))


@asynccontextmanager
async def world(folder: Path, **settings: Any) -> AsyncIterator[World]:
    """Give a bot that is ready, in a guild."""
    async with services(folder, **settings) as parts:
        client = Client(front_of(parts))
        start, start_stars = client.delivery.start, client.stars.start
        # Started from here, it is no work of the bot's to simcord, which would wait for it to end.
        client.delivery.start = _nothing  # type: ignore[method-assign]
        client.stars.start = lambda: None  # type: ignore[method-assign]
        async with simcord.run(client, shard_count=1) as env:
            await start()
            start_stars()
            guild = env.create_guild("Dreamers")
            channel = guild.create_text_channel("dreams")
            ann = guild.add_member(env.create_user("ann"))
            bob = guild.add_member(env.create_user("bob"))
            try:
                yield World(env, parts, client, channel, ann, bob)
            finally:
                await client.stars.stop()
                await client.delivery.stop()
            check_requests((one.method, one.path, one.json) for one in env.http_requests)


async def _nothing() -> None:
    pass
