"""What guests send: their words, sketches, growth and votes.

What was done comes back to every page as an event. So the answer is empty, or without script the
way back; where only the guest themselves sees a change, it is the part that shows it.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from bot.errors import DreamstreamError, InvalidRequestError, NotFoundError
from bot.model import Visibility
from bot.parties.model import AssociationKind, Member
from bot.parties.service import STAGE_MINUTES, Parties
from bot.rights import Actor
from bot.themes import DEFAULT_SLUG
from bot.wall.asking import Asking
from bot.wall.errors import status_of
from bot.wall.forms import Form, read_form, text_of, whole_number_of
from bot.wall.guard import address_of
from bot.wall.guests import guest_of, rename
from bot.wall.party.door import Door
from bot.wall.party.evening import Evening, Evenings
from bot.wall.party.pages import PartyPages
from bot.wall.rates import Rates
from bot.wall.rendering import is_htmx
from bot.wall.services import Services
from bot.wall.settings import WallSettings

SKETCHES = 4
MOST_SKETCHES = 8
WORDS = 80
OPENED = 12
MINUTE_S = 60.0
HOUR_S = 3600.0


class Acts:
    """Hands what guests do to the parties service, which judges it."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        parties: Parties,
        door: Door,
        evenings: Evenings,
        pages: PartyPages,
        asking: Asking,
    ) -> None:
        self._settings = settings
        self._services = services
        self._parties = parties
        self._door = door
        self._evenings = evenings
        self._pages = pages
        self._asking = asking
        self._giving = asyncio.Lock()
        self._words = Rates(
            WORDS, MINUTE_S, "Very much was said from where you are. Wait for half a minute."
        )
        self._opened = Rates(
            OPENED, HOUR_S, "Many parties were opened from where you are. Try again in an hour."
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        at = "/p/{code}/picture/{dream_id}"
        return [
            web.post("/parties", self.start),
            web.post("/join", self.join_by_code),
            web.post("/p/{code}/join", self.join),
            web.post("/p/{code}/leave", self.leave),
            web.post("/p/{code}/words", self.say),
            web.post("/p/{code}/words/{words_id}/hide", self.hide),
            web.post("/p/{code}/draw", self.draw),
            web.post(at + "/grow", self.grow),
            web.post(at + "/steer", self.steer),
            web.post(at + "/combine", self.combine),
            web.post(at + "/favour", self.favour),
            web.post(at + "/points", self.give_points),
            web.post("/p/{code}/pair", self.prefer),
            web.post("/p/{code}/credit", self.credit),
        ]

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Open a party: the visitor is its host."""
        self._door.check_may_act()
        form = await read_form(request)
        typed = {name: value for name, value in form.items() if isinstance(value, str)}
        try:
            self._name(request, form)
            minutes = whole_number_of(form, "minutes")
            guests = whole_number_of(form, "guests")
            theme = await self._services.themes.get(DEFAULT_SLUG)
            self._opened.check(address_of(request, self._settings))
            party = await self._parties.start(
                text_of(form, "topic"),
                Actor(guest_of(request).person),
                theme=theme,
                visibility=_visibility(text_of(form, "visibility")),
                max_guests=guests,
                stage_minutes=STAGE_MINUTES if minutes is None else minutes,
            )
            self._opened.count(address_of(request, self._settings))
        except DreamstreamError as error:
            return self._pages.form(request, typed, str(error), status_of(error))
        raise web.HTTPSeeOther(f"/p/{party.code}")

    async def join_by_code(self, request: web.Request) -> web.StreamResponse:
        """Lead who typed a code to its party's door."""
        form = await read_form(request)
        typed = text_of(form, "code")[:64]
        try:
            evening = await self._door.see(request, typed)
        except DreamstreamError as error:
            return self._pages.door(
                request, None, typed=typed, error=str(error), status=status_of(error)
            )
        raise web.HTTPSeeOther(f"/p/{evening.party.code}")

    async def join(self, request: web.Request) -> web.StreamResponse:
        """Let a guest in, by the name they typed."""
        evening = await self._door.see(request)
        form = await read_form(request)
        try:
            self._door.check_may_act()
            self._name(request, form)
            await self._door.join(request, evening)
        except DreamstreamError as error:
            return self._pages.door(request, evening, error=str(error), status=status_of(error))
        raise web.HTTPSeeOther(f"/p/{evening.party.code}")

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """Let a guest go."""
        evening, _, actor, _ = await self.acting(request)
        await self._parties.leave(evening.party, actor)
        return redirect(request, f"/p/{evening.party.code}")

    async def say(self, request: web.Request) -> web.StreamResponse:
        """Take an association."""
        evening, _, actor, form = await self.acting(request)
        try:
            kind = AssociationKind(text_of(form, "kind") or AssociationKind.IDEA)
        except ValueError:
            raise InvalidRequestError("kind", "Say an idea, a style or an artist.") from None
        self._words.take(address_of(request, self._settings))
        await self._parties.associate(evening.party, actor, text_of(form, "words"), kind)
        return done(request, evening)

    async def hide(self, request: web.Request) -> web.StreamResponse:
        """Take words away: one's own, or by who leads anybody's."""
        evening, _, actor, _ = await self.acting(request)
        named = request.match_info["words_id"]
        if not (named.isascii() and named.isdigit() and len(named) <= 18):
            raise NotFoundError("There are no such words.")
        await self._parties.hide(evening.party, actor, int(named))
        return done(request, evening)

    async def draw(self, request: web.Request) -> web.StreamResponse:
        """Sketch what was typed and what was tapped."""
        evening, _, actor, form = await self.acting(request)
        count = whole_number_of(form, "count") or SKETCHES
        if not 1 <= count <= MOST_SKETCHES:
            raise InvalidRequestError("count", f"Sketch 1 to {MOST_SKETCHES} pictures at once.")
        said = [one for one in form.getall("said", []) if isinstance(one, str)]
        ids = [int(one) for one in said if one.isascii() and one.isdigit() and len(one) <= 18]
        with self._asking.room_for(request, count) as took:
            dreams = await self._parties.draw(
                evening.party, actor, text_of(form, "words"), association_ids=ids, count=count
            )
            took(dream.id for dream in dreams)
        return done(request, evening)

    async def grow(self, request: web.Request) -> web.StreamResponse:
        """Let a picture's prompt grow."""
        evening, _, actor, form = await self.acting(request)
        with self._asking.room_for(request, 1) as took:
            dream = await self._parties.grow(
                evening.party,
                actor,
                self._dream(request, evening),
                text_of(form, "words"),
                replacing=text_of(form, "replacing") or None,
            )
            took([dream.id])
        return done(request, evening)

    async def steer(self, request: web.Request) -> web.StreamResponse:
        """Change what a forming picture is to become."""
        evening, _, actor, form = await self.acting(request)
        await self._parties.steer(
            evening.party, actor, self._dream(request, evening), text_of(form, "prompt")
        )
        return done(request, evening)

    async def combine(self, request: web.Request) -> web.StreamResponse:
        """Put two pictures together."""
        evening, _, actor, form = await self.acting(request)
        other_id = text_of(form, "other")
        if other_id not in evening.dreams:
            raise InvalidRequestError("other", "Choose the other picture first.")
        with self._asking.room_for(request, 1) as took:
            dream = await self._parties.combine(
                evening.party,
                actor,
                self._dream(request, evening),
                other_id,
                words=text_of(form, "words") or None,
            )
            took([dream.id])
        return done(request, evening)

    async def favour(self, request: web.Request) -> web.StreamResponse:
        """Have the guest favour a picture, or no more."""
        evening, me, actor, _ = await self.acting(request)
        await self._parties.favour(evening.party, actor, self._dream(request, evening))
        return await self._voted(request, evening, me, "pictures")

    async def give_points(self, request: web.Request) -> web.StreamResponse:
        """Give a picture one point more, or take one back (``change`` of 1 or -1)."""
        evening, me, actor, form = await self.acting(request)
        change = whole_number_of(form, "change")
        if change not in (1, -1):
            raise InvalidRequestError("change", "Give one point more, or take one back.")
        dream_id = self._dream(request, evening)
        async with self._giving:  # two quick taps must both count
            points = (await self._evenings.now(evening.party.id)).points(me.person.id)
            points[dream_id] = points.get(dream_id, 0) + change
            await self._parties.give_points(evening.party, actor, points)
        return await self._voted(request, evening, me, "pictures")

    async def prefer(self, request: web.Request) -> web.StreamResponse:
        """Note which of two pictures the guest prefers, and show the next two."""
        evening, me, actor, form = await self.acting(request)
        winner, loser = text_of(form, "winner"), text_of(form, "loser")
        if winner not in evening.dreams or loser not in evening.dreams:
            raise NotFoundError("There is no such picture at this party.")
        await self._parties.prefer(
            evening.party, actor, winner, loser, equal=text_of(form, "equal") == "1"
        )
        return await self._voted(request, evening, me, "pair")

    async def credit(self, request: web.Request) -> web.StreamResponse:
        """Say whether the guest is named in what is published; also when the party is over."""
        evening, me = await self._door.enter(request)
        form = await read_form(request)
        await self._parties.credit(evening.party, me.person, text_of(form, "credited") == "1")
        return redirect(request, f"/p/{evening.party.code}")

    async def acting(self, request: web.Request) -> tuple[Evening, Member, Actor, Form]:
        """Return what every act needs: the party, who acts there, and what they sent.

        Raises:
            As `Door.enter` does; ForbiddenError: visitors of this wall only watch.
        """
        evening, me = await self._door.enter(request)
        self._door.check_may_act()
        return evening, me, Actor(me.person), await read_form(request)

    def _name(self, request: web.Request, form: Form) -> None:
        if not rename(request, text_of(form, "name")).name:
            raise InvalidRequestError("name", "Type a name, so that the others know who you are.")

    def _dream(self, request: web.Request, evening: Evening) -> str:
        dream_id = request.match_info["dream_id"]
        if dream_id not in evening.dreams:
            raise NotFoundError("There is no such picture at this party.")
        return dream_id

    async def _voted(
        self, request: web.Request, evening: Evening, me: Member, part: str
    ) -> web.StreamResponse:
        if not is_htmx(request):
            raise web.HTTPSeeOther(f"/p/{evening.party.code}")
        now = await self._evenings.now(evening.party.id)
        return await self._pages.fragment(request, now, me, part)


def done(request: web.Request, evening: Evening) -> web.StreamResponse:
    """Answer an act whose change comes to the page as an event."""
    if is_htmx(request):
        return web.Response(text="", content_type="text/html")
    raise web.HTTPSeeOther(f"/p/{evening.party.code}")


def redirect(request: web.Request, path: str) -> web.StreamResponse:
    """Lead a browser, with script or without, to another page."""
    if is_htmx(request):
        return web.Response(headers={"HX-Redirect": path})
    raise web.HTTPSeeOther(path)


def _visibility(typed: str) -> Visibility:
    if typed not in ("", Visibility.LINK, Visibility.PUBLIC):
        raise InvalidRequestError("visibility", "A party here is public, or for who has its link.")
    return Visibility(typed or Visibility.LINK)
