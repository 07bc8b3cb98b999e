"""Pictures between bytes, tensors and PIL."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from generation.engine import EngineError


def decode_picture(data: bytes, width: int, height: int) -> Tensor:
    """Read an encoded picture as RGB [3, height, width] in 0..1, cropped to fit from its middle.

    Raises:
        EngineError: it is not a picture, or too large a one.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode in ("RGBA", "LA", "PA", "P"):
                clear = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            fitted = ImageOps.fit(upright.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
    except Image.DecompressionBombError as error:
        raise EngineError("The picture to start from has too many pixels.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise EngineError("The picture to start from cannot be read.") from error
    pixels = torch.from_numpy(np.array(fitted, dtype=np.uint8))
    return pixels.permute(2, 0, 1).float() / 255


def decode_mask(data: bytes, width: int, height: int, picture: bytes) -> Tensor:
    """Read an encoded mask of a picture as [1, height, width] in 0..1, cropped as that is.

    1 is where the picture may be redrawn: what is white and opaque.

    Raises:
        EngineError: it is not a mask for this picture, or leaves nothing to redraw.
    """
    try:
        with Image.open(io.BytesIO(picture)) as described:
            wanted = ImageOps.exif_transpose(described).size
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except Image.DecompressionBombError as error:
        raise EngineError("The mask has too many pixels.") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise EngineError("The mask cannot be read. Save it as PNG.") from error
    if (
        abs(upright.width * wanted[1] - upright.height * wanted[0])
        > 0.02 * upright.width * wanted[1]
    ):
        raise EngineError(
            f"The mask has {upright.width}×{upright.height} pixels and its picture "
            f"{wanted[0]}×{wanted[1]}. Give both the same proportions."
        )
    on_black = Image.alpha_composite(Image.new("RGBA", upright.size, "black"), upright)
    fitted = ImageOps.fit(on_black.convert("L"), (width, height), Image.Resampling.BILINEAR)
    mask = torch.from_numpy(np.array(fitted, dtype=np.uint8))[None].float() / 255
    if float(mask.max()) < 0.5:
        raise EngineError("The mask has no white, so nothing would be redrawn. Paint some white.")
    return mask


def to_pil(picture: Tensor) -> Image.Image:
    """Return a picture [3, height, width] in 0..1 as 8-bit RGB."""
    pixels = (picture.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
