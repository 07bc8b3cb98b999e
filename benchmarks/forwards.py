"""Compare the networks' forward passes with their public implementations, on random weights.

    pip install --no-deps pytorch-pretrained-biggan boto3 botocore s3transfer jmespath \\
        DALL-E attrs siren-pytorch
    python -m benchmarks.forwards

The suite compares with independent readings of the layouts instead: these packages pin versions
that nothing else can live with. Prints one line a network: its parameters and the largest
difference of what both draw.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from generation.canvases.siren import evaluate, grid
from generation.models.biggan import BigGAN
from generation.models.dvae import DVAE


@torch.no_grad()
def biggan() -> tuple[int, float]:
    """Draw with BigGAN-deep-128 as huggingface/pytorch-pretrained-BigGAN does."""
    package = importlib.import_module("pytorch_pretrained_biggan")
    theirs = package.BigGAN(package.BigGANConfig()).eval()
    random = torch.Generator().manual_seed(1)
    state = theirs.state_dict()
    for name, value in state.items():
        if name.endswith("_orig"):
            _settle(value.flatten(1), state[name[:-4] + "u"], state[name[:-4] + "v"])
        if name.endswith(("gamma", "bn.weight", "bn.bias", "running_means")):
            value.copy_(0.5 * torch.randn(value.shape, generator=random))
        elif name.endswith("running_vars"):
            value.copy_(0.5 + torch.rand(value.shape, generator=random))
    ours = BigGAN.from_weights(theirs.state_dict()).eval()
    latents = torch.randn(2, 128, generator=random)
    classes = torch.rand(2, 1000, generator=random) * 0.01
    worst = 0.0
    for truncation in (0.4, 1.0):  # between their statistics the package mixes them up
        expected = theirs(latents, classes, truncation)
        layers = [each[:, None].expand(-1, ours.config.latents, -1) for each in (latents, classes)]
        worst = max(worst, _apart(ours(*layers, truncation), expected))
    return _count(theirs), worst


@torch.no_grad()
def dvae() -> tuple[int, float]:
    """Encode and decode with the full shapes as openai/DALL-E does."""
    package = importlib.import_module("dall_e")
    torch.manual_seed(2)
    encoder, decoder = package.Encoder().eval(), package.Decoder().eval()
    decoder.blocks.input.w.mul_(8192**0.5)  # of 8,192 inputs only one is not zero
    ours = DVAE.from_files(encoder.state_dict(), decoder.state_dict()).eval()
    pictures = torch.rand(1, 3, 64, 48)
    logits = encoder(package.map_pixels(pictures))
    codes = logits.argmax(dim=1)
    one_hot = torch.nn.functional.one_hot(codes, 8192).permute(0, 3, 1, 2).float()
    drawn = package.unmap_pixels(decoder(one_hot)[:, :3].sigmoid())
    apart = max(
        _apart(ours.encode(pictures), logits), _apart(ours.decode(codes).clamp(0, 1), drawn)
    )
    return _count(encoder) + _count(decoder), apart


@torch.no_grad()
def siren() -> tuple[int, float]:
    """Draw with 16 layers of 256 sines as lucidrains/siren-pytorch does for Deep Daze."""
    package = importlib.import_module("siren_pytorch")
    torch.manual_seed(3)
    theirs = package.SirenNet(
        dim_in=2, dim_hidden=256, dim_out=3, num_layers=16, w0=30.0, w0_initial=30.0
    )
    first, *hidden = theirs.layers
    parameters = {
        "first": first.weight,
        "first_bias": first.bias,
        "hidden": torch.stack([layer.weight for layer in hidden]),
        "hidden_bias": torch.stack([layer.bias for layer in hidden]),
        "last": theirs.last_layer.weight,
        "last_bias": theirs.last_layer.bias,
    }
    places = grid(64, 48)
    ours = evaluate({name: value[None] for name, value in parameters.items()}, places[None])[0]
    return _count(theirs), _apart(ours, theirs(places))


def _settle(weights: Tensor, left: Tensor, right: Tensor) -> None:
    """Find the largest singular value's vectors, which training would have found."""
    for _ in range(20):
        right.copy_(torch.nn.functional.normalize(weights.T @ left, dim=0))
        left.copy_(torch.nn.functional.normalize(weights @ right, dim=0))


def _apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    assert bool(other.isfinite().all()) and float(other.std()) > 1e-3, "both must draw something"
    return float((one - other).abs().max())


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> None:
    """Print how far each is from its public implementation."""
    for compare in (biggan, dvae, siren):
        try:
            parameters, apart = compare()
        except ModuleNotFoundError as error:
            print(f"{compare.__name__}: {error}")
            continue
        print(f"{compare.__name__}: {parameters:,} parameters, at most {apart:.1e} apart")


if __name__ == "__main__":
    main()
