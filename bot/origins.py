"""Of which dream an uploaded picture is: one that was downloaded here, and perhaps edited since.

It is told by three signs, the surest first: the file is one of the library's; its recipe is still
in it; its pixels are for the better part those of a picture that CLIP finds nearest. Who uploads it
must be allowed to see that dream where they are, or nobody is told of it; the first two signs then
say that there is one. Nobody has them by guessing: they come with the picture.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import NamedTuple

from bot import recipes
from bot.errors import DreamstreamError
from bot.library import Library
from bot.likeness import kept_part
from bot.looker import Looker
from bot.model import Dream, DreamState, Image, Theme
from bot.rights import may_see
from bot.seeing import Seeing
from bot.store import Store
from bot.store import dreams as rows
from bot.themes import Themes
from generation.protocol import Recipe

log = logging.getLogger(__name__)

KEPT = 0.5
"""The part of a picture that must be left for it to be of that dream.

Of 48 pictures of the starter diffusion (8 seeds of 6 prompts), copies as JPEG or of half the size
kept .57 or more, and copies with a third replaced by a mirror image .50 or more. Pictures of other
prompts had at most .18 in common, other seeds of one prompt at most .48; but plain hills under a
plain sky are all alike, and of those the likest is taken.
"""
_NEAREST = 8
_LIMIT_S = 3.0


class Origin(NamedTuple):
    """Of which dream an upload is; `hidden` where it is of one that may not be seen there."""

    dream: Dream | None = None
    hidden: bool = False


class Origins:
    """Finds them. All that it cannot do in time, or at all, is no origin."""

    def __init__(
        self, store: Store, library: Library, themes: Themes, seeing: Seeing, looker: Looker
    ) -> None:
        self._store = store
        self._library = library
        self._themes = themes
        self._seeing = seeing
        self._looker = looker

    async def of(
        self,
        upload: bytes,
        kept: Image,
        theme: Theme,
        channel_id: int | None,
        *,
        by_pixels: bool = True,
    ) -> Origin:
        """Return the dream that an uploaded picture is of, if it may be seen there.

        `upload` is the file as it came, and `kept` what the library made of it. Its pixels say
        nothing unless `by_pixels`.
        """
        try:
            async with asyncio.timeout(_LIMIT_S):
                said = await self._said(upload, theme, channel_id)
                if said is not None:
                    return said
                if not by_pixels:
                    return Origin()
                picture = await self._library.read(kept.sha256)
                return Origin(await self._likest(picture, theme, channel_id))
        except (DreamstreamError, TimeoutError, OSError) as error:
            log.info("It was not found out what an uploaded picture came of: %s", error)
            return Origin()

    async def _said(self, upload: bytes, theme: Theme, channel_id: int | None) -> Origin | None:
        """Return what the file itself says; None if that is nothing."""
        there = await said_of(self._store, self._library, upload)
        for dream in there:
            if await self._may_see(dream, theme, channel_id):
                return Origin(dream)
        return Origin(hidden=True) if there else None

    async def _may_see(self, dream: Dream, here: Theme, channel_id: int | None) -> bool:
        theme = await self._themes.by_id(dream.theme_id)
        return may_see(dream, theme, here, channel_id)

    async def _likest(self, picture: bytes, theme: Theme, channel_id: int | None) -> Dream | None:
        """Return the dream of a theme whose picture has most in common with this one."""
        shelf, perceptor = self._looker.shelf(theme.id), self._looker.perceptor
        if shelf is None or perceptor != self._seeing.perceptor():
            return None
        (vector,) = (await self._seeing.embed([picture], perceptor=perceptor)).pictures
        if vector is None or len(vector) != shelf.dim:
            return None
        near = await self._library.run(shelf.nearest, vector, _NEAREST, channel_id=channel_id)
        best, likest = KEPT, None
        for dream in await rows.by_ids(self._store, [one.id for one in near]):
            if dream.image is None or not _is_there(dream):
                continue
            if not await self._may_see(dream, theme, channel_id):
                continue
            other = await self._library.read(dream.image.sha256)
            kept = await self._library.run(kept_part, picture, other)
            if kept >= best:
                best, likest = kept, dream
        return likest


async def said_of(store: Store, library: Library, upload: bytes) -> list[Dream]:
    """Return the finished dreams whose picture a file says it is, by its bytes or its recipe."""
    sha256, recipe = await library.run(_signs, upload)
    same = await rows.of_image(store, sha256)
    if not same and recipe is not None:
        seeded = await rows.of_seed(store, recipe.seed)
        same = [dream for dream in seeded if dream.recipe == recipe]
    return [dream for dream in same if _is_there(dream)]


def _is_there(dream: Dream) -> bool:
    return dream.deleted_ms is None and dream.state is DreamState.DONE


def _signs(upload: bytes) -> tuple[str, Recipe | None]:
    return hashlib.sha256(upload).hexdigest(), recipes.read_recipe(upload)
