"""What the wall asks of the rest of the bot. It keeps nothing itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bot.drawing import Drawer
from bot.errors import GoneError, NotFoundError
from bot.model import (
    Dream,
    DreamRequest,
    File,
    Live,
    Person,
    Relation,
    StreamEvent,
    Theme,
    Visibility,
)
from bot.outpainting import Side
from bot.parties.service import Parties
from bot.publish.service import Publishing
from bot.rights import Actor, may_see
from bot.search import Found
from bot.text import clean, shorten
from bot.wall.passes import shown


class Library(Protocol):
    """The image files."""

    async def local(self, sha256: str) -> Path:
        """Say where a picture's PNG lies on this machine; raises `NotFoundError`."""
        ...

    async def make_thumbnail(self, sha256: str, side: int = 384) -> Path:
        """Say where its small WebP lies, making it first where need be."""
        ...

    async def read(self, sha256: str) -> bytes:
        """Return a picture's PNG; raises `NotFoundError`."""
        ...

    async def local_file(self, file: File) -> Path:
        """Say where a film or a drawing lies on this machine; raises `NotFoundError`."""
        ...


class Feed(Protocol):
    """A stream's events: those that were, and those that come."""

    async def last_id(self, theme_id: int | None = None) -> int:
        """Return the newest event's id, of one theme or of all; 0 where there is none."""
        ...

    async def replay(
        self, *, theme_id: int | None, after: int, limit: int = 200
    ) -> list[StreamEvent]:
        """Return the events after an id, oldest first."""
        ...

    def listen(
        self, theme_id: int | None, *, after: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[StreamEvent | Live]]:
        """Yield what happened after an event and then what happens, each once.

        Ends when the listener is too far behind.
        """
        ...


class Themes(Protocol):
    """The themes, each with its stream."""

    async def list(self) -> list[Theme]:
        """Return all of them."""
        ...

    async def get(self, slug: str) -> Theme:
        """Return one; raises `NotFoundError`."""
        ...

    async def by_id(self, theme_id: int) -> Theme:
        """Return one; raises `NotFoundError`."""
        ...

    async def take_up(self, slug: str, title: str, **details: Any) -> Theme:
        """Make one, or bring one back that is retired; raises `InvalidRequestError`."""
        ...


class Dreams(Protocol):
    """Asking for dreams, looking at them, and what may be done to them."""

    async def ask(self, request: DreamRequest) -> list[Dream]: ...

    async def get(self, dream_id: str) -> Dream: ...

    async def recent(
        self, theme_id: int, *, before: str | None = None, limit: int = 48
    ) -> list[Dream]: ...

    async def unfinished(self, theme_id: int | None) -> list[Dream]: ...

    async def failures(
        self, theme_id: int, known_as: Collection[Person], *, since_ms: int, limit: int = 12
    ) -> list[Dream]: ...

    async def together(self, ask_id: str) -> list[Dream]: ...

    async def lineage(self, dream_id: str) -> tuple[list[Dream], list[Dream]]: ...

    async def cancel(self, dream_id: str, actor: Actor) -> None: ...

    async def steer(
        self,
        dream_id: str,
        actor: Actor,
        prompt: str,
        glide_steps: int | None = None,
        *,
        check: Callable[[str, Theme], None] | None = None,
    ) -> None: ...

    async def delete(self, dream_id: str, actor: Actor) -> None: ...

    async def redo(self, dream_id: str, person: Person, *, same_seed: bool) -> Dream: ...

    def live(self, dream_id: str) -> Live | None: ...

    def preview(self, dream_id: str) -> tuple[int, bytes] | None: ...


class Offspring(Protocol):
    """What can be made of a finished dream."""

    def can(self, dream: Dream) -> frozenset[Relation]: ...

    async def variations(self, dream_id: str, actor: Actor, *, count: int = 4) -> list[Dream]: ...

    async def carry_on(self, dream_ids: Sequence[str], actor: Actor) -> list[Dream]: ...

    async def upscale(self, dream_id: str, actor: Actor) -> Dream: ...

    async def animate(self, dream_id: str, actor: Actor) -> Dream: ...

    async def redraw(
        self,
        dream_id: str,
        actor: Actor,
        mask: bytes,
        *,
        prompt: str | None = None,
        strength: float | None = None,
    ) -> Dream: ...

    async def extend(
        self,
        dream_id: str,
        actor: Actor,
        side: Side,
        share: float = 0.5,
        *,
        prompt: str | None = None,
        strength: float | None = None,
    ) -> Dream: ...

    async def blend(
        self,
        first_id: str,
        second_id: str,
        actor: Actor,
        *,
        weight: float = 0.5,
        prompt: str | None = None,
        strength: float | None = None,
    ) -> Dream: ...


class Favourites(Protocol):
    """Which pictures people like, here and in Discord."""

    async def favourite(
        self, dream_id: str, person: Person, *, known_as: Iterable[Person] = ()
    ) -> tuple[bool, int]:
        """Like a dream, or no more; say whether it is liked now, and by how many people."""
        ...

    async def favourites(self, dream_ids: Sequence[str]) -> dict[str, int]: ...

    async def likes(self, dream_id: str, *known_as: Person) -> bool: ...


class Portraits(Protocol):
    """Which pictures are of somebody."""

    async def shows_somebody(self, dream_id: str) -> bool:
        """Say whether a dream is a portrait or comes of one."""
        ...


@dataclass(frozen=True)
class Heart:
    """By how many people a dream is liked, and whether the visitor is one of them."""

    count: int
    liked: bool


class Search(Protocol):
    """Finding pictures of a stream: those that are published, unless a channel is named."""

    async def by_text(self, theme: Theme, text: str) -> Found: ...

    async def by_picture(self, theme: Theme, picture: bytes) -> Found: ...

    async def like(self, dream: Dream, theme: Theme, *, count: int = 48) -> Found: ...


@dataclass(frozen=True)
class Services:
    """All of them together. Without `parties` there are none at this wall, nor bundles of them."""

    themes: Themes
    dreams: Dreams
    feed: Feed
    library: Library
    drawer: Drawer
    offspring: Offspring
    search: Search
    parties: Parties | None = None
    publishing: Publishing | None = None
    favourites: Favourites | None = None
    portraits: Portraits | None = None

    async def visible_theme(
        self, slug: str, dream_id: str | None = None, *, acts: bool = True
    ) -> Theme:
        """Return a theme that may be seen at the wall, or of which only `dream_id` is looked at.

        With `acts` it is found out, too, what whoever looks may do there.

        Raises:
            NotFoundError: there is none, or it is private; which of the two is not told.
        """
        try:
            theme = await self.themes.get(slug)
        except NotFoundError:
            raise _no_stream(slug) from None
        if not await looks_at(theme, acts=acts):
            if dream_id is None or not shown().dream(dream_id):
                raise _no_stream(slug)
            if (await self.dreams.get(dream_id)).theme_id != theme.id:
                raise _no_stream(slug)
        return theme

    async def visible_dream(self, dream_id: str, *, acts: bool = True) -> tuple[Dream, Theme]:
        """Return a dream that may be seen at the wall, and its theme.

        With `acts` it is found out, too, what whoever looks may do there.

        Raises:
            NotFoundError: there is none, it is not published, or its theme is private; a
                GoneError where it could be seen until it was deleted.
        """
        try:
            dream = await self.dreams.get(dream_id)
            theme = await self.themes.by_id(dream.theme_id)
        except NotFoundError:
            raise NotFoundError(_NO_DREAM) from None
        passed = dream.published and (await looks_at(theme, acts=acts) or shown().dream(dream.id))
        if not (may_see(dream, theme, None, None) or passed):
            raise NotFoundError(_NO_DREAM)
        if dream.deleted_ms is not None:
            raise GoneError
        return dream, theme

    async def own_themes(self) -> list[Theme]:
        """Return the private themes that are listed for whoever looks, being signed in."""
        member = shown().member
        ids = () if member is None else await member.private_themes()
        themes = [await self.themes.by_id(theme_id) for theme_id in ids]
        return [theme for theme in themes if theme.visibility is Visibility.PRIVATE]

    async def heart(self, dream: Dream, visitor: Iterable[Person]) -> Heart | None:
        """Return how a finished dream is liked, also by any that a visitor is.

        None where this wall has no favourites.
        """
        if self.favourites is None or dream.image is None:
            return None
        counts = await self.favourites.favourites([dream.id])
        return Heart(counts[dream.id], await self.favourites.likes(dream.id, *visitor))

    async def of_somebody(self, dream: Dream) -> bool:
        """Say whether a dream is somebody's portrait or comes of one: it is no toy."""
        return self.portraits is not None and await self.portraits.shows_somebody(dream.id)

    async def unfinished(self, theme_id: int) -> list[Dream]:
        """Return the unfinished dreams of a theme that may be seen at the wall, oldest first."""
        return [dream for dream in await self.dreams.unfinished(theme_id) if dream.published]


# Said word for word the same of what is not there and of what is not to be seen.
_NO_DREAM = "There is no such dream here."


async def looks_at(theme: Theme, *, acts: bool = True) -> bool:
    """Find out whether whoever looks may see a theme's whole stream, and where they may ask.

    Where nobody `acts`, Discord is asked nothing that everybody may see anyway: a page of a public
    stream has a hundred pictures, and its events are looked at again and again.
    """
    private = theme.visibility is Visibility.PRIVATE
    if acts or private:
        await shown().learn(theme.id, private=private)
    return sees(theme)


def sees(theme: Theme) -> bool:
    """Say whether whoever looks may see a theme's whole stream, by what was found out."""
    return theme.visibility is not Visibility.PRIVATE or shown().theme(theme.id)


def _no_stream(slug: str) -> NotFoundError:
    return NotFoundError(f"There is no stream called “{shorten(clean(slug), 40)}” here.")
