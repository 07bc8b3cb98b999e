"""starter-diffusion without diffusers: what a step loop builds on.

Importing diffusers takes as long as importing torch, and drawing needs none of it.

The text tower is starter-clip's and the autoencoder starter-vqgan's; both load from beside this
folder when first needed. Latents are [B, 8, H/8, W/8], normalised per channel. Time runs from 1
(noise) to 0 (picture): ``x_t = (1 - t) * picture + t * noise`` and the velocity is
``noise - picture``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from generation.models.precision import has_bfloat16
from generation.starter import (
    LEVEL_GUIDANCE,
    clip_tokenizer,
    load_clip,
    vqgan_config,
    vqgan_state_dict,
)
from generation.starter.autoencoder import StarterVQGAN
from generation.starter.network import FlowTransformer
from generation.starter.text import token_states, tokenize

FACTOR = 8
"""Pixels per latent."""


class LatentFlow:
    """The network with its text tower and autoencoder, where the network is."""

    def __init__(self, transformer: FlowTransformer) -> None:
        self.transformer = transformer
        self._clip: Any = None
        self._vqgan: StarterVQGAN | None = None
        self._tokenizer = clip_tokenizer()
        self._dtype: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.transformer.parameters()).device

    @property
    def clip(self) -> torch.nn.Module:
        """starter-clip, whose text tower conditions the network."""
        if self._clip is None:
            self._clip = load_clip()[0]
        return cast(torch.nn.Module, self._clip.to(self.device))

    @property
    def vqgan(self) -> StarterVQGAN:
        """starter-vqgan, whose latents the network moves."""
        if self._vqgan is None:
            self._vqgan = StarterVQGAN(vqgan_config())
            self._vqgan.load_state_dict(vqgan_state_dict())
            self._vqgan.eval().requires_grad_(False)
        return self._vqgan.to(self.device)

    def use(
        self,
        *,
        clip: torch.nn.Module | None = None,
        vqgan: StarterVQGAN | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Share models that are loaded already instead of loading them again.

        The network computes in `dtype`; without one in bfloat16 where that is the device's own.
        """
        self._clip = clip or self._clip
        self._vqgan = vqgan or self._vqgan
        self._dtype = dtype or self._dtype

    def _per_channel(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=self.device).view(1, -1, 1, 1)

    @torch.no_grad()
    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return text states [B, L, 256] and their mask [B, L]."""
        tokens, mask = tokenize(self._tokenizer, texts)
        return token_states(self.clip, tokens.to(self.device)), mask.to(self.device)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return normalised latents [B, 8, H/8, W/8] of pictures [B, 3, H, W] in -1..1."""
        latents = self.vqgan.continuous(images.to(self.device))
        network = self.transformer
        mean, std = map(self._per_channel, (network.latent_mean, network.latent_std))
        return (latents - mean) / std

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures [B, 3, 8h, 8w] in -1..1 of normalised latents."""
        network = self.transformer
        mean, std = map(self._per_channel, (network.latent_mean, network.latent_std))
        raw = latents.float() * std + mean
        return self.vqgan.decode(raw).clamp(-1, 1)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> Tensor:
        """Return rough pictures [B, 3, h, w] in -1..1 of normalised latents, in microseconds."""
        matrix = torch.tensor(self.transformer.preview_map, device=self.device)
        rgb = torch.einsum("bchw,cd->bdhw", latents.float(), matrix[:-1])
        return (2 * (rgb + matrix[-1].view(1, 3, 1, 1)) - 1).clamp(-1, 1)

    @torch.no_grad()
    def velocity(
        self, latents: Tensor, t: Tensor, text_states: Tensor, text_mask: Tensor
    ) -> Tensor:
        """Return noise minus picture [B, 8, h, w] at per-picture times ``t`` [B] in 0..1."""
        default = torch.bfloat16 if has_bfloat16(latents.device) else torch.float32
        half = (self._dtype or default) != torch.float32
        # Exact dreams are drawn in float32.
        half = half and not torch.are_deterministic_algorithms_enabled()
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=half):
            out: Tensor = self.transformer(latents, t, text_states, text_mask)
        return out.float()

    @torch.no_grad()
    def guided_velocity(
        self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor,
        negative_states: Tensor, negative_mask: Tensor, cfg_scale: float,
        level_guidance: float = LEVEL_GUIDANCE,
    ) -> Tensor:  # fmt: skip
        """Return classifier-free guidance of the velocity, both halves in one batch.

        The mean over the picture is guided by no more than ``level_guidance``.
        """
        if cfg_scale == 1.0:
            return self.velocity(latents, t, states, mask)
        length = max(states.shape[1], negative_states.shape[1])
        both = torch.cat([_padded(states, length), _padded(negative_states, length)])
        masks = torch.cat([_padded(mask, length), _padded(negative_mask, length)])
        v, v0 = self.velocity(torch.cat([latents] * 2), torch.cat([t] * 2), both, masks).chunk(2)
        led = v - v0
        level = led.mean((-2, -1), keepdim=True)
        return v0 + cfg_scale * (led - level) + min(cfg_scale, level_guidance) * level


def _padded(states: Tensor, length: int) -> Tensor:
    """Return states [B, length, ...] or a mask [B, length], zeros after the end."""
    missing = length - states.shape[1]
    if not missing:
        return states
    filler = states.new_zeros((len(states), missing, *states.shape[2:]))
    return torch.cat([states, filler], 1)
