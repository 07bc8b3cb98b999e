"""The starter diffusion model, as the diffusion engine wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from safetensors import SafetensorError
from torch import Tensor

from generation import starter
from generation.clip.perceptor import Perceptor
from generation.engine import EngineError
from generation.engines.perceptors import PerceptorSource

READER = "starter-clip"
"""Whose text tower tells the flow what to draw."""


class SharedFlow:
    """A `FlowSource`: counts who has the starter flow; the last one to close it frees it.

    Its network computes in `dtype`.
    """

    def __init__(
        self, perceptors: PerceptorSource, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._perceptors = perceptors
        self._device = device
        self._dtype = dtype
        self._flow: StarterFlow | None = None
        self._holders = 0

    def acquire(self) -> StarterFlow:
        """Return the flow, loading it with the CLIP that it shares if nobody has it.

        Raises:
            EngineError: one of them is damaged.
        """
        if self._flow is None:
            perceptor = self._perceptors.acquire(READER)
            try:
                self._flow = StarterFlow(perceptor, self._release, self._device, self._dtype)
            except BaseException:
                self._perceptors.release(READER)
                raise
        self._holders += 1
        return self._flow

    def _release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._flow = None
            self._perceptors.release(READER)


class StarterFlow:
    """A `FlowModel` whose words the perceptor's CLIP reads; `release` is what closing it does."""

    def __init__(
        self,
        perceptor: Perceptor,
        release: Callable[[], None],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        from generation.starter.model import FACTOR

        try:
            self._flow = starter.load_flow(device)
        except torch.OutOfMemoryError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise EngineError(
                "The starter diffusion model is damaged. Reinstall Dreamstream."
            ) from error
        self._flow.use(clip=perceptor.model, dtype=dtype)
        self._perceptor = perceptor
        self._release = release
        self.dtype = dtype
        self.factor = FACTOR
        self.latent_channels = self._flow.transformer.latent_channels

    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states [n, length, dim] and their mask [n, length]."""
        return self._flow.encode_prompt(texts)

    def unread(self, text: str) -> str:
        """Return the words of a text that are beyond what the model reads; empty for none."""
        return self._perceptor.unread(text)

    def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Return noise minus picture, [n, c, h, w]."""
        return self._flow.velocity(latents, t, states, mask)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latents of pictures in 0..1."""
        return self._flow.encode(pictures * 2 - 1)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures of latents, in 0..1."""
        return (self._flow.decode(latents) + 1) / 2

    def preview(self, latents: Tensor) -> Tensor:
        """Return a cheap likeness in 0..1, one pixel a latent."""
        return (self._flow.preview(latents) + 1) / 2

    def score(self, picture: Tensor, text: str) -> float | None:
        """Return CLIP's cosine of a picture [3, h, w] with a text."""
        return float(self._perceptor.score(picture, [text])[0])

    def close(self) -> None:
        """Let go of it."""
        self._release()
