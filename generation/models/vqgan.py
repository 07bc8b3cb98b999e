"""VQGAN: taming-transformers' encoder and decoder around a codebook, from a published layout.

A checkpoint's shapes tell its whole configuration, so no ``.yaml`` is needed beside it. The
official files hold ``encoder.*``, ``decoder.*``, ``quant_conv.*``, ``post_quant_conv.*`` and the
codebook: ``quantize.embedding.weight``, or for the Gumbel kind ``quantize.embed.weight`` with
``quantize.proj.*``.

Source: Esser et al., Taming Transformers for High-Resolution Image Synthesis (2021).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.checkpoints import CheckpointError
from generation.models.unfilled import unfilled
from generation.models.vqgan_decoder import Decoder

_RESOLUTION = 256


class VQGANConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A VQGAN's shape. `attention_levels` counts halvings: 0 is full resolution.

    `norm_groups` is 32 in every published model.
    """

    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    attention_levels: tuple[int, ...]
    z_channels: int
    embed_dim: int
    codes: int
    gumbel: bool = False
    norm_groups: int = 32

    @property
    def factor(self) -> int:
        """How many pixels a code is wide."""
        return 1 << (len(self.multipliers) - 1)


def infer_config(weights: Mapping[str, Tensor], *, norm_groups: int = 32) -> VQGANConfig:
    """Read a configuration off the shapes of a state dict.

    Raises:
        CheckpointError: it is not a VQGAN of the published layout.
    """
    try:
        channels = weights["encoder.conv_in.weight"].shape[0]
        levels = 1 + max(_numbers(weights, r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight"))
        widths = [
            weights[f"encoder.down.{level}.block.0.conv1.weight"].shape[0]
            for level in range(levels)
        ]
        if any(width % channels for width in widths):
            raise CheckpointError("This VQGAN's widths are not multiples of its first one.")
        gumbel = "quantize.embed.weight" in weights
        codebook = weights["quantize.embed.weight" if gumbel else "quantize.embedding.weight"]
        return VQGANConfig(
            channels=channels,
            multipliers=tuple(width // channels for width in widths),
            blocks=1 + max(_numbers(weights, r"encoder\.down\.0\.block\.(\d+)\.conv1\.weight")),
            attention_levels=tuple(
                sorted(set(_numbers(weights, r"encoder\.down\.(\d+)\.attn\.0\.q\.weight")))
            ),
            z_channels=weights["encoder.conv_out.weight"].shape[0],
            embed_dim=codebook.shape[1],
            codes=codebook.shape[0],
            gumbel=gumbel,
            norm_groups=norm_groups,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError("This file is not a VQGAN of the published layout.") from error


def config_of_taming(config: Mapping[str, Any]) -> VQGANConfig:
    """Translate the ``params`` of a published ``.yaml`` (or our starter's, of the same form)."""
    shape = config["ddconfig"]
    resolution = int(shape["resolution"])
    return VQGANConfig(
        channels=int(shape["ch"]),
        multipliers=tuple(int(each) for each in shape["ch_mult"]),
        blocks=int(shape["num_res_blocks"]),
        attention_levels=tuple(
            level
            for level in range(len(shape["ch_mult"]))
            if resolution >> level in shape["attn_resolutions"]
        ),
        z_channels=int(shape["z_channels"]),
        embed_dim=int(config["embed_dim"]),
        codes=int(config["n_embed"]),
        gumbel="kl_weight" in config,
        norm_groups=int(shape.get("norm_groups", 32)),
    )


class VQGAN(nn.Module):
    """Pictures [n, 3, h, w] in −1..1 to latents [n, embed_dim, h/f, w/f] and back."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        from taming.modules.diffusionmodules.model import Encoder

        self.config = config
        shape = {
            "ch": config.channels,
            "out_ch": 3,
            "ch_mult": config.multipliers,
            "num_res_blocks": config.blocks,
            "attn_resolutions": [_RESOLUTION >> level for level in config.attention_levels],
            "in_channels": 3,
            "resolution": _RESOLUTION,
            "z_channels": config.z_channels,
            "double_z": False,
        }
        self.encoder = Encoder(**shape)
        self.decoder = Decoder(
            widths=[config.channels * multiplier for multiplier in config.multipliers],
            blocks=config.blocks + 1,
            attention_levels=config.attention_levels,
            z_channels=config.z_channels,
            norm_groups=config.norm_groups,
        )
        for layer in self.encoder.modules():
            if isinstance(layer, nn.GroupNorm):
                layer.num_groups = config.norm_groups
        self.quantize = _Codebook(config)
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, Tensor], config: VQGANConfig | None = None
    ) -> VQGAN:
        """Build the network that fits a state dict, and load it.

        Raises:
            CheckpointError: it is not a VQGAN of the published layout.
        """
        weights = _own_layout(weights)
        with unfilled():
            model = cls(config or infer_config(weights))
        kept = {name: tensor for name, tensor in weights.items() if name in model.state_dict()}
        try:
            model.load_state_dict(kept, assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                "This VQGAN's weights do not fit together: parts are missing or of another size."
            ) from error
        return model.float().eval().requires_grad_(False)

    @property
    def codebook(self) -> Tensor:
        """The codes [codes, embed_dim]."""
        return self.quantize.weight

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the codes' vectors [n, embed_dim, h/f, w/f] that stand for pictures."""
        return self.lookup(self.indices(pictures))

    def indices(self, pictures: Tensor) -> Tensor:
        """Return the indices [n, h/f, w/f] of the codes that stand for pictures."""
        latents = self.quant_conv(self.encoder(pictures))
        if self.config.gumbel:
            return self.quantize.logits(latents).argmax(dim=1)
        return self.nearest(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures, in about −1..1, of latents (quantised or not)."""
        pictures: Tensor = self.decoder(self.post_quant_conv(latents))
        return pictures

    def nearest(self, latents: Tensor) -> Tensor:
        """Return the indices [n, h, w] of the nearest codes."""
        codes = self.codebook
        flat = latents.detach().permute(0, 2, 3, 1).flatten(0, 2).to(codes.dtype)
        half_norms = codes.square().sum(dim=1) / 2
        nearest = torch.addmm(half_norms, flat, codes.T, alpha=-1).argmin(dim=1)
        n, _, height, width = latents.shape
        return nearest.view(n, height, width)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the codes [n, embed_dim, h, w] at indices [n, h, w]."""
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def quantise(self, latents: Tensor) -> Tensor:
        """Return the nearest codes, with the gradient passed straight through to the latents."""
        return latents + (self.lookup(self.nearest(latents)) - latents).detach()


class _Codebook(nn.Module):
    """The codes under their published names."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        codes = nn.Embedding(config.codes, config.embed_dim)
        self._gumbel = config.gumbel
        if config.gumbel:
            self.embed = codes
            self.proj = nn.Conv2d(config.embed_dim, config.codes, 1)
        else:
            self.embedding = codes

    @property
    def weight(self) -> Tensor:
        return self.embed.weight if self._gumbel else self.embedding.weight

    def logits(self, latents: Tensor) -> Tensor:
        result: Tensor = self.proj(latents)
        return result


def _own_layout(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Take the VQGAN out of a transformer's checkpoint, which carries it as its first stage."""
    prefix = "first_stage_model."
    inner = {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    return inner or weights


def _numbers(weights: Mapping[str, Tensor], pattern: str) -> list[int]:
    compiled = re.compile(pattern)
    return [int(found[1]) for name in weights if (found := compiled.fullmatch(name))]
