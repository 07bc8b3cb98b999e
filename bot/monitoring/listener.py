"""A port of its own for who looks after the machine: whether it is alive and ready, and figures.

Apart from the wall, which strangers may reach: nothing here is anybody's words, but how a machine
fares is not everybody's business. Listens on this machine alone unless told otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bot.errors import ConfigError
from bot.monitoring.health import Readiness
from bot.monitoring.metrics import REGISTRY

_SHUTDOWN_S = 2.0
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Look = Callable[[], Awaitable[Readiness]]
"""Looks at everything, notes the figures that stand in memory, and returns what is wrong."""


class Listener:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics`` from `start` to `stop`."""

    def __init__(self, host: str, port: int, look: Look) -> None:
        self._host = host
        self._port = port
        self._look = look
        self._runner: web.AppRunner | None = None
        self.app = web.Application(middlewares=[_names_only_here(host)])
        self.app.add_routes(
            [
                web.get("/healthz", self.healthy),
                web.get("/readyz", self.ready),
                web.get("/metrics", self.metrics),
            ]
        )

    @property
    def port(self) -> int:
        """The port it really listens on."""
        assert self._runner is not None, "it does not listen"
        port: int = self._runner.addresses[0][1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be had.
        """
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError([_refusal(self._host, self._port, error)]) from error
        self._runner = runner

    async def stop(self) -> None:
        """Close; does nothing if it has not been started."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def healthy(self, request: web.Request) -> web.Response:
        """Say that the event loop turns."""
        return web.json_response({"status": "alive"}, headers=_HEADERS)

    async def ready(self, request: web.Request) -> web.Response:
        """Say whether each part is ready, and if not, why."""
        readiness = await self._look()
        body = {
            "status": "ready" if readiness.ready else "not ready",
            "parts": {name: trouble or "ready" for name, trouble in readiness.troubles.items()},
        }
        status = 200 if readiness.ready else 503
        return web.json_response(body, status=status, headers=_HEADERS)

    async def metrics(self, request: web.Request) -> web.Response:
        """Give all figures in Prometheus's text format."""
        await self._look()
        # Some milliseconds for a thousand series.
        body = await asyncio.to_thread(generate_latest, REGISTRY)
        headers = _HEADERS | {hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4}
        return web.Response(body=body, headers=headers)


def _names_only_here(host: str) -> Middleware:
    """Return what turns away a name of another site that was made to point to this machine."""
    alone = is_loopback(host)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if alone and not is_loopback(request.url.host or ""):
            return web.Response(text="Ask by 127.0.0.1 or localhost.\n", status=421)
        return await handler(request)

    return check


def is_loopback(host: str) -> bool:
    """Say whether a name or address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        why = "is taken by another program (perhaps another Dreamstream)"
    else:
        why = f"cannot be listened on ({error.strerror})"
    return (
        f"monitoring.listen: port {port} of {host} {why}. Name another, or leave it empty to have "
        "no such port."
    )
