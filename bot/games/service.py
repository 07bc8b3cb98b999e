"""Games with pictures. The one door all fronts use.

`opening` begins rounds, `entering` takes what players do, `machine` plays too, `reading` tells how
they stand. Here they end: by their timer, which is a time in the database and so survives
restarts, by who leads them, or by being called off. This module does not know Discord or the wall.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from bot.errors import DreamstreamError, ForbiddenError, InvalidRequestError
from bot.games.entering import OVER
from bot.games.model import MACHINE, Game, GameState
from bot.games.opening import Opening
from bot.games.reading import leads, moderates
from bot.ids import IdMaker
from bot.model import ENDINGS, Act, EventKind, StreamEvent
from bot.rights import Actor
from bot.store import game_entries, games, moderation, people
from bot.values import check_person

log = logging.getLogger(__name__)

SETTLE_S = 40.0
"""How long a game that ends waits for what came in time to be scored: longer than one ask."""
_LONGEST_S = 600.0  # clocks are set
_RETRY_S = 15.0


class Games(Opening):
    """The games there are. `start_keeping` before the fronts open, `stop` after they close."""

    async def start_keeping(self) -> None:
        """Take up what an earlier process left: timers, and the machine's pictures on their way."""
        self._ids = IdMaker(await games.last_id(self._store))
        trouble = "The machine's games cannot be followed"
        self._tasks.keep(
            self._listen, trouble, name="games-listen", pause_s=_RETRY_S, longest_s=_RETRY_S
        )
        trouble = "The games cannot be looked after"
        self._tasks.keep(self._keep, trouble, name="games", longest_s=_RETRY_S)

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        await self._tasks.stop()
        await self._removal.stop()

    async def end(self, game_id: str, actor: Actor) -> Game:
        """End a game before its time: who stands best then has won.

        Raises:
            NotFoundError: there is no such game.
            ForbiddenError: the actor neither opened it nor moderates there.
            InvalidRequestError: it is over already.
            DiskError, StoreError: nothing can be written at present; it goes on.
        """
        game = await self.get(game_id)
        if not leads(game, actor):
            raise ForbiddenError("Only who opened the game, or a moderator, can end it.")
        if not game.open or not await self._tasks.finish(self._finish(game)):
            raise InvalidRequestError("game", OVER)
        return await self.get(game_id)

    async def call_off(self, game_id: str, actor: Actor) -> Game:
        """Take a game away, also one that is over: its words, and all that was entered.

        Raises:
            NotFoundError: there is no such game.
            ForbiddenError: the actor neither opened it nor moderates there.
            InvalidRequestError: it was called off before.
            DiskError, StoreError: nothing can be written at present; it is as it was.
        """
        game = await self.get(game_id)
        if not leads(game, actor):
            raise ForbiddenError("Only who opened the game, or a moderator, can call it off.")
        if game.state is GameState.CALLED_OFF:
            raise InvalidRequestError("game", "This game was called off already.")
        await self._tasks.finish(self._bury(game, actor))
        return await self.get(game_id)

    async def _bury(self, game: Game, actor: Actor) -> None:
        person, at_ms = check_person(actor.person), self._clock()
        async with self._store.write() as connection:
            await people.upsert(connection, person, at_ms)
            await games.bury(connection, game.id, person.id, at_ms)
            if person.id != game.host.id and moderates(game, actor) and game.guild_id is not None:
                await moderation.append(
                    connection,
                    Act.DELETED,
                    game.guild_id,
                    person,
                    at_ms,
                    person=game.host,
                    channel_id=game.channel_id,
                )
        await self._delete_left()
        await self._removal.remove_files()
        self._changed(game.id)

    async def _finish(self, game: Game) -> bool:
        """End a game with what came in time; say whether it was open."""
        self._ending.add(game.id)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    while self._pending[game.id] > 0:
                        self._settled.clear()
                        await self._settled.wait()
                    await self._look_at_the_machines(game)
            async with self._store.write() as connection:
                ended = await games.end(connection, game.id, GameState.OVER, self._clock())
        finally:
            self._ending.discard(game.id)
        if ended:
            self._changed(game.id)
        return ended

    async def _look_at_the_machines(self, game: Game) -> None:
        entry = await game_entries.of_person(self._store, game.id, MACHINE.id)
        if entry is not None and entry.dream_id is not None:
            try:
                await self._drawn(entry.dream_id)
            except DreamstreamError as error:
                log.info("The machine's picture in game %s is not scored: %s", game.id, error)

    # --- timers, and the machine's pictures --------------------------------------------------

    async def look(self) -> int | None:
        """End what is due, and return when the next is, in milliseconds since 1970.

        Raises:
            DiskError, StoreError: nothing can be kept at present.
        """
        ends, next_ms = await self._end_due()
        await asyncio.gather(*ends)
        return next_ms

    async def _end_due(self) -> tuple[list[asyncio.Task[bool]], int | None]:
        """Begin to end what is due; return that, and when the next is.

        Each ends by itself: one that waits for its last scores holds up no other.
        """
        ends: list[asyncio.Task[bool]] = []
        for game in await games.open_ones(self._store):
            if game.ends_ms > self._clock():
                return ends, game.ends_ms
            if game.id not in self._ending:
                self._ending.add(game.id)
                ends.append(self._tasks.spawn(self._finish(game)))
        return ends, None

    async def _keep(self) -> None:
        while True:
            self._woken.clear()
            _, next_ms = await self._end_due()
            wait_s = _LONGEST_S if next_ms is None else (next_ms - self._clock()) / 1000
            if self._ending:  # what cannot be written down is begun again
                wait_s = min(wait_s, _RETRY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_LONGEST_S, max(0.05, wait_s))):
                    await self._woken.wait()

    def changed(self, dream_id: str) -> None:
        """Tell of the games that a dream has a part in: it shows another picture now."""
        self._tasks.spawn(self._tell(dream_id))

    async def _tell(self, dream_id: str) -> None:
        try:
            for game_id in await games.of_dream(self._store, dream_id):
                self._changed(game_id)
        except DreamstreamError as error:
            log.warning("The games of dream %s still show a cover: %s", dream_id, error)

    async def _listen(self) -> None:
        """Learn which dreams have ended, and which were deleted."""
        while True:
            await self._delete_left()
            async with self._feed.listen(None) as happenings:
                for game in await games.open_ones(self._store):  # what came before, or missed
                    await self._look_at_the_machines(game)
                    self._begun(game)
                async for happening in happenings:
                    if isinstance(happening, StreamEvent) and happening.dream_id is not None:
                        await self._happened(happening.kind, happening.dream_id)
            await asyncio.sleep(_RETRY_S)

    async def _happened(self, kind: EventKind, dream_id: str) -> None:
        if kind in ENDINGS:
            self._tasks.spawn(self._drawn(dream_id))
        elif kind is EventKind.DELETED:
            for game_id in await games.of_dream(self._store, dream_id):
                self._changed(game_id)
