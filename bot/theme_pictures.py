"""Pictures that stand for themes: of a dream that anybody may see, or uploaded.

A picture in the library that a theme names stays there. It goes when another takes its place,
unless something else names it; and with the dream that it is the picture of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiosqlite

from bot.checking.service import Brought
from bot.dreams import Dreams
from bot.errors import InvalidRequestError, NotFoundError
from bot.ids import now_ms
from bot.library import Library, described
from bot.model import Dream, Person, PictureCheck, Theme, Visibility
from bot.origins import said_of
from bot.parents import COVERED
from bot.store import Store, dreams, images
from bot.themes import AlsoWithTheme, Themes

_STAYS = "This dream stays where it was asked for, so it cannot stand for a theme. Choose another."


class Ready(NamedTuple):
    """A picture that may stand for a theme, as long as it is given.

    Whoever makes or changes the theme hands on `sha256` as its `picture_sha256`, and `also`.
    """

    sha256: str
    also: AlsoWithTheme | None = None


class ThemePictures:
    """Chooses them. Without state: as many as are needed can be made."""

    def __init__(self, store: Store, library: Library, themes: Themes, dreams: Dreams) -> None:
        self._store = store
        self._library = library
        self._themes = themes
        self._dreams = dreams

    async def choose(self, slug: str, dream: Dream, *, person: Person | None = None) -> Theme:
        """Have a dream's picture stand for a theme.

        Raises:
            NotFoundError: there is no such theme, or as `dreamt` does.
            InvalidRequestError, DiskError, StoreError: as `dreamt` does.
        """
        async with self.dreamt(dream, await self._themes.get(slug)) as ready:
            return await self._change(slug, person, ready.sha256, ready.also)

    async def take_in(
        self,
        slug: str,
        data: bytes,
        *,
        person: Person | None = None,
        brought: Brought | None = None,
        setting: PictureCheck | None = None,
    ) -> Theme:
        """Have an uploaded picture, PNG, JPEG or WebP, stand for a theme.

        Raises:
            NotFoundError: there is no such theme.
            InvalidRequestError, LimitError, DiskError, StoreError: as `uploaded` does.
        """
        theme = await self._themes.get(slug)
        async with self.uploaded(data, theme, brought=brought, setting=setting) as ready:
            return await self._change(slug, person, ready.sha256, ready.also)

    @asynccontextmanager
    async def dreamt(self, dream: Dream, theme: Theme | None = None) -> AsyncIterator[Ready]:
        """Give a dream's picture, which is to stand for a theme, or for one that is yet to be made.

        Raises:
            InvalidRequestError: it has none, or is not for everybody who sees the theme.
            NotFoundError: the dream has just been deleted.
            DiskError, StoreError: nothing can be kept at present.
        """
        if dream.image is None or dream.deleted_ms is not None:
            raise InvalidRequestError("picture", "This dream has no picture yet. Choose another.")
        if not await self._may_stand(dream, theme):
            raise InvalidRequestError("picture", _STAYS)
        if dream.veil is not None:
            raise InvalidRequestError("picture", COVERED)
        sha256 = dream.image.sha256

        async def still_there(connection: aiosqlite.Connection, _: Theme) -> None:
            if not await dreams.is_shown_now(connection, dream.id, sha256):
                raise NotFoundError("There is no such dream.")

        try:
            yield Ready(sha256, still_there)
        except sqlite3.IntegrityError as error:  # its picture's row has gone with it
            raise NotFoundError("There is no such dream.") from error

    @asynccontextmanager
    async def uploaded(
        self,
        data: bytes,
        theme: Theme | None = None,
        *,
        brought: Brought | None = None,
        setting: PictureCheck | None = None,
    ) -> AsyncIterator[Ready]:
        """Give an uploaded picture, PNG, JPEG or WebP, kept and checked; it goes where unnamed.

        It is to stand for a theme, or for one that is yet to be made; as `dreamt`, where it is the
        file of a dream's picture, or has its recipe in it.

        `setting` is how the place where it was `brought` wants pictures checked. A theme is shown
        elsewhere too, so where that is off, or not known, what the machine wants holds.

        Raises:
            InvalidRequestError: it is no picture that is taken, or the check finds something, or it
                is not for everybody who sees the theme.
            LimitError: nobody can look at it now.
            DiskError, StoreError: nothing can be kept at present.
        """
        sha256, png = await self._library.keep_upload(data)
        named = False
        try:
            found = await said_of(self._store, self._library, data)
            if found and not any([await self._may_stand(one, theme) for one in found]):
                raise InvalidRequestError("picture", _STAYS)
            if (checks := self._dreams.checks) is not None:
                if setting is None or setting is PictureCheck.OFF:
                    setting = checks.default
                await checks.check_upload(png, setting, brought, "picture")
            named = True  # rather a file too many than one too few
            async with self._store.write() as connection:
                await images.insert(connection, described(sha256, png), now_ms())
            try:
                yield Ready(sha256)
            finally:
                named = await images.named(self._store, sha256)
                if not named:
                    async with self._store.write() as connection:
                        await images.forget_unnamed(connection, sha256)
        finally:
            await self._library.let_go(sha256, named=named)

    async def _may_stand(self, dream: Dream, theme: Theme | None) -> bool:
        """Say whether everybody who sees a theme may see a dream."""
        if not dream.published:
            return False
        home = await self._themes.by_id(dream.theme_id)
        return home.visibility is not Visibility.PRIVATE or (
            theme is not None and home.id == theme.id
        )

    async def take_off(self, slug: str, *, person: Person | None = None) -> Theme:
        """Leave a theme without a picture.

        Raises:
            NotFoundError: there is no such theme.
        """
        return await self._change(slug, person, None)

    async def _change(
        self,
        slug: str,
        person: Person | None,
        sha256: str | None,
        also: AlsoWithTheme | None = None,
    ) -> Theme:
        theme = await self._themes.change(slug, person=person, also=also, picture_sha256=sha256)
        await self._dreams.remove_files()  # the one that it had; the database has noted that
        return theme
