"""What a visitor may see beyond what everybody may: a pass, which is context of the request.

`Services` asks it wherever it says whether something may be seen. So no route can forget to hand it
on, and none can see more by it than `Services` lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Protocol

from aiohttp import web

from bot.membership import AskedTooMuchError, Place, UnreachedError
from bot.model import Person
from bot.signed_links import Grant, Shows


class Member(Protocol):
    """Whoever is signed in: what they may see in Discord at the moment it is asked."""

    @property
    def person(self) -> Person: ...

    async def places(self, theme_id: int) -> Sequence[Place]:
        """Return the channels with a theme that they may read; none where they are signed out."""
        ...

    async def private_places(self, theme_id: int) -> Sequence[Place]:
        """Return the same of a private theme, once as much is asked as of one that is not there."""
        ...

    async def private_themes(self) -> Sequence[int]:
        """Return the private themes that they may see, as far as that can be told."""
        ...

    async def place(self, guild_id: int, channel_id: int) -> Place | None:
        """Return a channel if they may read it; None where they may not, or it cannot be told."""
        ...


class Pass:
    """Says what may be seen at the moment it is asked, by whatever `grants` then gives.

    A dream alone is shown only where it is `with_dreams`: at the addresses that show it and
    nothing of what is around it. A `member` sees the themes of the channels that they may read:
    `learn` finds out which these are, and what it found out last holds until it is asked again.
    """

    def __init__(
        self,
        grants: Callable[[], Iterable[Grant]] = tuple,
        *,
        with_dreams: bool = False,
        member: Member | None = None,
    ) -> None:
        self._grants = grants
        self._with_dreams = with_dreams
        self.member = member
        self._places: dict[int, Sequence[Place]] = {}

    async def learn(self, theme_id: int, *, private: bool = False) -> None:
        """Find out where in Discord whoever looks may read a theme, which may be `private`."""
        if self.member is not None:
            ask = self.member.private_places if private else self.member.places
            self._places[theme_id] = await ask(theme_id)

    def knows(self, theme_id: int) -> bool:
        """Say whether that was found out of a theme already."""
        return theme_id in self._places

    def places(self, theme_id: int) -> Sequence[Place]:
        """Return the channels that were found to show a theme to whoever looks."""
        return self._places.get(theme_id, ())

    @property
    def asks(self) -> bool:
        """Whether whoever looks may ask in Discord in what they look at."""
        return any(place.asks for places in self._places.values() for place in places)

    def theme(self, theme_id: int) -> bool:
        """Say whether a private theme's stream may be seen."""
        return bool(self.places(theme_id)) or self._has(Shows.THEME, str(theme_id))

    def dream(self, dream_id: str) -> bool:
        """Say whether a dream of a private theme may be seen."""
        return self._with_dreams and self._has(Shows.DREAM, dream_id)

    def _has(self, shows: Shows, id: str) -> bool:
        return any((grant.shows, grant.id) == (shows, id) for grant in self._grants())


class Missing(StrEnum):
    """Why something may be missing in what a request is answered."""

    SILENT = "silent"
    """Discord did not say something."""
    ASKED_TOO_MUCH = "asked_too_much"
    """It is not asked any more at present, for whoever sent the request."""


_missing_key = web.RequestKey("missing", Missing)


def note_unreached(request: web.Request, error: UnreachedError) -> None:
    """Note that Discord did not say something of what whoever sent a request may see."""
    if isinstance(error, AskedTooMuchError):
        request[_missing_key] = Missing.ASKED_TOO_MUCH
    elif _missing_key not in request:
        request[_missing_key] = Missing.SILENT


def missing_in(request: web.Request) -> Missing | None:
    """Return why something may be missing in what a request is answered, if something may."""
    # Of the request, not of the pass: a refusal is rendered when that is over.
    return request.get(_missing_key)


_NONE = Pass()
_shown: ContextVar[Pass] = ContextVar("pass", default=_NONE)


def shown() -> Pass:
    """Return the pass of whoever looks."""
    return _shown.get()


@contextmanager
def showing(found: Pass) -> Iterator[None]:
    """Have a pass be that of whoever looks, for as long as this lasts."""
    before = _shown.set(found)
    try:
        yield
    finally:
        _shown.reset(before)
