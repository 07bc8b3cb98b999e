"""The wall's server: how many connections there are, and who makes room for whom.

There are only so many places, in all and for one address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from bot.side_tasks import SideTasks
from bot.wall.guard import block_of, guard, is_loopback, is_trusted
from bot.wall.link import NOT_HTTP, Link, Refused, plain_answer
from bot.wall.places import SENTENCES, Full, Places, room_for
from bot.wall.settings import WallSettings

BACKLOG = 1024
"""Connections that may come between two looks; of more the system tells nobody anything."""
_SHUTDOWN_S = 5.0
_REFUSED_AT_ONCE = 128
_PROXY = "a proxy"


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
        status, sentence = SENTENCES[why]
        transport.set_protocol(Refused(transport, plain_answer(status, sentence), self._let_go))
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
            "auto_decompress": False,  # what comes of a few bytes has no bound: see `read_form`
        }
        super().__init__(app, shutdown_timeout=_SHUTDOWN_S, **self._handler_kwargs)
        self._tasks = SideTasks()
        self._places: Places | None = None

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return self._places.taken if self._places is not None else 0

    async def _make_server(self) -> web.Server:
        server = Server(await super()._make_server(), self._settings, **self._handler_kwargs)
        self._places = server.places
        trouble = "Connections that are too slow are not ended"
        self._tasks.keep(server.keep_looking, trouble, name="wall-connections")
        return server

    async def cleanup(self) -> None:
        """Stop serving."""
        await self._tasks.stop()
        await super().cleanup()
