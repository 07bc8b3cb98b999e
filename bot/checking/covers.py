"""What stands for a picture that is not to be seen at once. Blocks.

A cover is a picture of the library like any other. So whatever shows a dream, now or in years,
shows its cover unless it has asked for what is behind it: nothing has to know of covers to be safe.
"""

from __future__ import annotations

import io

from PIL import Image, ImageFilter

from bot.model import PictureCheck

_GRAINS = 10  # along the longer side: colours are left, and nothing of what has them
_PLAIN = (43, 45, 49)


def cover(encoded: bytes, setting: PictureCheck, kind: str = "PNG") -> bytes:
    """Return what stands for a picture by a setting, of its size, encoded as PNG or WEBP.

    Raises:
        OSError, ValueError: it is no whole picture.
    """
    with Image.open(io.BytesIO(encoded), formats=("PNG", "WEBP")) as opened:
        size = opened.size
        if setting is PictureCheck.REFUSE:
            made = Image.new("RGB", size, _PLAIN)
        else:
            made = _blurred(opened.convert("RGB"))
    out = io.BytesIO()
    made.save(out, kind)
    return out.getvalue()


def _blurred(picture: Image.Image) -> Image.Image:
    """Return a picture of which only the colours of about a hundred places are left."""
    width, height = picture.size
    scale = _GRAINS / max(width, height)
    grains = (max(1, round(width * scale)), max(1, round(height * scale)))
    coarse = picture.resize(grains, Image.Resampling.BOX)
    soft = coarse.resize((width, height), Image.Resampling.BICUBIC)
    soft = soft.filter(ImageFilter.BoxBlur(max(width, height) / _GRAINS / 2))
    # Greyed a little, so that it is seen to be no picture; and never the very one it stands for.
    return Image.blend(soft, Image.new("RGB", soft.size, _PLAIN), 0.25)
