"""⭐ on a card is a favourite (♥): put there it is one, taken away it is none any more.

Every reaction to any message of every server comes here. What is no ⭐, or is on somebody else's
message, costs a comparison; the rest is gathered for a moment, looked up and written together. A
card of several pictures does not say which one is meant, so there it means nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

import discord

from bot.delivery import party_choices
from bot.errors import NotFoundError
from bot.front import Front
from bot.gate import Asker
from bot.model import Person
from bot.side_tasks import SideTasks
from bot.store import deliveries

log = logging.getLogger(__name__)

STAR = "⭐"
GATHER_S = 0.25
MOST = 1000  # waiting at once; what comes beyond is one of a flood


@dataclass(frozen=True)
class Star:
    """Somebody's ⭐ that was put onto a message, or taken away."""

    message_id: int
    guild_id: int
    person: Person
    there: bool


class Stars:
    """Takes reactions, from `start` to `stop`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._coming: asyncio.Queue[Star] = asyncio.Queue(MOST)
        self._tasks = SideTasks()
        self._started = False

    def start(self) -> None:
        """Begin to write down what comes."""
        self._started = True
        trouble = "Some stars could not be written down"
        self._tasks.keep(self._keep_writing, trouble, name="discord-stars")

    async def stop(self) -> None:
        """Write no more. What was not written yet is lost, as it is while nothing runs."""
        self._started = False
        await self._tasks.stop()

    def note(self, event: discord.RawReactionActionEvent, my_id: int | None) -> None:
        """Take a reaction, if it may be one that counts. Returns at once.

        Discord says whose message it is on only where it was put there.
        """
        if event.emoji.name != STAR or event.guild_id is None or not self._started:
            return
        if event.message_author_id not in (None, my_id):
            return
        if event.member is not None and event.member.bot:
            return
        name = "" if event.member is None else event.member.display_name
        person = Person(f"discord:{event.user_id}", name)
        there = event.event_type == "REACTION_ADD"
        try:
            self._coming.put_nowait(Star(event.message_id, event.guild_id, person, there))
        except asyncio.QueueFull:
            log.warning("More stars come than can be written down; some are left out")

    async def _keep_writing(self) -> None:
        while True:
            stars = [await self._coming.get()]
            await asyncio.sleep(GATHER_S)
            while not self._coming.empty():
                stars.append(self._coming.get_nowait())
            await self._write(stars)

    async def _write(self, stars: list[Star]) -> None:
        moderation = self._front.moderation
        # Of what somebody did to one message, the last holds.
        last = {(star.message_id, star.person.id): star for star in stars}
        dreams = await deliveries.dreams_of_messages(
            self._front.store, sorted({message_id for message_id, _ in last})
        )
        wanted = [
            (shown[0], star)
            for star in last.values()
            if len(shown := dreams.get(star.message_id, ())) == 1
            and moderation.block_of(star.guild_id, star.person.id) is None
        ]
        if not wanted:
            return
        await moderation.set_favourites(
            [(dream_id, star.person, star.there) for dream_id, star in wanted]
        )
        for dream_id, star in wanted:
            asker = Asker(star.person, guild_id=star.guild_id)
            with suppress(NotFoundError):  # deleted meanwhile
                await party_choices.vote(self._front, asker, dream_id, likes=star.there)
