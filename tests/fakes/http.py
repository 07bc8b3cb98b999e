"""A server in a thread of its own, and a relay before one that spoils what passes."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

import aiohttp
from aiohttp import web
from yarl import URL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MOST_BYTES = 64 * 1024**2


@contextmanager
def serving(
    handler: Handler, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, asyncio.AbstractEventLoop]]:
    """Serve on a free port; give its address, and the loop that everything happens in."""
    loop, up = asyncio.new_event_loop(), threading.Event()
    url = ""

    async def serve() -> web.AppRunner:
        nonlocal url
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        host, port = runner.addresses[0][:2]
        url = f"{'http' if tls is None else 'https'}://{host}:{port}"
        return runner

    def live() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        up.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=live, name="serving")
    thread.start()
    assert up.wait(10)
    try:
        yield url, loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


class Spoils(Enum):
    """What a relay does to what passes."""

    SENT = auto()
    """What is put arrives with another byte."""
    TOLD = auto()
    """What is put arrives, and the answer does not."""
    GIVEN = auto()
    """What is given comes with another byte."""
    HALF = auto()
    """Half of what is given whole comes, and then the connection ends."""


class Relay:
    """Passes requests on as they are signed, and answers back."""

    def __init__(self, target: str) -> None:
        self.url = ""
        self.spoils: Spoils | None = None
        self._target = target

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on."""
        body = await request.read()
        if self.spoils is Spoils.SENT and request.method == "PUT":
            body = _other(body)
        headers = request.headers.copy()  # the name it was sent to is signed as well
        url = URL(f"{self._target}{request.raw_path}", encoded=True)
        # The session is of one request: a store that begins anew closes what it has.
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, headers=headers, data=body) as answer,
        ):
            content = await answer.read()
            status, told = answer.status, answer.headers.copy()
        for name in ("Transfer-Encoding", "Connection", "Date"):
            told.popall(name, None)
        if self.spoils is Spoils.TOLD and request.method == "PUT":
            assert request.transport is not None
            request.transport.abort()
        if request.method == "HEAD":
            return web.Response(status=status, headers=told)
        told["Content-Length"] = str(len(content))
        if request.method == "GET" and status == 200 and self.spoils is Spoils.GIVEN:
            content = _other(content)
        if request.method == "GET" and status == 200 and self.spoils is Spoils.HALF:
            half = web.StreamResponse(status=status, headers=told)
            await half.prepare(request)
            await half.write(content[: len(content) // 2])
            assert request.transport is not None
            request.transport.close()
            return half
        return web.Response(status=status, headers=told, body=content)


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """Serve a relay before a server."""
    one = Relay(target)
    with serving(one.answer) as (url, _):
        one.url = url
        yield one


def _other(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:] if data else data
