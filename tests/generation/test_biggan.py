"""BigGAN-deep against an independent reading of its published layout; The Big Sleep's formulas."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generation.canvases.biggan import BigGANCanvas, implausibility, strongest_classes
from generation.canvases.cover import cover
from generation.engine import EngineError
from generation.models.biggan import BigGAN, BigGANConfig, infer_config
from generation.models.checkpoints import CheckpointError
from generation.models.library import Library
from tests.generation import tiny

SETTINGS = {"classes": 0, "truncation": 1.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the network -----------------------------------------------------------------------------


class Published:
    """A reading of the published files as huggingface/pytorch-pretrained-BigGAN reads them.

    Nothing here is shared with the code under test; spectral norm is a division at each use.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def normed(self, name: str) -> Tensor:
        original, u, v = (self.weights[f"{name}.weight_{part}"] for part in ("orig", "u", "v"))
        return original / torch.dot(u, torch.mv(original.reshape(len(original), -1), v))

    def conv(self, name: str, x: Tensor, padding: int) -> Tensor:
        return F.conv2d(x, self.normed(name), self.weights.get(f"{name}.bias"), padding=padding)

    def norm(self, name: str, x: Tensor, condition: Tensor, statistic: int) -> Tensor:
        mean = self.weights[f"{name}.running_means"][statistic][None, :, None, None]
        variance = self.weights[f"{name}.running_vars"][statistic][None, :, None, None]
        scale = 1 + F.linear(condition, self.normed(f"{name}.scale"))
        offset = F.linear(condition, self.normed(f"{name}.offset"))
        unit = (x - mean) / torch.sqrt(variance + 1e-4)
        return unit * scale[:, :, None, None] + offset[:, :, None, None]

    def block(self, name: str, x: Tensor, condition: Tensor, double: bool, at: int) -> Tensor:
        inner = self.conv(f"{name}.conv_0", self.norm(f"{name}.bn_0", x, condition, at).relu(), 0)
        inner = self.norm(f"{name}.bn_1", inner, condition, at).relu()
        if double:
            inner = inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        inner = self.conv(f"{name}.conv_1", inner, 1)
        inner = self.norm(f"{name}.bn_2", inner, condition, at).relu()
        inner = self.conv(f"{name}.conv_2", inner, 1)
        inner = self.norm(f"{name}.bn_3", inner, condition, at).relu()
        inner = self.conv(f"{name}.conv_3", inner, 0)
        return inner + x[:, : inner.shape[1]]

    def attention(self, name: str, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        theta = self.conv(f"{name}.snconv1x1_theta", x, 0).reshape(n, channels // 8, -1)
        phi = F.max_pool2d(self.conv(f"{name}.snconv1x1_phi", x, 0), 2).reshape(
            n, channels // 8, -1
        )
        g = F.max_pool2d(self.conv(f"{name}.snconv1x1_g", x, 0), 2).reshape(n, channels // 2, -1)
        looks = torch.einsum("nci,ncj->nij", theta, phi).softmax(dim=-1)
        seen = torch.einsum("ncj,nij->nci", g, looks).reshape(n, channels // 2, height, width)
        gamma = self.weights[f"{name}.gamma"]
        return x + gamma * self.conv(f"{name}.snconv1x1_o_conv", seen, 0)

    def draw(self, latents: Tensor, classes: Tensor, *, blocks: int, at: int) -> Tensor:
        """Draw from [n, blocks + 1, …] as The Big Sleep does, with the statistic at an index."""
        embedded = classes @ self.weights["embeddings.weight"].T
        conditions = torch.cat([latents, embedded], dim=2)
        x = F.linear(
            conditions[:, 0],
            self.normed("generator.gen_z"),
            self.weights["generator.gen_z.bias"],
        )
        x = x.reshape(len(x), 4, 4, -1).permute(0, 3, 1, 2)
        block = layer = 0
        while block < blocks:
            name = f"generator.layers.{layer}"
            if f"{name}.gamma" in self.weights:
                x = self.attention(name, x)
            else:
                x = self.block(name, x, conditions[:, block + 1], block % 2 == 1, at)
                block += 1
            layer += 1
        mean = self.weights["generator.bn.running_means"][at][:, None, None]
        variance = self.weights["generator.bn.running_vars"][at][:, None, None]
        x = (x - mean) / (variance + 1e-4).sqrt()
        x = x * self.weights["generator.bn.weight"][:, None, None]
        x = (x + self.weights["generator.bn.bias"][:, None, None]).relu()
        return self.conv("generator.conv_to_rgb", x, 1)[:, :3].tanh()


def test_drawing_equals_an_independent_reading() -> None:
    weights = tiny.biggan_weights()
    ours = BigGAN.from_weights(weights)
    assert ours.config == tiny.BIGGAN
    latents = torch.randn(3, ours.config.latents, ours.config.latent_dim, generator=seeded())
    classes = torch.rand(3, ours.config.latents, ours.config.classes, generator=seeded(1))
    for truncation, at in ((1.0, 50), (0.5, 25), (0.02, 1)):
        expected = Published(weights).draw(latents, classes, blocks=ours.config.blocks, at=at)
        found = ours(latents, classes, truncation)
        assert found.shape == (3, 3, ours.config.side, ours.config.side)
        assert float(expected.std()) > 0.05
        assert tiny.difference(found, expected) < 1e-5


def test_between_two_truncations_the_nearer_one_counts_more() -> None:
    norm = BigGAN.from_weights(tiny.biggan_weights()).generator.bn
    means = norm.running_means
    quarter = norm.statistics(0.5 + 0.02 / 4)[0]
    assert tiny.difference(quarter, 0.75 * means[25] + 0.25 * means[26]) < 1e-5
    assert torch.equal(norm.statistics(1.0)[0], means[50])
    assert torch.equal(norm.statistics(0.0)[1], norm.running_vars[0])


@pytest.mark.parametrize(
    ("side", "multipliers", "parameters"),
    [
        (128, (16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1), 50_388_609),
        (256, (16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1), 55_880_833),
        (512, (16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 1), 56_163_905),
    ],
)
def test_published_layouts_are_recognised(
    side: int, multipliers: tuple[int, ...], parameters: int
) -> None:
    """The widths are those of the published config.json files, times 128 channels."""
    config = BigGANConfig(
        latent_dim=128,
        classes=1000,
        widths=tuple(128 * multiplier for multiplier in multipliers),
        attention=8,
        statistics=51,
    )
    with torch.device("meta"):
        model = BigGAN(config)
    assert config.side == side
    assert infer_config(model.state_dict()) == config
    assert sum(tensor.numel() for tensor in model.parameters()) == parameters


def test_a_published_file_is_converted_and_drawn_from(tmp_path: Path) -> None:
    weights = tiny.biggan_weights()
    torch.save(weights, tmp_path / "biggan-deep-128-pytorch_model.bin")
    library = Library(tmp_path)
    assert library.info("biggan-deep-128").available
    assert not library.info("biggan-deep-256").available
    model = BigGAN.from_weights(library.weights("biggan-deep-128"))
    assert (tmp_path / "biggan-deep-128.safetensors").is_file()
    latents, classes = torch.zeros(1, 5, 8), torch.ones(1, 5, 10)
    expected = BigGAN.from_weights(weights)(latents, classes)
    assert tiny.difference(model(latents, classes), expected) < 1e-6


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda weights: weights.clear(), "not a BigGAN-deep"),
        (lambda weights: weights.pop("generator.gen_z.weight_u"), "not a BigGAN-deep"),
        (lambda weights: weights.pop("generator.layers.2.gamma"), "do not fit"),
        (lambda weights: weights.pop("generator.layers.0.bn_0.running_means"), "not a BigGAN"),
        (
            lambda weights: weights.update({"generator.conv_to_rgb.bias": torch.zeros(3)}),
            "do not fit",
        ),
    ],
)
def test_other_layouts_are_refused(damage: object, sentence: str) -> None:
    weights = tiny.biggan_weights()
    damage(weights)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=sentence):
        BigGAN.from_weights(weights)


# --- The Big Sleep ---------------------------------------------------------------------------


def test_the_strongest_classes_are_picked_one_after_the_other() -> None:
    logits = torch.randn(2, 3, 12, generator=seeded())
    rest, expected = logits / 2, torch.zeros_like(logits)
    for _ in range(4):
        value, place = rest.softmax(dim=-1).max(dim=-1, keepdim=True)
        expected.scatter_(-1, place, value)
        rest = rest.scatter(-1, place, -math.inf)
    found = strongest_classes(logits, 4, 2.0)
    assert (found > 0).sum(dim=-1).eq(4).all()
    assert tiny.difference(found, expected) < 1e-6


def test_implausibility_is_the_originals_in_float64() -> None:
    latents = 1.3 * torch.randn(2, 5, 64, generator=seeded(), dtype=torch.float64) + 0.2
    for run, found in zip(latents, implausibility(latents), strict=True):
        expected = 4 * max(float((run**2).mean()), 1.0)
        for layer in run.tolist():
            mean = sum(layer) / 64
            central = [sum((x - mean) ** power for x in layer) / 64 for power in (2, 3, 4)]
            sample_std = math.sqrt(central[0] * 64 / 63)
            expected += abs(1 - sample_std) / 5 + abs(mean) / 5
            expected += abs(central[1] / central[0] ** 1.5) / 5
            expected += abs(central[2] / central[0] ** 2 - 3) / 5
        assert float(found) == pytest.approx(expected)


def test_the_penalty_is_of_all_classes_but_the_strongest() -> None:
    canvas = BigGANCanvas(tiny.biggan(), tiny.CPU)
    start = canvas.start(16, 16, seeded(), None, SETTINGS)
    parameters = {name: value[None] for name, value in start.parameters.items()}
    constants = {name: value[None] for name, value in start.constants.items()}
    shares = start.parameters["classes"].double().sigmoid()
    squares = [sorted(float(x) ** 2 for x in layer)[:-1] for layer in shares]
    few = 2500 * sum(map(sum, squares)) / sum(map(len, squares))
    latents = float(implausibility(parameters["latents"].double())[0])
    found = float(canvas.penalty(parameters, constants)[0])
    assert found == pytest.approx(0.0136 * (few + latents), rel=1e-4)


def test_the_penalty_brings_wild_latents_back() -> None:
    latents = (3 * torch.randn(1, 5, 32, generator=seeded()) + 1).requires_grad_()
    optimiser = torch.optim.Adam([latents], lr=0.07)
    before = float(implausibility(latents.detach())[0])
    for _ in range(150):
        (latents.grad,) = torch.autograd.grad(implausibility(latents).sum(), latents)
        optimiser.step()
    after = latents.detach()
    assert before > 30 and float(implausibility(after)[0]) < 6
    assert float(after.square().mean()) < 1.5


def test_every_layer_has_its_own_latent_and_classes() -> None:
    canvas = BigGANCanvas(tiny.biggan(), tiny.CPU)
    start = canvas.start(16, 16, seeded(), None, SETTINGS)
    constants = {name: value[None] for name, value in start.constants.items()}
    plain = canvas.draw(
        {name: value[None] for name, value in start.parameters.items()}, constants, 16, 16
    )
    for name, value in start.parameters.items():
        assert len(value) == tiny.BIGGAN.latents
        for layer in range(len(value)):
            other = value.clone()
            other[layer] += 1.0
            changed = {**start.parameters, name: other}
            drawn = canvas.draw(
                {each: tensor[None] for each, tensor in changed.items()}, constants, 16, 16
            )
            assert tiny.difference(drawn, plain) > 1e-4


def test_a_start_picture_is_refused_in_a_sentence() -> None:
    canvas = BigGANCanvas(tiny.biggan(), tiny.CPU)
    with pytest.raises(EngineError, match="only begin by chance"):
        canvas.start(16, 16, seeded(), torch.rand(3, 16, 16), SETTINGS)


# --- the size asked for ----------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(8, 8), (12, 12), (16, 16), (40, 40)])
def test_covering_is_antialiased_resizing(width: int, height: int) -> None:
    pictures = torch.rand(2, 3, 16, 16, generator=seeded())
    expected = F.interpolate(pictures, (height, width), mode="bilinear", antialias=True)
    assert tiny.difference(cover(pictures, width, height), expected) < 1e-5


def test_covering_keeps_the_middle_undistorted() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    wide, tall = cover(ramp, 32, 16), cover(ramp, 16, 32)
    assert wide.shape == (1, 3, 16, 32) and tall.shape == (1, 3, 32, 16)
    assert tiny.difference(wide, ramp[:, :, 8:24]) < 1e-6
    assert tiny.difference(tall, ramp[:, :, :, 8:24]) < 1e-6
