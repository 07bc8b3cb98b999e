"""One browser's connection, and what becomes of who is too slow at it, or has no place.

aiohttp reads requests and writes answers. What is added here: a request's headers have to come
within a time; an answer has to be taken at some pace, whether it is a page, a file or a stream of
events; and what is no HTTP at all is answered with a sentence, and is told nowhere as an error of
ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bot.wall.guard import guard
from bot.wall.places import RETRY_AFTER_S
from bot.wall.taking import Pace, taken_of

if TYPE_CHECKING:
    from bot.wall.http_server import Server

log = logging.getLogger(__name__)

SEND_BUFFER_BYTES = 128 * 1024
"""Of each connection; Linux takes twice that, and else up to 4 MiB for who does not read."""
NOT_HTTP = "That request could not be read."
SLOW_HEAD = "Sending took too long. Please try again."
_REFUSED_S = 1.0  # how long one who is refused may take to read why


class Link(web.RequestHandler):
    """One browser's connection, from its beginning to its end."""

    __slots__ = (
        *("_busy", "_head_since_s", "_pace", "_request", "_server", "_wire"),
        *("address", "idle_since_s", "lost"),
    )

    def __init__(self, server: Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.address = ""
        self.idle_since_s = 0.0
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is over."""
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
        if not self.lost.done():
            self.lost.set_result(None)
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
            wire.write(plain_answer(408, SLOW_HEAD))
            self.force_close()


class Refused(asyncio.Protocol):
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


def plain_answer(status: int, sentence: str) -> bytes:
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
