"""A game's page kept up to date (server-sent events).

Whenever anything about a game has changed, its board is rendered once and sent to all who look on,
at most every `EVERY_S`; a game that has ended, or is not to be seen any more, is sent ``reload``. A
page that comes back is sent the board as it is, so nobody's page depends on what it missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress

from aiohttp import web

from bot.errors import RequestError
from bot.games.service import Games
from bot.unforeseen import Errors
from bot.wall.connection import Connection, message
from bot.wall.events import HEARTBEAT_S, RETRY_MS, EventStreams
from bot.wall.games.door import Door
from bot.wall.games.pages import GamePages
from bot.wall.once import Once

log = logging.getLogger(__name__)

EVERY_S = 0.5
_LOOK_S = 1.0
_KEPT = 64
_RELOAD = message("reload", "reload")


class GameStreams:
    """Tells games' pages what changed. `events` counts and ends all of the wall's streams."""

    def __init__(self, games: Games, door: Door, pages: GamePages, events: EventStreams) -> None:
        self._door = door
        self._pages = pages
        self._events = events
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._boards: Once[str, bytes] = Once(_KEPT)
        self._errors = Errors("wall-game-events", log)
        games.on_change(self._changed)

    def routes(self) -> list[web.RouteDef]:
        """Return the route and what answers it."""
        return [web.get("/g/{game_id}/events", self.handle, allow_head=False)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/g/{game_id}/events``; the page says in which ``state`` it shows the game."""
        seen = await self._door.see(request)
        with self._events.place_for(request):
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            await response.prepare(request)
            connection = Connection(request, response)
            ready = asyncio.Event()
            ready.set()
            watchers = self._watchers[seen.game.id]
            watchers.add(ready)
            try:
                await connection.send(f"retry: {RETRY_MS}\n\n".encode())
                state = request.query.get("state", str(seen.game.state))
                await self._follow(connection, seen.game.id, state, ready)
            except ConnectionError:
                log.debug("somebody who looked on at a game hung up")
            except RequestError:
                # It may be seen no more: the page comes back, and is told so.
                with suppress(ConnectionError):
                    await connection.send(_RELOAD)
            except Exception as error:
                # The answer has begun: nothing can be said in it any more but its end.
                self._errors.tell(error, "a game's events broke off")
            finally:
                watchers.discard(ready)
                if not watchers:
                    self._watchers.pop(seen.game.id, None)
        return response

    async def _follow(
        self, connection: Connection, game_id: str, state: str, ready: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time() + HEARTBEAT_S
        while not (self._events.closing or connection.gone):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await ready.wait()
            if ready.is_set():
                ready.clear()
                seen = await self._door.look_up(game_id)
                if seen.game.state != state:
                    await connection.send(_RELOAD)
                    return
                await connection.send(await self._board(game_id))
                heartbeat_at = loop.time() + HEARTBEAT_S
                await asyncio.sleep(EVERY_S)
            elif loop.time() >= heartbeat_at:
                await connection.send(b": still here\n\n")
                heartbeat_at = loop.time() + HEARTBEAT_S

    async def _board(self, game_id: str) -> bytes:
        """Return the board as it has been since its last change, rendered once for all."""
        return await self._boards.get(game_id, lambda: self._render(game_id))

    async def _render(self, game_id: str) -> bytes:
        seen = await self._door.look_up(game_id)
        return message("board", await self._pages.board(seen))

    def _changed(self, game_id: str) -> None:
        self._boards.forget(game_id)
        for ready in self._watchers.get(game_id, ()):
            ready.set()
