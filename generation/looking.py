"""Answers `Embed`: decodes what it brings, within bounds, and looks at it.

A picture that cannot be read is the asker's to explain; it takes no other with it.
"""

from __future__ import annotations

import io
import logging
import warnings

from PIL import Image

from generation.device import is_out_of_memory
from generation.engine import EngineError, Eyes
from generation.protocol import MAX_EMBEDDED_PICTURES, MAX_EMBEDDED_TEXTS, Embed, Embedded

_log = logging.getLogger(__name__)

_FORMATS = ("PNG", "JPEG", "WEBP")
_MAX_PIXELS = 16_000_000
_MAX_SIDE_PX = 1024  # CLIP sees less
_MAX_TEXT = 4000

NO_EYES = "There is no CLIP model on this machine, so nothing can look at pictures."
TOO_MANY = "These are too many pictures or texts to look at together."
NO_ROOM = "There is no room on the machine to look at pictures now. Try again later."
BROKEN = "Something went wrong while looking; the log has the details."


def answer(eyes: Eyes | None, ask: Embed) -> Embedded:
    """Return the vectors asked for, or why there are none. Never raises."""
    if eyes is None:
        return Embedded(id=ask.id, reason=NO_EYES)
    if len(ask.pictures) > MAX_EMBEDDED_PICTURES or len(ask.texts) > MAX_EMBEDDED_TEXTS:
        return Embedded(id=ask.id, reason=TOO_MANY)
    reason = ""
    try:
        pictures = [_decoded(data) for data in ask.pictures]
        readable = [picture for picture in pictures if picture is not None]
        texts = [text[:_MAX_TEXT] for text in ask.texts]
        seen, read = eyes.look(ask.perceptor, readable, texts)
    except EngineError as error:
        reason = str(error)
    except Exception as error:
        _log.exception("%d pictures cannot be looked at", len(ask.pictures))
        reason = NO_ROOM if is_out_of_memory(error) else BROKEN
    else:
        vectors = iter(seen)
        found = tuple(b"" if picture is None else next(vectors) for picture in pictures)
        return Embedded(id=ask.id, pictures=found, texts=tuple(read))
    # Outside the except block, whose traceback keeps tensors alive.
    eyes.rest()
    return Embedded(id=ask.id, reason=reason)


def _decoded(data: bytes) -> Image.Image | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                if picture.width * picture.height > _MAX_PIXELS:
                    return None
                picture.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
                return picture.convert("RGB")
    except Exception:  # a damaged file makes decoders raise anything at all
        return None
