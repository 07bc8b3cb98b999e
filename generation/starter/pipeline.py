"""starter-diffusion as a diffusers pipeline, and the plain functions a step loop builds on.

The text tower is starter-clip's and the autoencoder starter-vqgan's; both load from beside this
folder when first needed. Latents are [B, 8, H/8, W/8], normalised per channel. Time runs from 1
(noise) to 0 (picture): ``x_t = (1 - t) * picture + t * noise`` and the velocity is
``noise - picture``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from generation.models.precision import has_bfloat16
from generation.starter import clip_tokenizer, load_clip, vqgan_config, vqgan_state_dict
from generation.starter.autoencoder import StarterVQGAN
from generation.starter.text import token_states, tokenize
from generation.starter.transformer import StarterTransformer

FACTOR = 8
"""Pixels per latent."""


@dataclass
class StarterPipelineOutput(BaseOutput):  # type: ignore[misc]
    """The drawn pictures."""

    images: list[Image.Image]


def times(steps: int, shift: float = 1.5, strength: float = 1.0) -> list[float]:
    """Return ``steps + 1`` times from ``strength`` (1: pure noise) down to 0.

    ``shift`` above 1 spends more steps where much noise is left (Esser et al. 2024).
    """
    even = np.linspace(1, 0, steps + 1)
    shifted = shift * even / (1 + (shift - 1) * even)
    return [float(t) for t in shifted * strength]


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Return pictures of one size as [B, 3, H, W] in -1..1."""
    arrays = [np.asarray(image.convert("RGB"), np.float32) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Return pictures of [B, 3, H, W] in -1..1."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
    return [Image.fromarray(level.permute(1, 2, 0).numpy()) for level in levels]


class StarterPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Text to picture, picture to picture, and inpainting at 128 px and thereabouts."""

    transformer: StarterTransformer

    def __init__(self, transformer: StarterTransformer) -> None:
        super().__init__()
        self.register_modules(transformer=transformer)
        self._clip: Any = None
        self._vqgan: StarterVQGAN | None = None
        self._tokenizer = clip_tokenizer()

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
        self, *, clip: torch.nn.Module | None = None, vqgan: StarterVQGAN | None = None
    ) -> None:
        """Share models that are loaded already instead of loading them again."""
        self._clip = clip or self._clip
        self._vqgan = vqgan or self._vqgan

    def _constant(self, name: str) -> Tensor:
        return torch.tensor(self.transformer.config[name], device=self.device)

    @torch.no_grad()
    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return text states [B, L, 256] and their mask [B, L]."""
        tokens, mask = tokenize(self._tokenizer, texts)
        return token_states(self.clip, tokens.to(self.device)), mask.to(self.device)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return normalised latents [B, 8, H/8, W/8] of pictures [B, 3, H, W] in -1..1."""
        latents = self.vqgan.continuous(images.to(self.device))
        mean, std = self._constant("latent_mean"), self._constant("latent_std")
        return (latents - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures [B, 3, 8h, 8w] in -1..1 of normalised latents."""
        mean, std = self._constant("latent_mean"), self._constant("latent_std")
        raw = latents.float() * std.view(1, -1, 1, 1) + mean.view(1, -1, 1, 1)
        return self.vqgan.decode(raw).clamp(-1, 1)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> Tensor:
        """Return rough pictures [B, 3, h, w] in -1..1 of normalised latents, in microseconds."""
        matrix = self._constant("preview")
        rgb = torch.einsum("bchw,cd->bdhw", latents.float(), matrix[:-1])
        return (2 * (rgb + matrix[-1].view(1, 3, 1, 1)) - 1).clamp(-1, 1)

    @torch.no_grad()
    def velocity(
        self, latents: Tensor, t: Tensor, text_states: Tensor, text_mask: Tensor
    ) -> Tensor:
        """Return noise minus picture [B, 8, h, w] at per-picture times ``t`` [B] in 0..1."""
        fast = has_bfloat16(latents.device)
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=fast):
            out: Tensor = self.transformer(latents, t, text_states, text_mask)
        return out.float()

    @torch.no_grad()
    def guided_velocity(
        self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor,
        negative_states: Tensor, negative_mask: Tensor, cfg_scale: float,
    ) -> Tensor:  # fmt: skip
        """Return classifier-free guidance of the velocity, both halves in one batch."""
        if cfg_scale == 1.0:
            return self.velocity(latents, t, states, mask)
        length = max(states.shape[1], negative_states.shape[1])
        both = torch.cat([_padded(states, length), _padded(negative_states, length)])
        masks = torch.cat([_padded(mask, length), _padded(negative_mask, length)])
        v, v0 = self.velocity(torch.cat([latents] * 2), torch.cat([t] * 2), both, masks).chunk(2)
        return v0 + cfg_scale * (v - v0)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] = "",
        width: int = 128,
        height: int = 128,
        num_inference_steps: int = 25,
        guidance_scale: float = 7.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        strength: float = 0.8,
        callback: Callable[[int, Tensor], None] | None = None,
    ) -> StarterPipelineOutput:
        """Draw one picture per prompt.

        Args:
            width, height: multiples of 16 px; ``image`` decides where there is one.
            generator: one for all, or one per picture.
            latents: the starting noise [B, 8, H/8, W/8] instead of drawing it.
            image: start from this picture (``strength`` of noise, 1 forgets it).
            mask_image: with ``image``, redraw only where this is white.
            callback: is given each step's number and latents.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        count = len(prompts)
        negatives = (
            [negative_prompt] * count if isinstance(negative_prompt, str) else list(negative_prompt)
        )
        states, mask = self.encode_prompt(prompts)
        negative_states, negative_mask = self.encode_prompt(negatives)
        start, known, hole = 1.0, None, None
        if image is not None:
            width, height = (side // 16 * 16 for side in image.size)
            known = self.encode(to_tensor([image.resize((width, height))])).expand(
                count, -1, -1, -1
            )
            start = strength
        noise = self._noise(count, width, height, generator) if latents is None else latents
        if known is not None and mask_image is not None:
            small = mask_image.convert("L").resize((width // FACTOR, height // FACTOR))
            hole = torch.from_numpy(np.asarray(small, np.float32) / 255).to(self.device)[None, None]
        x = noise if known is None else (1 - start) * known + start * noise
        schedule = times(num_inference_steps, strength=start)
        for i, (now, then) in enumerate(pairwise(schedule)):
            t = torch.full((count,), now, device=self.device)
            v = self.guided_velocity(
                x, t, states, mask, negative_states, negative_mask, guidance_scale
            )
            x = x + (then - now) * v
            if known is not None and hole is not None:
                x = hole * x + (1 - hole) * ((1 - then) * known + then * noise)
            if callback is not None:
                callback(i, x)
        return StarterPipelineOutput(images=to_images(self.decode(x)))

    def _noise(
        self, count: int, width: int, height: int,
        generator: torch.Generator | Sequence[torch.Generator] | None,
    ) -> Tensor:  # fmt: skip
        """Return noise [B, 8, H/8, W/8], a picture's own where it has its own generator."""
        shape = (self.transformer.config.latent_channels, height // FACTOR, width // FACTOR)
        if isinstance(generator, Sequence):
            return torch.stack(
                [torch.randn(shape, generator=g, device=g.device) for g in generator]
            ).to(self.device)  # fmt: skip
        where = generator.device if generator is not None else self.device
        return torch.randn((count, *shape), generator=generator, device=where).to(self.device)


def _padded(states: Tensor, length: int) -> Tensor:
    """Return states [B, length, ...] or a mask [B, length], zeros after the end."""
    missing = length - states.shape[1]
    if not missing:
        return states
    filler = states.new_zeros((len(states), missing, *states.shape[2:]))
    return torch.cat([states, filler], 1)
