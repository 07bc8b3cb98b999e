"""Make a picture of what a stranger uploaded, or refuse it with a sentence.

Nothing of the file but its pixels is kept: it is decoded once, within bounds that are checked
before, and encoded anew. These functions block; `bot.library` calls them in a worker thread.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image as Pillow
from PIL import ImageOps

from bot.errors import InvalidRequestError
from bot.sentences import say

MAX_SIDE_PX = 16_384
KEPT_SIDE_PX = 2048  # no engine draws larger than this from an upload; more would only cost time
FORMATS = ("PNG", "JPEG", "WEBP")
_MIB = 1024 * 1024
_WHITE = 128  # the engines take a lighter grey for white
_SKEWED = 0.02  # how far a mask's proportions may be off those of its picture


@dataclass(frozen=True)
class UploadLimits:
    """Bounds on an uploaded picture."""

    max_bytes: int = 10 * _MIB
    max_pixels: int = 40_000_000

    def check_bytes(self, count: int, field: str = "init") -> None:
        """Refuse a file that is too large; its size may be known before the file is.

        Raises:
            InvalidRequestError: it has more bytes than are taken.
        """
        if count > self.max_bytes:
            raise InvalidRequestError(
                field,
                say(
                    "The uploaded picture has {size:.1f} MiB; at most {most:g} MiB are taken. Make "
                    "it smaller.",
                    size=count / _MIB,
                    most=self.max_bytes / _MIB,
                ),
            )


def to_png(
    data: bytes,
    limits: UploadLimits | None = None,
    *,
    field: str = "init",
    side: int = KEPT_SIDE_PX,
    paper: str = "white",
) -> bytes:
    """Return the uploaded picture as a plain RGB PNG, upright, at most `side` pixels a side.

    What is transparent is of the colour of the `paper`.

    Raises:
        InvalidRequestError: it is not a still picture of a known kind, is damaged, or too large.
    """
    if not data:
        raise InvalidRequestError(field, "The uploaded picture is empty. Choose another file.")
    limits = limits or UploadLimits()
    limits.check_bytes(len(data), field)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bounds of our own are checked below
            with Pillow.open(io.BytesIO(data), formats=FORMATS) as picture:
                _check(picture, limits, field)
                return _encode(_upright(picture, side, paper))
    except InvalidRequestError:
        raise
    except Pillow.DecompressionBombError as error:
        raise _too_large(limits, field) from error
    except Exception as error:
        # A damaged file makes decoders raise anything at all.
        raise InvalidRequestError(
            field,
            "The uploaded file is not a picture that can be read. Send a PNG, JPEG or WebP file.",
        ) from error


def to_mask(data: bytes, limits: UploadLimits | None = None) -> bytes:
    """Return an uploaded mask as `to_png` does; what is white and opaque is redrawn.

    Raises:
        InvalidRequestError: as `to_png`; it leaves nothing to redraw.
    """
    png = to_png(data, limits, field="mask", paper="black")
    with Pillow.open(io.BytesIO(png)) as opened:
        shades = opened.convert("L").histogram()
    if not any(shades[_WHITE:]):
        raise InvalidRequestError(
            "mask", "The mask has no white, so nothing would be redrawn. Paint some white."
        )
    return png


def check_fits(mask: bytes, width: int, height: int) -> None:
    """Refuse a mask of `to_mask` for a picture of this size.

    Raises:
        InvalidRequestError: it has other proportions.
    """
    # A PNG of our own making: its size stands at the beginning.
    across, down = (int.from_bytes(mask[at : at + 4], "big") for at in (16, 20))
    if abs(across * height - down * width) > _SKEWED * across * height:
        raise InvalidRequestError(
            "mask",
            say(
                "The mask has {mask} pixels and its picture {picture}. Give both the same "
                "proportions.",
                mask=f"{across}×{down}",
                picture=f"{width}×{height}",
            ),
        )


def _check(picture: Pillow.Image, limits: UploadLimits, field: str) -> None:
    """Refuse by what the header says, before any pixel is decoded."""
    if picture.width * picture.height > limits.max_pixels or max(picture.size) > MAX_SIDE_PX:
        raise _too_large(limits, field, picture.size)
    # The second picture of a JPEG is a phone's or a camera's: a preview, the other eye.
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        raise InvalidRequestError(
            field, "The uploaded picture is animated. Send a still picture (PNG, JPEG or WebP)."
        )


def _too_large(
    limits: UploadLimits, field: str, size: tuple[int, int] | None = None
) -> InvalidRequestError:
    measured = f" ({size[0]}×{size[1]})" if size else ""
    return InvalidRequestError(
        field,
        say(
            "The uploaded picture has too many pixels{measured}; at most {most:g} million are "
            "taken, and {side} along a side. Make it smaller.",
            measured=measured,
            most=limits.max_pixels / 1e6,
            side=MAX_SIDE_PX,
        ),
    )


def _upright(picture: Pillow.Image, side: int, paper: str) -> Pillow.Image:
    picture.draft("RGB", (side, side))  # lets JPEG decode at a fraction
    upright = ImageOps.exif_transpose(picture)
    upright.thumbnail((side, side), Pillow.Resampling.LANCZOS, reducing_gap=2.0)
    if upright.mode.startswith("I"):  # 16 bits a channel: Pillow would clip instead of scaling
        upright = upright.convert("I").point(lambda value: value / 257).convert("L")
    if "A" in upright.getbands() or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        under = Pillow.new("RGBA", upright.size, paper)
        return Pillow.alpha_composite(under, upright).convert("RGB")
    return upright.convert("RGB")


def _encode(picture: Pillow.Image) -> bytes:
    # Pasting into a new picture leaves profiles, comments and every other attachment behind.
    bare = Pillow.new("RGB", picture.size)
    bare.paste(picture)
    out = io.BytesIO()
    bare.save(out, "PNG", compress_level=6)
    return out.getvalue()
