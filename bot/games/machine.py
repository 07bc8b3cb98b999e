"""The machine plays too: it draws the prompt, says what it sees, or guesses, and is scored alike.

What it does is on the side: where it cannot, the game goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import aiosqlite

from bot.errors import DreamstreamError, InvalidRequestError
from bot.games import rules
from bot.games.entering import OVER, Entering
from bot.games.model import MACHINE, Entry, Game, GameKind
from bot.gate import HOUR_MS, Asker
from bot.ids import now_ms
from bot.model import Dream, DreamRequest, DreamState
from bot.parents import able
from bot.parties.recipes import Quick, quickly
from bot.rights import Actor
from bot.store import dream_states, game_entries, games
from bot.store import dreams as dream_rows

log = logging.getLogger(__name__)

UNHURRIED_MS = 20 * 60 * 1000  # in a shorter round it draws a quick sketch


class Machine(Entering):
    """One more player."""

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **options)
        self._woken = asyncio.Event()

    def _begun(self, game: Game) -> None:
        """Look after a game that has just begun, or that an earlier process began."""
        self._woken.set()
        if game.machine:
            self._tasks.spawn(self._play(game))

    async def _play(self, game: Game) -> None:
        """Enter what the machine has to say, once."""
        try:
            if await game_entries.has_entered(self._store, game.id, MACHINE.id):
                return  # also where its entry was taken away
            if game.kind is GameKind.DRAW:
                await self._draw(game)
            elif game.kind is GameKind.SAY:
                await self._say(game)
            else:
                perceptor = await self._perceptor_of(game)
                picture = await self._picture(game)
                index = await self._judge.choice_for(perceptor, picture, game.choices)
                await self.choose(game.id, Actor(MACHINE, at_machine=True), index)
        except DreamstreamError as error:
            log.info("The machine does not play in game %s: %s", game.id, error)

    async def _say(self, game: Game) -> None:
        picture = await self._picture(game)
        text = await self._judge.words_for(picture)
        if rules.repeats(text, game.prompt):
            return
        async with self._trying(game, MACHINE, GameKind.SAY) as (person, perceptor):
            score = await self._judge.saying(perceptor, picture, text)
            await self._enter(game, person, perceptor, score, text=text)

    async def _draw(self, game: Game) -> None:
        theme = await self.theme_of(game)
        quick = Quick()
        if game.ends_ms - self._clock() < UNHURRIED_MS:
            quick = quickly(able(self._dreams.engines), theme)
        asker = self._asker(game, Actor(game.host))

        async def enter(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
            (dream,) = dreams
            now = await games.by_id(connection, game.id)
            if now is None or not now.open:
                raise InvalidRequestError("game", OVER)
            if await game_entries.has_entered(connection, game.id, MACHINE.id):
                raise InvalidRequestError("game", "The machine plays already.")
            # The theme may have put words around the host's.
            self._gate.check_dream(asker, dream, theme)
            checked_as = self._gate.picture_check(asker)
            if game.guild_id is not None and checked_as is not None:
                await dream_states.check_as(connection, [dream.id], checked_as)
            if not game.published:
                await dream_states.keep_to_place(connection, [dream.id])
            entry = Entry(
                id=self._ids.next(),
                game_id=game.id,
                person=MACHINE,
                dream_id=dream.id,
                published=game.published,
                at_ms=self._clock(),
            )
            await game_entries.put(connection, entry)
            await self._check_waiting(connection, asker)

        request = DreamRequest(
            theme=theme.slug,
            person=MACHINE,
            prompt=game.prompt,
            width=quick.width,
            height=quick.height,
            steps=quick.steps,
            first_look=quick.first_look,
            guild_id=game.guild_id,
            channel_id=game.channel_id,
        )
        await self._dreams.ask(request, enter)
        self._changed(game.id)

    async def _check_waiting(self, connection: aiosqlite.Connection, host: Asker) -> None:
        """Refuse what is too much of where the host plays: there the machine draws for them.

        Raises:
            LimitError: with it they, or all in the channel, have more than may be.
        """
        if host.guild_id is None or host.channel_id is None:
            return
        since_ms = now_ms() - HOUR_MS
        own, channel, hour = await dream_rows.places_taken(
            connection, host.person.id, host.guild_id, host.channel_id, since_ms
        )
        for_own, for_hour = await game_entries.drawn_for(
            connection, host.person.id, host.guild_id, since_ms
        )
        self._gate.check_waiting(host, own=own + for_own, channel=channel, hour=hour + for_hour)

    async def _drawn(self, dream_id: str) -> None:
        """Score the machine's picture once it is finished, or do without it."""
        entry = await game_entries.of_dream(self._store, dream_id)
        if entry is None or entry.score is not None:
            return
        game = await self.get(entry.game_id)
        dream = await self._dreams.get(dream_id)
        if not game.open or not dream.state.final:
            return
        if dream.state is not DreamState.DONE or dream.image is None:
            async with self._store.write() as connection:
                await game_entries.withdraw(connection, entry.id, MACHINE.id, self._clock())
            self._changed(game.id)
            return
        picture = await self._library.read(dream.image.sha256)
        perceptor = await self._perceptor_of(game)
        judged = await self._judge.drawing(perceptor, picture, game.prompt)
        async with self._store.write() as connection:
            now = await games.by_id(connection, game.id)
            if now is not None and now.open:
                await game_entries.set_score(
                    connection, entry.id, judged.score, writing=judged.writing
                )
        self._changed(game.id)

    async def _perceptor_of(self, game: Game) -> str:
        """Return the model that scores a game, and have it do so from now on."""
        perceptor = self._judge.perceptor()
        async with self._store.write() as connection:
            await games.set_perceptor(connection, game.id, perceptor)
            now = await games.by_id(connection, game.id)
        return perceptor if now is None else now.perceptor
