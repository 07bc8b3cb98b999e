"""Portraits at the wall: saying something about oneself, agreeing to what is shown, taking it back.

What was typed is held in memory for one guest, and named by a token that means nothing to anybody
else. Also where visitors only watch, what somebody agreed to before can be seen and taken back.
"""

from __future__ import annotations

from aiohttp import web

from bot.errors import DreamstreamError, ForbiddenError, NotFoundError
from bot.gate import Asker
from bot.model import Theme
from bot.portraits import KEPT, MAX_WORDS, NO_LIKENESS, AgreedError, Portraits, where_shown
from bot.store.portraits import Reach
from bot.wall.asking import Asking
from bot.wall.errors import status_of
from bot.wall.forms import read_form, text_of
from bot.wall.guard import address_of
from bot.wall.guests import guest_of, rename
from bot.wall.rates import Rates
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.services import Services
from bot.wall.settings import WallSettings

MOST = 60  # of a room full of people behind one address
WINDOW_S = 600.0
SIDE_PX = 768
_UNKNOWN = (
    "Your browser keeps no cookie of this wall, so nobody would know later that the portrait is "
    "yours to take back. Allow cookies here, and try again."
)
_SEEN_BY = {
    Reach.SELF: "only you see it",
    Reach.CHANNEL: "in one channel on Discord",
    Reach.STREAM: "in its stream",
}
# Whoever shares the browser's cache must not find what was for one alone.
_KEPT_NOWHERE = {"Cache-Control": "private, no-store"}


class Portraying:
    """Serves ``/portraits`` and ``/s/{slug}/portrait``. `asking` bounds what an address draws."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        portraits: Portraits,
        asking: Asking,
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._portraits = portraits
        self._asking = asking
        self._rates = Rates(
            MOST, WINDOW_S, "That were many portraits from your address. Try again a little later."
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/s/{slug}/portrait", self.form),
            web.post("/s/{slug}/portrait", self.draft),
            web.get("/portraits", self.mine),
            web.get("/portraits/drafts/{token}", self.terms),
            web.post("/portraits/drafts/{token}/agree", self.agree),
            web.post("/portraits/drafts/{token}/discard", self.discard),
            web.get("/portraits/{dream_id}/picture.webp", self.picture),
            web.post("/portraits/{dream_id}/revoke", self.revoke),
        ]

    async def form(self, request: web.Request) -> web.StreamResponse:
        """Ask for a few words; they are kept nowhere yet."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        self._asking.check_may_ask()
        return self._form(request, theme, {})

    async def draft(self, request: web.Request) -> web.StreamResponse:
        """Hold what was typed, and lead to what would be kept of it."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        self._asking.check_may_ask()
        form = await read_form(request)
        typed = {name: text_of(form, name) for name in ("words", "reach", "name")}
        known = not guest_of(request).new
        rename(request, typed["name"])
        try:
            if not known:
                raise ForbiddenError(_UNKNOWN)
            self._rates.take(address_of(request, self._settings))
            reach = Reach.STREAM if typed["reach"] == Reach.STREAM else Reach.SELF
            asker = Asker(guest_of(request).person)
            draft = await self._portraits.draft(asker, typed["words"], reach, theme)
        except DreamstreamError as error:
            return self._form(request, theme, typed, str(error), status_of(error))
        raise web.HTTPSeeOther(f"/portraits/drafts/{draft.token}")

    async def terms(self, request: web.Request) -> web.StreamResponse:
        """Show all that would be kept and shown, word for word."""
        draft = self._portraits.drafted(request.match_info["token"], guest_of(request).person)
        return self._terms(request, draft.token)

    async def agree(self, request: web.Request) -> web.StreamResponse:
        """Have the guest agree, and the portrait drawn; who presses twice agrees once."""
        token = request.match_info["token"]
        person = guest_of(request).person
        try:
            draft = self._portraits.drafted(token, person)
            # Whether they may ask is known only of a theme that was looked at.
            await self._services.visible_theme(draft.theme.slug)
            self._asking.check_may_ask()
            with self._asking.room_for(request, 1) as took:
                kept = await self._portraits.consent(token, person)
                took([kept.dream.id])
        except AgreedError:
            raise web.HTTPSeeOther("/portraits") from None
        except NotFoundError:
            raise
        except DreamstreamError as error:
            return self._terms(request, token, str(error), status_of(error))
        raise web.HTTPSeeOther("/portraits")

    async def discard(self, request: web.Request) -> web.StreamResponse:
        """Forget what was typed."""
        person = guest_of(request).person
        draft = self._portraits.drafted(request.match_info["token"], person)
        self._portraits.discard(draft.token, person)
        raise web.HTTPSeeOther(f"/s/{draft.theme.slug}")

    async def mine(self, request: web.Request) -> web.StreamResponse:
        """List the portraits of all that a visitor is, each with the way to take it back."""
        found = await self._portraits.mine(*guest_of(request).persons)
        return self._renderer.page(
            request,
            "portraits/mine.html",
            found=found,
            forming=any(not one.dream.state.final for one in found),
            seen_by=_SEEN_BY,
        )

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Send a portrait to its person alone."""
        visitor = guest_of(request).persons
        kept = await self._portraits.own(request.match_info["dream_id"], *visitor)
        if kept.dream.image is None:
            raise NotFoundError("There is no picture of that portrait yet.")
        path = await self._services.library.make_thumbnail(kept.dream.image.sha256, SIDE_PX)
        return web.FileResponse(path, headers={**_KEPT_NOWHERE, "Content-Type": "image/webp"})

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """Take a portrait back, for good."""
        await self._portraits.revoke(request.match_info["dream_id"], *guest_of(request).persons)
        if is_htmx(request):
            return web.Response(headers={"HX-Redirect": "/portraits"})
        raise web.HTTPSeeOther("/portraits")

    def _form(
        self,
        request: web.Request,
        theme: Theme,
        typed: dict[str, str],
        error: str = "",
        status: int = 200,
    ) -> web.Response:
        return self._renderer.page(
            request,
            "portraits/new.html",
            status=status,
            themes=[theme],
            theme=theme,
            typed={"words": "", "reach": "", "name": "", **typed},
            error=error,
            longest=MAX_WORDS,
        )

    def _terms(
        self, request: web.Request, token: str, error: str = "", status: int = 200
    ) -> web.Response:
        draft = self._portraits.drafted(token, guest_of(request).person)
        return self._renderer.page(
            request,
            "portraits/terms.html",
            status=status,
            themes=[draft.theme],
            draft=draft,
            shown=where_shown(draft.reach, draft.theme, draft.theme.title),
            kept=KEPT,
            no_likeness=NO_LIKENESS,
            error=error,
        )
