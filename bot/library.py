"""The pictures on disk: content-addressed PNG files, and small WebP likenesses of them.

A picture's name is the SHA-256 of its bytes, so a file never changes and the same picture twice
is one file. `keep` returns once the file survives a power cut; only then may the database speak
of it. Thumbnails can be made again at any time. All work with files and pixels happens in a
small pool of threads. This module does not know what a dream is.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import secrets
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from PIL import Image as Pillow

from bot import recipes
from bot.errors import DiskError, NotFoundError
from bot.files import TEMPORARY_PREFIX, disk_sentences, sync_folder, write_atomic
from bot.free_space import FreeSpace
from bot.model import File, Image
from bot.upload_process import to_png
from bot.uploads import UploadLimits
from generation.protocol import Attachment, Recipe

THUMBNAIL_SIDES = (192, 384, 768)
THUMBNAIL_SIDE = 384
_THUMBNAIL_QUALITY = 82
_PROBE_BYTES = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")

P = ParamSpec("P")
T = TypeVar("T")


class BadPictureError(ValueError):
    """Bytes that were to be kept are not a whole PNG picture."""


class UnreadableError(NotFoundError):
    """A kept picture is there, and the disk does not give it; perhaps it does later."""


@dataclass
class _Hold:
    """By how many a picture is held, and whether it stays when nobody holds it any more."""

    count: int
    stays: bool


class Library:
    """The folder with the pictures, and what may be uploaded into it.

    `close` it when nothing uses it any more.
    """

    def __init__(
        self, root: Path, uploads: UploadLimits | None = None, *, space: FreeSpace | None = None
    ) -> None:
        self.root = root
        self._space = space
        self.uploads = uploads or UploadLimits()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="library")
        # One of its own, so that strangers' uploads never hold up what is finished.
        self._upload_thread = ThreadPoolExecutor(1, thread_name_prefix="library-upload")
        self._holding = threading.Lock()
        self._holds: dict[str, _Hold] = {}
        self._unwanted: set[str] = set()  # what was to be removed, and could not be

    def close(self) -> None:
        """Finish what is being written and end the threads."""
        self._upload_thread.shutdown()
        self._threads.shutdown()

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
        return await self.run(self._keep, png, recipe, prompt, licence)

    async def keep_upload(self, data: bytes) -> tuple[str, bytes]:
        """Keep an uploaded picture as a plain PNG and return its name and its bytes.

        It is held until `let_go`.

        Raises:
            InvalidRequestError: it is not a still picture of a known kind, or too large.
            DiskError: the disk is full or almost, or may not be written. Nothing was kept.
        """
        self.check_space()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._upload_thread, self._keep_upload, data)

    async def keep_file(self, attachment: Attachment) -> File:
        """Keep what was made besides a picture; once this returns it is safe on disk.

        It is held until `let_go`.

        Raises:
            DiskError: the disk is full, or may not be written. Nothing was kept.
        """
        return await self.run(self._keep_file, attachment)

    async def read_file(self, file: File) -> bytes:
        """Return the bytes of what was made besides a picture.

        Raises:
            NotFoundError: it is not here.
        """
        try:
            return await self.run(self.file_path(file).read_bytes)
        except OSError as error:
            raise NotFoundError("This file is not in the library.") from error

    def file_path(self, file: File) -> Path:
        """Return where a file is, or would be.

        Raises:
            NotFoundError: it has not the name of one.
        """
        return self._file("files", file.sha256, "")

    async def hold(self, sha256: str) -> bytes:
        """Return a kept picture's bytes and see that it stays until `let_go`.

        Raises:
            NotFoundError: it is not here.
        """
        return await self.run(self._hold_kept, sha256)

    async def let_go(self, sha256: str, *, named: bool) -> None:
        """Hold a picture no more. `named` says that something refers to it.

        What came here to be held, and is referred to by nothing, is removed once nobody holds it.
        """
        await self.run(self._let_go, sha256, named)

    async def discard(self, sha256: str, *, file: bool = False) -> bool:
        """Remove a picture with its thumbnails, or another file, that nothing refers to.

        Says whether it is gone. It is not while it is held: then it goes when it is let go,
        unless something refers to it by then.

        Raises:
            DiskError: it cannot be removed.
        """
        return await self.run(self._discard, sha256, file)

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
            NotFoundError: it is not here; an UnreadableError where it cannot be read.
        """
        path = self.path(sha256)
        try:
            return await self.run(path.read_bytes)
        except FileNotFoundError as error:
            raise NotFoundError("This picture is not in the library.") from error
        except OSError as error:
            raise UnreadableError(
                f"This picture cannot be read at present: {error.strerror}."
            ) from error

    def path(self, sha256: str) -> Path:
        """Return where a picture is, or would be.

        Raises:
            NotFoundError: `sha256` is not the name of a picture.
        """
        return self._file("images", sha256, ".png")

    def thumbnail(self, sha256: str, side: int = THUMBNAIL_SIDE) -> Path:
        """Return a picture's WebP likeness, `side` pixels at most; made if missing. May block.

        Raises:
            NotFoundError: there is no such picture, or `side` is not of `THUMBNAIL_SIDES`.
            DiskError: it had to be made and could not be kept.
        """
        path = self._thumbnail_path(sha256, side)
        if not _has_bytes(path):
            try:
                with Pillow.open(self.path(sha256), formats=("PNG",)) as picture:
                    write_atomic(path, _webp(picture, side), durable=False)
                # Deleted meanwhile: then this is the one that knows of the thumbnail.
                if not self.path(sha256).exists():
                    path.unlink(missing_ok=True)
            except DiskError:
                raise
            except OSError as error:
                raise NotFoundError("This picture is not in the library.") from error
        return path

    async def make_thumbnail(self, sha256: str, side: int = THUMBNAIL_SIDE) -> Path:
        """Do as `thumbnail` does, without blocking."""
        path = self._thumbnail_path(sha256, side)
        return await self.run(self.thumbnail, sha256, side) if not _has_bytes(path) else path

    async def probe(self) -> None:
        """Try whether something can be written.

        Raises:
            DiskError: the disk is full, or may not be written.
        """
        await self.run(self._probe)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do blocking work with files or pixels in one of the library's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _keep(self, png: bytes, recipe: Recipe, prompt: str, licence: str) -> Image:
        try:
            # `load` decodes every pixel: a picture that is cut off is found here, not later.
            with Pillow.open(io.BytesIO(png), formats=("PNG",)) as picture:
                picture.load()
                small = _webp(picture, THUMBNAIL_SIDE)
            data = recipes.embed(png, recipe, prompt=prompt, licence=licence)
        except (OSError, SyntaxError, ValueError, struct.error) as error:
            raise BadPictureError(f"not a whole PNG picture: {error}") from error
        sha256 = hashlib.sha256(data).hexdigest()
        self._write_held(sha256, data, self.path(sha256))
        # It can be made again; the picture itself is what counts.
        with suppress(DiskError):
            write_atomic(self._thumbnail_path(sha256, THUMBNAIL_SIDE), small, durable=False)
        return described(sha256, data)

    def _keep_upload(self, data: bytes) -> tuple[str, bytes]:
        # A kept picture that comes back is that picture: else a copy would outlive its deletion.
        with suppress(NotFoundError):
            kept = hashlib.sha256(data).hexdigest()
            return kept, self._hold_kept(kept)
        png = to_png(data, self.uploads)
        sha256 = hashlib.sha256(png).hexdigest()
        self._write_held(sha256, png, self.path(sha256))
        return sha256, png

    def _keep_file(self, attachment: Attachment) -> File:
        sha256 = hashlib.sha256(attachment.data).hexdigest()
        self._write_held(sha256, attachment.data, self._file("files", sha256, ""))
        return File(
            name=attachment.name,
            media_type=attachment.media_type,
            sha256=sha256,
            size_bytes=len(attachment.data),
        )

    def _write_held(self, sha256: str, data: bytes, path: Path) -> None:
        # Held before it is written, or it could be discarded between the two.
        with self._holding:
            present = path.exists()
            self._hold(sha256, present)
        try:
            if not present:
                self._mark(sha256)
            self._write(path, data)
        except BaseException:
            self._let_go(sha256, named=False)
            raise

    def _hold_kept(self, sha256: str) -> bytes:
        with self._holding:
            try:
                data = self.path(sha256).read_bytes()
            except OSError as error:
                raise NotFoundError("This picture is not in the library.") from error
            self._hold(sha256, present=True)
        return data

    def _hold(self, sha256: str, present: bool) -> None:
        # A picture that was here before the first who holds it is not ours to remove, unless
        # nothing named it before, either.
        stays = present and sha256 not in self._unwanted
        self._holds.setdefault(sha256, _Hold(0, stays)).count += 1

    def _let_go(self, sha256: str, named: bool) -> None:
        with self._holding:
            hold = self._holds[sha256]
            hold.count -= 1
            hold.stays = hold.stays or named
            if hold.count == 0:
                del self._holds[sha256]
                if not hold.stays:
                    self._unwanted.add(sha256)
                with suppress(OSError):
                    if not hold.stays:
                        self._unlink_picture(sha256)
                        self._file("files", sha256, "").unlink(missing_ok=True)
                    self._unwanted.discard(sha256)
                    self._settle(sha256)

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
        return [name for name in names if _SHA256.fullmatch(name)]

    def _discard(self, sha256: str, file: bool) -> bool:
        with self._holding:
            if sha256 in self._holds:
                self._holds[sha256].stays = False
                return False
            with disk_sentences(self.root):
                if file:
                    self._file("files", sha256, "").unlink(missing_ok=True)
                else:
                    self._unlink_picture(sha256)
        return True

    def _unlink_picture(self, sha256: str) -> None:
        # The picture first: no thumbnail is made of one that is not there.
        self.path(sha256).unlink(missing_ok=True)
        for side in THUMBNAIL_SIDES:
            self._thumbnail_path(sha256, side).unlink(missing_ok=True)

    def _sweep(self) -> None:
        for folder in ("images", "thumbnails", "files"):
            for path in (self.root / folder).rglob(f"{TEMPORARY_PREFIX}*"):
                with suppress(OSError):
                    path.unlink()

    def _write(self, path: Path, data: bytes) -> None:
        with disk_sentences(self.root):
            # One that was damaged has the name, and perhaps the size, and is written anew.
            present = path.is_file() and path.read_bytes() == data
            if present:  # perhaps its name was never synced
                sync_folder(path.parent)
        if not present:
            write_atomic(path, data)

    def _probe(self) -> None:
        path = self.root / "images" / f"{TEMPORARY_PREFIX}probe-{secrets.token_hex(4)}"
        try:
            write_atomic(path, bytes(_PROBE_BYTES))
        finally:
            with suppress(OSError):
                path.unlink()

    def _thumbnail_path(self, sha256: str, side: int) -> Path:
        if side not in THUMBNAIL_SIDES:
            raise NotFoundError(f"There are no thumbnails of {side} pixels.")
        return self._file(f"thumbnails/{side}", sha256, ".webp")

    def _file(self, folder: str, sha256: str, suffix: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise NotFoundError("There is no such picture.")
        return self.root / folder / sha256[:2] / f"{sha256}{suffix}"


def described(sha256: str, png: bytes) -> Image:
    """Return what is to be known of a PNG that is known to be one."""
    width, height = struct.unpack(">II", png[16:24])
    return Image(sha256=sha256, width=width, height=height, size_bytes=len(png))


def _has_bytes(path: Path) -> bool:
    # A power cut may leave an empty file under the name of one that was not synced.
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _webp(picture: Pillow.Image, side: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=_THUMBNAIL_QUALITY)
    return out.getvalue()
