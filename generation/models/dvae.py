"""DALL·E's discrete VAE: OpenAI's encoder and decoder around 8,192 codes, in their own layout.

The published ``encoder.pkl`` and ``decoder.pkl`` are whole modules; their tensors are called
``blocks.input.w``, ``blocks.group_1.block_1.res_path.conv_1.w`` and so on. Here the names of
each file stand behind ``encoder.`` and ``decoder.``. All sizes are read off the shapes.

Source: Ramesh et al., Zero-Shot Text-to-Image Generation (2021), appendix A, and openai/DALL-E.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.checkpoints import CheckpointError
from generation.models.unfilled import unfilled

FACTOR = 8
"""How many pixels a code is wide: between the four groups there are three halvings."""

_GROUPS = 4
# Of the logit-Laplace distribution: pixels are kept this far from 0 and 1.
_EPSILON = 0.1
_UNFIT = "This dVAE's weights do not fit together: parts are missing or of another size."


class DVAEConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A dVAE's shape; the defaults are the published one's.

    `encoder_width` and `decoder_width` are the channels at full resolution, `embed_dim` those
    that the decoder makes of a code, `blocks` how many residual blocks a group has.
    """

    encoder_width: int = 256
    decoder_width: int = 256
    embed_dim: int = 128
    blocks: int = 2
    codes: int = 8192


def infer_config(weights: Mapping[str, Tensor]) -> DVAEConfig:
    """Read a configuration off the shapes of a state dict.

    Raises:
        CheckpointError: it is not a dVAE of the published layout.
    """
    try:
        block = re.compile(r"encoder\.blocks\.group_1\.block_(\d+)\.res_path\.conv_1\.w")
        codes = weights["decoder.blocks.input.w"]
        return DVAEConfig(
            encoder_width=weights["encoder.blocks.input.w"].shape[0],
            decoder_width=weights["decoder.blocks.output.conv.w"].shape[1],
            embed_dim=codes.shape[0],
            blocks=max(int(found[1]) for name in weights if (found := block.fullmatch(name))),
            codes=codes.shape[1],
        )
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            "These files are not the encoder and decoder of DALL·E's dVAE."
        ) from error


class DVAE(nn.Module):
    """Pictures [n, 3, h, w] in 0..1 to logits of codes [n, codes, h/8, w/8], and codes back."""

    def __init__(self, config: DVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Network(
            first=_Conv(3, config.encoder_width, 7),
            widths=[config.encoder_width << group for group in range(_GROUPS)],
            last=_Conv(config.encoder_width << _GROUPS - 1, config.codes, 1),
            blocks=config.blocks,
            kernels=(3, 3, 3, 1),
            resize=_halve,
        )
        self.decoder = _Network(
            first=_Conv(config.codes, config.embed_dim, 1),
            widths=[config.decoder_width << group for group in reversed(range(_GROUPS))],
            last=_Conv(config.decoder_width, 6, 1),
            blocks=config.blocks,
            kernels=(1, 3, 3, 3),
            resize=_double,
        )

    @classmethod
    def from_files(cls, encoder: Mapping[str, Tensor], decoder: Mapping[str, Tensor]) -> DVAE:
        """Build it from the tensors of the two published files; raises as `from_weights` does."""
        parts = {"encoder": encoder, "decoder": decoder}
        return cls.from_weights(
            {
                f"{part}.{name}": tensor
                for part, tensors in parts.items()
                for name, tensor in tensors.items()
            }
        )

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> DVAE:
        """Build the network that fits a state dict, and load it.

        Raises:
            CheckpointError: it is not a dVAE of the published layout.
        """
        config = infer_config(weights)
        with unfilled():
            model = cls(config)
        try:
            model.load_state_dict(dict(weights), assign=True)
        except RuntimeError as error:
            raise CheckpointError(_UNFIT) from error
        return model.float().eval().requires_grad_(False)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the logits of the codes that stand for pictures."""
        logits: Tensor = self.encoder((1 - 2 * _EPSILON) * pictures + _EPSILON)
        return logits

    def decode(self, codes: Tensor, soft: Tensor | None = None) -> Tensor:
        """Return the pictures of codes [n, h, w], in about −.125..1.125.

        With `soft`, logits [n, codes, h, w], the gradient that would have gone to the codes'
        one-hot vectors passes to the softmax of those (straight through).
        """
        first = self.decoder.first
        latents = F.embedding(codes, first.w[:, :, 0, 0].T).permute(0, 3, 1, 2)
        if soft is not None:
            latents = _StraightThrough.apply(latents, soft, first.w)
        latents = latents + first.b[:, None, None]
        # Of six channels the other three are the scale of the Laplace distribution.
        location = self.decoder.beyond_first(latents)[:, :3]
        pictures: Tensor = (location.sigmoid() - _EPSILON) / (1 - 2 * _EPSILON)
        return pictures


class _StraightThrough(torch.autograd.Function):
    """Passes on the codes' latents, and their gradient through a softmax to its logits.

    The same as ``conv(one_hot + softmax − softmax.detach())``, without three tensors of the
    size of the logits.
    """

    @staticmethod
    def forward(ctx: Any, latents: Tensor, logits: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(logits, kernel)
        return latents.view_as(latents)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        logits, kernel = ctx.saved_tensors
        chances = logits.softmax(dim=1)
        wanted = torch.einsum("ec,nehw->nchw", kernel[:, :, 0, 0], grad)
        return None, chances * (wanted - (chances * wanted).sum(dim=1, keepdim=True)), None


class _Conv(nn.Module):
    """A convolution that keeps the size, under its published names."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(outputs, inputs, size, size))
        self.b = nn.Parameter(torch.empty(outputs))

    @property
    def padding(self) -> tuple[int, int]:
        """By how many zeros the input is widened at both ends: down, across."""
        return self.w.shape[-2] // 2, self.w.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.w, self.b, padding=self.padding)


class _Block(nn.Module):
    """A residual block: ReLU and convolution, four times, at a quarter of the width."""

    def __init__(
        self, inputs: int, outputs: int, kernels: tuple[int, int, int, int], gain: float
    ) -> None:
        super().__init__()
        inner = outputs // 4
        widths = (inputs, inner, inner, inner, outputs)
        self.id_path = _Conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.res_path = nn.ModuleDict(
            {
                f"conv_{place + 1}": _Conv(widths[place], widths[place + 1], size)
                for place, size in enumerate(kernels)
            }
        )
        self._gain = gain

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        for conv in self.res_path.values():
            inner = conv(inner.relu())
        result: Tensor = self.id_path(x) + self._gain * inner
        return result


class _Network(nn.Module):
    """Four groups of blocks between two convolutions; the picture is resized between groups."""

    def __init__(
        self,
        *,
        first: _Conv,
        widths: list[int],
        last: _Conv,
        blocks: int,
        kernels: tuple[int, int, int, int],
        resize: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        gain = 1 / (_GROUPS * blocks) ** 2
        self.blocks = nn.ModuleDict({"input": first})
        before = first.w.shape[0]
        for group, width in enumerate(widths):
            made = nn.ModuleDict()
            for block in range(blocks):
                made[f"block_{block + 1}"] = _Block(before, width, kernels, gain)
                before = width
            self.blocks[f"group_{group + 1}"] = made
        self.blocks["output"] = nn.ModuleDict({"conv": last})
        self._resize = resize

    @property
    def first(self) -> _Conv:
        """The convolution that everything else comes after."""
        return cast(_Conv, self.blocks["input"])

    def forward(self, x: Tensor) -> Tensor:
        return self.beyond_first(self.first(x))

    def beyond_first(self, x: Tensor) -> Tensor:
        """Do all that comes after the first convolution."""
        for group in range(_GROUPS):
            if group:
                x = self._resize(x)
            for block in cast(nn.ModuleDict, self.blocks[f"group_{group + 1}"]).values():
                x = block(x)
        result: Tensor = cast(nn.ModuleDict, self.blocks["output"])["conv"](x.relu())
        return result


def _halve(x: Tensor) -> Tensor:
    # Torch's own pooling has no deterministic gradient on CUDA.
    n, channels, height, width = x.shape
    return x.reshape(n, channels, height // 2, 2, width // 2, 2).amax(dim=(3, 5))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
