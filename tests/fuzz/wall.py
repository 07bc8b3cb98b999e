"""The wall, with everything that one can have, and what holds of its answer to any request."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import socket
import sqlite3
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from html import unescape
from pathlib import Path

import pytest

from bot.publish import building
from bot.rights import Actor
from bot.wall.party import door
from tests.fuzz import requests
from tests.fuzz.requests import Given, Route, routes_of
from tests.fuzz.running import Target, unclear
from tests.wall.routes import RULES
from tests.wall.test_walk import OWNER, World, standing

LIMIT_S = 20.0
_MOST_BYTES = 4_000_000
_OPEN = ("/static/{name}", "/healthz", "/readyz")
_GUARDS = (
    *(b"content-security-policy: default-src 'none'", b"x-content-type-options: nosniff"),
    *(b"referrer-policy: same-origin", b"x-frame-options: deny", b"cache-control: "),
)
_ERROR_PAGE = re.compile(r'<body class="error".*?<h1[^>]*>(.*?)<', re.DOTALL)
_NOTICE = re.compile(r'<p class="notice" role="alert"[^>]*>(.*?)<', re.DOTALL)
_TIDIED_EVERY = 40


class _Heard(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.said.append(logging.Formatter().format(record))


class StandingWall:
    """A wall behind a proxy that stands in a thread of its own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.heard = _Heard()
        self.world: World
        self.port = 0
        self._tried = 0

    def start(self) -> None:
        """Return once it answers."""
        logging.getLogger().addHandler(self.heard)
        self._thread.start()
        assert self._ready.wait(120), "the wall does not stand"
        self._reader = sqlite3.connect(
            Path(self._folder.name) / "dreamstream.db", check_same_thread=False
        )

    def stop(self) -> None:
        """End it."""
        self._reader.close()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        logging.getLogger().removeHandler(self.heard)
        self._folder.cleanup()

    def _run(self) -> None:
        with pytest.MonkeyPatch.context() as patched, asyncio.Runner() as runner:
            patched.setattr(building, "film_of", lambda *_: False)  # a process of its own
            patched.setattr(door, "WRONG_CODES", 10**9)
            self._loop = runner.get_loop()
            runner.run(self._stand())

    async def _stand(self) -> None:
        self._end = asyncio.Event()
        async with standing(Path(self._folder.name)) as self.world:
            self.port = int(self.world.visitors["stranger"]._base_url.port)  # type: ignore[union-attr, arg-type]
            self._ready.set()
            await self._end.wait()

    def version(self) -> int:
        """Return a number that changes whenever anything in the database does."""
        (version,) = self._reader.execute("PRAGMA data_version").fetchone()
        return int(version)

    def tidy(self) -> None:
        """Cancel now and then what was asked for: else the limits refuse everything in the end."""
        self._tried += 1
        if self._tried % _TIDIED_EVERY == 0:
            asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(60)

    async def _cancel(self) -> None:
        kept = {*self.world.public.dreams, *self.world.linked.dreams, *self.world.private.dreams}
        dreams = self.world.parts.dreams
        for dream in await dreams.unfinished(None):
            if dream.id not in kept:
                await dreams.cancel(dream.id, Actor(OWNER.person, at_machine=True))


@cache
def standing_wall() -> StandingWall:
    """Return the wall; it is built when it is first asked for."""
    wall = StandingWall()
    wall.start()
    return wall


def close() -> None:
    """End the wall, if it was built."""
    if standing_wall.cache_info().currsize:
        standing_wall().stop()
        standing_wall.cache_clear()


@cache
def _routes() -> tuple[Route, ...]:
    routes = standing_wall().world.wall.app.router.routes()
    found = routes_of(
        [
            (route.method, route.resource.canonical, route.handler)
            for route in routes
            if route.resource is not None and route.method != "HEAD"
        ]
    )
    assert {route.pattern for route in found} == set(RULES)
    return found


def make(random: random.Random) -> Given:
    """Make a request."""
    return requests.request(random, _routes())


def take(given: Given) -> None:
    """Send a request, and hold what must be true of its answer."""
    wall = standing_wall()
    wall.tidy()
    del wall.heard.said[:]
    before = wall.version()
    begun_s = time.monotonic()
    head, body = _answer(wall.port, given.sent(wall.world.public.names))
    took_s = time.monotonic() - begun_s
    assert took_s < LIMIT_S, f"took {took_s:.1f} s"
    assert head.startswith(b"HTTP/1."), f"no answer: {head[:100]!r}"
    status = int(head[9:12])
    assert status < 500 or status == 503, f"{status}: {body[:300]!r}"
    assert not wall.heard.said, wall.heard.said[0]
    _check_headers(head.lower(), given)
    if given.forged:
        assert 400 <= status < 500, f"a forged request was answered {status}"
        assert wall.version() == before, "a forged request changed something"
    if status >= 400 and body and status != 416:  # which has a file's range, and no words
        check_sentence(head.lower(), body)


def _answer(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Return the head and the body of an answer; of one that goes on for ever, no body."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as link:
        with suppress(ConnectionError):  # refused before it was all sent; the answer says why
            link.sendall(request)
        with suppress(ConnectionError):
            while b"\r\n\r\n" not in said or (
                b"text/event-stream" not in said and len(said) < _MOST_BYTES
            ):
                piece = link.recv(65536)
                if not piece:
                    break
                said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    return head, body


def _check_headers(head: bytes, given: Given) -> None:
    for guard in _GUARDS:
        assert guard in head, f"without {guard!r}: {head!r}"
    assert b"aiohttp" not in head
    if given.pattern not in _OPEN:
        assert b"cache-control: public" not in head, "what is not everybody's may be kept by all"


def check_sentence(head: bytes, body: bytes) -> None:
    """Hold that an error says what is wrong: alone, or in its place on a page."""
    said = [body.decode()]
    if b"content-type: text/html" in head:
        (page,) = said
        said = [unescape(one) for one in _ERROR_PAGE.findall(page) or _NOTICE.findall(page)]
        assert said, f"an error without a sentence: {page[:2000]!r}"
    for sentence in said:
        wrong = unclear(sentence.strip())
        assert not wrong, wrong


TARGETS = (Target("wall", make, take),)
