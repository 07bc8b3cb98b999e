"""The starter VQGAN as a module: taming-transformers' encoder and decoder around one codebook.

The state dict has the published layout (``encoder.*``, ``decoder.*``, ``quant_conv.*``,
``post_quant_conv.*``, ``quantize.embedding.weight``), so engines that load taming checkpoints load
this one too.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def set_norm_groups(module: nn.Module, groups: int) -> None:
    """Give every GroupNorm ``groups`` groups; taming fixes 32, which at 32 channels is one each.

    With one channel a group the last norm would erase each picture's colour balance. The weights'
    shapes do not depend on it.
    """
    for layer in module.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.num_groups = groups


class StarterVQGAN(nn.Module):
    """Encode pictures to f8 latents, quantise them, decode them.

    ``config`` is taming's: ``embed_dim``, ``n_embed``, ``ddconfig`` (with ``norm_groups`` beside
    the published keys). Pictures are [B, 3, H, W] in -1..1, H and W multiples of 8.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from taming.modules.diffusionmodules.model import Decoder, Encoder

        dd = dict(config["ddconfig"])
        groups = int(dd.pop("norm_groups", 32))
        with contextlib.redirect_stdout(io.StringIO()):  # the decoder prints its latent shape
            self.encoder = Encoder(**dd)
            self.decoder = Decoder(**dd)
        set_norm_groups(self.encoder, groups)
        set_norm_groups(self.decoder, groups)
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(config["n_embed"], config["embed_dim"])
        self.quant_conv = nn.Conv2d(dd["z_channels"], config["embed_dim"], 1)
        self.post_quant_conv = nn.Conv2d(config["embed_dim"], dd["z_channels"], 1)

    @property
    def codebook(self) -> Tensor:
        """The codes [n_embed, embed_dim]."""
        weight: Tensor = self.quantize.embedding.weight  # type: ignore[union-attr, assignment]
        return weight

    def encode(self, images: Tensor) -> Tensor:
        """Return continuous latents [B, embed_dim, H/8, W/8] of pictures in -1..1."""
        latents: Tensor = self.quant_conv(self.encoder(images))
        return latents

    def nearest_codes(self, latents: Tensor) -> Tensor:
        """Return the indices [B, h, w] of the nearest codes."""
        flat = latents.detach().float().permute(0, 2, 3, 1).flatten(0, 2)
        codes = self.codebook.detach().float()
        scores = flat @ codes.T - 0.5 * codes.square().sum(1)
        b, _, h, w = latents.shape
        return scores.argmax(1).view(b, h, w)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the codes [B, embed_dim, h, w] at indices [B, h, w]."""
        return nn.functional.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures [B, 3, 8h, 8w] in about -1..1, of continuous or quantised latents."""
        images: Tensor = self.decoder(self.post_quant_conv(latents))
        return images
