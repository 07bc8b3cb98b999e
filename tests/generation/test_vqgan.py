"""The VQGAN against taming-transformers' own modules, and the layout of the published files."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
import torch
from taming.modules.diffusionmodules.model import Decoder, Encoder
from taming.modules.vqvae.quantize import GumbelQuantize, VectorQuantizer2
from torch import Tensor, nn

from generation.canvases.vqgan import VQGANCanvas
from generation.models.checkpoints import CheckpointError
from generation.models.vqgan import VQGAN, VQGANConfig, config_of_taming, infer_config
from tests.generation import tiny

TAMING = {
    "ch": 32,
    "out_ch": 3,
    "ch_mult": [1, 1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [16],
    "in_channels": 3,
    "resolution": 64,
    "z_channels": 8,
    "double_z": False,
}


class TamingVQModel(nn.Module):
    """What taming.models.vqgan.VQModel (and GumbelVQ) is made of, without Lightning."""

    def __init__(self, *, codes: int, embed_dim: int, gumbel: bool, **shape: Any) -> None:
        super().__init__()
        with contextlib.redirect_stdout(io.StringIO()):
            self.encoder = Encoder(**shape)
            self.decoder = Decoder(**shape)
        self.quantize = (
            GumbelQuantize(shape["z_channels"], embed_dim, codes)
            if gumbel
            else VectorQuantizer2(codes, embed_dim, beta=0.25)
        )
        self.quant_conv = nn.Conv2d(shape["z_channels"], embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, shape["z_channels"], 1)

    def codes_of(self, picture: Tensor) -> Tensor:
        quantised: Tensor = self.quantize(self.quant_conv(self.encoder(picture)))[0]
        return quantised

    def decoded(self, codes: Tensor) -> Tensor:
        picture: Tensor = self.decoder(self.post_quant_conv(codes))
        return picture


def taming_model(gumbel: bool) -> TamingVQModel:
    torch.manual_seed(3)
    model = TamingVQModel(codes=32, embed_dim=8, gumbel=gumbel, **TAMING).eval()
    weight = model.quantize.embed.weight if gumbel else model.quantize.embedding.weight
    nn.init.normal_(weight)
    if gumbel:  # so that the noise which it adds to the logits decides nothing
        nn.init.normal_(model.quantize.proj.weight, std=1e6)
    return model


@pytest.mark.parametrize("gumbel", [False, True])
def test_encoding_and_decoding_equal_taming(gumbel: bool) -> None:
    theirs = taming_model(gumbel)
    ours = VQGAN.from_weights(theirs.state_dict())
    assert ours.config == tiny.vqgan_config(gumbel=gumbel)
    picture = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = theirs.codes_of(picture)
        found = ours.encode(picture)
        assert tiny.difference(found, expected) < 1e-4
        assert tiny.difference(ours.decode(found), theirs.decoded(expected)) < 1e-4


def test_the_full_published_shape_equals_taming() -> None:
    """Of vqgan_imagenet_f16_16384, with random weights: read through the layout of its file."""
    torch.manual_seed(5)
    shape = {**TAMING, "ch": 128, "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2}
    shape |= {"resolution": 256, "z_channels": 256}
    theirs = TamingVQModel(codes=16384, embed_dim=256, gumbel=False, **shape).eval()
    nn.init.normal_(theirs.quantize.embedding.weight, std=0.3)
    ours = VQGAN.from_weights(theirs.state_dict())
    assert (ours.config.codes, ours.config.factor) == (16384, 16)
    picture = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected, found = theirs.codes_of(picture), ours.encode(picture)
        assert float(expected[0, 0].std()) > 0, "not one code for everything"
        assert tiny.difference(found, expected) < 1e-4
        assert tiny.difference(ours.decode(found), theirs.decoded(expected)) < 1e-4


def test_quantising_equals_tamings_with_its_gradient() -> None:
    theirs, ours = taming_model(False), VQGAN.from_weights(taming_model(False).state_dict())
    z = torch.randn(3, 8, 5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = theirs.quantize(z)[0]
    found = ours.quantise(z)
    assert tiny.difference(found, expected) < 1e-6
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((found * weights).sum(), z)
    assert torch.equal(gradient, weights)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # The published models: vqgan_imagenet_f16_16384 and gumbel_f8_8192.
        (
            VQGANConfig(
                channels=128,
                multipliers=(1, 1, 2, 2, 4),
                blocks=2,
                attention_levels=(4,),
                z_channels=256,
                embed_dim=256,
                codes=16384,
            ),
            76_073_859,
        ),
        (
            VQGANConfig(
                channels=128,
                multipliers=(1, 1, 2, 4),
                blocks=2,
                attention_levels=(3,),
                z_channels=256,
                embed_dim=256,
                codes=8192,
                gumbel=True,
            ),
            None,
        ),
    ],
)
def test_published_layouts_are_recognised(config: VQGANConfig, parameters: int | None) -> None:
    with torch.device("meta"):
        weights = VQGAN(config).state_dict()
    assert infer_config(weights) == config
    for name in ("encoder.mid.attn_1.proj_out.weight", "decoder.up.0.block.2.conv2.bias"):
        assert name in weights
    codebook = "quantize.embed.weight" if config.gumbel else "quantize.embedding.weight"
    assert weights[codebook].shape == (config.codes, 256)
    if parameters is not None:
        assert sum(tensor.numel() for tensor in weights.values()) == parameters


def test_a_taming_config_is_translated() -> None:
    config = config_of_taming({"embed_dim": 8, "n_embed": 32, "ddconfig": TAMING})
    assert config == tiny.vqgan_config()
    assert config.factor == 4


def test_a_transformers_checkpoint_carries_one_inside() -> None:
    weights = tiny.vqgan().state_dict()
    inside = {f"first_stage_model.{name}": tensor for name, tensor in weights.items()}
    inside["transformer.tok_emb.weight"] = torch.zeros(2, 2)
    assert VQGAN.from_weights(inside).config == tiny.vqgan_config()


def test_other_layouts_are_refused() -> None:
    with pytest.raises(CheckpointError, match="not a VQGAN"):
        VQGAN.from_weights({"model.weight": torch.zeros(1)})
    weights = dict(tiny.vqgan().state_dict())
    del weights["decoder.conv_out.bias"]
    with pytest.raises(CheckpointError, match="do not fit"):
        VQGAN.from_weights(weights)


def test_z_stays_between_the_codebooks_least_and_greatest() -> None:
    canvas = VQGANCanvas(tiny.vqgan(), tiny.CPU)
    codes = tiny.vqgan().codebook
    z = 100 * torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    canvas.clamp({"z": z})
    for channel in range(8):
        assert float(z[:, channel].max()) == float(codes[:, channel].max())
        assert float(z[:, channel].min()) == float(codes[:, channel].min())


def test_the_seed_decides_the_start() -> None:
    canvas = VQGANCanvas(tiny.vqgan(), tiny.CPU)
    first, again, other = (
        canvas.start(32, 16, torch.Generator().manual_seed(seed), None).parameters["z"]
        for seed in (1, 1, 2)
    )
    assert first.shape == (8, 4, 8)
    assert torch.equal(first, again) and not torch.equal(first, other)
