"""What comes from the host's desk: stages, the timer, people, the finale, the end."""

from __future__ import annotations

from contextlib import suppress

from aiohttp import web

from bot.errors import InvalidRequestError, NotFoundError
from bot.parties.model import Role, Stage
from bot.parties.service import Parties
from bot.publish.service import Publishing
from bot.wall.forms import text_of, whole_number_of
from bot.wall.marks import Marks
from bot.wall.party.acts import Acts, done, redirect
from bot.wall.party.evening import Evening


class Leading:
    """Hands what leaders do to the parties service, which knows who may."""

    def __init__(
        self, parties: Parties, publishing: Publishing | None, acts: Acts, marks: Marks
    ) -> None:
        self._parties = parties
        self._publishing = publishing
        self._acts = acts
        self._marks = marks

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.post("/p/{code}/stage", self.move),
            web.post("/p/{code}/timer", self.set_timer),
            web.post("/p/{code}/settings", self.change),
            web.post("/p/{code}/finale", self.finale),
            web.post("/p/{code}/publish", self.publish),
            web.post("/p/{code}/end", self.end),
            web.post("/p/{code}/members/{mark}/role", self.set_role),
            web.post("/p/{code}/members/{mark}/remove", self.remove),
        ]

    async def move(self, request: web.Request) -> web.StreamResponse:
        """Move the party on, or back. At its last stage its bundle is made."""
        evening, _, actor, form = await self._acts.acting(request)
        try:
            stage = Stage(text_of(form, "stage"))
        except ValueError:
            raise InvalidRequestError("stage", "Choose one of the stages.") from None
        await self._parties.move(evening.party, actor, stage)
        if stage is Stage.PUBLISHED and self._publishing is not None:
            with suppress(InvalidRequestError):  # there is nothing to publish
                await self._publishing.make(evening.party.id, actor)
        return done(request, evening)

    async def set_timer(self, request: web.Request) -> web.StreamResponse:
        """Let stages last so long."""
        evening, _, actor, form = await self._acts.acting(request)
        minutes = whole_number_of(form, "minutes")
        if minutes is None:
            raise InvalidRequestError("minutes", "Say how many minutes; 0 is for no timer.")
        await self._parties.set_timer(evening.party, actor, minutes)
        return done(request, evening)

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Change what the host chose; a field that is not sent stays."""
        evening, _, actor, form = await self._acts.acting(request)

        def switch(name: str) -> bool | None:
            typed = text_of(form, name)
            return None if not typed else typed == "1"

        await self._parties.change(
            evening.party,
            actor,
            everyone_steers=switch("everyone_steers"),
            code_shown=switch("code_shown"),
            max_guests=whole_number_of(form, "guests"),
        )
        return done(request, evening)

    async def finale(self, request: web.Request) -> web.StreamResponse:
        """Have the chosen pictures drawn anew; the party moves on to its finale, if need be."""
        evening, _, actor, form = await self._acts.acting(request)
        chosen = [one for one in form.getall("dream", []) if isinstance(one, str)]
        if not chosen:
            raise InvalidRequestError("dream", "Choose the pictures for the finale first.")
        if any(one not in evening.dreams for one in chosen):
            raise NotFoundError("There is no such picture at this party.")
        await self._parties.open_finale(evening.party, actor, chosen)
        return done(request, evening)

    async def publish(self, request: web.Request) -> web.StreamResponse:
        """Have the evening's bundle made, or made anew."""
        evening, _, actor, _ = await self._acts.acting(request)
        if self._publishing is None:
            raise NotFoundError("Nothing is published here.")
        await self._publishing.make(evening.party.id, actor)
        return redirect(request, f"/p/{evening.party.code}")

    async def end(self, request: web.Request) -> web.StreamResponse:
        """End the party."""
        evening, _, actor, _ = await self._acts.acting(request)
        await self._parties.end(evening.party, actor)
        return done(request, evening)

    async def set_role(self, request: web.Request) -> web.StreamResponse:
        """Give somebody a role; that of the host is handed over."""
        evening, _, actor, form = await self._acts.acting(request)
        try:
            role = Role(text_of(form, "role"))
        except ValueError:
            raise InvalidRequestError("role", "Choose one of the roles.") from None
        await self._parties.set_role(evening.party, actor, self._named(request, evening), role)
        return done(request, evening)

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """Send somebody away for good."""
        evening, _, actor, _ = await self._acts.acting(request)
        await self._parties.remove(evening.party, actor, self._named(request, evening))
        return done(request, evening)

    def _named(self, request: web.Request, evening: Evening) -> str:
        """Return the id of whom a request is about. A page knows people by a sign, not by an id."""
        for member in evening.present:
            if self._marks.of(member.person.id) == request.match_info["mark"]:
                return member.person.id
        raise NotFoundError("They are not at this party.")
