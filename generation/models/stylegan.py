"""StyleGAN2: latents w to pictures, and noise z to latents.

The network's names are those of NVIDIA's stylegan2-ada-pytorch (``mapping.fc0.weight``,
``synthesis.b4.const`` …); `generation.models.stylegan_files` brings other layouts to them. The
shapes of the weights tell the whole configuration. What StyleGAN2 multiplies into the weights of
each picture's convolutions is multiplied here into what goes in and comes out, which is the same
and lets a batch share one convolution.

Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN (2020); Training
Generative Adversarial Networks with Limited Data (2020).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.checkpoints import CheckpointError

CLAMP = "synthesis.clamp"
"""A scalar beside the weights: beyond which activations are cut off, where the file says so."""

_BASE = 4
_SLOPE = 0.2
_GAIN = math.sqrt(2)
_MAPPING_RATE = 0.01
_EPSILON = 1e-8
_FILTER = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class StyleGANConfig:
    """The shape of a network. `classes` is 0 where it was trained without labels."""

    resolution: int
    z_dim: int
    w_dim: int
    mapping_layers: int
    classes: int

    @property
    def latents(self) -> int:
        """How many latents w a picture has: one for each convolution, and the last colours'."""
        return 2 * int(math.log2(self.resolution)) - 2


def infer_config(weights: Mapping[str, Tensor]) -> StyleGANConfig:
    """Read a configuration off the shapes of a state dict.

    Raises:
        CheckpointError: it is not a StyleGAN2 of the published layout.
    """
    sides = sorted(_numbers(weights, r"synthesis\.b(\d+)\.conv1\.weight"))
    layers = sorted(_numbers(weights, r"mapping\.fc(\d+)\.weight"))
    if not sides or sides != [_BASE << level for level in range(len(sides))]:
        raise CheckpointError("This file is not a StyleGAN2 of the published layout.")
    if not layers or layers != list(range(len(layers))):
        raise CheckpointError("This StyleGAN2 lacks the network that makes its latents.")
    if any(name.endswith(".skip.weight") for name in weights):
        raise CheckpointError("This StyleGAN2 is of the residual kind, which nothing here draws.")
    try:
        channels = weights[f"synthesis.b{sides[-1]}.torgb.weight"].shape[0]
        if channels != 3:
            raise CheckpointError(f"This StyleGAN2 draws {channels} channels and not three.")
        embed = weights.get("mapping.embed.weight")
        w_dim = weights[f"mapping.fc{layers[-1]}.weight"].shape[0]
        width = weights["mapping.fc0.weight"].shape[1]
        return StyleGANConfig(
            resolution=sides[-1],
            z_dim=width - (0 if embed is None else embed.shape[0]),
            w_dim=w_dim,
            mapping_layers=len(layers),
            classes=0 if embed is None else embed.shape[1],
        )
    except (KeyError, IndexError) as error:
        raise CheckpointError("This file is not a StyleGAN2 of the published layout.") from error


class StyleGAN2(nn.Module):
    """A generator with its noise fixed: the same latents always give the same picture."""

    def __init__(self, config: StyleGANConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        clamp = weights.get(CLAMP)
        self._clamp = None if clamp is None else float(clamp)
        self.mapping = _Mapping(config, weights)
        sides = [_BASE << level for level in range(config.latents // 2)]
        self.blocks = nn.ModuleList(
            _Block(side, weights, config.w_dim, self._clamp) for side in sides
        )
        self.widths = [len(weights[f"synthesis.b{side}.conv1.bias"]) for side in sides]
        average = weights.get("mapping.w_avg")
        self.register_buffer("w_avg", None if average is None else average.float())

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> StyleGAN2:
        """Build the network that fits a state dict, and load it.

        Raises:
            CheckpointError: it is not a StyleGAN2 of the published layout.
        """
        config = infer_config(weights)
        try:
            model = cls(config, weights)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                "This StyleGAN2's weights do not fit together: parts are missing or of another "
                "size."
            ) from error
        return model.eval().requires_grad_(False)

    def predict_bytes(self) -> int:
        """Estimate what one picture keeps for its gradient: about ten maps a resolution."""
        return sum(
            10 * 4 * self.widths[level] * (_BASE << level) ** 2 for level in range(len(self.blocks))
        )

    def latents_of(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        """Map noise [n, z_dim] (and classes [n], where it knows any) to latents [n, w_dim]."""
        w: Tensor = self.mapping(z, classes)
        return w

    def synthesise(self, latents: Tensor) -> Tensor:
        """Return the pictures [n, 3, resolution, resolution], in about −1..1, of latents.

        Args:
            latents: [n, latents, w_dim].
        """
        features: Tensor | None = None
        picture: Tensor | None = None
        for level, block in enumerate(self.blocks):
            first = max(0, 2 * level - 1)
            features, picture = block(features, picture, latents[:, first:])
        assert picture is not None
        return picture


class _Linear(nn.Module):
    """A product whose weights are stored as if they were of unit variance."""

    def __init__(
        self, name: str, weights: Mapping[str, Tensor], inputs: int, rate: float = 1.0
    ) -> None:
        super().__init__()
        weight = _of_shape(weights, f"{name}.weight", (-1, inputs))
        bias = _of_shape(weights, f"{name}.bias", (weight.shape[0],))
        self.register_buffer("weight", weight * (rate / math.sqrt(inputs)))
        self.register_buffer("bias", bias * rate)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get_buffer("weight"), self.get_buffer("bias"))


class _Mapping(nn.Module):
    def __init__(self, config: StyleGANConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._z_dim = config.z_dim
        self._classes = config.classes
        self.embed = None
        inputs = config.z_dim
        if config.classes:
            self.embed = _Linear("mapping.embed", weights, config.classes)
            inputs = weights["mapping.fc0.weight"].shape[1]
        layers = []
        for index in range(config.mapping_layers):
            layer = _Linear(f"mapping.fc{index}", weights, inputs, _MAPPING_RATE)
            layers.append(layer)
            inputs = layer.get_buffer("weight").shape[0]
        self.layers = nn.ModuleList(layers)

    def forward(self, z: Tensor, classes: Tensor | None) -> Tensor:
        x = _unit_variance(z)
        if self.embed is not None:
            if classes is None:
                raise ValueError("this StyleGAN2 needs to be told a class")
            one_hot = F.one_hot(classes, self._classes).to(z.dtype)
            x = torch.cat([x, _unit_variance(self.embed(one_hot))], dim=1)
        for layer in self.layers:
            x = _activate(layer(x))
        return x


class _Block(nn.Module):
    """One resolution: convolutions, and the colours that they add to the picture."""

    def __init__(
        self, side: int, weights: Mapping[str, Tensor], w_dim: int, clamp: float | None
    ) -> None:
        super().__init__()
        name = f"synthesis.b{side}"
        self.first: _Layer | None = None
        if side == _BASE:
            const = _of_shape(weights, f"{name}.const", (-1, _BASE, _BASE))
            self.register_buffer("const", const)
        else:
            self.first = _Layer(f"{name}.conv0", weights, w_dim, side, up=True, clamp=clamp)
        self.second = _Layer(f"{name}.conv1", weights, w_dim, side, up=False, clamp=clamp)
        self.colours = _Colours(f"{name}.torgb", weights, w_dim, clamp)
        self.register_buffer("filter", _filter(), persistent=False)

    def forward(
        self, x: Tensor | None, picture: Tensor | None, latents: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first is None:
            x = self.get_buffer("const").expand(len(latents), -1, -1, -1)
        else:
            assert x is not None
            x = self.first(x, latents[:, 0])
            latents = latents[:, 1:]
        x = self.second(x, latents[:, 0])
        added: Tensor = self.colours(x, latents[:, 1])
        if picture is not None:
            kernel = self.get_buffer("filter").expand(picture.shape[1], 1, -1, -1)
            enlarged = F.conv_transpose2d(
                picture, kernel, stride=2, padding=1, groups=picture.shape[1]
            )
            added = added + enlarged
        assert x is not None
        return x, added


class _Layer(nn.Module):
    """A 3×3 convolution in a style: inputs scaled by it, outputs brought back to unit variance."""

    def __init__(
        self,
        name: str,
        weights: Mapping[str, Tensor],
        w_dim: int,
        side: int,
        *,
        up: bool,
        clamp: float | None,
    ) -> None:
        super().__init__()
        self._up, self._clamp = up, clamp
        self.style = _Linear(f"{name}.affine", weights, w_dim)
        inputs = self.style.get_buffer("weight").shape[0]
        weight = _of_shape(weights, f"{name}.weight", (-1, inputs, 3, 3))
        outputs = weight.shape[0]
        self.register_buffer("weight", weight.transpose(0, 1).contiguous() if up else weight)
        self.register_buffer("squares", weight.square().sum(dim=(2, 3)))
        self.register_buffer("bias", _of_shape(weights, f"{name}.bias", (outputs,)))
        noise = torch.zeros(1, 1)
        if f"{name}.noise_const" in weights:
            noise = _of_shape(weights, f"{name}.noise_const", (side, side))
            noise = noise * _of_shape(weights, f"{name}.noise_strength", ())
        self.register_buffer("noise", noise)
        self.register_buffer("filter", _filter(), persistent=False)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        style = self.style(latent)
        demodulation = (style.square() @ self.get_buffer("squares").T + _EPSILON).rsqrt()
        x = x * style[:, :, None, None]
        if self._up:
            x = F.conv_transpose2d(x, self.get_buffer("weight"), stride=2)
            kernel = self.get_buffer("filter").expand(x.shape[1], 1, -1, -1)
            x = F.conv2d(x, kernel, padding=1, groups=x.shape[1])
        else:
            x = F.conv2d(x, self.get_buffer("weight"), padding=1)
        x = x * demodulation[:, :, None, None] + self.get_buffer("noise")
        return _clamped(_activate(x + self.get_buffer("bias")[:, None, None]), self._clamp)


class _Colours(nn.Module):
    def __init__(
        self, name: str, weights: Mapping[str, Tensor], w_dim: int, clamp: float | None
    ) -> None:
        super().__init__()
        self._clamp = clamp
        self.style = _Linear(f"{name}.affine", weights, w_dim)
        inputs = self.style.get_buffer("weight").shape[0]
        weight = _of_shape(weights, f"{name}.weight", (3, inputs, 1, 1))
        self.register_buffer("weight", weight / math.sqrt(inputs))
        self.register_buffer("bias", _of_shape(weights, f"{name}.bias", (3,)))

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        style = self.style(latent)
        colours = F.conv2d(x * style[:, :, None, None], self.get_buffer("weight"))
        return _clamped(colours + self.get_buffer("bias")[:, None, None], self._clamp)


def _unit_variance(x: Tensor) -> Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + _EPSILON).rsqrt()


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE) * _GAIN


def _clamped(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)


def _filter() -> Tensor:
    """Return the low-pass filter [1, 1, 4, 4] that goes with doubling; it sums to 4."""
    taps = torch.tensor(_FILTER)
    kernel = torch.outer(taps, taps)
    return (4 * kernel / kernel.sum())[None, None]


def _of_shape(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """Return a weight in float32; −1 stands for any length."""
    weight = weights[name].float()
    if weight.dim() != len(shape) or any(
        wanted not in (-1, found) for wanted, found in zip(shape, weight.shape, strict=True)
    ):
        raise ValueError(f"{name} is of shape {tuple(weight.shape)}")
    return weight


def _numbers(weights: Mapping[str, Tensor], pattern: str) -> list[int]:
    compiled = re.compile(pattern)
    return [int(found[1]) for name in weights if (found := compiled.fullmatch(name))]
