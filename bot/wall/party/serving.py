"""Joins what serves parties at the wall."""

from __future__ import annotations

from aiohttp import web

from bot.games.service import Games
from bot.parties.service import Parties
from bot.wall.asking import Asking
from bot.wall.events import EventStreams
from bot.wall.marks import Marks
from bot.wall.pages import Pages
from bot.wall.party.acts import Acts
from bot.wall.party.door import Door
from bot.wall.party.evening import Evenings
from bot.wall.party.leading import Leading
from bot.wall.party.pages import PartyPages
from bot.wall.party.rounds import Rounds
from bot.wall.party.show import PartyShow
from bot.wall.party.stream import PartyStreams
from bot.wall.rendering import Renderer
from bot.wall.services import Services
from bot.wall.settings import WallSettings


class PartyWall:
    """All of the wall's answers about parties."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        parties: Parties,
        *,
        pages: Pages,
        asking: Asking,
        events: EventStreams,
        marks: Marks,
        games: Games | None = None,
    ) -> None:
        self._evenings = evenings = Evenings(parties, services.feed)
        door = Door(settings, parties, evenings)
        rounds = None if games is None else Rounds(games, renderer)
        self._pages = PartyPages(settings, services, renderer, parties, door, pages, rounds)
        self._acts = Acts(settings, services, parties, door, evenings, self._pages, asking)
        self._leading = Leading(parties, services.publishing, self._acts, marks)
        self._show = PartyShow(renderer, door)
        self._streams = PartyStreams(services, renderer, door, events, rounds)

    def forget(self) -> None:
        """Show every party as it is from now on: a dream shows another picture."""
        self._evenings.forget()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/p/{code}/events", self._streams.handle, allow_head=False),
            *self._pages.routes(),
            *self._show.routes(),
            *self._acts.routes(),
            *self._leading.routes(),
        ]
