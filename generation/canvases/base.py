"""What a canvas is: parameters that become a picture, and how they like to be optimised.

To add an artist to the CLIP-steered family, write a module beside this one with a class that has
the members of `Canvas`, and give it to a `ClipSteeredEngine` in ``generation/engines``.

A canvas holds weights and formulas, never a run's state: each run owns its tensors. In `draw`
and the other methods for optimising, tensors carry a leading axis of runs; nothing may mix one
run with another (so: no batch statistics).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, Self

import torch
from torch import Tensor

from generation.protocol import Setting

Tensors = dict[str, Tensor]
NO_SETTINGS: Mapping[str, Setting] = MappingProxyType({})


@dataclass(frozen=True)
class Rate:
    """A parameter's own learning rate, as a factor on that of its canvas.

    `later` holds pairs of a part of the run (0..1) and the factor from there on, in order.
    """

    factor: float = 1.0
    later: tuple[tuple[float, float], ...] = ()

    def at(self, part: float) -> float:
        """Return the factor when this part of the run is over."""
        factor = self.factor
        for since, other in self.later:
            if part >= since:
                factor = other
        return factor


@dataclass(frozen=True)
class Optimiser:
    """How a canvas's parameters are to be optimised: AdamW's settings.

    `rates` are for parameters whose learning rate is not the canvas's. `average` above 0 is the
    decay of an exponential moving average of the parameters; pictures are then drawn from that.
    It begins at the start, which wears off with the decay, or (`unbiased`) weighs as all else.
    """

    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    rates: Mapping[str, Rate] = field(default_factory=dict)
    average: float = 0.0
    unbiased: bool = False

    def factor(self, name: str, part: float) -> float:
        """Return a parameter's factor on the learning rate when this part of a run is over."""
        return self.rates[name].at(part) if name in self.rates else 1.0


@dataclass(frozen=True)
class Start:
    """Where a run begins.

    `parameters` are optimised. `constants` are not, and every run of the canvas has the same
    ones. `anchor`, which only runs that start from a picture have, is what their pull goes to.
    """

    parameters: Tensors
    constants: Tensors = field(default_factory=dict)
    anchor: Tensors = field(default_factory=dict)


class Canvas(Protocol):
    """Turns parameters into pictures [runs, 3, height, width] in 0..1."""

    @property
    def multiple(self) -> int:
        """Of how many pixels a side must be a multiple."""
        ...

    @property
    def any_size(self) -> bool:
        """Whether the same parameters draw the same picture at any size."""
        ...

    @property
    def optimiser(self) -> Optimiser:
        """What suits the parameters; people may change the learning rate."""
        ...

    def tiled(self, tiling: str) -> Canvas:
        """Return a canvas of the same weights for pictures that go on at their opposite edge.

        `tiling` is ``across``, ``down`` or ``both``. A canvas that cannot draw over an edge returns
        itself: then only what CLIP is shown goes on there.
        """
        ...

    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Make one run's tensors (no axis of runs): by chance, or from a picture [3, h, w].

        `random` is a CPU generator, so that every device starts alike. `settings` are the
        engine's options beyond those that all canvases have; runs of one batch have the same.

        Raises:
            EngineError: it cannot begin like this; the sentence says what to do.
        """
        ...

    def chance(self, width: int, height: int, random: torch.Generator) -> Tensors:
        """Draw what one run's next step leaves to chance; `draw` finds it among the constants.

        `random` lives where the pictures are. A picture that is shown, not judged, is drawn
        without: what a run looks like does not depend on chance.
        """
        ...

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw all runs' pictures; gradients pass to the parameters."""
        ...

    def pull(
        self,
        parameters: Mapping[str, Tensor],
        pictures: Tensor,
        anchor: Mapping[str, Tensor],
    ) -> Tensor:
        """Say how far runs [runs] have come from the pictures they started from."""
        ...

    def penalty(self, parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> Tensor:
        """Say how implausible each run's parameters are [runs]: that is added to the loss."""
        ...

    def clamp(self, parameters: Mapping[str, Tensor]) -> None:
        """Bring parameters back into bounds, in place, after a step."""
        ...

    def svg(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> str | None:
        """Return one run's picture (tensors have no axis of runs) as SVG, if it is of lines."""
        ...

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate what one run's drawing keeps in memory for its gradient, in bytes."""
        ...

    def predict_shared_bytes(self, *, exact: bool = False) -> int:
        """Estimate what a step's drawing keeps besides, however many runs there are, in bytes."""
        ...


class CanvasDefaults:
    """What most canvases have no use for, or do alike."""

    any_size = False

    def pull(
        self,
        parameters: Mapping[str, Tensor],
        pictures: Tensor,
        anchor: Mapping[str, Tensor],
    ) -> Tensor:
        """Return the mean squared difference of each picture from the one it started from."""
        return (pictures - anchor["picture"]).square().flatten(1).mean(dim=1)

    def clamp(self, parameters: Mapping[str, Tensor]) -> None:
        """Leave them: whatever they are is a picture."""

    def tiled(self, tiling: str) -> Self:
        """Draw as ever."""
        return self

    def chance(self, width: int, height: int, random: torch.Generator) -> Tensors:
        """Leave nothing to chance once a run has begun."""
        return {}

    def penalty(self, parameters: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> Tensor:
        """Find all parameters equally plausible."""
        some = next(iter(parameters.values()))
        return some.new_zeros(len(some))

    def predict_shared_bytes(self, *, exact: bool = False) -> int:
        """Keep nothing but for each run."""
        return 0

    def svg(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> str | None:
        """Be made of pixels."""
        return None
