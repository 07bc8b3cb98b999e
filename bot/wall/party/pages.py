"""What is looked at of a party: its door, a guest's page, the big screen, and parts of them."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from markupsafe import Markup

from bot.errors import NotFoundError
from bot.model import Dream
from bot.parties.finale import MOST
from bot.parties.model import AssociationKind, Member, Role, Stage
from bot.parties.reading import WRONG_CODE
from bot.parties.service import STAGE_MINUTES, Parties
from bot.rights import Actor
from bot.wall.pages import Pages
from bot.wall.party.codes import base_url, qr_svg
from bot.wall.party.door import Door, is_host, leads, member_of
from bot.wall.party.evening import Evening
from bot.wall.party.rounds import Rounds
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.services import Services
from bot.wall.settings import WallSettings

STAGES: dict[Stage, str] = {
    Stage.GATHER: "Gather",
    Stage.SKETCH: "Sketch",
    Stage.ELABORATE: "Elaborate",
    Stage.CHOOSE: "Choose",
    Stage.FINALE: "Finale",
    Stage.PUBLISHED: "Published",
}
ROLES: dict[Role, str] = {
    Role.HOST: "Host",
    Role.PROMPT_MASTER: "Prompt master",
    Role.ART_EXPERT: "Art expert",
    Role.FACILITATOR: "Facilitator",
    Role.GUEST: "Guest",
}
KINDS: dict[AssociationKind, str] = {
    AssociationKind.IDEA: "Idea",
    AssociationKind.STYLE: "Style",
    AssociationKind.ARTIST: "Artist",
}
PARTS = ("said", "pictures", "votes", "desk", "pair", "finalists", "farewell")
SCREEN_PARTS = ("said", "pictures", "votes", "desk")
PRESELECTED = 3
# A guest may speak their words; what hears them is the browser's maker, as the page says.
_HEARING = {"Permissions-Policy": "camera=(), microphone=(self), geolocation=()"}


class PartyPages:
    """Answers what is only read. `pages` knows the address of the wall in the room.

    `rounds` tells of the games, where there are any at this wall.
    """

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        parties: Parties,
        door: Door,
        pages: Pages,
        rounds: Rounds | None = None,
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._parties = parties
        self._door = door
        self._pages = pages
        self._rounds = rounds

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/parties/new", self.new),
            web.get("/join", self.joining),
            web.get("/p/{code}", self.page),
            web.get("/p/{code}/part/{part}", self.part),
            web.get("/p/{code}/picture/{dream_id}", self.picture),
            web.get("/p/{code}/screen", self.screen),
            web.get("/p/{code}/screen/{part}", self.screen_part),
            web.get("/p/{code}/qr.svg", self.qr),
        ]

    async def new(self, request: web.Request) -> web.StreamResponse:
        """Show the form that opens a party."""
        self._door.check_may_act()
        return self.form(request, {})

    def form(
        self, request: web.Request, typed: dict[str, str], error: str = "", status: int = 200
    ) -> web.Response:
        """Return the form with what was typed, and what was wrong with it."""
        return self._renderer.page(
            request,
            "party/new.html",
            status=status,
            typed=typed,
            error=error,
            minutes=STAGE_MINUTES,
            guests=self._parties.usual_guests,
        )

    async def joining(self, request: web.Request) -> web.StreamResponse:
        """Ask for a code."""
        return self.door(request, None, typed=request.query.get("code", "")[:64])

    def door(
        self,
        request: web.Request,
        evening: Evening | None,
        *,
        typed: str = "",
        error: str = "",
        status: int = 200,
    ) -> web.Response:
        """Return the page on which people come in: to a party, or to whichever the code is for."""
        return self._renderer.page(
            request,
            "party/join.html",
            status=status,
            themes=[] if evening is None else [evening.theme],
            evening=evening,
            typed=typed,
            error=error,
        )

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Show a party to who is there; to others its door."""
        evening = await self._door.see(request)
        me = member_of(request, evening)
        if me is None or (evening.party.open and not me.present):
            return self.door(request, evening)
        context = self.context(request, evening, me) | await self._bundle(evening)
        context["round"] = await self._round(evening)
        response = self._renderer.page(
            request, "party/page.html", themes=[evening.theme], **context
        )
        response.headers.update(_HEARING)
        return response

    async def part(self, request: web.Request) -> web.StreamResponse:
        """Return a part of a guest's page as it is now."""
        part = request.match_info["part"]
        if part not in PARTS:
            raise NotFoundError("There is nothing here.")
        evening, me = await self._door.enter(request)
        return await self.fragment(request, evening, me, part)

    async def fragment(
        self, request: web.Request, evening: Evening, me: Member, part: str
    ) -> web.Response:
        """Return a part of somebody's page."""
        context = self.context(request, evening, me)
        if part == "pair":
            context["pair"] = await self.pair(evening, me)
        elif part == "farewell":
            context |= await self._bundle(evening)
        return self._renderer.fragment(f"party/{part}.html", **context)

    async def pair(self, evening: Evening, me: Member) -> list[Dream]:
        """Return two pictures for somebody to compare; none where they have compared all."""
        actor = Actor(me.person)
        ids = await self._parties.pair(evening.party, actor, among=evening.dreams) or ()
        return [evening.dreams[one] for one in ids]

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Show one picture, and what may be made of it."""
        evening, me = await self._door.enter(request)
        dream = evening.dreams.get(request.match_info["dream_id"])
        if dream is None:
            raise NotFoundError("There is no such picture at this party.")
        context = self.context(request, evening, me)
        context |= {
            "dream": dream,
            "others": [one.dream for one in evening.contest if one.dream.id != dream.id][:24],
        }
        if is_htmx(request):
            return self._renderer.fragment("party/picture.html", **context)
        return self._renderer.page(
            request, "party/picture_page.html", themes=[evening.theme], **context
        )

    async def screen(self, request: web.Request) -> web.StreamResponse:
        """Show a party on the big screen. It is for a room: whoever has the code may open it."""
        evening = await self._door.see(request)
        return self._renderer.page(
            request,
            "party/screen.html",
            themes=[evening.theme],
            round=await self._round(evening),
            **self.context(request, evening, None),
        )

    async def screen_part(self, request: web.Request) -> web.StreamResponse:
        """Return a part of the big screen as it is now."""
        part = request.match_info["part"]
        if part not in SCREEN_PARTS:
            raise NotFoundError("There is nothing here.")
        evening = await self._door.see(request)
        return self._renderer.fragment(
            f"party/screen_{part}.html", **self.context(request, evening, None)
        )

    async def qr(self, request: web.Request) -> web.StreamResponse:
        """Send the code that phones read."""
        evening = await self._door.see(request)
        if not evening.party.settings.code_shown:
            raise NotFoundError(WRONG_CODE)
        address = f"{self._base(request)}/p/{evening.party.code}"
        svg = await asyncio.to_thread(qr_svg, address)
        return web.Response(body=svg, content_type="image/svg+xml")

    def context(self, request: web.Request, evening: Evening, me: Member | None) -> dict[str, Any]:
        """Return what the templates of a party are drawn from, for somebody or for the screen."""
        person_id = "" if me is None else me.person.id
        return {
            "evening": evening,
            "party": evening.party,
            "theme": evening.theme,
            "stage": evening.stage.value,
            "stages": STAGES,
            "roles": ROLES,
            "kinds": KINDS,
            "base": f"/p/{evening.party.code}",
            "address": self._base(request).partition("://")[2],
            "me": me,
            "person_id": person_id,
            "leads": me is not None and leads(me) and evening.party.open,
            "host": me is not None and is_host(me) and evening.party.open,
            "favours": evening.favours(person_id),
            "points": evening.points(person_id),
            "points_left": evening.points_left(person_id),
            "preselected": [one.dream_id for one, _ in evening.results[:PRESELECTED]],
            "most_in_finale": MOST,
            "standing": self._standing,
        }

    async def _round(self, evening: Evening) -> Markup:
        return Markup() if self._rounds is None else await self._rounds.now(evening.theme.id)

    async def _bundle(self, evening: Evening) -> dict[str, Any]:
        """Return whether a party's bundle is there, on its way, or why it is not."""
        publishing, party_id = self._services.publishing, evening.party.id
        there = evening.stage is Stage.PUBLISHED and publishing is not None
        if publishing is None or not there:
            return {"bundle": None, "making": False, "trouble": "", "publishes": False}
        return {
            "bundle": await publishing.bundle_of(party_id),
            "making": publishing.making(party_id),
            "trouble": publishing.trouble(party_id),
            "publishes": True,
        }

    def _standing(self, dream: Dream) -> dict[str, Any]:
        return self._renderer.standing(dream, self._services.dreams.live(dream.id))

    def _base(self, request: web.Request) -> str:
        return base_url(request, self._settings, self._pages.address)
