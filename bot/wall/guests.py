"""Who a visitor is: who signed in, or else a random token in a cookie, and the name they typed.

The token never leaves the cookie. What the rest of the bot knows, and may write down, is its
hash: nobody who reads an id somewhere can act as that guest.

Who comes by https has cookies that are of this very host alone. One that a browser has from before
they were is taken over and removed, so that nobody becomes somebody else. Until then whoever has
another host of the same domain could still plant one, to know who a new visitor is; later it counts
for nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.model import Person
from bot.wall.guard import is_called_as_public
from bot.wall.settings import WallSettings
from bot.wall.words import clean_name

HOST_PREFIX = "__Host-"
"""A browser takes a cookie of such a name from this very host, by https, for every path, or not."""
TOKEN_COOKIE = "dreamer"  # noqa: S105 -- the cookie's name
NAME_COOKIE = "dreamer-name"
NAMELESS = "a guest"
_LIFETIME_S = 400 * 24 * 3600
_TOKEN = re.compile(r"[A-Za-z0-9_-]{24,64}")


@dataclass(frozen=True)
class Guest:
    """A visitor. `typed` is the name that they typed; `new` means the cookie is yet to be set.

    What a guest is known by is `taken_over` where it came in a cookie without `HOST_PREFIX` and is
    to be in one with it.

    Who is signed in has an `account`, and is never new. Their `token`, and what they `typed`, are
    those of the guest that their browser was before, empty where it was none: the guest is never
    called as the account is.
    """

    token: str
    typed: str = ""
    new: bool = False
    account: Person | None = None
    taken_over: bool = False

    @property
    def name(self) -> str:
        """What the visitor is called; empty until they typed a name, or signed in."""
        return self.typed if self.account is None else self.account.name

    @property
    def person(self) -> Person:
        """The visitor as the rest of the bot knows them."""
        return self.account or self._as_guest

    @property
    def persons(self) -> tuple[Person, ...]:
        """Everybody that the visitor is: what is theirs is whosever of these it is."""
        if self.account is None:
            return (self._as_guest,)
        return (self.account, self._as_guest) if self.token else (self.account,)

    @property
    def _as_guest(self) -> Person:
        digest = hashlib.sha256(self.token.encode()).hexdigest()[:24]
        return Person(id=f"guest:{digest}", name=self.typed or NAMELESS)


NOBODY = Guest("")
"""For whom a page is that is the same for everybody."""
_guest_key = web.RequestKey("guest", Guest)
_prefix_key = web.RequestKey("prefix", str)


def guest_of(request: web.Request) -> Guest:
    """Say who a request is from; somebody new gets a token with the answer."""
    known: Guest | None = request.get(_guest_key)
    if known is not None:
        return known
    prefix = request.get(_prefix_key, "")
    guest = _kept(request, prefix)
    if guest is None and prefix and (before := _kept(request, "")) is not None:
        guest = replace(before, taken_over=True)
    if guest is None:
        guest = Guest(secrets.token_urlsafe(24), new=True)
    request[_guest_key] = guest
    return guest


def _kept(request: web.Request, prefix: str) -> Guest | None:
    """Return the guest that a browser has kept in cookies whose names begin so."""
    token = request.cookies.get(prefix + TOKEN_COOKIE, "")
    if not _TOKEN.fullmatch(token):
        return None
    return Guest(token, clean_name(unquote(request.cookies.get(prefix + NAME_COOKIE, ""))))


def sign_in(request: web.Request, account: Person) -> None:
    """Have a request be from somebody who is signed in."""
    guest = guest_of(request)
    before = NOBODY if guest.new else guest
    request[_guest_key] = replace(before, account=account)


def rename(request: web.Request, typed: str) -> Guest:
    """Take a guest's name, which the answer will have them keep; an empty one changes nothing.

    Nor is who is signed in called by what they type.
    """
    guest = guest_of(request)
    name = clean_name(typed)
    if name and name != guest.typed and guest.account is None:
        guest = replace(guest, typed=name, new=True)
        request[_guest_key] = guest
    return guest


def remember(settings: WallSettings) -> Middleware:
    """Return the middleware that sets the cookies of a new or renamed guest."""

    def prefix_for(request: web.Request) -> str:
        # At another address of a wall in local mode it may be http, where a browser takes none.
        there = settings.secure and is_called_as_public(request, settings)
        return HOST_PREFIX if there else ""

    def set_cookies(request: web.Request, response: web.StreamResponse) -> None:
        guest = request.get(_guest_key)
        if guest is None or not (guest.new or guest.taken_over) or response.prepared:
            return
        for name, value in ((TOKEN_COOKIE, guest.token), (NAME_COOKIE, quote(guest.typed))):
            response.set_cookie(
                request[_prefix_key] + name,
                value,
                max_age=_LIFETIME_S,
                path="/",
                httponly=True,
                samesite="Lax",
                secure=settings.secure,
            )
            if guest.taken_over:
                response.del_cookie(name, path="/", secure=settings.secure)

    @web.middleware
    async def remember_guest(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_prefix_key] = prefix_for(request)
        try:
            response = await handler(request)
        except web.HTTPException as redirection:
            set_cookies(request, redirection)
            raise
        set_cookies(request, response)
        return response

    return remember_guest
