"""Discord's part of signing in: a server of its own that gives codes and tokens, and checks them.

It is as strict as Discord: a code is good once, for the application, the address and the verifier
of its sign-in. `trouble` makes it answer wrongly, slowly, or not at all.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

APPLICATION = "111111111111111111"
SECRET = "the-application-s-secret"
AUTHORIZE = "/oauth2/authorize"
TOKEN = "/api/oauth2/token"
Trouble = Callable[[web.Request], web.StreamResponse | None]


@dataclass
class FakeOAuth:
    """What it has been asked, and for whom it gives codes."""

    url: URL = field(default_factory=URL)
    application: str = APPLICATION
    user: dict[str, Any] = field(default_factory=dict)
    trouble: Trouble | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    slow_s: float = 0.0
    granted: str = "identify"
    _codes: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    _people: dict[str, dict[str, Any]] = field(default_factory=dict)

    def be(self, user_id: int, name: str) -> None:
        """Have whoever comes next be this person."""
        self.user = user_of(user_id, name)

    def agree(self, asked: str | URL) -> URL:
        """Press “Authorize” on the page that an address leads to; return where that leads back."""
        address = URL(asked)
        query = address.query
        assert address.origin() == self.url.origin() and address.path == AUTHORIZE
        assert query["response_type"] == "code" and query["scope"] == "identify"
        assert query["client_id"] == self.application and query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(20)
        back = query["redirect_uri"]
        self._codes[code] = query["code_challenge"], back, self.user
        return URL(back).with_query(
            code=code, state=query["state"], iss=str(self.url.origin()).rstrip("/")
        )

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Ask whoever looks; the fake's person may say yes."""
        back = html.escape(str(self.agree(self.url.join(request.rel_url))))
        return web.Response(text=f'<a href="{back}">Authorize</a>', content_type="text/html")

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        assert request.content_type == "application/x-www-form-urlencoded"
        own = aiohttp.encode_basic_auth(self.application, SECRET)
        if request.headers.get("Authorization") != own:
            return web.json_response({"error": "invalid_client"}, status=401)
        challenge, back, user = self._codes.pop(str(form["code"]), ("", "", {}))
        verifier = str(form.get("code_verifier", ""))
        assert 43 <= len(verifier) <= 128
        digest = hashlib.sha256(verifier.encode()).digest()
        proven = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge
        if not (proven and form["redirect_uri"] == back):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = secrets.token_urlsafe(22)
        self.tokens.append(token)
        self._people[f"Bearer {token}"] = user
        return web.json_response(
            {"access_token": token, "token_type": "Bearer", "expires_in": 604800}
            | {"refresh_token": secrets.token_urlsafe(22), "scope": self.granted}
        )

    async def me(self, request: web.Request) -> web.StreamResponse:
        user = self._people.get(request.headers.get("Authorization", ""))
        if user is None:
            return web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        return web.json_response(user)

    def join(self, app: web.Application) -> None:
        """Be a part of a server: all but what tells of whoever has a token (`me`)."""
        app.router.add_get(AUTHORIZE, self.page)
        app.router.add_post(TOKEN, self.token)

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[FakeOAuth]:
        """Listen."""

        @web.middleware
        async def look(request: web.Request, handler: Any) -> web.StreamResponse:
            self.asked.append((request.method, request.path))
            await asyncio.sleep(self.slow_s)
            answer = None if self.trouble is None else self.trouble(request)
            return answer or await handler(request)

        app = web.Application(middlewares=[look])
        self.join(app)
        app.router.add_get("/api/v10/users/@me", self.me)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
        try:
            yield self
        finally:
            await runner.cleanup()


def user_of(user_id: int, name: str) -> dict[str, Any]:
    """Return a user as Discord tells of whoever a token is (`UserPIIResponse`)."""
    said = """{"username": "ann.b", "avatar": null, "discriminator": "0", "public_flags": 0,
    "flags": 0, "banner": null, "accent_color": null, "mfa_enabled": true, "locale": "en-US"}"""
    return {**json.loads(said), "id": str(user_id), "global_name": name}
