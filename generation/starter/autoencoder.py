"""starter-vqgan: the published network, and the continuous latents that diffusion works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from generation.models.vqgan import VQGAN, config_of_taming


class StarterVQGAN(VQGAN):
    """A VQGAN built from taming's configuration (``embed_dim``, ``n_embed``, ``ddconfig``)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config_of_taming(config))

    def continuous(self, images: Tensor) -> Tensor:
        """Return latents before quantisation [B, embed_dim, H/8, W/8] of pictures in -1..1."""
        latents: Tensor = self.quant_conv(self.encoder(images))
        return latents
