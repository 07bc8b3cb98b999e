"""Who sits at the machine that Dreamstream runs on, and may do there what they like."""

from __future__ import annotations

import ipaddress

from aiohttp import web

from bot.model import Dream, Person
from bot.rights import Actor
from bot.wall.guests import guest_of
from bot.wall.passes import shown
from bot.wall.settings import WallSettings


def is_here(request: web.Request, settings: WallSettings) -> bool:
    """Say whether a request comes from the machine itself; behind a proxy that is not known."""
    if settings.mode != "local":
        return False
    try:
        return ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        return False


def actor_of(request: web.Request, settings: WallSettings, dream: Dream | None = None) -> Actor:
    """Return who takes something away: a guest, who moderates where they sit at the machine.

    Who is signed in acts as the guest that they were where it is a `dream` of that guest, and
    moderates what was asked for in a server where they do so in a channel with the dream's theme.
    """
    guild_id = None if dream is None else dream.guild_id
    places = () if dream is None else shown().places(dream.theme_id)
    moderates = any(place.moderates and place.guild_id == guild_id for place in places)
    return Actor(
        author_of(request, dream),
        guild_id=guild_id if moderates else None,
        moderates=moderates,
        at_machine=is_here(request, settings),
    )


def author_of(request: web.Request, dream: Dream | None) -> Person:
    """Return as whom a visitor acts on a dream: as its author, if they are, or as themselves."""
    guest = guest_of(request)
    own = (one for one in guest.persons if dream is not None and one.id == dream.person.id)
    return next(own, guest.person)
