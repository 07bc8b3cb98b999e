"""Small WebP likenesses of pictures: they can be deleted, and are made again. All of it blocks."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from PIL import Image as Pillow

from bot.blobs import checked, remove_temporaries
from bot.errors import DiskError, NotFoundError
from bot.files import disk_sentences, write_atomic

THUMBNAIL_SIDES = (192, 384, 768)
THUMBNAIL_SIDE = 384
_QUALITY = 82


class Thumbnails:
    """A folder of them, by their size and by the SHA-256 of the picture. Sides are in pixels."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, sha256: str, side: int) -> Path | None:
        """Return a likeness that was made already.

        Raises:
            NotFoundError: `sha256` names no picture, or `side` is not of `THUMBNAIL_SIDES`.
        """
        path = self._path(sha256, side)
        # A power cut may leave an empty file under the name of one that was not synced.
        with suppress(OSError):
            return path if path.stat().st_size > 0 else None
        return None

    def make(self, sha256: str, side: int, original: Path) -> Path:
        """Make a likeness, `side` pixels at most, of the PNG at `original`.

        Raises:
            OSError: that is not there, or no picture.
            DiskError: the likeness cannot be kept.
        """
        path = self._path(sha256, side)
        with Pillow.open(original, formats=("PNG",)) as picture:
            write_atomic(path, webp(picture, side), durable=False)
        # Deleted meanwhile: then this is the one that knows of the likeness.
        if not original.exists():
            path.unlink(missing_ok=True)
        return path

    def keep(self, sha256: str, small: bytes) -> None:
        """Keep a likeness of `THUMBNAIL_SIDE` that was made beside the picture, if that can be."""
        with suppress(DiskError):
            write_atomic(self._path(sha256, THUMBNAIL_SIDE), small, durable=False)

    def remove(self, sha256: str) -> None:
        """Remove all likenesses of a picture.

        Raises:
            DiskError: they cannot be removed.
        """
        with disk_sentences(self._root):
            for side in THUMBNAIL_SIDES:
                self._path(sha256, side).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what was half written when a process died."""
        remove_temporaries(self._root)

    def _path(self, sha256: str, side: int) -> Path:
        if side not in THUMBNAIL_SIDES:
            raise NotFoundError(f"There are no thumbnails of {side} pixels.")
        return self._root / str(side) / checked(sha256)[:2] / f"{sha256}.webp"


def webp(picture: Pillow.Image, side: int) -> bytes:
    """Return a picture as a small WebP, `side` pixels at most."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=_QUALITY)
    return out.getvalue()
