"""Perceptual distance: the first slices of the shift-tolerant VGG16 of ST-LPIPS.

Only the weight file of the package is read; the network is written out here.

Source: Ghildyal & Liu 2022, *Shift-tolerant Perceptual Similarity Metric*.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from training.fetch import package_dir
from training.paths import subdir

_CONVOLUTIONS = (
    ("slice1.0", "slice1.2"),
    ("slice2.6", "slice2.8"),
    ("slice3.12", "slice3.14", "slice3.16"),
    ("slice4.20", "slice4.22", "slice4.24"),
    ("slice5.28", "slice5.30", "slice5.32"),
)
_FILTERS = ("", "slice2.5", "slice3.11", "slice4.19", "slice5.27")


def carried_weights() -> Path:
    """Return where packs leave the first slices' weights, for machines without the package."""
    return subdir("pictures") / "perceptual.safetensors"


def perceptual_weights(slices: int) -> dict[str, Tensor]:
    """Return the weights of the first slices, from the package or else from a pack.

    Raises:
        FileNotFoundError: neither is there, or the pack holds fewer slices.
    """
    try:
        folder = package_dir("stlpips-pytorch") / "stlpips_pytorch/weights/vST0.0"
        state = torch.load(folder / "vgg_shift_tolerant.pth", map_location="cpu", weights_only=True)
    except FileNotFoundError:
        if not carried_weights().exists():
            raise
        state = {name: value.float() for name, value in load_file(carried_weights()).items()}
    wanted = [f"net.{name}.{part}" for names in _CONVOLUTIONS[:slices] for name in names
              for part in ("weight", "bias")]  # fmt: skip
    wanted += [f"net.{name}.filt" for name in _FILTERS[1:slices]]
    wanted += [f"lin{i}.model.1.weight" for i in range(slices)]
    missing = [name for name in wanted if name not in state]
    if missing:
        raise FileNotFoundError(f"the pack has no weights for {slices} perceptual slices")
    return {name: state[name] for name in (*wanted, "scaling_layer.shift", "scaling_layer.scale")}


class Perceptual(nn.Module):
    """LPIPS over the first ``slices`` of five VGG16 slices (three are enough to train with)."""

    def __init__(self, slices: int = 3) -> None:
        super().__init__()
        state = perceptual_weights(slices)
        self.slices = slices
        for key, value in state.items():
            self.register_buffer(key.replace(".", "_"), value)

    def _at(self, name: str) -> Tensor:
        buffer: Tensor = self.get_buffer(name.replace(".", "_"))
        return buffer

    def features(self, images: Tensor) -> list[Tensor]:
        """Return unit-length features per slice for pictures [B, 3, H, W] in -1..1."""
        x = (images - self._at("scaling_layer.shift")) / self._at("scaling_layer.scale")
        found = []
        for names, blur in zip(_CONVOLUTIONS[: self.slices], _FILTERS, strict=False):
            if blur:
                x = F.max_pool2d(x, 2, 1)
                kernel = self._at(f"net.{blur}.filt").to(x.dtype)
                x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2,
                             groups=x.shape[1])  # fmt: skip
            for name in names:
                x = F.relu(
                    F.conv2d(x, self._at(f"net.{name}.weight"), self._at(f"net.{name}.bias"),
                             padding=1)
                )  # fmt: skip
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8))
        return found

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the distance [B] between pictures in -1..1."""
        with torch.no_grad():
            wanted = self.features(targets)
        total = images.new_zeros(len(images))
        for i, (a, b) in enumerate(zip(self.features(images), wanted, strict=True)):
            weight = self._at(f"lin{i}.model.1.weight").to(a.dtype)
            total = total + F.conv2d((a - b).square(), weight).mean((1, 2, 3))
        return total
