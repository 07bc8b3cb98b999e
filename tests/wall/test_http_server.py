"""Only so many connections, and none for who is too slow, whatever it is they are slow at."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from unittest import mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from bot.wall import Wall, WallSettings, places
from bot.wall.errors import status_of
from bot.wall.http_server import Server
from bot.wall.link import SEND_BUFFER_BYTES
from bot.wall.places import Full, NoPlaceError, Places, bound_requests, room_for
from bot.wall.settings import Patience
from bot.wall.taking import Pace, Taken
from bot.wall.turns import AT_ONCE
from tests.wall.conftest import Scene, eventually

PAGE = b"GET /s/planets HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
WATCH = b"GET /s/planets/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
WAITING = (
    b"POST /s/planets/dreams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\na="
)
HASTE = Patience(stall_s=0.8, stall_bytes=1000, settled_s=0.1, look_s=0.05)


@asynccontextmanager
async def standing(scene: Scene, **settings: object) -> AsyncIterator[Wall]:
    wall = scene.make(WallSettings(port=0, **settings))  # type: ignore[arg-type]
    await wall.start()
    try:
        yield wall
    finally:
        await wall.stop()


class Client:
    """A connection of somebody who does just what a test says."""

    def __init__(
        self, wall: Wall, sent: bytes = b"", *, reads: int | None = None, of: str = "127.0.0.1"
    ) -> None:
        """With `reads` the system takes about so many bytes for them, and no more."""
        self._sock = socket.socket()
        if reads is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, reads)
        self._sock.setblocking(False)
        self._sock.bind((of, 0))
        self._port = wall.addresses[0][1]
        self._first = sent

    async def __aenter__(self) -> Client:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._sock, ("127.0.0.1", self._port))
        await self.send(self._first)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sock.close()

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError):  # it may have been refused by now; that is read
            await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def heard(self, until: bytes = b"") -> bytes:
        """Return what is said up to its end, or until something is."""
        said = b""
        async with asyncio.timeout(20):
            while not until or until not in said:
                try:
                    piece = await asyncio.get_running_loop().sock_recv(self._sock, 65536)
                except ConnectionError:
                    break
                if not piece:
                    break
                said += piece
        return said


async def test_an_address_has_so_many_connections_and_those_idle_make_room(scene: Scene) -> None:
    async with (
        standing(scene, patience=HASTE, streams_per_address=2, connections_besides=1) as wall,
        Client(wall, WATCH) as one,
        Client(wall, WATCH) as two,
        Client(wall, PAGE) as idle,
    ):
        for busy in (one, two):
            assert b"200 OK" in await busy.heard(b"retry:")
        assert b"200 OK" in await idle.heard(b"</html>")
        await asyncio.sleep(HASTE.settled_s)
        async with Client(wall, WATCH.replace(b"/events", b"")) as third:
            assert await idle.heard() == b""  # closed, for the third one's sake
            assert b"200 OK" in await third.heard(b"</html>")
            third_at_once = Client(wall, PAGE)
            async with third_at_once as refused:
                said = await refused.heard()
        assert said.startswith(b"HTTP/1.1 429 "), said
        assert b"Too much is open from your address at once." in said
        assert b"\r\nRetry-After: 30\r\n" in said
        assert b"\r\nX-Content-Type-Options: nosniff\r\n" in said
        assert wall.connections == 3


async def test_when_all_places_are_had_who_has_most_gives_one_to_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "RESERVED", 1)
    async with AsyncExitStack() as stack:
        wall = await stack.enter_async_context(standing(scene, patience=HASTE, connections=3))
        many = [
            # Who is at the machine has one more. The first two will be kept waiting for a form.
            await stack.enter_async_context(Client(wall, sent, of="127.0.0.2"))
            for sent in (WAITING, WAITING, WATCH, WATCH)
        ]
        for watching in many[2:]:
            assert b"200 OK" in await watching.heard(b"retry:")
        refused = await stack.enter_async_context(Client(wall, PAGE, of="127.0.0.2"))
        said = await refused.heard()
        assert said.startswith(b"HTTP/1.1 503 "), said
        assert b"\r\nRetry-After: 30\r\n" in said and said.endswith(b"half a minute.\n")
        for address, gives in (("127.0.0.3", many[0]), ("127.0.0.4", many[1])):
            other = await stack.enter_async_context(Client(wall, WAITING, of=address))
            assert await gives.heard() == b""
            await eventually(lambda: wall.connections == 4)
            await other.send(b"b&prompt=")
        third = await stack.enter_async_context(Client(wall, PAGE, of="127.0.0.5"))
        assert b"200 OK" in await third.heard(b"</html>")


async def test_not_all_places_are_for_streams(scene: Scene) -> None:
    async with (
        standing(scene, connections=4) as wall,
        AsyncExitStack() as stack,
    ):
        for _ in range(3):
            client = await stack.enter_async_context(Client(wall, WATCH))
            assert b"200 OK" in await client.heard(b"retry:")
        async with Client(wall, WATCH) as one_more, Client(wall, PAGE) as visitor:
            said = await one_more.heard(b"as it is.")
            assert said.startswith(b"HTTP/1.1 429 ")
            assert b"200 OK" in await visitor.heard(b"</html>")


async def test_who_does_not_take_what_is_sent_is_let_go(scene: Scene) -> None:
    dream = await scene.draw("moons")
    assert dream.image is not None
    path = scene.dreams.library.path(dream.image.sha256)
    await asyncio.to_thread(Path(path).write_bytes, bytes(64 * SEND_BUFFER_BYTES))
    picture = f"GET /i/{dream.image.sha256}.png?d={dream.id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with (
        standing(scene, patience=HASTE) as wall,
        Client(wall, picture.encode(), reads=4096) as of_a_picture,
        Client(wall, PAGE * 24, reads=4096) as of_pages,
        Client(wall, WATCH) as quiet,
        Client(wall, picture.encode(), reads=4096) as slow_but_steady,
    ):
        while wall.connections > 2:
            assert await slow_but_steady.heard(b"\0" * 40_000)
            await asyncio.sleep(0.05)
        await scene.ask("a comet")
        assert b"a comet" in await quiet.heard(b"a comet")
        for gone in (of_a_picture, of_pages):
            assert len(await gone.heard()) < 8 * SEND_BUFFER_BYTES
        for _ in range(4):  # who comes by the numbers of those sockets is answered
            async with Client(wall, PAGE) as visitor:
                assert b"200 OK" in await visitor.heard(b"</html>")


def test_a_pace_counts_only_while_something_is_left() -> None:
    pace = Pace(Patience(stall_s=10, stall_bytes=1000))
    assert not pace.is_stalled(Taken(0, pending=True), 0)
    assert not pace.is_stalled(Taken(999, pending=True), 9.9)
    assert pace.is_stalled(Taken(999, pending=True), 10)
    assert not pace.is_stalled(Taken(1000, pending=True), 11)
    assert not pace.is_stalled(Taken(1500, pending=True), 20)
    assert not pace.is_stalled(Taken(1500, pending=False), 21)
    assert not pace.is_stalled(Taken(1500, pending=True), 31)
    assert not pace.is_stalled(None, 99)


def test_places_are_counted_for_each_address_and_in_all() -> None:
    counted = Places(3, 2)
    for address in ("a", "a", "b"):
        assert counted.full(address) is None
        counted.take(address)
    assert counted.full("c") is Full.EVERYBODY
    assert counted.full("c", reserved=True) is None
    counted.give_back("b")
    assert counted.full("a") is Full.ADDRESS
    assert counted.full("a", each=False) is None
    assert room_for(10) == 10
    assert 0 < room_for(10**9) < 10**9


async def test_behind_a_proxy_each_visitor_has_so_much_under_way(scene: Scene) -> None:
    def of(address: str, request: bytes) -> bytes:
        return request.replace(b"\r\n\r\n", f"\r\nX-Forwarded-For: {address}\r\n\r\n".encode())

    settings = {"mode": "proxy", "streams_per_address": 2, "connections_besides": 0}
    async with (
        standing(scene, **settings) as wall,
        Client(wall, of("2001:db8::1", WATCH)) as one,
        Client(wall, of("2001:db8::2", WATCH)) as two,
    ):
        for busy in (one, two):
            assert b"200 OK" in await busy.heard(b"retry:")
        for address, status in (("2001:db8::3", b"429"), ("2001:db8:0:1::3", b"200")):
            async with Client(wall, of(address, PAGE)) as visitor:
                said = await visitor.heard(b"try again." if status == b"429" else b"</html>")
            assert said.startswith(b"HTTP/1.1 " + status), said
            assert (b"Retry-After: 30" in said) == (status == b"429")


async def test_where_everybody_is_there_nobody_is_told_that_it_is_their_doing() -> None:
    bound = bound_requests(WallSettings(mode="proxy", connections=1))
    over = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    def asked(path: str) -> web.Request:
        wire = mock.Mock()
        wire.get_extra_info.return_value = ("127.0.0.1", 4)
        headers = {"X-Forwarded-For": "203.0.113.7"}
        return make_mocked_request("GET", path, headers=headers, transport=wire)

    both = asyncio.gather(bound(asked("/"), answer), bound(asked("/healthz"), answer))
    await asyncio.sleep(0)
    with pytest.raises(NoPlaceError, match="Too many people are here") as refused:
        await bound(asked("/"), answer)
    over.set()
    assert [answered.status for answered in await both] == [200, 200]
    assert status_of(refused.value) == 503 and refused.value.retry_after_s == places.RETRY_AFTER_S


async def test_who_asks_how_the_wall_is_waits_for_nobody_and_who_hangs_up_is_not_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with standing(scene) as wall, AsyncExitStack() as stack:
        monkeypatch.setattr(wall._turns, "_longest_s", 60.0)
        for _ in range(AT_ONCE):
            await stack.enter_async_context(wall._turns.of("somebody"))
        async with Client(wall, PAGE):
            await eventually(lambda: wall.standing.waiting_requests == 1)
            for path in (b"/healthz", b"/readyz"):
                async with Client(wall, PAGE.replace(b"/s/planets", path)) as watchman:
                    assert await watchman.heard(b"\r\n\r\n")
            assert wall.standing.waiting_requests == 1 <= wall.standing.open_connections
        await eventually(lambda: not wall.standing.waiting_requests)
        await eventually(lambda: not wall.standing.open_connections)


async def test_streams_of_events_keep_nobody_waiting_once_they_have_begun(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with standing(scene) as wall, AsyncExitStack() as stack:
        monkeypatch.setattr(wall._turns, "_longest_s", 60.0)
        events = PAGE.replace(b"/s/planets", b"/s/planets/events")
        for _ in range(AT_ONCE + 2):
            watcher = await stack.enter_async_context(Client(wall, events))
            assert b"200 OK" in await watcher.heard(b"\r\n\r\n")
        assert not wall.standing.waiting_requests


async def test_a_host_that_is_no_name_is_refused_whatever_names_a_proxy_serves(
    scene: Scene,
) -> None:
    async with standing(scene, mode="proxy") as wall:
        for host, status in ((b"\xff", b"421"), (b"", b"421"), (b"dreams.example", b"200")):
            async with Client(wall, PAGE.replace(b"127.0.0.1", host)) as visitor:
                said = await visitor.heard(b"\n\r\n")
            assert said.startswith(b"HTTP/1.1 " + status), said


_STATUS = re.compile(rb"HTTP/1\.[01] \d{3} ")
MALFORMED = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS, to who speaks none
    b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000,
    b"GET /" + b"a" * 70_000,
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
    b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://localhost:99999/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
POST = b"POST /s/planets/dreams HTTP/1.1\r\nHost: localhost\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
SMUGGLED = (
    POST + FORM + b"Content-Length: 3\r\nContent-Length: 30\r\n\r\na=b",
    POST + FORM + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + FORM + b"Content-Length: +3\r\n\r\na=b",
    POST + FORM + b"Content-Length: -3\r\n\r\na=b",
    POST + FORM + b"Content-Length: 99999999999999999999999\r\n\r\na=b",
    POST + FORM + b"Transfer-Encoding: chunked, identity\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
    POST + FORM + b"Transfer-Encoding: xchunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
    POST + FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\na=b\r\n0\r\n\r\n",
    POST + FORM + b"Transfer-Encoding: chunked\r\n\r\n-3\r\na=b\r\n0\r\n\r\n",
    POST + FORM + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\na=b\r\n0\r\n\r\n",
    POST + FORM + b"Transfer-Encoding: chunked\r\n\r\n3\r\na=bXX0\r\n\r\n",
    POST + FORM + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"x" * 70_000 + b"\r\na=b\r\n",
)
# These are requests, and refused; whatever follows them is another one.
REFUSED = (
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://evil.example/s/planets HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET http://evil.example/s/planets HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /s/planets HTTP/1.0\r\n\r\n",
    POST + FORM + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\na=b",
    POST + FORM + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\na=b",
    POST + FORM + b"Expect: \xed\xa0\x80\r\nContent-Length: 3\r\n\r\na=b",
    POST + FORM + b"Expect: nonsense\r\nContent-Length: 3\r\n\r\na=b",
)


@pytest.mark.parametrize("requests", [MALFORMED, SMUGGLED, REFUSED], ids=["no", "two", "wrong"])
async def test_what_is_no_request_is_refused_and_no_error_of_ours(
    scene: Scene, caplog: pytest.LogCaptureFixture, requests: tuple[bytes, ...]
) -> None:
    hidden = b"GET /s/planets?smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    patience = Patience(head_s=0.5, idle_s=0.5, body_s=0.5, linger_s=0.1, look_s=0.05)
    async with standing(scene, patience=patience) as wall:
        with caplog.at_level(logging.WARNING):
            for request in requests:
                async with Client(wall, request + hidden) as client:
                    said = await client.heard()
                status = int(said[9:12] or 0)
                assert 400 <= status < 500, (request[:200], said)
                assert b"\r\nX-Content-Type-Options: nosniff" in said, (request[:200], said)
                assert b"Traceback" not in said
                assert requests is REFUSED or len(_STATUS.findall(said)) == 1, (request, said)
        assert not caplog.records
        assert not scene.dreams.requests
        await eventually(lambda: not wall.connections)


@pytest.mark.parametrize(
    ("more", "sent"),
    [(b"", PAGE), (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"x" * 1000)],
    ids=["requests", "after an upgrade"],
)
async def test_what_is_sent_behind_a_stream_that_never_ends_is_not_read_without_end(
    scene: Scene, more: bytes, sent: bytes
) -> None:
    async with standing(scene) as wall, Client(wall, WATCH[:-2] + more + b"\r\n") as client:
        await client.heard(b"retry:")
        assert wall._runner is not None and isinstance(wall._runner.server, Server)
        (link,) = wall._runner.server._links
        await client.send(sent * (1024 * 1024 // len(sent)))
        await eventually(lambda: link.transport is not None and not link.transport.is_reading())
        async with Client(wall, PAGE) as other:
            assert b" 200 " in (await other.heard(b"\r\n\r\n"))[:20]
