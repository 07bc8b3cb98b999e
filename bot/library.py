"""The kept pictures: content-addressed PNG files, and small WebP likenesses of them.

A picture's name is the SHA-256 of its bytes, so a file never changes and the same picture twice
is one file. `keep` returns once the file survives a power cut; only then may the database speak
of it. Where pictures and files lie is for `bot.blobs` to know; thumbnails, which can be made again
at any time, are in the library's folder. All work with files, pixels and the network happens in
small pools of threads. This module does not know what a dream is.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from PIL import Image as Pillow

from bot import recipes
from bot.blobs import (
    Blobs,
    FolderBlobs,
    UnreachableError,
    file_key,
    is_sha256,
    picture_key,
    sentence,
)
from bot.errors import DiskError, NotFoundError, OutOfReachError
from bot.files import disk_sentences, sync_folder
from bot.free_space import FreeSpace
from bot.holding import Holds
from bot.model import File, Image
from bot.side_tasks import SideTasks
from bot.thumbnails import THUMBNAIL_SIDE, Thumbnails, webp
from bot.upload_process import to_png
from bot.uploads import UploadLimits
from generation.protocol import Attachment, Recipe

_REMOTE_THREADS = 8  # mostly waiting for answers

P = ParamSpec("P")
T = TypeVar("T")


class BadPictureError(ValueError):
    """Bytes that were to be kept are not a whole PNG picture."""


class UnreadableError(NotFoundError):
    """A kept picture is there, and is damaged, or the disk does not give it."""


@dataclass(frozen=True)
class _Drawn:
    """A finished picture as it is to be kept, with its small likeness."""

    sha256: str
    png: bytes
    small: bytes


class Library:
    """The kept pictures and files, and what may be uploaded among them.

    They lie in `root`, or in `blobs`, which whoever opened it closes. `close` the library when
    nothing uses it any more.
    """

    def __init__(
        self,
        root: Path,
        uploads: UploadLimits | None = None,
        *,
        space: FreeSpace | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        self.root = root
        self.blobs: Blobs = blobs or FolderBlobs(root)
        self._space = space
        self.uploads = uploads or UploadLimits()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="library")
        # One of its own, so that strangers' uploads never hold up what is finished.
        self._upload_thread = ThreadPoolExecutor(1, thread_name_prefix="library-upload")
        # And some where the network is waited for, so that nothing of this machine waits as well.
        self._storing = self._threads
        if self.blobs.remote:
            self._storing = ThreadPoolExecutor(
                _REMOTE_THREADS, thread_name_prefix="library-storing"
            )
        self._thumbnails = Thumbnails(root / "thumbnails")
        self._holds = Holds()
        self._tasks = SideTasks()
        self._left_watchers: list[Callable[[str], None]] = []

    def close(self) -> None:
        """Finish what is being written and end the threads."""
        for threads in (self._upload_thread, self._storing, self._threads):
            threads.shutdown()

    @property
    def refusing(self) -> str | None:
        """Why nothing new is taken at present, as a sentence; or None."""
        return None if self._space is None else self._space.refusing

    def check_space(self) -> None:
        """Refuse what is new while the disk is almost full. What is under way is kept all the same.

        Raises:
            DiskError: it is.
        """
        if self._space is not None:
            self._space.check()

    async def keep(
        self, png: bytes, recipe: Recipe, *, prompt: str = "", licence: str = ""
    ) -> Image:
        """Keep a finished picture with its recipe in it; once this returns it is safe on disk.

        It is held until `let_go`.

        Raises:
            BadPictureError: `png` is not a whole PNG picture.
            DiskError: the disk is full, or may not be written. Nothing was kept.
        """
        drawn = await self.run(_drawn, png, recipe, prompt, licence)
        await self._put_held(picture_key(drawn.sha256), drawn.sha256, drawn.png)
        await self.run(self._thumbnails.keep, drawn.sha256, drawn.small)
        return described(drawn.sha256, drawn.png)

    async def keep_upload(self, data: bytes) -> tuple[str, bytes]:
        """Keep an uploaded picture as a plain PNG and return its name and its bytes.

        It is held until `let_go`.

        Raises:
            InvalidRequestError: it is not a still picture of a known kind, or too large.
            DiskError: the disk is full or almost, or may not be written. Nothing was kept.
        """
        self.check_space()
        # A kept picture that comes back is that picture: else a copy would outlive its deletion.
        kept = await self.run(_sha256, data)
        try:
            return kept, await self.hold(kept)
        except UnreadableError:  # of which these are the bytes: they take its place
            await self._put_held(picture_key(kept), kept, data)
            return kept, data
        except NotFoundError:
            pass
        loop = asyncio.get_running_loop()
        png = await loop.run_in_executor(self._upload_thread, to_png, data, self.uploads)
        sha256 = await self.run(_sha256, png)
        await self._put_held(picture_key(sha256), sha256, png)
        return sha256, png

    async def keep_file(self, attachment: Attachment) -> File:
        """Keep what was made besides a picture; once this returns it is safe on disk.

        It is held until `let_go`.

        Raises:
            DiskError: the disk is full, or may not be written. Nothing was kept.
        """
        sha256 = await self.run(_sha256, attachment.data)
        await self._put_held(file_key(sha256), sha256, attachment.data)
        return File(
            name=attachment.name,
            media_type=attachment.media_type,
            sha256=sha256,
            size_bytes=len(attachment.data),
        )

    async def read_file(self, file: File) -> bytes:
        """Return the bytes of what was made besides a picture.

        Raises:
            NotFoundError: it is not here; an UnreadableError where it is damaged.
            OutOfReachError: where it lies cannot be asked at present.
        """
        return await self._read(file_key(file.sha256), "file")

    async def local_file(self, file: File) -> Path:
        """Return where on this machine a file is, fetched first where need be.

        Raises:
            NotFoundError: it is not here; an UnreadableError where it is damaged.
            OutOfReachError: where it lies cannot be asked at present.
        """
        return await self._local(file_key(file.sha256), "file")

    def file_path(self, file: File) -> Path:
        """Return where on this machine a file is, or would be once it was read.

        Raises:
            NotFoundError: it has not the name of one.
        """
        return self.blobs.path(file_key(file.sha256))

    async def hold(self, sha256: str) -> bytes:
        """Return a kept picture's bytes and see that it stays until `let_go`.

        Raises:
            NotFoundError: it is not here; an UnreadableError where it is damaged.
            OutOfReachError: where it lies cannot be asked at present.
        """
        key = picture_key(sha256)
        await self._holds.take(sha256)
        try:
            data = await self._read(key, "picture")
        except Exception:
            await self._let_go(sha256, named=False)
            raise
        self._holds.found(sha256, True)
        return data

    async def let_go(self, sha256: str, *, named: bool) -> None:
        """Hold a picture no more. `named` says that something refers to it.

        What came here to be held, and is referred to by nothing, is removed once nobody holds it.
        """
        await self._let_go(sha256, named)

    async def discard(
        self, sha256: str, unless: Callable[[], Awaitable[bool]], *, file: bool = False
    ) -> bool:
        """Remove a picture with its thumbnails, or another file, `unless` something refers to it.

        That is asked once nobody can take hold of it any more. Says whether it is gone. It is not
        while it is held: then it goes when it is let go, unless something refers to it by then.

        Raises:
            DiskError: it may be there still.
        """
        return await self._tasks.finish(self._discard(sha256, unless, file))

    def on_left(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher` with the name of what should have gone when it was let go, and has not.

        It stays until it is discarded.
        """
        self._left_watchers.append(watcher)

    def no_more(self, watcher: Callable[[str], None]) -> None:
        """Call a watcher no more; one that is not known changes nothing."""
        if watcher in self._left_watchers:
            self._left_watchers.remove(watcher)

    async def left_held(self) -> list[str]:
        """Return the names of what an earlier process held when it died; perhaps for nothing."""
        return await self.run(self._left)

    async def settle(self, sha256: str) -> None:
        """Note that what was left held is referred to, or has been discarded."""
        await self.run(self._settle, sha256)

    async def sweep(self) -> None:
        """Remove what was being written when an earlier process died."""
        await self.run(self._sweep)

    async def read(self, sha256: str) -> bytes:
        """Return a kept picture's bytes.

        Raises:
            NotFoundError: it is not here; an UnreadableError where it is damaged.
            OutOfReachError: where it lies cannot be asked at present.
        """
        return await self._read(picture_key(sha256), "picture")

    async def local(self, sha256: str) -> Path:
        """Return where on this machine a picture is, fetched first where need be.

        Raises:
            NotFoundError: it is not here; an UnreadableError where it is damaged.
            OutOfReachError: where it lies cannot be asked at present.
        """
        return await self._local(picture_key(sha256), "picture")

    def path(self, sha256: str) -> Path:
        """Return where on this machine a picture is, or would be once it was read.

        Raises:
            NotFoundError: `sha256` is not the name of a picture.
        """
        return self.blobs.path(picture_key(sha256))

    def thumbnail(self, sha256: str, side: int = THUMBNAIL_SIDE) -> Path:
        """Return a picture's WebP likeness, `side` pixels at most; made if missing. May block.

        Raises:
            NotFoundError: there is no such picture, or `side` is not of `THUMBNAIL_SIDES`.
            DiskError: it had to be made and could not be kept; an OutOfReachError where the
                picture cannot be had at present.
        """
        if (path := self._thumbnails.find(sha256, side)) is not None:
            return path
        try:
            return self._thumbnails.make(sha256, side, self.blobs.local(picture_key(sha256)))
        except UnreachableError as error:
            _cannot_be_read("picture", error)
        except OSError as error:
            raise NotFoundError("This picture is not in the library.") from error

    async def make_thumbnail(self, sha256: str, side: int = THUMBNAIL_SIDE) -> Path:
        """Do as `thumbnail` does, without blocking."""
        if (path := self._thumbnails.find(sha256, side)) is not None:
            return path
        await self._local(picture_key(sha256), "picture")
        return await self.run(self.thumbnail, sha256, side)

    async def read_thumbnail(self, sha256: str, side: int = THUMBNAIL_SIDE) -> bytes:
        """Return the bytes of a picture's WebP likeness, made first where need be.

        Raises:
            As `thumbnail` does.
        """
        path = await self.make_thumbnail(sha256, side)
        try:
            return await self.run(path.read_bytes)
        except OSError as error:
            raise NotFoundError("This picture is not in the library.") from error

    async def probe(self) -> None:
        """Try whether something can be written.

        Raises:
            DiskError: the disk is full, or may not be written.
        """
        await self._store(self.blobs.probe)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do blocking work with files or pixels in one of the library's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    async def _store(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what may wait for where pictures lie."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._storing, lambda: work(*args, **kwargs))

    async def _read(self, key: str, what: str) -> bytes:
        try:
            do = self._store if await self._is_far(key) else self.run
            return await do(self.blobs.get, key)
        except OSError as error:
            _cannot_be_read(what, error)

    async def _local(self, key: str, what: str) -> Path:
        try:
            do = self._store if await self._is_far(key) else self.run
            return await do(self.blobs.local, key)
        except OSError as error:
            _cannot_be_read(what, error)

    async def _is_far(self, key: str) -> bool:
        return self.blobs.remote and await self.run(self.blobs.here, key) is None

    async def _put_held(self, key: str, sha256: str, data: bytes) -> None:
        # Held before it is written, or it could be discarded between the two.
        await self._holds.take(sha256)
        # Who is cancelled may leave a thread that still writes. Then it stays held, and marked.
        try:
            present = await self._store(self._is_present, key)
            self._holds.found(sha256, present)
            if not present:
                await self.run(self._mark, sha256)
            await self._store(self.blobs.put, key, data)
        except Exception:
            await self._let_go(sha256, named=False)
            raise

    def _is_present(self, key: str) -> bool:
        with disk_sentences(self.root):
            try:
                return self.blobs.size(key) is not None
            except UnreachableError as error:
                raise DiskError(sentence(error), self.blobs.where) from error

    async def _let_go(self, sha256: str, named: bool) -> None:
        stays = self._holds.release(sha256, named=named)
        # At once: nobody may take hold of it in between.
        if stays is not None and self._holds.begin_removal(sha256):
            await self._tasks.finish(self._settle_held(sha256, stays))

    async def _settle_held(self, sha256: str, stays: bool) -> None:
        """Remove what nobody holds and nothing names, or note that it stays."""
        settled = False
        try:
            with suppress(DiskError, OSError):
                if not stays:
                    for key in (picture_key(sha256), file_key(sha256)):
                        await self._store(self.blobs.delete, key)
                    await self.run(self._thumbnails.remove, sha256)
                settled = True
                await self.run(self._settle, sha256)
        finally:
            self._holds.end_removal(sha256, settled=settled)
            if not settled:
                for watcher in self._left_watchers:
                    watcher(sha256)

    async def _discard(
        self, sha256: str, unless: Callable[[], Awaitable[bool]], file: bool
    ) -> bool:
        if not self._holds.begin_removal(sha256):
            if not await unless():
                self._holds.unneeded(sha256)
            return False
        removed = False
        try:
            if await unless():
                return False
            # The picture first: no thumbnail is made of one that is not there.
            await self._store(self.blobs.delete, file_key(sha256) if file else picture_key(sha256))
            if not file:
                await self.run(self._thumbnails.remove, sha256)
            removed = True
        finally:
            self._holds.end_removal(sha256, settled=removed)
        return True

    def _mark(self, sha256: str) -> None:
        """Leave word for the next start, which nobody who holds it may live to see.

        It survives a power cut: else the picture, which does, would lie there for ever.
        """
        folder = self.root / "held"
        with disk_sentences(self.root):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                sync_folder(self.root)
            (folder / sha256).touch()
            sync_folder(folder)

    def _settle(self, sha256: str) -> None:
        (self.root / "held" / sha256).unlink(missing_ok=True)

    def _left(self) -> list[str]:
        folder = self.root / "held"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return [name for name in names if is_sha256(name)]

    def _sweep(self) -> None:
        self.blobs.sweep()
        self._thumbnails.sweep()


def described(sha256: str, png: bytes) -> Image:
    """Return what is to be known of a PNG that is known to be one."""
    width, height = struct.unpack(">II", png[16:24])
    return Image(sha256=sha256, width=width, height=height, size_bytes=len(png))


def _drawn(png: bytes, recipe: Recipe, prompt: str, licence: str) -> _Drawn:
    try:
        # `load` decodes every pixel: a picture that is cut off is found here, not later.
        with Pillow.open(io.BytesIO(png), formats=("PNG",)) as picture:
            picture.load()
            small = webp(picture, THUMBNAIL_SIDE)
        data = recipes.embed(png, recipe, prompt=prompt, licence=licence)
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise BadPictureError(f"not a whole PNG picture: {error}") from error
    return _Drawn(_sha256(data), data, small)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _cannot_be_read(what: str, error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise NotFoundError(f"This {what} is not in the library.") from error
    reason = f"This {what} cannot be read at present: {error.strerror}."
    if isinstance(error, UnreachableError):
        raise OutOfReachError(reason) from error
    raise UnreadableError(reason) from error
