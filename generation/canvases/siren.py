"""A picture as a network from places to colours, made of sines: nothing needs training.

The parameters are the network's own weights. Source: Sitzmann et al., Implicit Neural
Representations with Periodic Activation Functions (2020), as Phil Wang's deep-daze (after Ryan
Murdock) steers it. Where the original draws the same picture again for each part of a step's
crops, it is drawn once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from generation.canvases.adam import adam_step
from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Start, Tensors
from generation.clip.losses import clamp_with_grad
from generation.engine import EngineError
from generation.protocol import MAX_MESSAGE_BYTES, OptionInfo, Setting

_FREQUENCY = 30.0
_FLOAT_BYTES = 4
# Of weights with Adam's two moments: a checkpoint is sent as one message, in which a film's frames
# want some room, too.
_MOST_SAVED_BYTES = MAX_MESSAGE_BYTES - (8 << 20)
# The fit to a start picture: Adam on a few random pixels at a time. At this rate, divided by the
# number of sines, 8 × 128 of them come to 30 dB in a few seconds on a CPU; at twice it, the
# larger networks fall apart.
_FIT_STEPS = 100
_FIT_PIXELS = 1024
_FIT_RATE = 0.4


def siren_options(*, layers: int, units: int) -> tuple[OptionInfo, ...]:
    """Return the settings of this canvas alone, with defaults."""
    return (
        OptionInfo(
            name="layers",
            help="How many layers of sines the network has. More are stranger and slower.",
            default=layers,
            minimum=2,
            maximum=48,
        ),
        OptionInfo(
            name="units",
            help="How many sines a layer has.",
            default=units,
            minimum=16,
            maximum=512,
        ),
    )


class SirenCanvas(CanvasDefaults):
    """Draws ``(last(sin(30 · layer(… sin(30 · first(x, y))))) + 1) / 2``, clamped.

    The parameters are ``first`` [units, 2], ``hidden`` [layers − 1, units, units] and ``last``
    [3, units], each with its ``_bias`` [units], [layers − 1, units], [3].
    """

    multiple = 1
    any_size = True
    optimiser = Optimiser(learning_rate=1e-5)

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Begin with a random network, or with one that was fitted to a picture.

        Raises:
            EngineError: it is too large to be saved.
        """
        layers, units = int(settings["layers"]), int(settings["units"])
        most = _MOST_SAVED_BYTES // (3 * _FLOAT_BYTES * units * (units + 1))
        if layers > most:
            raise EngineError(
                f"A network of {layers} layers of {units} sines is too large to be saved while it "
                f"is drawn. Take at most {most} layers, or fewer units."
            )
        inner = math.sqrt(6 / units) / _FREQUENCY
        parameters = {
            "first": _uniform((units, 2), 1 / 2, random),
            "first_bias": _uniform((units,), 1 / 2, random),
            "hidden": _uniform((layers - 1, units, units), inner, random),
            "hidden_bias": _uniform((layers - 1, units), inner, random),
            "last": _uniform((3, units), inner, random),
            "last_bias": _uniform((3,), inner, random),
        }
        parameters = {name: value.to(self._device) for name, value in parameters.items()}
        if picture is None:
            return Start(parameters)
        picture = picture.to(self._device)
        return Start(_fitted(parameters, picture, random), anchor={"picture": picture})

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw [runs, 3, height, width]."""
        places = grid(width, height).to(self._device)
        colours = evaluate(parameters, places.expand(len(parameters["first"]), -1, -1))
        pictures = colours.transpose(1, 2).reshape(len(colours), 3, height, width)
        return clamp_with_grad((pictures + 1) / 2, 0, 1)

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate one tensor of all units at all pixels for each layer, and four in passing."""
        layers, units = int(settings["layers"]), int(settings["units"])
        return _FLOAT_BYTES * (layers + 4) * units * width * height


def grid(width: int, height: int) -> Tensor:
    """Return the pixels' places (y, x) in rows: [height · width, 2].

    The shorter side goes from −1 to 1, and as far apart lie the pixels of the longer.
    """
    shorter = max(2, min(width, height))
    y, x = ((torch.arange(length) * 2 - (length - 1)) / (shorter - 1) for length in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)


def evaluate(parameters: Mapping[str, Tensor], places: Tensor) -> Tensor:
    """Return the networks' values [runs, places, 3] at places [runs, places, 2]."""
    phases = _FREQUENCY * _affine(places, parameters["first"], parameters["first_bias"])
    hidden = zip(
        parameters["hidden"].unbind(dim=1), parameters["hidden_bias"].unbind(dim=1), strict=True
    )
    for weight, bias in hidden:
        phases = _FREQUENCY * cast(Tensor, _SineLayer.apply(phases, weight, bias))
    return cast(Tensor, _SineLayer.apply(phases, parameters["last"], parameters["last_bias"]))


class _SineLayer(torch.autograd.Function):
    """``sin(phases) @ weight.T + bias``, which keeps the phases only and takes sines twice."""

    @staticmethod
    def forward(ctx: Any, phases: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(phases, weight)
        return _affine(phases.sin(), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        phases, weight = ctx.saved_tensors
        return (
            (grad @ weight) * phases.cos(),
            grad.transpose(1, 2) @ phases.sin(),
            grad.sum(dim=1),
        )


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def _uniform(shape: tuple[int, ...], bound: float, random: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=random) * 2 - 1) * bound


def _fitted(parameters: Tensors, picture: Tensor, random: torch.Generator) -> Tensors:
    """Fit one network to a picture [3, h, w] by least squares."""
    height, width = picture.shape[1:]
    places = grid(width, height).to(picture.device)
    colours = picture.flatten(1).T * 2 - 1
    values = {name: value[None].clone() for name, value in parameters.items()}
    moments = {name: (torch.zeros_like(v), torch.zeros_like(v)) for name, v in values.items()}
    layers, units = parameters["hidden"].shape[0] + 1, parameters["hidden"].shape[1]
    for step in range(_FIT_STEPS):
        some = torch.randint(len(places), (_FIT_PIXELS,), generator=random).to(picture.device)
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        with torch.enable_grad():
            error = F.mse_loss(evaluate(leaves, places[None, some]), colours[None, some])
            gradients = torch.autograd.grad(error, list(leaves.values()))
        rate = _FIT_RATE / (layers * units) * (1 + math.cos(math.pi * step / _FIT_STEPS)) / 2
        for (name, value), gradient in zip(values.items(), gradients, strict=True):
            adam_step(
                value,
                gradient,
                *moments[name],
                step=torch.tensor([step + 1], device=value.device),
                learning_rate=torch.tensor([rate], device=value.device),
                betas=(0.9, 0.999),
                eps=1e-8,
            )
    return {name: value[0] for name, value in values.items()}
