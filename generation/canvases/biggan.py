"""A picture as latents and classes for each layer of BigGAN-deep: The Big Sleep.

Each block of the generator has its own latent and its own mixture of ImageNet's classes, so that
a picture can be a bird in its outline and a church in its texture. Source: Ryan Murdock's The Big
Sleep, as Phil Wang's big-sleep has it (MIT). There the optimiser is also given the averages which
pictures are shown from; here it moves the latents only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Start
from generation.canvases.cover import cover
from generation.engine import EngineError
from generation.models.biggan import BigGAN
from generation.protocol import OptionInfo, Setting

# Of the original: how class logits begin, and the temperature of picking the strongest.
_CLASS_MEAN, _CLASS_STD = -3.9, 0.3
_TEMPERATURE = 2.0
_CLASS_WEIGHT = 50.0
_SPREAD_WEIGHT = 4.0
# The original weighs its penalties against 100 cosines. Half the squared angle, the loss here,
# falls by θ / sin θ = 1.36 for each unit of cosine where pictures meet their prompts (.25).
_PENALTY_WEIGHT = 1.36 / 100
_FLOAT_BYTES = 4


def biggan_options() -> tuple[OptionInfo, ...]:
    """Return the settings of this canvas alone."""
    return (
        OptionInfo(
            name="classes",
            help="How many of the 1,000 kinds of things each layer may mix; 0 for all, weakly.",
            default=0,
            minimum=0,
            maximum=100,
        ),
        OptionInfo(
            name="truncation",
            help="Below 1 pictures become more typical and less varied.",
            default=1.0,
            minimum=0.02,
            maximum=1.0,
        ),
    )


class BigGANCanvas(CanvasDefaults):
    """Draws ``(generate(latents, classes) + 1) / 2``, resized to cover the size asked for.

    The parameters are ``latents`` [layers, latent_dim] and ``classes`` [layers, classes], the
    logits of how much there is of each. The constants ``strongest`` [] and ``truncation`` [] stay
    on the CPU; they are the same for all runs of a batch.
    """

    multiple = 1
    any_size = True
    optimiser = Optimiser(learning_rate=0.07, average=0.99, unbiased=True)

    def __init__(self, model: BigGAN, device: torch.device) -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device

    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Begin with latents and classes by chance.

        Raises:
            EngineError: there is a picture to start from.
        """
        if picture is not None:
            raise EngineError(
                "BigGAN can only begin by chance: it has no way from a picture back to its "
                "latents. Leave the picture out, or draw with another engine."
            )
        config = self._model.config
        latents = torch.randn(config.latents, config.latent_dim, generator=random)
        classes = torch.randn(config.latents, config.classes, generator=random)
        return Start(
            {
                "latents": latents.to(self._device),
                "classes": (_CLASS_MEAN + _CLASS_STD * classes).to(self._device),
            },
            {
                "strongest": torch.tensor(min(int(settings["classes"]), config.classes)),
                "truncation": torch.tensor(float(settings["truncation"]), dtype=torch.float64),
            },
        )

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw [runs, 3, height, width]."""
        truncation = float(constants["truncation"][0])
        latents = parameters["latents"] * truncation
        pictures = self._model(latents, mixture(parameters, constants), truncation)
        return cover((pictures + 1) / 2, width, height)

    def pull(
        self,
        parameters: Mapping[str, Tensor],
        pictures: Tensor,
        anchor: Mapping[str, Tensor],
    ) -> Tensor:
        """Refuse: no run of this canvas starts from a picture."""
        raise NotImplementedError("no run starts from a picture, so none has an anchor")

    def penalty(self, parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> Tensor:
        """Keep latents standard normal and each layer's classes few."""
        classes = mixture(parameters, constants)
        others = classes.topk(classes.shape[2] - 1, dim=2, largest=False).values
        few = (_CLASS_WEIGHT * others).square().mean(dim=(1, 2))
        return _PENALTY_WEIGHT * (implausibility(parameters["latents"]) + few)

    def clamp(self, parameters: Mapping[str, Tensor]) -> None:
        """Leave them: the penalty holds them."""

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate each block's activations: three of its width, and two for each one within."""
        config = self._model.config
        kept = 0.0
        for block in range(config.blocks):
            inputs, outputs = config.widths[block], config.widths[block + 1]
            before, after = 4 << block // 2, 4 << (block + 1) // 2
            kept += (3 * inputs + 2 * inputs / 4) * before**2
            kept += (6 * inputs / 4 + 2 * outputs) * after**2
        return int(_FLOAT_BYTES * (kept + 6 * 3 * width * height))


def mixture(parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> Tensor:
    """Return how much of each class there is [runs, layers, classes], in 0..1."""
    logits, strongest = parameters["classes"], int(constants["strongest"][0])
    return strongest_classes(logits, strongest, _TEMPERATURE) if strongest else logits.sigmoid()


def strongest_classes(logits: Tensor, count: int, temperature: float) -> Tensor:
    """Keep the `count` largest along the last axis, each as its softmax among those not larger.

    The same as picking the largest softmax again and again, each time without those before.
    """
    values, places = (logits / temperature).sort(dim=-1, descending=True)
    before = torch.ones(count, values.shape[-1], dtype=torch.bool, device=values.device).tril(-1)
    among = values[..., None, :].masked_fill(before, -torch.inf).logsumexp(dim=-1)
    kept = (values[..., :count] - among).exp()
    return torch.zeros_like(logits).scatter(-1, places[..., :count], kept)


def implausibility(latents: Tensor) -> Tensor:
    """Say how little latents [runs, layers, dim] look like standard normal ones: [runs].

    ``|1 − std| + |mean| + 4 · max(mean square, 1) + |skewness| + |excess kurtosis|``; each but the
    mean square is a layer's, averaged over the layers.
    """
    mean = latents.mean(dim=2)
    spread = latents.square().mean(dim=(1, 2)).clamp(min=1.0)
    centred = latents - mean[:, :, None]
    scores = centred / centred.square().mean(dim=2, keepdim=True).sqrt()
    layers = (
        (1 - latents.std(dim=2)).abs()
        + mean.abs()
        + scores.pow(3).mean(dim=2).abs()
        + (scores.pow(4).mean(dim=2) - 3).abs()
    )
    return layers.mean(dim=1) + _SPREAD_WEIGHT * spread
