"""The games of a party, as its pages tell of them: what is played now, and how the last one ended.

It is the same for everybody who sees the party, so it is rendered once and sent as it is. It tells
what a game's own page tells everybody: no entry while it goes on, and nobody who does not publish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from markupsafe import Markup

from bot.games.model import Game, Standing
from bot.games.service import Games
from bot.ids import now_ms
from bot.wall.games.pages import NAMES
from bot.wall.once import Once
from bot.wall.rendering import Renderer

RESULT_MS = 10 * 60 * 1000
"""For how long a result is told of, where no other game is begun."""
MOST = 2
"""Games at once; the others are a number."""
_KEPT = 64


class Rounds:
    """Renders what parties' pages tell of `games`, and says when that may have changed."""

    def __init__(
        self, games: Games, renderer: Renderer, *, clock: Callable[[], int] = now_ms
    ) -> None:
        self._games = games
        self._renderer = renderer
        self._clock = clock
        self._told: Once[int, Markup] = Once(_KEPT)
        self._fading: dict[int, asyncio.TimerHandle] = {}
        self._watchers: set[Callable[[], None]] = set()
        games.on_change(lambda _: self._changed())

    @contextmanager
    def telling(self, watcher: Callable[[], None]) -> Iterator[None]:
        """Call `watcher` whenever something may have changed, for as long as this lasts."""
        self._watchers.add(watcher)
        try:
            yield
        finally:
            self._watchers.discard(watcher)

    async def now(self, theme_id: int) -> Markup:
        """Return what is told of a theme's games; empty where there is nothing to tell.

        Raises:
            StoreError: the database cannot be read.
        """
        return await self._told.get(theme_id, lambda: self._render(theme_id))

    async def _render(self, theme_id: int) -> Markup:
        running = await self._games.running(theme_id)
        over = [] if running else await self._games.recent(theme_id, limit=1)
        left_ms = [self._ended_ms(game) + RESULT_MS - self._clock() for game in over]
        if left_ms and left_ms[0] > 0:
            self._fade(theme_id, left_ms[0] / 1000)
        else:
            over = []
        return self._renderer.part(
            "party/round.html",
            running=[
                (game, await self._games.players(game.id), await self._first(game))
                for game in running[:MOST]
            ],
            others=len(running[MOST:]),
            over=[(game, await self._first(game)) for game in over],
            names=NAMES,
        ).strip()

    async def _first(self, game: Game) -> list[Standing]:
        """Return who is in front, or has won, as everybody may be told."""
        standings = await self._games.standings(game.id, outside=True)
        return [one for one in standings if (one.place == 1 if game.open else one.won)]

    def _fade(self, theme_id: int, after_s: float) -> None:
        """Have a theme rendered anew in so many seconds, when its result is no longer told of.

        A theme has one timer, however often its result is rendered meanwhile.
        """
        earlier = self._fading.pop(theme_id, None)
        if earlier is not None:
            earlier.cancel()
        loop = asyncio.get_running_loop()
        self._fading[theme_id] = loop.call_later(after_s, self._faded, theme_id)

    def _faded(self, theme_id: int) -> None:
        self._fading.pop(theme_id, None)
        self._told.forget(theme_id)
        self._wake()

    def _changed(self) -> None:
        """Begin anew. Any game's change may be of any party, and most change nothing of most."""
        self._told.clear()
        self._wake()

    def _wake(self) -> None:
        for watcher in [*self._watchers]:
            watcher()

    def _ended_ms(self, game: Game) -> int:
        return game.ends_ms if game.ended_ms is None else game.ended_ms
