"""Joins what serves games at the wall."""

from __future__ import annotations

from aiohttp import web

from bot.games.service import Games
from bot.wall.events import EventStreams
from bot.wall.games.acts import Acts
from bot.wall.games.door import Door
from bot.wall.games.pages import GamePages
from bot.wall.games.stream import GameStreams
from bot.wall.rendering import Renderer
from bot.wall.server_rules import ServerRules
from bot.wall.services import Services
from bot.wall.settings import WallSettings


class GamesWall:
    """All of the wall's answers about games."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        games: Games,
        events: EventStreams,
        rules: ServerRules | None = None,
    ) -> None:
        door = Door(settings, games, rules, services.parties)
        self._pages = GamePages(settings, services, renderer, games, door)
        self._acts = Acts(settings, services, renderer, games, door, self._pages)
        self._streams = GameStreams(games, door, self._pages, events)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [*self._streams.routes(), *self._pages.routes(), *self._acts.routes()]
