"""How much of one picture is still there in another, by their pixels. Blocks: call it in a thread.

CLIP finds pictures that show the same, and two seeds of one prompt show nearly the same; only
pixels tell an edited copy from another drawing of the same thing.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image as Pillow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Blocks = NDArray[np.float32]

SIDE_PX = 96
BLOCK_PX = 8
_TEXTURE = 2.5  # shades; with less deviation a block looks like many others
_FEWEST = 12  # blocks with texture; with fewer, pictures cannot be told apart
_SAME = 0.7  # the correlation from which a block counts as kept
_SHAPES = 1.03  # by how much proportions may differ


def kept_part(one: bytes, other: bytes) -> float:
    """Return the part, 0 to 1, of the places with texture that two pictures have in common.

    Both are brought to 96 × 96 greys and compared in blocks of 8 × 8, by the correlation of what is
    left of a block without its mean and slope. Places without texture do not count: skies and
    paper are alike everywhere. 0 where proportions differ, or too little has texture.

    Raises:
        OSError: one is not a picture that can be read.
    """
    import numpy as np

    (first, shape), (second, other_shape) = _blocks(one), _blocks(other)
    if not 1 / _SHAPES < shape / other_shape < _SHAPES:
        return 0.0
    textured = np.maximum(first.std(axis=1), second.std(axis=1)) >= _TEXTURE
    if textured.sum() < _FEWEST:
        return 0.0
    first, second = first[textured], second[textured]
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) > _SAME * lengths).mean())


def _blocks(data: bytes) -> tuple[Blocks, float]:
    """Return a picture's blocks [blocks, pixels] without mean and slope, and width over height."""
    import numpy as np

    with Pillow.open(io.BytesIO(data)) as picture:
        shape = picture.width / picture.height
        grey = picture.convert("L").resize((SIDE_PX, SIDE_PX), Pillow.Resampling.BOX)
    count, along = SIDE_PX // BLOCK_PX, np.arange(BLOCK_PX, dtype=np.float32)
    shades = np.asarray(grey, np.float32).reshape(count, BLOCK_PX, count, BLOCK_PX)
    blocks = shades.transpose(0, 2, 1, 3).reshape(count * count, BLOCK_PX * BLOCK_PX)
    y, x = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    plane, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y], axis=1))
    return blocks - blocks @ plane @ plane.T, shape
