"""The starter diffusion model, as the diffusion engine wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from safetensors import SafetensorError
from torch import Tensor

from generation import starter
from generation.clip.perceptor import Perceptor
from generation.engine import EngineError
from generation.models.precision import has_bfloat16


class StarterFlow:
    """A `FlowModel`. It shares the perceptor's CLIP; `release` gives that back."""

    def __init__(
        self, perceptor: Perceptor, release: Callable[[], None], device: torch.device
    ) -> None:
        from generation.starter.pipeline import FACTOR

        try:
            self._pipeline = starter.load_diffusion(device)
        except torch.OutOfMemoryError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise EngineError(
                "The starter diffusion model is damaged. Reinstall Dreamstream."
            ) from error
        self._pipeline.use(clip=perceptor.model)
        self._perceptor = perceptor
        self._bfloat16 = has_bfloat16(device)
        self._release = release
        self.factor = FACTOR
        self.latent_channels = int(self._pipeline.transformer.config.latent_channels)

    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states [n, length, dim] and their mask [n, length]."""
        return self._pipeline.encode_prompt(texts)

    def unread(self, text: str) -> str:
        """Return the words of a text that are beyond what the model reads; empty for none."""
        return self._perceptor.unread(text)

    def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Return noise minus picture, [n, c, h, w]."""
        kind = latents.device.type
        with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=self._bfloat16):
            velocity: Tensor = self._pipeline.transformer(latents, t, states, mask)
        return velocity.float()

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of pictures in 0..1."""
        return self._pipeline.encode(pictures * 2 - 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of latents, in 0..1."""
        return (self._pipeline.decode(latents) + 1) / 2

    def preview(self, latents: Tensor) -> Tensor:
        """Return a cheap likeness in 0..1, one pixel a latent."""
        return (self._pipeline.preview(latents) + 1) / 2

    def score(self, picture: Tensor, text: str) -> float | None:
        """Return CLIP's cosine of a picture [3, h, w] with a text."""
        return float(self._perceptor.score(picture, [text])[0])

    def close(self) -> None:
        """Give the perceptor back."""
        self._release()
