"""Whether the wall serves, and whether the product is ready: for what looks after services.

Strangers may ask, so they are told which part is not ready, and not why.
"""

from __future__ import annotations

from aiohttp import web

from bot.monitoring.health import Health


class HealthRoutes:
    """``/healthz`` and ``/readyz`` of the wall."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [web.get("/healthz", self.healthy), web.get("/readyz", self.ready)]

    async def healthy(self, request: web.Request) -> web.Response:
        """Say that the wall serves."""
        return web.Response(text="ok\n")

    async def ready(self, request: web.Request) -> web.Response:
        """Say which parts are ready."""
        readiness = await self._health.readiness()
        body = {
            "status": "ready" if readiness.ready else "not ready",
            "parts": {
                name: "ready" if ready else "not ready" for name, ready in readiness.parts.items()
            },
        }
        return web.json_response(body, status=200 if readiness.ready else 503)
