"""Sketches as ControlNets know them: white lines on black, of the picture's size.

What people give is a drawing on light or dark paper, or a photograph. A drawing is mostly paper;
its lines are what differs from that. Of anything else the edges are taken: the gradient's length
by Sobel's operator, of the slightly blurred picture.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generation.engine import EngineError
from generation.imaging import decode_picture
from generation.protocol import OptionInfo

READINGS = ("guess", "lines", "edges", "as it is")
_NEAR_PAPER = 0.12  # of the way from black to white; paper in a scan is about so even
_MOSTLY_PAPER = 0.55  # of the pixels; a photograph has so much of one shade only by chance
_FAINT = 0.04  # lines or edges weaker than this are the paper's grain or noise
_SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


def reading_option() -> OptionInfo:
    """Return the setting that says what kind of picture a sketch is."""
    return OptionInfo(
        name="sketch_reading",
        help="What the sketch is: lines on paper, a picture of which the edges are taken, or "
        "what the ControlNet was made for, as it is (a map of depths, a pose). It can be guessed.",
        default="guess",
        choices=READINGS,
    )


def read_sketch(data: bytes, width: int, height: int, reading: str = "guess") -> Tensor:
    """Return an encoded sketch as [3, height, width] in 0..1, cropped to fit from its middle.

    Unless it is taken as it is, lines are white on black, the strongest of them at 1.

    Raises:
        EngineError: it is not a picture, or nothing is drawn on it.
    """
    try:
        picture = decode_picture(data, width, height)
    except EngineError as error:
        sentence = str(error).replace("The picture to start from", "The sketch")
        raise EngineError(sentence) from error
    if reading == "as it is":
        return picture
    away = _off_the_paper(picture)
    drawn = reading == "lines" or (
        reading == "guess" and float((away < _NEAR_PAPER).float().mean()) > _MOSTLY_PAPER
    )
    lines = away if drawn else _edges(picture)
    strongest = float(np.quantile(lines.numpy(), 0.995 if not drawn else 1.0))
    if strongest < _FAINT:
        raise EngineError("There is nothing on the sketch. Draw some lines, darker than the paper.")
    lines = ((lines - _FAINT / 2) / (strongest - _FAINT / 2)).clamp(0, 1)
    return lines.expand(3, -1, -1).contiguous()


def _off_the_paper(picture: Tensor) -> Tensor:
    """Return how far each pixel [1, h, w] is from the paper: the commonest shade."""
    shades = torch.histc(picture.mean(dim=0), bins=32, min=0, max=1)
    paper = (float(shades.argmax()) + 0.5) / 32
    near = (picture.mean(dim=0) - paper).abs() < 1 / 16
    colour = picture[:, near].median(dim=1).values
    return (picture - colour.view(3, 1, 1)).abs().amax(dim=0, keepdim=True)


def _edges(picture: Tensor) -> Tensor:
    """Return how steep each pixel [1, h, w] is, of the channel that is steepest there."""
    across = torch.tensor(_SOBEL)
    kernels = torch.stack([across, across.T])[:, None] / 4
    # Finer than a two-hundredth of the picture is texture.
    radius = max(1, round(min(picture.shape[1:]) / 200))
    reach = torch.arange(-2 * radius, 2 * radius + 1, dtype=torch.float32)
    bell = torch.exp(-(reach**2) / (2 * radius**2))
    bell = bell / bell.sum()
    smooth = picture[:, None]
    for shape, pad in (((1, 1, -1, 1), (0, 0, 1, 1)), ((1, 1, 1, -1), (1, 1, 0, 0))):
        around = tuple(2 * radius * side for side in pad)
        smooth = F.conv2d(F.pad(smooth, around, mode="replicate"), bell.view(shape))
    slopes = F.conv2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), kernels)
    return slopes.square().sum(dim=1).sqrt().amax(dim=0, keepdim=True)
