"""Counts what the wall answers, and how long that takes.

By the route's pattern, never by the address that was asked for: those are without number.
"""

from __future__ import annotations

import time

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.monitoring.metrics import WALL_ANSWERS, WALL_S

_METHODS = frozenset({"GET", "HEAD", "POST"})


@web.middleware
async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count an answer. The outermost middleware: errors are answers by then."""
    began_s = time.perf_counter()
    try:
        response = await handler(request)
    except web.HTTPException as redirect:
        _note(request, redirect.status)
        raise
    _note(request, response.status)
    if response.content_type != "text/event-stream":
        WALL_S.observe(time.perf_counter() - began_s)
    return response


def _note(request: web.Request, status: int) -> None:
    resource = request.match_info.route.resource
    route = "none" if resource is None else resource.canonical
    method = request.method if request.method in _METHODS else "other"
    WALL_ANSWERS.labels(route, method, str(status)).inc()
