"""Signing in with Discord: there and back, and out again.

Who goes to Discord takes a state along, which comes back in the address, and keeps a secret in a
cookie. Both have to be of the same sign-in, which is over with the first that comes back, right or
wrong, or after ten minutes: so nobody is signed in as whoever gave them a link, and no address that
was seen is good again. It is kept in memory: who is underway when the bot stops begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from bot.discord_oauth import DiscordOAuth, DiscordTroubleError, NotAcceptedError, new_verifier
from bot.errors import LimitError, NotFoundError, RequestError
from bot.membership import Memberships, Place, Unreached
from bot.model import Person
from bot.monitoring.metrics import WALL_SIGN_INS
from bot.sessions import DAY_MS, Sessions
from bot.wall.forms import read_form, text_of
from bot.wall.guard import heard_from, networks_of
from bot.wall.guests import HOST_PREFIX, guest_of, sign_in
from bot.wall.passes import Pass, note_unreached, showing
from bot.wall.rates import Rates
from bot.wall.rendering import Renderer
from bot.wall.server_rules import ServerRules
from bot.wall.settings import WallSettings
from bot.wall.underway import LASTS_S, SignIn, Underway
from bot.wall.words import clean_name
from bot.words import duration

log = logging.getLogger(__name__)

CALLBACK = "/sign-in/discord"
MOST, WINDOW_S = 300, 600.0
"""So many from one address: all of a party in one hall, who may have to begin twice."""
MOST_OF_NETWORK = 1200
"""So many from a site (a /48 of IPv6, a /24 of IPv4): less than a third of those that may wait."""
MAX_NEXT = 512
STALE = (
    "This sign-in was begun in another browser, or too long ago, or is over already. Begin again."
)
_TOO_MANY = "Too many sign-ins were begun from where you are. Try again later."
_NEXT = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
_CODE = re.compile(r"[A-Za-z0-9._~-]{1,512}")


@dataclass(frozen=True)
class SigningIn:
    """What is needed to sign people in; without `memberships` they see no more for it.

    Without `rules` they ask as guests do.
    """

    oauth: DiscordOAuth
    sessions: Sessions
    memberships: Memberships | None = None
    rules: ServerRules | None = None


class _Member:
    """Whoever is signed in by a token, until they are signed out, for one request.

    `unreached` is called where Discord does not say at present what they may see.
    """

    def __init__(
        self, person: Person, token: str, signing_in: SigningIn, unreached: Unreached
    ) -> None:
        self.person = person
        self._token = token
        self._sessions = signing_in.sessions
        self._memberships = signing_in.memberships
        self._unreached = unreached
        self._asked_of_all = False

    async def places(self, theme_id: int) -> Sequence[Place]:
        if self._memberships is None or not await self._is_signed_in():
            return ()
        return await self._memberships.places(self.person.id, theme_id, unreached=self._unreached)

    async def private_places(self, theme_id: int) -> Sequence[Place]:
        if self._asked_of_all:
            return await self.places(theme_id)
        # Both at once, so that who is refused has waited as long as `ask_of_all` takes alone.
        found, _ = await asyncio.gather(self.places(theme_id), self.ask_of_all())
        return found

    async def ask_of_all(self) -> None:
        """Have Discord asked of all private themes, once, whatever this request is for.

        Who is told that something is not there would know otherwise, by when they are told or by
        whether Discord did not answer, that a private theme was looked at.
        """
        if not self._asked_of_all:
            self._asked_of_all = True
            await self.private_themes()

    async def private_themes(self) -> Sequence[int]:
        if self._memberships is None:
            return ()
        return await self._memberships.private_themes(self.person.id, unreached=self._unreached)

    async def place(self, guild_id: int, channel_id: int) -> Place | None:
        if self._memberships is None or not await self._is_signed_in():
            return None
        return await self._memberships.place(
            self.person.id, guild_id, channel_id, unreached=self._unreached
        )

    async def _is_signed_in(self) -> bool:
        return await self._sessions.person_of(self._token) is not None


def recognise(settings: WallSettings, signing_in: SigningIn) -> Middleware:
    """Return the middleware that knows who is signed in, at every request."""
    cookie = session_cookie(settings)

    @web.middleware
    async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
        token = request.cookies.get(cookie, "")
        if not token or request.path.startswith("/static/"):
            return await handler(request)
        person = await signing_in.sessions.person_of(token)
        if person is None:
            return await handler(request)
        sign_in(request, person)
        member = _Member(person, token, signing_in, partial(note_unreached, request))
        with showing(Pass(member=member)):
            try:
                return await handler(request)
            except NotFoundError:
                await member.ask_of_all()
                raise

    return look


class SignInRoutes:
    """Serves ``/sign-in``, where Discord leads back to, ``/sign-out`` and ``/me``."""

    def __init__(
        self,
        settings: WallSettings,
        renderer: Renderer,
        signing_in: SigningIn,
    ) -> None:
        self._settings = settings
        self._renderer = renderer
        self._oauth = signing_in.oauth
        self._sessions = signing_in.sessions
        self._underway = Underway()
        self._session_cookie = session_cookie(settings)
        self._secret_cookie = _named("dreamer-signing-in", settings)
        self._rates = Rates(MOST, WINDOW_S, _TOO_MANY)
        self._network_rates = Rates(MOST_OF_NETWORK, WINDOW_S, _TOO_MANY)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them; who asks for headers alone signs nobody in."""
        return [
            web.get("/sign-in", self.begin, allow_head=False),
            web.get(CALLBACK, self.come_back, allow_head=False),
            web.post("/sign-out", self.sign_out),
            web.get("/me", self.me),
        ]

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Send somebody to Discord; `next` is where on this wall they want to be afterwards.

        Discord leads back to the wall's public address, so the cookies have to be of that one: who
        comes by another goes there first, and once: a proxy may say that it is another always.
        """
        leads_to = safe_next(request.query.get("next", ""))
        if guest_of(request).account is not None:
            raise web.HTTPFound(leads_to)
        if _is_elsewhere(request, self._settings) and "there" not in request.query:
            there = URL(self._settings.public_url).with_path("/sign-in")
            raise web.HTTPFound(there.with_query(next=leads_to, there="1"))
        networks = networks_of(heard_from(request, self._settings), self._settings)
        self._count(networks)
        state, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        verifier = new_verifier()
        address = self._oauth.address(state, verifier)
        self._underway.begin(state, _hash(secret), verifier, leads_to, networks)
        response = web.Response(status=302, headers={"Location": str(address)})
        self._set(response, self._secret_cookie, secret, LASTS_S)
        return response

    async def come_back(self, request: web.Request) -> web.StreamResponse:
        """Take somebody in whom Discord sends back, under a new token."""
        underway = self._taken(request)
        if underway is None:
            WALL_SIGN_INS.labels("stale").inc()
            raise RequestError(STALE)
        query = request.query
        response = web.Response(status=302, headers={"Location": underway.next})
        response.del_cookie(self._secret_cookie, path="/", secure=self._settings.secure)
        if query.get("error") == "access_denied":
            WALL_SIGN_INS.labels("declined").inc()
            return response
        # RFC 9207: another server's code is not to be sent to Discord.
        strange = query.get("iss", self._oauth.issuer).rstrip("/") != self._oauth.issuer
        if strange or not _CODE.fullmatch(query.get("code", "")):
            WALL_SIGN_INS.labels("failed").inc()
            raise RequestError("Discord has answered something else than a sign-in. Begin again.")
        try:
            said = await self._oauth.identify(query["code"], underway.verifier)
        except (DiscordTroubleError, NotAcceptedError, LimitError):
            WALL_SIGN_INS.labels("failed").inc()
            raise
        person = Person(said.id, clean_name(said.name) or "somebody")
        earlier = request.cookies.get(self._session_cookie, "")
        token = await self._sessions.begin(person, instead_of=earlier)
        self._set(response, self._session_cookie, token, self._sessions.lasts_ms / 1000)
        WALL_SIGN_INS.labels("done").inc()
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Sign this browser out or, with `everywhere`, all that its person is signed in with."""
        everywhere = text_of(await read_form(request), "everywhere") == "yes"
        guest, token = guest_of(request), request.cookies.get(self._session_cookie, "")
        if everywhere and guest.account is not None:
            await self._sessions.end_all(guest.account)
        elif token:
            await self._sessions.end(token)
        response = web.Response(status=303, headers={"Location": "/"})
        response.del_cookie(self._session_cookie, path="/", secure=self._settings.secure)
        return response

    async def me(self, request: web.Request) -> web.StreamResponse:
        """Say who is signed in, and in how many browsers; offer to sign in, or out."""
        account = guest_of(request).account
        browsers = 0 if account is None else await self._sessions.count(account)
        lasts = _lasts(self._sessions.lasts_ms)
        return self._renderer.page(request, "me.html", browsers=browsers, lasts=lasts)

    def _count(self, networks: tuple[str, ...]) -> None:
        """Count one more that is begun.

        Raises:
            LimitError: too many were of late, from the address or from the site that it is of.
        """
        counted = [(self._rates, networks[-1])]
        counted += [(self._network_rates, site) for site in networks[-2:-1]]
        for rates, key in counted:
            rates.check(key)
        for rates, key in counted:
            rates.count(key)

    def _taken(self, request: web.Request) -> SignIn | None:
        """Return the sign-in that a request comes back from, which is over with that."""
        found = self._underway.take(request.query.get("state", ""))
        if found is None:
            return None
        secret = request.cookies.get(self._secret_cookie, "")
        return found if hmac.compare_digest(_hash(secret), found.secret_sha256) else None

    def _set(self, response: web.Response, name: str, value: str, lasts_s: float) -> None:
        response.set_cookie(
            name,
            value,
            max_age=int(lasts_s),
            path="/",
            httponly=True,
            samesite="Lax",  # Discord leads back from another site
            secure=self._settings.secure,
        )


def session_cookie(settings: WallSettings) -> str:
    """Return the name of the cookie that holds a session's token."""
    return _named("dreamer-session", settings)


def safe_next(path: str) -> str:
    """Return a place on this wall that somebody wants to go on to; “/” where it is none.

    A browser reads `//host` and `/\\host` as another site, and leaves out tabs and line ends.
    """
    good = len(path) <= MAX_NEXT and _NEXT.fullmatch(path) and not path.startswith("/sign-")
    return path if good else "/"


def _is_elsewhere(request: web.Request, settings: WallSettings) -> bool:
    """Say whether a request came to another address of the wall than its public one."""
    if not settings.public_url:
        return False
    public = URL(settings.public_url)
    here = URL(f"{public.scheme}://{request.host}")
    return (here.host, here.port) != (public.host, public.port)


def _lasts(lasts_ms: float) -> str:
    """Say how long a browser stays signed in."""
    if lasts_ms < DAY_MS:
        return duration(lasts_ms / 1000)
    days = round(lasts_ms / DAY_MS)
    return f"{days} day{'s' if days > 1 else ''}"


def _named(name: str, settings: WallSettings) -> str:
    return HOST_PREFIX + name if settings.secure else name


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
