"""3 × 3 convolutions with a quarter of the products, for processors and frozen weights.

A convolution's 4 × 4 outputs depend on 6 × 6 inputs. Both are polynomials' coefficients, and at six
points (0, ±1, ±2, ∞) a convolution is a product: 36 products in place of 144, and a few additions
before and after. The 36 products over channels are matrix products, which processors do best.
GPUs are left to cuDNN, which has this algorithm too, and others for its matrix units.

The gradient is the same with turned weights. Weights must be frozen: they are transformed once.
Rounding is a few times that of the direct sum.

Source: Lavin & Gray, Fast Algorithms for Convolutional Neural Networks (2016), F(4 × 4, 3 × 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

DEVICES = ("cpu",)
_TILE = 4
_POINTS = _TILE + 2
# Below, additions cost more than the products they save: measured by `benchmarks.roofline`.
_LEAST_CHANNELS = 64
_LEAST_TILES = 64
# How many tiles are worked on at once: what they need should stay in the cache.
_BLOCK_FLOATS = 1 << 20

_WEIGHTS_AT = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
"""The values at the six points of a polynomial of three coefficients, scaled."""


def suits(x: Tensor, weight: Tensor) -> bool:
    """Say whether a convolution with padding 1 is faster this way, and may be done so.

    How many pictures there are says nothing in it, so that nothing is drawn otherwise in company.
    Deterministic runs keep to the plainest arithmetic.
    """
    outputs, inputs = weight.shape[:2]
    height, width = x.shape[2:]
    return (
        x.device.type in DEVICES
        and x.dtype == weight.dtype == torch.float32
        and min(inputs, outputs) >= _LEAST_CHANNELS
        and (height // _TILE) * (width // _TILE) >= _LEAST_TILES
        and not weight.requires_grad
        and not torch.are_deterministic_algorithms_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class Frozen:
    """One layer's transformed weights, for as long as the weights stay as they are."""

    def __init__(self) -> None:
        self._version: tuple[int, int] | None = None
        self._forward = self._backward = torch.empty(0)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return [n, out, h, w] of x [n, in, h, w] and a weight [out, in, 3, 3]; padding is 1."""
        version = (weight.data_ptr(), weight._version)
        if self._version != version:
            self._forward = transformed(weight)
            self._backward = transformed(weight.transpose(0, 1).flip(2, 3))
            self._version = version
        result: Tensor = _Convolution.apply(x, self._forward, self._backward, bias)
        return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, forward: Tensor, backward: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.turned = backward
        return convolve(x, forward, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return convolve(gradients[0], ctx.turned, None), None, None, None


@torch.no_grad()
def transformed(weight: Tensor) -> Tensor:
    """Return weights [out, in, 3, 3] at the 36 pairs of points: [36, in, out]."""
    at = torch.tensor(_WEIGHTS_AT, dtype=torch.float64, device=weight.device)
    values = torch.einsum("ir,oyrs,js->jiyo", at, weight.double(), at)
    return values.flatten(0, 1).to(weight.dtype).contiguous()


@torch.no_grad()
def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve x [n, in, h, w] with a kernel of `transformed`; padding is 1.

    Returns [n, out, h, w], its channels last in memory.
    """
    n, inputs, height, width = x.shape
    outputs = kernel.shape[2]
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    padded = x.new_empty(n, _TILE * rows + 2, _TILE * columns + 2, inputs)
    padded[:, 1 : height + 1, 1 : width + 1] = x.permute(0, 2, 3, 1)
    for edge in (
        padded[:, :1],
        padded[:, height + 1 :],
        padded[:, :, :1],
        padded[:, :, width + 1 :],
    ):
        edge.zero_()
    result = x.new_empty(n, _TILE * rows, _TILE * columns, outputs)
    most = max(1, _BLOCK_FLOATS // (_POINTS**2 * columns * max(inputs, outputs)))
    most = -(-rows // -(-rows // most))
    room = _Room(x, most, columns, inputs, outputs)
    for picture, drawn in zip(padded, result, strict=True):
        for first in range(0, rows, most):
            count = min(most, rows - first)
            part = picture[_TILE * first : _TILE * (first + count) + 2]
            values = room.values_of(part, count)
            products = torch.bmm(values, kernel, out=room.products(count))
            room.draw(products, drawn[_TILE * first : _TILE * (first + count)], count)
    if bias is not None:
        result += bias
    return result[:, :height, :width].permute(0, 3, 1, 2)


class _Room:
    """The memory of one convolution's blocks of tiles, which every block uses again."""

    def __init__(self, like: Tensor, rows: int, columns: int, inputs: int, outputs: int) -> None:
        self._columns, self._inputs, self._outputs = columns, inputs, outputs
        wide = _TILE * columns + 2
        tiles = rows * columns
        self._down = like.new_empty(_POINTS * rows * wide * inputs)
        self._values = like.new_empty(_POINTS**2 * tiles * inputs)
        self._products = like.new_empty(_POINTS**2 * tiles * outputs)
        self._across = like.new_empty(_TILE * _POINTS * tiles * outputs)
        most = max(rows * wide * inputs, _POINTS * tiles * max(inputs, outputs))
        self._spare = like.new_empty(2, most)

    def values_of(self, part: Tensor, rows: int) -> Tensor:
        """Return the tiles of a part [4·rows + 2, w, in] at all points: [36, rows·columns, in]."""
        wide, columns, inputs = part.shape[1], self._columns, self._inputs
        end = _TILE * rows
        down = _shaped(self._down, _POINTS, rows, wide, inputs)
        _values([part[at : at + end : _TILE] for at in range(_POINTS)], down, self._spare)
        end = _TILE * columns
        values = _shaped(self._values, _POINTS, _POINTS, rows, columns, inputs)
        _values([down[:, :, at : at + end : _TILE] for at in range(_POINTS)], values, self._spare)
        return values.view(_POINTS**2, rows * columns, inputs)

    def products(self, rows: int) -> Tensor:
        """Return where the products [36, rows·columns, out] are to go."""
        return _shaped(self._products, _POINTS**2, rows * self._columns, self._outputs)

    def draw(self, products: Tensor, drawn: Tensor, rows: int) -> None:
        """Turn values at the points back into outputs [4·rows, 4·columns, out]."""
        columns, outputs = self._columns, self._outputs
        values = products.view(_POINTS, _POINTS, rows, columns, outputs)
        across = _shaped(self._across, _TILE, _POINTS, rows, columns, outputs)
        _coefficients(list(values), list(across), self._spare)
        tiles = drawn.view(rows, _TILE, columns, _TILE, outputs)
        for place in range(_TILE):
            into = [tiles[:, row, :, place] for row in range(_TILE)]
            _coefficients(list(across[place]), into, self._spare)


def _values(d: Sequence[Tensor], into: Tensor, spare: Tensor) -> None:
    """Write at `into` [6, …] the sums of six inputs whose products belong together."""
    even, odd = (_shaped(each, *d[0].shape) for each in spare)
    torch.sub(d[4], d[2], alpha=4, out=even)
    torch.sub(d[3], d[1], alpha=4, out=odd)
    torch.add(even, odd, out=into[1])
    torch.sub(even, odd, out=into[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=into[3])
    torch.sub(even, odd, alpha=2, out=into[4])
    torch.sub(d[0], d[2], out=into[0])
    torch.add(even, into[0], alpha=4, out=into[0])
    torch.sub(d[5], d[3], out=into[5])
    torch.sub(into[5], odd, alpha=4, out=into[5])


def _coefficients(m: Sequence[Tensor], into: Sequence[Tensor], spare: Tensor) -> None:
    """Write the four outputs that six products make."""
    one, two = (_shaped(each, *m[0].shape) for each in spare)
    torch.add(m[1], m[2], out=one)
    torch.add(m[3], m[4], out=two)
    torch.add(m[0], one, out=into[0])
    into[0].add_(two)
    torch.add(one, two, alpha=4, out=into[2])
    torch.sub(m[1], m[2], out=one)
    torch.sub(m[3], m[4], out=two)
    torch.add(one, two, alpha=2, out=into[1])
    torch.add(one, two, alpha=8, out=into[3])
    into[3].add_(m[5])


def _shaped(memory: Tensor, *shape: int) -> Tensor:
    count = 1
    for length in shape:
        count *= length
    return memory[:count].view(shape)
