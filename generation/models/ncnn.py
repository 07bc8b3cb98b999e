"""Reading ncnn's weight files: a text that names the layers, and their numbers in that order.

Only what image networks of convolutions need is known. Nothing in the files is executed.

Source: the file formats as described in ncnn's wiki, "param and model file structure".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_MAGIC = "7767517"
_FLOAT16, _FLOAT32 = 0x01306B47, 0
_MAX_LAYERS = 100_000


class NcnnError(ValueError):
    """Files that are not of this format, or hold what is not known here."""


@dataclass(frozen=True)
class Layer:
    """A layer with weights: `kind` is ncnn's name for it.

    A ``Convolution`` has `weight` [out, in, k, k] and `bias` [out] or None; a ``PReLU`` has its
    slopes as `weight` [channels].
    """

    kind: str
    name: str
    weight: Tensor
    bias: Tensor | None


def read_layers(param: str, weights: bytes) -> list[Layer]:
    """Return the layers with weights, in network order, as float32.

    Raises:
        NcnnError: not ncnn's files, cut off, or with weights of a kind that is not known.
    """
    reader = _Reader(weights)
    layers = []
    for kind, name, values in _described(param):
        if kind == "Convolution":
            layers.append(_convolution(name, values, reader))
        elif kind == "PReLU":
            layers.append(Layer(kind, name, reader.floats(_whole(values, 0)), None))
        elif kind in ("InnerProduct", "ConvolutionDepthWise", "Deconvolution", "BatchNorm"):
            raise NcnnError(f"the layer {name} is a {kind}, which is not known")
    if not reader.at_end:
        raise NcnnError("the weights go on after the last layer")
    return layers


def _convolution(name: str, values: dict[int, str], reader: _Reader) -> Layer:
    out, kernel, size = (_whole(values, key) for key in (0, 1, 6))
    if out == 0 or kernel == 0 or size % (out * kernel * kernel):
        raise NcnnError(f"the sizes of {name} do not go together")
    weight = reader.weights(size).reshape(out, -1, kernel, kernel)
    return Layer("Convolution", name, weight, reader.floats(out) if _whole(values, 5) else None)


def _described(param: str) -> Iterator[tuple[str, str, dict[int, str]]]:
    lines = param.split("\n")
    if lines[0].strip() != _MAGIC or len(lines) > _MAX_LAYERS:
        raise NcnnError("this is not a .param file of ncnn")
    for line in lines[2:]:
        words = line.split()
        if len(words) < 4:
            continue
        try:
            first = 4 + int(words[2]) + int(words[3])
            pairs = (word.split("=", 1) for word in words[first:])
            yield words[0], words[1], {int(pair[0]): pair[1] for pair in pairs}
        except (ValueError, IndexError) as error:
            raise NcnnError(f"this line is not understood: {line[:80]}") from error


def _whole(values: dict[int, str], key: int) -> int:
    try:
        number = int(values.get(key, "0"))
    except ValueError as error:
        raise NcnnError(f"{values[key][:20]} is not a whole number") from error
    if not 0 <= number < 2**28:
        raise NcnnError(f"{number} is out of range")
    return number


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._data)

    def weights(self, count: int) -> Tensor:
        """Read numbers that begin with a word saying how they are kept."""
        flag = int(np.frombuffer(self._take(4), "<u4")[0])
        if flag == _FLOAT32:
            return self.floats(count)
        if flag != _FLOAT16:
            raise NcnnError(f"weights of kind {flag:#x} are not known")
        padded = -(-2 * count // 4) * 4
        halves = np.frombuffer(self._take(padded), "<f2")[:count]
        return torch.from_numpy(halves.astype(np.float32))

    def floats(self, count: int) -> Tensor:
        return torch.from_numpy(np.frombuffer(self._take(4 * count), "<f4").copy())

    def _take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise NcnnError("the weights are cut off")
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken
