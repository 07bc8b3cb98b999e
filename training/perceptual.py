"""Perceptual distance: the first slices of the shift-tolerant VGG16 of ST-LPIPS.

Only the weight file of the package is read; the network is written out here.

Source: Ghildyal & Liu 2022, *Shift-tolerant Perceptual Similarity Metric*.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fetch import package_dir

_CONVOLUTIONS = (
    ("slice1.0", "slice1.2"),
    ("slice2.6", "slice2.8"),
    ("slice3.12", "slice3.14", "slice3.16"),
    ("slice4.20", "slice4.22", "slice4.24"),
    ("slice5.28", "slice5.30", "slice5.32"),
)
_FILTERS = ("", "slice2.5", "slice3.11", "slice4.19", "slice5.27")


class Perceptual(nn.Module):
    """LPIPS over the first ``slices`` of five VGG16 slices (three are enough to train with)."""

    def __init__(self, slices: int = 3) -> None:
        super().__init__()
        path = package_dir("stlpips-pytorch") / "stlpips_pytorch/weights/vST0.0"
        state = torch.load(path / "vgg_shift_tolerant.pth", map_location="cpu", weights_only=True)
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
