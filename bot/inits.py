"""The pictures that dreams are drawn from, between their upload and the acceptance of the dream.

An uploaded picture is on disk before the database speaks of it. Until it does, the picture is
held; when nobody holds it any more and nothing names it, it is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bot.disk import TROUBLE, DiskWatch
from bot.errors import DiskError, NotFoundError
from bot.library import Library, UnreadableError, described
from bot.model import DreamRequest, Image
from bot.store import Store, images
from bot.upload_process import to_mask
from bot.uploads import check_fits


class StartGoneError(NotFoundError):
    """A picture that a recipe names is nowhere."""

    def __init__(self) -> None:
        super().__init__("A picture that this dream starts from is no longer kept.")


@dataclass(frozen=True)
class DrawnFrom:
    """The kept pictures that a dream is drawn from, by the part they play."""

    init: Image | None = None
    mask: Image | None = None
    sketch: Image | None = None
    pictures: tuple[Image, ...] = ()

    @property
    def images(self) -> tuple[Image, ...]:
        """All of them."""
        every = (self.init, self.mask, self.sketch, *self.pictures)
        return tuple(image for image in every if image)


class Inits:
    """Keeps what is uploaded only if it is used."""

    def __init__(self, store: Store, library: Library, disk: DiskWatch) -> None:
        self._store = store
        self._library = library
        self._disk = disk

    @asynccontextmanager
    async def uploaded(self, request: DreamRequest) -> AsyncIterator[DrawnFrom]:
        """Keep and give what was uploaded with a request.

        Raises:
            InvalidRequestError: something of it is not a picture that is taken, or the mask none
                for its picture.
            DiskError: the disk is full, or may not be written.
        """
        async with AsyncExitStack() as stack:
            init = None if request.init is None else await self._keep(request.init, stack)
            mask = None
            if init is not None and request.mask is not None:
                png = await asyncio.to_thread(to_mask, request.mask, self._library.uploads)
                check_fits(png, init.width, init.height)
                mask = await self._keep(png, stack)
            sketch = None if request.sketch is None else await self._keep(request.sketch, stack)
            pictures = [await self._keep(picture, stack) for picture in request.pictures]
            yield DrawnFrom(init, mask, sketch, tuple(pictures))

    @asynccontextmanager
    async def named(
        self, sha256s: Sequence[str], given: Sequence[bytes] = ()
    ) -> AsyncIterator[tuple[Image, ...]]:
        """Give the pictures with these names: from those `given`, or kept before.

        Raises:
            InvalidRequestError: what was given is not a picture that is taken.
            StartGoneError: one of the named is nowhere.
            DiskError: the disk is full, or may not be written.
        """
        async with AsyncExitStack() as stack:
            uploads = [await self._keep(picture, stack) for picture in given]
            found = {image.sha256: image for image in uploads}
            for sha256 in sha256s:
                if sha256 not in found:
                    found[sha256] = described(sha256, await self._hold(sha256))
                    stack.push_async_callback(self._let_go, sha256)
            yield tuple(found[sha256] for sha256 in sha256s)

    async def _hold(self, sha256: str) -> bytes:
        try:
            return await self._library.hold(sha256)
        except UnreadableError as error:
            raise DiskError(str(error)) from error
        except NotFoundError:
            raise StartGoneError from None

    async def _keep(self, data: bytes, stack: AsyncExitStack) -> Image:
        try:
            sha256, png = await self._library.keep_upload(data)
        except TROUBLE as error:
            self._disk.report(error)
            raise
        stack.push_async_callback(self._let_go, sha256)
        return described(sha256, png)

    async def _let_go(self, sha256: str) -> None:
        # Asked while it is still held: whoever else is about to name it holds it as well.
        try:
            named = await images.named(self._store, sha256)
        except TROUBLE:
            named = True  # rather a file too many than one too few
        await self._library.let_go(sha256, named=named)
