"""Reading published StyleGAN2 files: NVIDIA's pickles and rosinality's checkpoints.

An NVIDIA ``.pkl`` holds whole networks with the source of the classes that made them, which its
own reader runs. Here nothing of it runs: modules are taken as the tables of tensors that they
are, and every other class becomes an inert stub. Either file becomes safetensors beside it when
it is first read.

Source: NVlabs/stylegan2-ada-pytorch, ``torch_utils/persistence.py`` and ``legacy.py``;
rosinality/stylegan2-pytorch, ``model.py`` and ``convert_weight.py``.
"""

from __future__ import annotations

import argparse
import io
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generation.models.checkpoints import CheckpointError, file_sha256
from generation.models.pickles import BoundedUnpickler
from generation.models.stylegan import CLAMP

_PARTS = ("weight", "bias")


def read_stylegan(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Return a published file's averaged generator as `StyleGAN2` names its tensors.

    Raises:
        CheckpointError: missing, damaged, not the published file, or of another network.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} is not in {path.parent}.")
    if sha256 is not None and file_sha256(path) != sha256.lower():
        raise CheckpointError(
            f"{path.name} is not the published file. Delete it and fetch it again."
        )
    if path.suffix == ".pkl":
        return _generator(_unpickle(path), path)
    try:
        # Besides tensors there are the options that it was trained with.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle can fail in any way
        raise CheckpointError(
            f"{path.name} is not a StyleGAN2 checkpoint, or is damaged or incomplete. "
            "Fetch it again."
        ) from error
    weights = content.get("g_ema") if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping) or not isinstance(weights, Mapping):
        raise CheckpointError(f"{path.name} holds no averaged generator (g_ema).")
    tensors = {name: each for name, each in weights.items() if isinstance(each, Tensor)}
    average = content.get("latent_avg")
    return from_rosinality(tensors, average if isinstance(average, Tensor) else None)


# --- rosinality's layout ---------------------------------------------------------------------


def from_rosinality(weights: Mapping[str, Tensor], average: Tensor | None) -> dict[str, Tensor]:
    """Give the tensors of rosinality's ``Generator`` the names that `StyleGAN2` knows.

    Raises:
        CheckpointError: some are missing.
    """
    try:
        return _from_rosinality(weights, average)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError("This file is not a StyleGAN2 of rosinality's layout.") from error


def _from_rosinality(weights: Mapping[str, Tensor], average: Tensor | None) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    index = 0
    while f"style.{index + 1}.weight" in weights:
        for part in _PARTS:
            found[f"mapping.fc{index}.{part}"] = weights[f"style.{index + 1}.{part}"]
        index += 1
    if average is not None:
        found["mapping.w_avg"] = average.flatten()
    found["synthesis.b4.const"] = weights["input.input"][0]
    _take_layer(found, "synthesis.b4.conv1", weights, "conv1", 0)
    _take_colours(found, "synthesis.b4.torgb", weights, "to_rgb1")
    level = 0
    while f"to_rgbs.{level}.bias" in weights:
        block = f"synthesis.b{8 << level}"
        for nth in (0, 1):
            layer = 2 * level + nth
            _take_layer(found, f"{block}.conv{nth}", weights, f"convs.{layer}", layer + 1)
        _take_colours(found, f"{block}.torgb", weights, f"to_rgbs.{level}")
        level += 1
    return found


def _take_layer(
    found: dict[str, Tensor], ours: str, weights: Mapping[str, Tensor], theirs: str, noise: int
) -> None:
    found[f"{ours}.weight"] = weights[f"{theirs}.conv.weight"][0]
    for part in _PARTS:
        found[f"{ours}.affine.{part}"] = weights[f"{theirs}.conv.modulation.{part}"]
    found[f"{ours}.bias"] = weights[f"{theirs}.activate.bias"].flatten()
    if f"noises.noise_{noise}" in weights:
        found[f"{ours}.noise_const"] = weights[f"noises.noise_{noise}"][0, 0]
        found[f"{ours}.noise_strength"] = weights[f"{theirs}.noise.weight"].reshape(())


def _take_colours(
    found: dict[str, Tensor], ours: str, weights: Mapping[str, Tensor], theirs: str
) -> None:
    found[f"{ours}.weight"] = weights[f"{theirs}.conv.weight"][0]
    for part in _PARTS:
        found[f"{ours}.affine.{part}"] = weights[f"{theirs}.conv.modulation.{part}"]
    found[f"{ours}.bias"] = weights[f"{theirs}.bias"].flatten()


# --- NVIDIA's pickles ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Network:
    """A pickled network: the name of its class, and what its instance held."""

    kind: str
    state: Mapping[str, Any]


@dataclass(frozen=True)
class _Stored:
    """A tensor that has not been read yet, so that those nobody wants never are."""

    data: object
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """Read it.

        Raises:
            ValueError: its description does not fit its data.
        """
        if not isinstance(self.data, bytes):
            raise ValueError("a tensor without data")
        # A pickle of its own, of one storage; torch's restricted reader knows nothing else.
        storage = torch.load(io.BytesIO(self.data), map_location="cpu", weights_only=True)
        flat = torch.tensor([], dtype=storage.dtype).set_(storage)
        spans = [(length - 1) * step for length, step in zip(self.size, self.stride, strict=True)]
        if min((self.offset, *self.size, *self.stride)) < 0 or self.offset + sum(spans) >= max(
            1, flat.numel()
        ):
            raise ValueError("a tensor larger than its data")
        tensor: Tensor = flat.as_strided(self.size, self.stride, self.offset).clone()
        return tensor


class _Stub:
    """Stands for everything else that a pickle names: takes all, does nothing."""

    __slots__ = ()

    def __new__(cls, *_args: object, **_kwargs: object) -> _Stub:
        return super().__new__(cls)

    def __call__(self, *_args: object, **_kwargs: object) -> _Stub:
        return self

    def __setstate__(self, _state: object) -> None: ...

    def __setitem__(self, _key: object, _value: object) -> None: ...

    def append(self, _item: object) -> None: ...

    def extend(self, _items: object) -> None: ...

    def add(self, _item: object) -> None: ...


def _network(meta: object, *_rest: object) -> object:
    if isinstance(meta, Mapping) and isinstance(meta.get("state"), Mapping):
        return _Network(str(meta.get("class_name")), meta["state"])
    return _Stub()


def _stored(data: object, offset: int, size: Any, stride: Any, *_rest: object) -> _Stored:
    return _Stored(
        data,
        int(offset),
        tuple(int(each) for each in size),
        tuple(int(each) for each in stride),
    )


class _Unpickler(BoundedUnpickler):
    """Knows what tables of tensors are made of. Each name gives a fresh object of our own."""

    def find_class(self, module: str, name: str) -> Any:
        match f"{module}.{name}":
            case "collections.OrderedDict":
                return OrderedDict
            case "torch_utils.persistence._reconstruct_persistent_obj":
                return _Call(_network)
            case "torch._utils._rebuild_tensor_v2":
                return _Call(_stored)
            case "torch._utils._rebuild_parameter":
                return _Call(lambda tensor, *_rest: tensor)
            case "torch.storage._load_from_bytes":
                return _Call(lambda data: data)
        # A class, for instances to be made of; a new one, since a pickle may write on it.
        return type("Inert", (_Stub,), {})


class _Call:
    """A function that a pickle may call and, unlike a function itself, not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, _state: object) -> None: ...


def _unpickle(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = _Unpickler(file).load()
    except Exception as error:  # a pickle can fail in any way
        raise CheckpointError(
            f"{path.name} is not a StyleGAN2 pickle, or is damaged or incomplete. Fetch it again."
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path.name} is not one of stylegan2-ada-pytorch's files. Those of the older "
            "TensorFlow version have to be converted with its legacy.py first."
        )
    return content


def _generator(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    network = content.get("G_ema")
    if not isinstance(network, _Network) or network.kind != "Generator":
        raise CheckpointError(f"{path.name} holds no averaged generator (G_ema).")
    found: dict[str, Tensor] = {}
    try:
        _collect(network, "", found)
    except Exception as error:
        raise CheckpointError(f"{path.name} is damaged. Fetch it again.") from error
    clamps = {value for value in _attributes(network, "conv_clamp") if value is not None}
    if len(clamps) > 1:
        raise CheckpointError(f"{path.name} clamps its layers differently; nothing here does.")
    if clamps:
        found[CLAMP] = torch.tensor(float(clamps.pop()))
    expected = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
    for name in [name for name in found if name.endswith(".resample_filter")]:
        kernel = found.pop(name)
        if kernel.shape != expected.shape or not torch.allclose(kernel, expected):
            raise CheckpointError(f"{path.name} resamples by a filter that nothing here knows.")
    return found


def _collect(network: _Network, prefix: str, found: dict[str, Tensor]) -> None:
    """Gather the tensors of a network and of those within it, by their names."""
    for table in ("_parameters", "_buffers"):
        for name, value in _table(network, table).items():
            if isinstance(value, _Stored):
                found[f"{prefix}{name}"] = value.read()
    for name, inner in _table(network, "_modules").items():
        if isinstance(inner, _Network):
            _collect(inner, f"{prefix}{name}.", found)


def _attributes(network: _Network, name: str) -> list[float | None]:
    """Return what networks within one hold under a name, of those that have numbers there."""
    value = network.state.get(name)
    found: list[float | None] = []
    if isinstance(value, int | float) and math.isfinite(value):
        found.append(float(value))
    for inner in _table(network, "_modules").values():
        if isinstance(inner, _Network):
            found += _attributes(inner, name)
    return found


def _table(network: _Network, name: str) -> Mapping[str, Any]:
    table = network.state.get(name)
    return table if isinstance(table, Mapping) else {}
