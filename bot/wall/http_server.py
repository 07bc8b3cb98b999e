"""The wall's side of HTTP connections: how many there are, and how long it waits for the others.

aiohttp reads requests and writes answers. What is added here holds against strangers: there are
only so many places, in all and for one address; a request's headers have to come within a time; an
answer has to be taken at some pace, whether it is a page, a file or a stream of events; and what
is no HTTP at all is answered with a sentence, and told nowhere as an error of ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from bot.wall.guard import block_of, guard, is_loopback, is_trusted
from bot.wall.places import RETRY_AFTER_S, Full, Places, room_for
from bot.wall.settings import WallSettings
from bot.wall.taking import Pace, taken_of

log = logging.getLogger(__name__)

SEND_BUFFER_BYTES = 128 * 1024
"""Of each connection; Linux takes twice that, and else up to 4 MiB for who does not read."""
NOT_HTTP = "That request could not be read."
SLOW_HEAD = "Sending took too long. Please try again."
BACKLOG = 1024
"""Connections that may come between two looks; of more the system tells nobody anything."""
_SHUTDOWN_S = 5.0
_REFUSED_S = 1.0  # how long one who is refused may take to read why
_REFUSED_AT_ONCE = 128
_PROXY = "a proxy"
_SENTENCES = {
    Full.ADDRESS: (
        429,
        "Too many connections are open from your address. Close some pages, and try again.",
    ),
    Full.EVERYBODY: (503, "Too many people are here at the moment. Try again in half a minute."),
}


class Link(web.RequestHandler):
    """One browser's connection, from its beginning to its end."""

    __slots__ = (
        *("_busy", "_head_since_s", "_pace", "_request", "_server", "_wire"),
        *("address", "idle_since_s"),
    )

    def __init__(self, server: Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.address = ""
        self.idle_since_s = 0.0
        self._server = server
        self._wire: asyncio.Transport | None = None
        self._busy = False
        self._head_since_s: float | None = None
        self._request: web.BaseRequest | None = None
        self._pace = Pace(server.settings.patience)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, and all of the last answer is out of our hands."""
        wire = self._wire
        return not self._busy and wire is not None and not wire.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is a place."""
        assert isinstance(transport, asyncio.Transport)
        self.idle_since_s = self._loop.time()
        if not self._server.admit(self, transport):
            return
        self._wire = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        self._wire = None
        self._server.gone(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note when a request begins; what follows of it, and of its body, is aiohttp's."""
        before = self._request
        if data and self._head_since_s is None and (before is None or before.content.is_eof()):
            self._head_since_s = self._loop.time()
        super().data_received(data)

    def begun(self, request: web.BaseRequest) -> None:
        """Note that a request's headers are there."""
        self._request = request
        self._head_since_s = None
        self._busy = True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer, or what is left of it, and note that it was."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._busy = False
            self.idle_since_s = self._loop.time()
            self._server.rested(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read; that is a stranger's mistake, and no error of ours.

        Raises:
            ConnectionError: who asked has hung up.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status != 400:
            return super().handle_error(request, status, exc, message)
        log.debug("no request: %s", exc)
        response = web.Response(status=status, text=f"{NOT_HTTP}\n")
        guard(response)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Tell of an error, if it is one of ours: not of a body that breaks off or is none.

        Nor of what fails because the other end is gone; what answers tells of its errors itself.
        """
        gone = self._wire is None or self._wire.is_closing()
        if gone or isinstance(kw.get("exc_info"), (web.RequestPayloadError, ConnectionError)):
            log.debug(*args, **kw)
        else:
            super().log_exception(*args, **kw)

    def end(self) -> None:
        """End the connection, whatever is under way; what was not taken is thrown away.

        Not by aborting the transport: that closes the socket while asyncio may wait to send a file
        by it, and then whoever comes next, and has its number, is not served.
        """
        sock = None if self._wire is None else self._wire.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)

    def look(self, now_s: float) -> None:
        """End the connection where the other end is too slow."""
        wire, patience = self._wire, self._server.settings.patience
        if wire is None:
            return
        if self._pace.is_stalled(taken_of(wire), now_s):
            log.debug("a browser does not take what it is sent")
            self.end()
            return
        begun_s = self._head_since_s
        if begun_s is None or self._busy or wire.is_closing():
            return
        if now_s - max(begun_s, self.idle_since_s) >= patience.head_s:
            wire.write(_plain(408, SLOW_HEAD))
            self.force_close()


class _Refused(asyncio.Protocol):
    """Who has no place is told why, and let go."""

    def __init__(
        self, transport: asyncio.Transport, answer: bytes, gone: Callable[[], None]
    ) -> None:
        self._gone = gone
        transport.write(answer)
        with suppress(OSError):  # it has hung up by now
            transport.write_eof()
        # Closed at once, what is still on its way here would take the answer away from there.
        self._end = asyncio.get_running_loop().call_later(_REFUSED_S, transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end.cancel()
        self._gone()


class Server(web.Server):
    """Makes connections, counts them, and looks at them from time to time."""

    def __init__(self, app: web.Server, settings: WallSettings, **kwargs: Any) -> None:
        """Hand requests to what an `app` would hand them to."""
        super().__init__(self._handle, request_factory=self._made, **kwargs)
        self.settings = settings
        self.places = Places(room_for(settings.connections), settings.connections_per_address)
        self._answer = app.request_handler
        self._make = app.request_factory
        self._link_kwargs = kwargs
        self._links: set[Link] = set()
        self._idle: dict[Link, None] = {}
        self._refused = 0

    def __call__(self) -> Link:
        """Return what will be at this end of the next connection."""
        return Link(self, loop=self._loop, **self._link_kwargs)

    def _made(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Any:
        request = self._make(message, payload, protocol, writer, task)
        protocol.begun(request)
        self._idle.pop(protocol, None)
        return request

    def rested(self, link: Link) -> None:
        """Note that a connection has become idle."""
        if link in self._links:
            self._idle[link] = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # aiohttp would repeat to them what they expect, and fail where it is no text.
        if request.headers.get("Expect", "100-continue").lower() == "100-continue":
            return await self._answer(request)
        response = web.Response(status=417, text=f"{NOT_HTTP}\n")
        guard(response)
        return response

    def admit(self, link: Link, transport: asyncio.Transport) -> bool:
        """Give a connection a place, if need be an idle one's; else tell it that there is none."""
        peer = transport.get_extra_info("peername")
        remote = str(peer[0]) if isinstance(peer, tuple) else ""
        # A proxy's connections are many people's: their requests are counted instead.
        each = not (self.settings.mode == "proxy" and is_trusted(remote, self.settings))
        address = block_of(remote, self.settings) if each else _PROXY
        reserved = self.settings.mode == "local" and is_loopback(remote)
        why = self.places.full(address, each=each, reserved=reserved)
        if why is not None and self._make_room(address, why):
            why = self.places.full(address, each=each, reserved=reserved)
        if why is None:
            link.address = address
            self.places.take(address)
            self._links.add(link)
            self._idle[link] = None
            return True
        if self._refused >= _REFUSED_AT_ONCE:
            transport.abort()
            return False
        self._refused += 1
        status, sentence = _SENTENCES[why]
        transport.set_protocol(_Refused(transport, _plain(status, sentence), self._let_go))
        return False

    def gone(self, link: Link) -> None:
        """Count a connection's place as free; one that had none changes nothing."""
        if link in self._links:
            self._links.remove(link)
            self._idle.pop(link, None)
            self.places.give_back(link.address)

    def look(self) -> None:
        """End what is too slow."""
        now_s = self._loop.time()
        for link in list(self._links):
            link.look(now_s)

    async def keep_looking(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self.settings.patience.look_s)
            self.look()

    def _make_room(self, address: str, why: Full) -> bool:
        """End a connection for the sake of a new one from an address, where that is fair.

        One that is idle, the longest so; where all places are had, of an address that has more of
        them. Where none is, whoever has most gives one to who has fewer. So to keep others out
        takes as many addresses as there are places, and who comes back at once for what was taken
        away gets nothing by it.
        """
        if why is Full.ADDRESS:
            return self._end_idle(lambda link: link.address == address)
        has = 0 if address is _PROXY else self.places.has(address)
        heaviest, count = self.places.heaviest(but=_PROXY)
        if address is _PROXY and self._end_idle(lambda link: link.address is _PROXY):
            return True
        if count <= has:
            return False
        if self._end_idle(
            lambda link: link.address is not _PROXY and self.places.has(link.address) > has
        ):
            return True
        if count <= has + 1:
            return False
        busy = [link for link in self._links if link.address == heaviest]
        longest = min(busy, key=lambda link: link.idle_since_s)
        self.gone(longest)
        longest.end()
        return True

    def _end_idle(self, may_go: Callable[[Link], bool]) -> bool:
        """End the connection that has been idle for longest, of those that may go."""
        settled_s = self._loop.time() - self.settings.patience.settled_s
        for link in self._idle:  # in the order in which they became so
            if link.idle_since_s > settled_s:
                return False
            if link.idle and may_go(link):
                self.gone(link)
                link.force_close()
                return True
        return False

    def _let_go(self) -> None:
        self._refused -= 1


class Runner(web.AppRunner):
    """Serves an application by such a server."""

    def __init__(self, app: web.Application, settings: WallSettings) -> None:
        self._settings = settings
        self._handler_kwargs: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": settings.patience.idle_s,
            "lingering_time": settings.patience.linger_s,
        }
        super().__init__(app, shutdown_timeout=_SHUTDOWN_S, **self._handler_kwargs)
        self._looking: asyncio.Task[None] | None = None
        self._places: Places | None = None

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return self._places.taken if self._places is not None else 0

    async def _make_server(self) -> web.Server:
        server = Server(await super()._make_server(), self._settings, **self._handler_kwargs)
        self._places = server.places
        self._looking = asyncio.create_task(server.keep_looking())
        return server

    async def cleanup(self) -> None:
        """Stop serving."""
        if self._looking is not None:
            self._looking.cancel()
        await super().cleanup()


def _plain(status: int, sentence: str) -> bytes:
    """Return a whole answer, for who is answered without a request."""
    response = web.Response(status=status, text=f"{sentence}\n")
    guard(response)
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    response.headers["Content-Length"] = str(len(sentence.encode()) + 1)
    response.headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, "", f"{sentence}\n"]).encode()
