"""Who sits at the machine that Dreamstream runs on, and may do there what they like."""

from __future__ import annotations

from aiohttp import web

from bot.games.model import Game
from bot.model import Dream, Person
from bot.rights import Actor
from bot.wall.guard import is_forwarded, is_loopback
from bot.wall.guests import guest_of
from bot.wall.passes import shown
from bot.wall.settings import WallSettings


def is_here(request: web.Request, settings: WallSettings) -> bool:
    """Say whether a request comes from the machine itself; behind a proxy that is not known.

    Nor is what a tunnel brings here, which ends at this machine and has its address.
    """
    loopback = settings.mode == "local" and is_loopback(request.remote or "")
    return loopback and not is_forwarded(request)


def actor_of(
    request: web.Request,
    settings: WallSettings,
    about: Dream | Game | None = None,
    *,
    whose: Person | None = None,
) -> Actor:
    """Return who takes something away: a guest, who moderates where they sit at the machine.

    Who is signed in acts as the guest that they were where that guest asked for the dream or began
    the game that it is `about`, or where it is `whose` instead. They moderate what belongs to a
    server where they do so in a channel with its theme, as Discord said of late.
    """
    guild_id = None if about is None else about.guild_id
    places = () if about is None else shown().places(about.theme_id)
    moderates = any(place.moderates and place.guild_id == guild_id for place in places)
    if whose is None and about is not None:
        whose = about.person if isinstance(about, Dream) else about.host
    return Actor(
        _one_of(request, whose),
        guild_id=guild_id if moderates else None,
        moderates=moderates,
        at_machine=is_here(request, settings),
    )


def author_of(request: web.Request, dream: Dream) -> Person:
    """Return as whom a visitor acts on a dream: as its author, if they are, or as themselves."""
    return _one_of(request, dream.person)


def _one_of(request: web.Request, whose: Person | None) -> Person:
    """Return somebody that a visitor is: whose something is, if they are, or else themselves.

    So named as they are known: who signs in does not rename the guest that they were.
    """
    guest = guest_of(request)
    if whose is not None and any(one.id == whose.id for one in guest.persons):
        return whose
    return guest.person
