"""A picture as StyleGAN2's latents, one for each of its layers (the space W+).

The parameter ``q`` [latents, w_dim] is how far each latent lies from the mean one, in standard
deviations: ``q = (w − mean(w)) / std(w)``. The noise that the network adds is its own, fixed.

Source: nshepperd's StyleGAN+CLIP notebook (2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial

import torch
from torch import Tensor

from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Start
from generation.clip.losses import clamp_with_grad
from generation.engine import EngineError
from generation.models.stylegan import StyleGAN2
from generation.protocol import OptionInfo, Setting

TRUNCATION_OPTION = OptionInfo(
    name="truncation",
    help="How far from the network's mean picture it starts: 0 at it, 1 anywhere.",
    default=0.7,
    minimum=0.0,
    maximum=1.5,
)
# The mean and deviation of latents are those of so many random ones.
_SAMPLES = 10_000
_SAMPLES_TOGETHER = 1000
# How many sizes' resamplers are kept.
_SIZES = 16


class StyleGANCanvas(CanvasDefaults):
    """Draws ``(synthesise(q · std + mean) + 1) / 2``, clamped.

    The network's pictures are squares of one size. Another size is resampled from it, and other
    proportions show the middle.
    """

    multiple = 1
    any_size = True
    optimiser = Optimiser(learning_rate=0.03, betas=(0.0, 0.999), weight_decay=0.01, average=0.9)

    def __init__(self, model: StyleGAN2, device: torch.device) -> None:
        self._model = model.to(device)
        self._device = device
        self._mean, self._deviation = self._measure()
        self._resampler = lru_cache(_SIZES)(partial(_resampler, device, model.config.resolution))

    @torch.no_grad()
    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Begin with a random latent, the same for every layer, drawn towards the mean one."""
        if picture is not None:
            raise EngineError(
                "StyleGAN2 cannot start from a picture: it only knows those it draws itself. "
                "Leave the picture away, or choose another engine."
            )
        truncation = float(settings.get(TRUNCATION_OPTION.name, TRUNCATION_OPTION.default))
        q = truncation * (self._sample(1, random) - self._mean) / self._deviation
        return Start({"q": q.repeat(self._model.config.latents, 1)})

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw [runs, 3, height, width]."""
        pictures = self._model.synthesise(parameters["q"] * self._deviation + self._mean)
        side = self._model.config.resolution
        if (width, height) != (side, side):
            rows, columns = self._resampler(width, height)
            pictures = rows @ pictures @ columns.T
        return clamp_with_grad((pictures + 1) / 2, 0, 1)

    def pull(
        self,
        parameters: Mapping[str, Tensor],
        pictures: Tensor,
        anchor: Mapping[str, Tensor],
    ) -> Tensor:
        """Hold to nothing: no run starts from a picture."""
        return pictures.new_zeros(len(pictures))

    def clamp(self, parameters: Mapping[str, Tensor]) -> None:
        """Leave them: latents have no bounds but their decay towards the mean one."""

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate the network's activations, whatever the size that is shown of them."""
        return self._model.predict_bytes()

    @torch.no_grad()
    def _measure(self) -> tuple[Tensor, Tensor]:
        """Return the mean latent and the deviation of latents, both [w_dim]."""
        random = torch.Generator().manual_seed(0)
        parts = [
            self._sample(_SAMPLES_TOGETHER, random) for _ in range(_SAMPLES // _SAMPLES_TOGETHER)
        ]
        latents = torch.cat(parts)
        mean = self._model.w_avg
        known = mean if isinstance(mean, Tensor) else latents.mean(dim=0)
        return known, latents.std(dim=0)

    def _sample(self, count: int, random: torch.Generator) -> Tensor:
        """Return random latents [count, w_dim], of random classes where there are any."""
        config = self._model.config
        z = torch.randn(count, config.z_dim, generator=random).to(self._device)
        classes = None
        if config.classes:
            classes = torch.randint(config.classes, (count,), generator=random).to(self._device)
        return self._model.latents_of(z, classes)


def _resampler(device: torch.device, side: int, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return the products [height, side] and [width, side] that resample a picture."""
    longer = max(width, height)
    return (
        _resampling(side, height, side * height / longer).to(device),
        _resampling(side, width, side * width / longer).to(device),
    )


def _resampling(side: int, size: int, part: float) -> Tensor:
    """Return [size, side]: triangle filters, spread evenly over the middle `part` of a side.

    A product, because the gradient of torch's own resampling is not deterministic on CUDA.
    """
    stretch = part / size
    centres = (side - part) / 2 + (torch.arange(size, dtype=torch.float64) + 0.5) * stretch
    away = centres[:, None] - (torch.arange(side, dtype=torch.float64) + 0.5)
    weights = (1 - away.abs() / max(1.0, stretch)).clamp(min=0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()
