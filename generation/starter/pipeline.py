"""starter-diffusion as a diffusers pipeline; `generation.starter.model` has what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from generation.engines.samplers import guidance_at
from generation.starter import GUIDANCE_END
from generation.starter.model import FACTOR, LatentFlow
from generation.starter.transformer import StarterTransformer


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
        self.flow = LatentFlow(transformer)

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
        guidance_end: float = GUIDANCE_END,
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
            guidance_end: the part of the noise that is left when guidance ends; 0 for never.
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
        states, mask = self.flow.encode_prompt(prompts)
        negative_states, negative_mask = self.flow.encode_prompt(negatives)
        start, known, hole = 1.0, None, None
        if image is not None:
            width, height = (side // 16 * 16 for side in image.size)
            known = self.flow.encode(to_tensor([image.resize((width, height))])).expand(
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
            guidance = guidance_at(now, guidance_scale, end=guidance_end, start=start)
            v = self.flow.guided_velocity(
                x, t, states, mask, negative_states, negative_mask, guidance
            )
            x = x + (then - now) * v
            if known is not None and hole is not None:
                x = hole * x + (1 - hole) * ((1 - then) * known + then * noise)
            if callback is not None:
                callback(i, x)
        return StarterPipelineOutput(images=to_images(self.flow.decode(x)))

    def _noise(
        self, count: int, width: int, height: int,
        generator: torch.Generator | Sequence[torch.Generator] | None,
    ) -> Tensor:  # fmt: skip
        """Return noise [B, 8, H/8, W/8], a picture's own where it has its own generator."""
        shape = (self.transformer.latent_channels, height // FACTOR, width // FACTOR)
        if isinstance(generator, Sequence):
            return torch.stack(
                [torch.randn(shape, generator=g, device=g.device) for g in generator]
            ).to(self.device)  # fmt: skip
        where = generator.device if generator is not None else self.device
        return torch.randn((count, *shape), generator=generator, device=where).to(self.device)
