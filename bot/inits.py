"""The pictures that dreams start from, between their upload and the acceptance of the dream.

An uploaded picture is on disk before the database speaks of it. Until it does, the picture is
held; when nobody holds it any more and nothing names it, it is thrown away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bot.disk import TROUBLE, DiskWatch
from bot.library import Library, described
from bot.model import Image
from bot.store import Store, images


class Inits:
    """Keeps what is uploaded only if it is used."""

    def __init__(self, store: Store, library: Library, disk: DiskWatch) -> None:
        self._store = store
        self._library = library
        self._disk = disk

    @asynccontextmanager
    async def held(
        self, data: bytes | None, sha256: str | None = None
    ) -> AsyncIterator[Image | None]:
        """Give the picture that was uploaded, or the kept one that `sha256` names.

        Raises:
            InvalidRequestError: what was uploaded is not a picture that is taken.
            NotFoundError: neither is the picture that `sha256` names.
            DiskError: the disk is full, or may not be written.
        """
        async with AsyncExitStack() as stack:
            image = None
            if data is not None:
                image = await self._keep(data)
                stack.push_async_callback(self._let_go, image.sha256)
            if sha256 is not None and (image is None or image.sha256 != sha256):
                image = described(sha256, await self._library.hold(sha256))
                stack.push_async_callback(self._let_go, sha256)
            yield image

    async def _keep(self, data: bytes) -> Image:
        try:
            sha256, png = await self._library.keep_upload(data)
        except TROUBLE as error:
            self._disk.report(error)
            raise
        return described(sha256, png)

    async def _let_go(self, sha256: str) -> None:
        # Asked while it is still held: whoever else is about to name it holds it as well.
        try:
            named = await images.known(self._store, sha256)
        except TROUBLE:
            named = True  # rather a file too many than one too few
        await self._library.let_go(sha256, named=named)
