"""Asks Discord who somebody is: OAuth2's authorization code grant, with PKCE.

All that is asked for is `identify`: the id and the name. What somebody may see in which server the
bot finds out by itself (`bot.membership`). So a token is used once, at once, and kept nowhere. It
is not revoked: to Discord that would take the whole application from its person's list of
authorised ones, and with it what they have installed for themselves. What Discord answers is read
with an end, of time and of bytes, from one host, and leads nowhere else.

Source: https://docs.discord.com/developers/topics/oauth2
Source: https://www.rfc-editor.org/rfc/rfc6749, rfc7636 (PKCE), rfc9207 (`iss`);
https://discord.com/.well-known/oauth-authorization-server says which of them Discord has
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import secrets
from collections.abc import Callable
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from bot.errors import LimitError, RequestError
from bot.model import Person
from bot.network import UNREACHABLE

log = logging.getLogger(__name__)

DISCORD = URL("https://discord.com")
SCOPE = "identify"
ANSWER_S = 10.0
MAX_BYTES = 64 * 1024
_AT_ONCE = 8
_VERIFIER_BYTES = 32  # 43 signs, the least that RFC 7636 allows and that Discord takes
_MAX_ID = 1 << 64
_AGENT = "DiscordBot (https://docs.discord.com, 0.1)"

T = TypeVar("T")


class DiscordTroubleError(RequestError):
    """Discord could not be asked, or said what is not to be understood."""


class NotAcceptedError(RequestError):
    """Discord does not know the code: it is used, too old, or of another sign-in."""


class _Token(msgspec.Struct):
    access_token: str
    token_type: str
    scope: str = ""


class _User(msgspec.Struct):
    """The part of Discord's user that is needed; `global_name` is how they want to be called."""

    id: str
    username: str
    global_name: str | None = None


class _Refusal(msgspec.Struct):
    error: str = ""


class DiscordOAuth:
    """Sends people to Discord, and finds out who comes back.

    `client_id` is asked each time: where it is not in the settings it is the bot's, which is known
    once Discord was reached. `came_back` is the address that Discord leads to.
    """

    def __init__(
        self,
        secret: str,
        came_back: str,
        client_id: Callable[[], str | None],
        *,
        base: URL = DISCORD,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._secret = secret
        self._came_back = came_back
        self._client_id = client_id
        self._base = base
        self.answer_s = answer_s
        self._session: aiohttp.ClientSession | None = None

    @property
    def issuer(self) -> str:
        """What Discord calls itself where it leads back (RFC 9207)."""
        return str(self._base).rstrip("/")

    async def close(self) -> None:
        """Close its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def address(self, state: str, verifier: str) -> URL:
        """Return the address at Discord that asks a person whether this wall may know who they are.

        Raises:
            DiscordTroubleError: it is not known yet which application this is.
        """
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return (self._base / "oauth2" / "authorize").with_query(
            response_type="code",
            client_id=self._application(),
            scope=SCOPE,
            redirect_uri=self._came_back,
            state=state,
            code_challenge=challenge,
            code_challenge_method="S256",
        )

    async def identify(self, code: str, verifier: str) -> Person:
        """Return who a code was given to, by whoever knows the verifier of that sign-in.

        Raises:
            NotAcceptedError: Discord does not take the code.
            LimitError: Discord wants to be asked less.
            DiscordTroubleError: it cannot be asked, or answers something else.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._came_back,
            "code_verifier": verifier,
        }
        path = "api/oauth2/token"
        token = _read(await self._send("POST", path, form=form, codes=True), _Token)
        if token.token_type.lower() != "bearer" or SCOPE not in token.scope.split():
            raise DiscordTroubleError(_STRANGE)
        said = await self._send("GET", "api/v10/users/@me", bearer=token.access_token)
        user = _read(said, _User)
        if not (user.id.isascii() and user.id.isdigit() and 0 < int(user.id[:21]) < _MAX_ID):
            raise DiscordTroubleError(_STRANGE)
        return Person(f"discord:{int(user.id)}", user.global_name or user.username)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        form: dict[str, str] | None = None,
        bearer: str = "",
        codes: bool = False,
    ) -> bytes:
        headers = {"User-Agent": _AGENT, "Accept": "application/json"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        else:
            headers["Authorization"] = aiohttp.encode_basic_auth(self._application(), self._secret)
        try:
            async with self._connections().request(
                method,
                self._base / path,
                data=form,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self.answer_s),
            ) as response:
                status, body = response.status, await _body(response)
        except UNREACHABLE as error:
            log.warning("Discord cannot be reached for a sign-in: %s", type(error).__name__)
            raise DiscordTroubleError(_UNREACHED) from None
        if status == 200:
            return body
        raise _refusal(status, body, codes=codes)

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_AT_ONCE),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _application(self) -> str:
        client_id = self._client_id()
        if not client_id:
            raise DiscordTroubleError(_UNREACHED)
        return client_id


_UNREACHED = "Discord cannot be reached at present. Try to sign in again in a minute."
_STRANGE = "Discord has answered something that cannot be understood. Try to sign in again later."


def new_verifier() -> str:
    """Return a secret that whoever asks for a token has to know, and nobody on the way does."""
    return secrets.token_urlsafe(_VERIFIER_BYTES)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    try:
        await response.content.readexactly(MAX_BYTES + 1)
    except asyncio.IncompleteReadError as whole:
        return whole.partial
    log.warning("Discord has answered more than %d bytes to a sign-in", MAX_BYTES)
    raise DiscordTroubleError(_STRANGE)


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        log.warning("Discord has answered something else than was asked for at a sign-in")
        raise DiscordTroubleError(_STRANGE) from None


def _refusal(status: int, body: bytes, *, codes: bool) -> RequestError:
    try:
        why = msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        why = ""
    if codes and why == "invalid_grant":
        return NotAcceptedError("Discord does not know this sign-in any more. Begin again.")
    if status == 429:
        return LimitError("Discord has no time for sign-ins at present. Try again later.", 60)
    if why in ("invalid_client", "unauthorized_client") or (codes and status == 401):
        log.error(
            "Discord does not accept the application's secret. Copy it anew from the developer "
            "portal (page “OAuth2”, “Client Secret”)."
        )
        return DiscordTroubleError(
            "Signing in is not set up right here. Whoever runs this wall finds more in the log."
        )
    log.warning("Discord has refused a part of a sign-in with status %d", status)
    return DiscordTroubleError(_UNREACHED if status >= 500 else _STRANGE)
