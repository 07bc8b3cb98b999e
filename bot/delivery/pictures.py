"""Make pictures small enough to be uploaded: as they are, else as WebP, else as JPEG. Blocks.

The originals stay in the library as they are; only what cannot be uploaded whole is stepped down,
and no further than it must be.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image as Pillow

MIB = 1024 * 1024
DEFAULT_LIMIT_BYTES = 10 * MIB
REQUEST_LIMIT_BYTES = 25 * MIB - 256 * 1024
"""How much one request takes, less what is around the files in it."""

_SMALLEST_SIDE_PX = 64
_SMALLEST_BYTES = 256  # no picture of that side is smaller


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
    if limit_bytes < _SMALLEST_BYTES:
        return None
    with Pillow.open(io.BytesIO(png), formats=("PNG",)) as picture:
        whole = picture.convert("RGB")
    for upload in _steps(whole):
        if len(upload.data) <= limit_bytes:
            return upload
    return None


def fitting_together(
    pngs: Sequence[bytes], limit_bytes: int, total_bytes: int = REQUEST_LIMIT_BYTES
) -> list[Upload | None]:
    """Return pictures that go into one request: `limit_bytes` each, `total_bytes` together.

    What a small one leaves of its share is for the larger ones.
    """
    uploads: list[Upload | None] = [None] * len(pngs)
    left_bytes = total_bytes
    by_size = sorted(range(len(pngs)), key=lambda index: len(pngs[index]))
    for place, index in enumerate(by_size):
        share_bytes = left_bytes // (len(pngs) - place)
        upload = uploads[index] = fitting(pngs[index], min(limit_bytes, share_bytes))
        if upload is not None:
            left_bytes -= len(upload.data)
    return uploads


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
