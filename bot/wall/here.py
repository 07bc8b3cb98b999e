"""Who sits at the machine that Dreamstream runs on, and may do there what they like."""

from __future__ import annotations

import ipaddress

from aiohttp import web

from bot.rights import Actor
from bot.wall.guests import guest_of
from bot.wall.settings import WallSettings


def is_here(request: web.Request, settings: WallSettings) -> bool:
    """Say whether a request comes from the machine itself; behind a proxy that is not known."""
    if settings.mode != "local":
        return False
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


def actor_of(request: web.Request, settings: WallSettings) -> Actor:
    """Return who takes something away: a guest, who moderates where they sit at the machine."""
    return Actor(guest_of(request).person, at_machine=is_here(request, settings))
