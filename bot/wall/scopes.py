"""Whose events a page is sent: those of one stream, or of all that are public."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from bot.model import Dream, EventKind, Live, StreamEvent, Visibility
from bot.wall.services import Services

Update = StreamEvent | Live


class Scope(Protocol):
    """A part of the log. `theme_id` is None for more than one stream; `name` is for the log."""

    name: str
    theme_id: int | None

    async def unfinished(self) -> list[Dream]:
        """Return the unfinished dreams that may be seen in it, oldest first."""
        ...

    def shown_of(self, updates: AsyncIterator[Update]) -> AsyncIterator[Update]:
        """Leave out what may not be seen."""
        ...

    async def is_less(self) -> bool:
        """Say, after a theme was changed, whether a page shows what may be seen no more.

        Raises:
            NotFoundError: nothing of it may be.
        """
        ...


class OneStream:
    """The stream of a theme that may be seen at the wall, or of which one dream alone may be."""

    def __init__(
        self,
        services: Services,
        theme_id: int,
        slug: str,
        dream_id: str | None = None,
        *,
        alone: bool = False,
    ) -> None:
        """`alone`: of the stream nothing but `dream_id` may be seen."""
        self.name = slug
        self._alone = alone
        self._dream_id = dream_id
        self.theme_id: int | None = theme_id
        self._id = theme_id
        self._services = services

    async def unfinished(self) -> list[Dream]:
        """Return the stream's."""
        return await self._services.unfinished(self._id)

    async def shown_of(self, updates: AsyncIterator[Update]) -> AsyncIterator[Update]:
        """Leave out what is around a dream that is seen alone; else nothing.

        Only the stream's own are read.
        """
        async for update in updates:
            if not self._alone or update.dream_id == self._dream_id:
                yield update

    async def is_less(self) -> bool:
        """Refuse a stream that has turned private."""
        await self._services.visible_theme(self.name, self._dream_id, acts=False)
        return False


class AllStreams:
    """The streams of all public themes together."""

    def __init__(self, services: Services, public: frozenset[int]) -> None:
        self.name = "all"
        self.theme_id: int | None = None
        self._services = services
        self._public = public
        self._less = False

    @classmethod
    async def now(cls, services: Services) -> AllStreams:
        """Return those that are public at this moment."""
        return cls(services, await _public(services))

    async def unfinished(self) -> list[Dream]:
        """Return those of all public themes."""
        found = await self._services.dreams.unfinished(None)
        return [dream for dream in found if dream.published and dream.theme_id in self._public]

    async def shown_of(self, updates: AsyncIterator[Update]) -> AsyncIterator[Update]:
        """Leave out other themes' entries, from the moment on that they are others."""
        async for update in updates:
            if isinstance(update, StreamEvent) and update.kind is EventKind.THEME:
                before, self._public = self._public, await _public(self._services)
                self._less = self._less or bool(before - self._public)
                # That a theme was changed is for nobody who may not see it.
                if self._less or update.theme_id in before | self._public:
                    yield update
            elif update.theme_id in self._public:
                yield update

    async def is_less(self) -> bool:
        """Say whether a theme that was public is so no more."""
        return self._less


async def _public(services: Services) -> frozenset[int]:
    return frozenset(
        theme.id for theme in await services.themes.list() if theme.visibility is Visibility.PUBLIC
    )
