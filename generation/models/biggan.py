"""BigGAN-deep's generator, from the published PyTorch layout, with a latent for every layer.

The published ``pytorch_model.bin`` files hold ``embeddings.weight`` and ``generator.*`` with
spectral norm as ``weight_orig``, ``weight_u`` and ``weight_v``, which is divided out once when
they are loaded. All sizes are read off the shapes, so no ``config.json`` is needed: in every
published model the blocks keep the size and double it by turns.

Source: Brock et al., Large Scale GAN Training for High Fidelity Natural Image Synthesis (2019),
appendix B, and huggingface/pytorch-pretrained-BigGAN. One known fault of that is mended: between
two truncations it weighs the nearer one's statistics by its distance.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.checkpoints import CheckpointError
from generation.models.unfilled import unfilled

_SIDE = 4
"""The side, in pixels, of what the first latent becomes."""

_EPSILON = 1e-4
_REDUCTION = 4
_FOREIGN = "This file is not a BigGAN-deep generator of the published layout."


class BigGANConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A generator's shape.

    `widths` are the channels before each block and after the last one. Every second block
    doubles the size. `attention` is the place among the layers of the one that attends.
    """

    latent_dim: int
    classes: int
    widths: tuple[int, ...]
    attention: int
    statistics: int

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.widths) - 1

    @property
    def latents(self) -> int:
        """How many latents a picture takes: one for the beginning and one for each block."""
        return self.blocks + 1

    @property
    def side(self) -> int:
        """The picture's width and height in pixels."""
        return _SIDE << self.blocks // 2


def infer_config(weights: Mapping[str, Tensor]) -> BigGANConfig:
    """Read a configuration off the shapes of a state dict, its spectral norm divided out or not.

    Raises:
        CheckpointError: it is not a BigGAN-deep of the published layout.
    """
    block = re.compile(r"generator\.layers\.(\d+)\.bn_0\.running_means")
    theta = re.compile(r"generator\.layers\.(\d+)\.snconv1x1_theta\.weight(_orig)?")
    places = sorted(int(found[1]) for name in weights if (found := block.fullmatch(name)))
    attention = [int(found[1]) for name in weights if (found := theta.fullmatch(name))]
    try:
        last = weights["generator.bn.running_means"].shape[1]
        latent_dim, classes = weights["embeddings.weight"].shape
        means = [weights[f"generator.layers.{place}.bn_0.running_means"] for place in places]
        config = BigGANConfig(
            latent_dim=latent_dim,
            classes=classes,
            widths=(*(each.shape[1] for each in means), last),
            attention=attention[0],
            statistics=means[0].shape[0],
        )
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(_FOREIGN) from error
    if len(attention) != 1 or len(places) % 2 or places != config_places(config):
        raise CheckpointError(_FOREIGN)
    return config


def config_places(config: BigGANConfig) -> list[int]:
    """Return the places of the blocks among the layers."""
    return [place for place in range(config.blocks + 1) if place != config.attention]


class BigGAN(nn.Module):
    """Latents and classes, one of each for every block and the beginning, to pictures in −1..1."""

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.Linear(config.classes, config.latent_dim, bias=False)
        self.generator = _Generator(config)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> BigGAN:
        """Build the generator that fits a state dict, and load it.

        Raises:
            CheckpointError: it is not a BigGAN-deep of the published layout.
        """
        config = infer_config(weights)
        with unfilled():
            model = cls(config)
        plain = without_spectral_norm(weights)
        kept = {name: tensor for name, tensor in plain.items() if name in model.state_dict()}
        try:
            model.load_state_dict(kept, assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                "This BigGAN's weights do not fit together: parts are missing or of another size."
            ) from error
        return model.float().eval().requires_grad_(False)

    def forward(self, latents: Tensor, classes: Tensor, truncation: float = 1.0) -> Tensor:
        """Draw [n, 3, side, side].

        Args:
            latents: [n, layers, latent_dim], standard normal times the truncation.
            classes: [n, layers, classes], how much of each class.
            truncation: 0..1, which of the statistics that were taken for such latents to use.
        """
        conditions = torch.cat([latents, self.embeddings(classes)], dim=2)
        pictures: Tensor = self.generator(conditions, truncation)
        return pictures


def without_spectral_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Divide each ``weight_orig`` by its largest singular value ``uᵀ W v``.

    Source: Miyato et al., Spectral Normalization for Generative Adversarial Networks (2018).
    """
    plain = {}
    for name, tensor in weights.items():
        stem, _, kind = name.rpartition("_")
        if kind == "orig":
            u, v = weights.get(f"{stem}_u"), weights.get(f"{stem}_v")
            if u is None or v is None:
                raise CheckpointError(_FOREIGN)
            plain[stem] = tensor / (u @ tensor.flatten(1) @ v)
        elif kind not in ("u", "v"):
            plain[name] = tensor
    return plain


class _Generator(nn.Module):
    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        condition = 2 * config.latent_dim
        first, last = config.widths[0], config.widths[-1]
        self.gen_z = nn.Linear(condition, _SIDE * _SIDE * first)
        self.layers = nn.ModuleList(
            _Block(
                config.widths[number],
                config.widths[number + 1],
                condition,
                config.statistics,
                doubles=number % 2 == 1,
            )
            for number in range(config.blocks)
        )
        attends = _Attention(config.widths[config.attention])
        self.layers.insert(config.attention, attends)
        self.bn = _FixedNorm(last, config.statistics)
        self.conv_to_rgb = nn.Conv2d(last, last, 3, padding=1)

    def forward(self, conditions: Tensor, truncation: float) -> Tensor:
        x = self.gen_z(conditions[:, 0]).view(len(conditions), _SIDE, _SIDE, -1)
        x = x.permute(0, 3, 1, 2)
        following = iter(conditions[:, 1:].unbind(dim=1))
        for layer in self.layers:
            x = layer(x) if isinstance(layer, _Attention) else layer(x, next(following), truncation)
        x = self.bn(x, truncation).relu()
        # The published layer makes as many channels as it takes, of which three are colours.
        weight, bias = self.conv_to_rgb.weight[:3], self.conv_to_rgb.bias
        assert bias is not None
        return F.conv2d(x, weight, bias[:3], padding=1).tanh()


class _Norm(nn.Module):
    """Statistics of activations for truncations from 0 to 1, evenly spaced.

    They stand for a batch's own, so that no picture depends on another.
    """

    running_means: Tensor
    running_vars: Tensor

    def __init__(self, width: int, statistics: int) -> None:
        super().__init__()
        self.register_buffer("running_means", torch.empty(statistics, width))
        self.register_buffer("running_vars", torch.empty(statistics, width))

    def statistics(self, truncation: float) -> tuple[Tensor, Tensor]:
        """Return means and variances [width], between two truncations in proportion."""
        place = min(max(truncation, 0.0), 1.0) * (len(self.running_means) - 1)
        below = min(int(place), len(self.running_means) - 2)
        return (
            torch.lerp(self.running_means[below], self.running_means[below + 1], place - below),
            torch.lerp(self.running_vars[below], self.running_vars[below + 1], place - below),
        )


class _FixedNorm(_Norm):
    """Scaled and shifted always alike."""

    def __init__(self, width: int, statistics: int) -> None:
        super().__init__(width, statistics)
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor, truncation: float) -> Tensor:
        mean, variance = self.statistics(truncation)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=_EPSILON)


class _ConditionalNorm(_Norm):
    """Scaled and shifted as the condition [n, condition] says."""

    def __init__(self, width: int, statistics: int, condition: int) -> None:
        super().__init__(width, statistics)
        self.scale = nn.Linear(condition, width, bias=False)
        self.offset = nn.Linear(condition, width, bias=False)

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        mean, variance = self.statistics(truncation)
        scale = (1 + self.scale(condition)) / (variance + _EPSILON).sqrt()
        offset = self.offset(condition) - mean * scale
        return torch.addcmul(offset[:, :, None, None], x, scale[:, :, None, None])


class _Block(nn.Module):
    """Four convolutions at a quarter of the width beside the picture itself."""

    def __init__(
        self, inputs: int, outputs: int, condition: int, statistics: int, *, doubles: bool
    ) -> None:
        super().__init__()
        inner = inputs // _REDUCTION
        widths, kernels = (inputs, inner, inner, inner, outputs), (1, 3, 3, 1)
        for place, kernel in enumerate(kernels):
            before, after = widths[place], widths[place + 1]
            norm = _ConditionalNorm(before, statistics, condition)
            setattr(self, f"bn_{place}", norm)
            setattr(self, f"conv_{place}", nn.Conv2d(before, after, kernel, padding=kernel // 2))
        self._outputs = outputs
        self._doubles = doubles

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        inner = x
        for place in range(4):
            norm, conv = getattr(self, f"bn_{place}"), getattr(self, f"conv_{place}")
            inner = norm(inner, condition, truncation).relu()
            if place == 1 and self._doubles:
                inner = _double(inner)
            inner = conv(inner)
        kept = x[:, : self._outputs]
        return inner + (_double(kept) if self._doubles else kept)


class _Attention(nn.Module):
    """Every place looks at every second place both ways.

    Source: Zhang et al., Self-Attention Generative Adversarial Networks (2019).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.snconv1x1_theta = nn.Conv2d(width, width // 8, 1, bias=False)
        self.snconv1x1_phi = nn.Conv2d(width, width // 8, 1, bias=False)
        self.snconv1x1_g = nn.Conv2d(width, width // 2, 1, bias=False)
        self.snconv1x1_o_conv = nn.Conv2d(width // 2, width, 1, bias=False)
        self.gamma = nn.Parameter(torch.empty(1))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.snconv1x1_theta(x).flatten(2).transpose(1, 2)
        keys = _halve(self.snconv1x1_phi(x)).flatten(2)
        values = _halve(self.snconv1x1_g(x)).flatten(2)
        looks = (queries @ keys).softmax(dim=2)
        seen = (values @ looks.transpose(1, 2)).view(len(x), -1, *x.shape[2:])
        result: Tensor = x + self.gamma * self.snconv1x1_o_conv(seen)
        return result


def _halve(x: Tensor) -> Tensor:
    # Torch's own pooling has no deterministic gradient on CUDA.
    n, channels, height, width = x.shape
    return x.reshape(n, channels, height // 2, 2, width // 2, 2).amax(dim=(3, 5))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
