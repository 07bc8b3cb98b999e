"""Networks whose arithmetic is arranged anew draw what the published ones do, to rounding."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.clip.vision import vision_tower
from generation.models import winograd
from generation.models.vqgan_decoder import Conv3x3, Decoder, DoublingConv2d
from tests.generation import tiny

VISION = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16}
TEXT = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


Layer = TypeVar("Layer", bound=nn.Module)


def frozen(layer: Layer) -> Layer:
    return layer.eval().requires_grad_(False)


def drawn_with_gradient(act: object, x: Tensor) -> tuple[Tensor, Tensor]:
    assert callable(act)
    x = x.clone().requires_grad_()
    y = act(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    return y.detach(), gradient


# --- convolutions ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 64, 32, 32), (2, 72, 33, 34), (1, 64, 30, 49)])
def test_winograds_convolution_is_the_direct_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = frozen(Conv3x3(shape[1], 80))
    x = torch.randn(shape)
    assert winograd.suits(x, layer.weight)
    found, gradient = drawn_with_gradient(layer, x)
    direct = deepcopy(layer).double()
    expected, expected_gradient = drawn_with_gradient(direct, x.double())
    for ours, theirs in ((found, expected), (gradient, expected_gradient)):
        assert ours.shape == theirs.shape
        assert tiny.difference(ours, theirs) < 2e-5 * float(theirs.abs().max())


def test_blocks_of_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    kernel, x = winograd.transformed(torch.randn(64, 64, 3, 3)), torch.randn(1, 64, 52, 36)
    whole = winograd.convolve(x, kernel, None)
    monkeypatch.setattr(winograd, "_BLOCK_FLOATS", 1)
    assert torch.allclose(winograd.convolve(x, kernel, None), whole, atol=1e-4)


def test_winograd_is_left_out_where_it_would_be_slower_or_is_not_allowed() -> None:
    layer, x = frozen(Conv3x3(64, 64)), torch.randn(1, 64, 32, 32)
    assert winograd.suits(x, layer.weight)
    small = x[:, :, :16, :16]
    assert not winograd.suits(small, layer.weight)
    assert not winograd.suits(small.repeat(8, 1, 1, 1), layer.weight)  # in company as alone
    assert not winograd.suits(x, layer.weight[:32])
    assert not winograd.suits(x.double(), layer.weight.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.suits(x, layer.weight)
    torch.use_deterministic_algorithms(True)
    try:
        assert not winograd.suits(x, layer.weight)
    finally:
        torch.use_deterministic_algorithms(False)
    assert not winograd.suits(x, layer.requires_grad_().weight)


def test_weights_are_transformed_again_when_they_change() -> None:
    torch.manual_seed(0)
    layer, x = frozen(Conv3x3(64, 64)), torch.randn(1, 64, 32, 32)
    first = layer(x)
    layer.weight.mul_(2)
    assert layer.bias is not None
    layer.bias.mul_(2)
    assert torch.allclose(layer(x), 2 * first, atol=1e-4)
    layer.load_state_dict({name: value / 2 for name, value in layer.state_dict().items()})
    assert torch.allclose(layer(x), first, atol=1e-4)


@pytest.mark.parametrize("trained", [False, True])
def test_doubling_and_convolving_is_one_operation(trained: bool) -> None:
    torch.manual_seed(0)
    layer, x = DoublingConv2d(5, 7).requires_grad_(trained), torch.randn(2, 5, 6, 9)

    def in_two(x: Tensor) -> Tensor:
        doubled = F.interpolate(x, scale_factor=2, mode="nearest")
        return F.conv2d(doubled, layer.weight, layer.bias, padding=1)

    for ours, theirs in zip(
        drawn_with_gradient(layer, x), drawn_with_gradient(in_two, x), strict=True
    ):
        assert ours.shape == theirs.shape and tiny.difference(ours, theirs) < 1e-5
    if trained:
        (ours,), (theirs,) = (
            torch.autograd.grad(act(x).square().sum(), [layer.weight]) for act in (layer, in_two)
        )
        assert tiny.difference(ours, theirs) < 1e-3


def test_a_large_decoder_draws_alike_with_and_without_winograd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    decoder = frozen(
        Decoder(widths=(64, 64), blocks=1, attention_levels=(1,), z_channels=8, norm_groups=32)
    )
    latents = torch.randn(1, 8, 16, 16)
    fast = drawn_with_gradient(decoder, latents)
    monkeypatch.setattr(winograd, "suits", lambda *_: False)
    for ours, theirs in zip(fast, drawn_with_gradient(decoder, latents), strict=True):
        assert tiny.difference(ours, theirs) < 1e-4 * float(theirs.abs().max())
    assert not torch.equal(fast[0], decoder(latents)), "Winograd's algorithm was never used"


# --- CLIP's vision tower ---------------------------------------------------------------------


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(("patch_size", "tokens"), [(8, 5), (1, 257)])
def test_the_vision_tower_sees_as_open_clips_does(
    quick: bool, patch_size: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = {**VISION, "patch_size": patch_size}
    model = open_clip.CLIP(embed_dim=16, vision_cfg=config, text_cfg=TEXT, quick_gelu=quick)
    model = frozen(model)
    published = deepcopy(model)
    tower = vision_tower(model)
    assert tower is not None
    pictures = torch.randn(3, 3, 16, 16)
    attended: list[int] = []
    kernel = F.scaled_dot_product_attention

    def counted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        attended.append(k.shape[2])
        return kernel(q, k, v)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", counted)
        seen = drawn_with_gradient(tower, pictures)
    assert attended == ([tokens] * 3 if tokens > 100 else []), "few are attended to without it"
    for ours, theirs in zip(
        seen, drawn_with_gradient(published.encode_image, pictures), strict=True
    ):
        assert tiny.difference(ours, theirs) < 1e-5
    # The package's own way through the model still is the same, also when it is asked for twice.
    again = vision_tower(model)
    assert again is not None
    assert tiny.difference(again(pictures), published.encode_image(pictures)) < 1e-5
    assert tiny.difference(model.encode_image(pictures), published.encode_image(pictures)) < 1e-5


@pytest.mark.parametrize(
    "change", [{"pool_type": "avg"}, {"attentional_pool": True, "attn_pooler_heads": 2}]
)
def test_towers_of_another_kind_are_left_to_their_package(change: dict[str, object]) -> None:
    model = open_clip.CLIP(embed_dim=16, vision_cfg={**VISION, **change}, text_cfg=TEXT)
    assert vision_tower(model) is None
    assert vision_tower(nn.Linear(1, 1)) is None
