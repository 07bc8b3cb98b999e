"""Convolutions that go on at the opposite edge, for pictures that can be tiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def circular_convolutions(model: nn.Module, tiling: str) -> Iterator[None]:
    """Let a network's padded convolutions go on ``across``, ``down`` or on ``both`` axes.

    Each is given its input with a margin from the opposite side, and what the margin made is cut
    off again. They are those of its layers that have a pair as their `padding`, as `nn.Conv2d`
    has, and must have stride 1; one that enlarges says by how much in `scale`. With ``none``
    nothing changes.
    """
    with ExitStack() as hooks:
        for layer in model.modules() if tiling != "none" else ():
            down, across = _margins(layer, tiling)
            if down or across:
                widen, cut = _hooks(down, across, getattr(layer, "scale", 1))
                hooks.callback(layer.register_forward_pre_hook(widen).remove)
                hooks.callback(layer.register_forward_hook(cut).remove)
        yield


def _margins(layer: nn.Module, tiling: str) -> tuple[int, int]:
    """Return by how much a layer's input is widened at both ends: down, across."""
    padding = getattr(layer, "padding", None)
    if not isinstance(padding, tuple):
        return 0, 0
    return padding[0] if tiling != "across" else 0, padding[1] if tiling != "down" else 0


def _hooks(
    down: int, across: int, scale: int
) -> tuple[
    Callable[[nn.Module, tuple[Tensor, ...]], Tensor],
    Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor],
]:
    def widen(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return F.pad(inputs[0], (across, across, down, down), mode="circular")

    def cut(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        height, width = output.shape[2:]
        y, x = scale * down, scale * across
        return output[:, :, y : height - y, x : width - x]

    return widen, cut
