"""A perceptor that sees nothing but mean colour: what it should do can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from generation.clip.perceptor import Perceptor

COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "grey": (1.0, 1.0, 1.0),
}


class _MeanColour(nn.Module):
    def encode_image(self, pictures: Tensor) -> Tensor:
        return pictures.mean(dim=(2, 3))

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.tensor(list(COLOURS.values()))[tokens]


def colour_perceptor(size: int = 16) -> Perceptor:
    """Make one that reads the names of `COLOURS`; any other text is an error."""
    names = list(COLOURS)

    def tokenize(texts: list[str]) -> Tensor:
        return torch.tensor([names.index(text) for text in texts])

    return Perceptor(
        _MeanColour(),
        tokenize,
        size=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        device=torch.device("cpu"),
    )
