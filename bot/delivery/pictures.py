"""Make a picture small enough to be uploaded: as it is, else as WebP, else as JPEG. Blocks.

The original stays in the library as it is; only what cannot be uploaded whole is stepped down,
and no further than it must be.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image as Pillow

MIB = 1024 * 1024
DEFAULT_LIMIT_BYTES = 10 * MIB
_SMALLEST_SIDE_PX = 64


@dataclass(frozen=True)
class Upload:
    """An encoded picture and the ending of its file's name."""

    data: bytes
    suffix: str

    @property
    def lessened(self) -> bool:
        """Whether it is not the original."""
        return self.suffix != ".png"


def fitting(png: bytes, limit_bytes: int) -> Upload | None:
    """Return the picture in the best form that has `limit_bytes` at most; None if none does."""
    if len(png) <= limit_bytes:
        return Upload(png, ".png")
    with Pillow.open(io.BytesIO(png), formats=("PNG",)) as picture:
        whole = picture.convert("RGB")
    for upload in _steps(whole):
        if len(upload.data) <= limit_bytes:
            return upload
    return None


def _steps(picture: Pillow.Image) -> Iterator[Upload]:
    if max(picture.size) <= 16_383:  # WebP takes no more
        for quality in (95, 85):
            yield Upload(_encoded(picture, "WEBP", quality), ".webp")
    while min(picture.size) >= _SMALLEST_SIDE_PX:
        for quality in (85, 70):
            yield Upload(_encoded(picture, "JPEG", quality), ".jpg")
        half = (picture.width // 2, picture.height // 2)
        picture = picture.resize(half, Pillow.Resampling.LANCZOS)


def _encoded(picture: Pillow.Image, kind: str, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, quality=quality)
    return out.getvalue()
