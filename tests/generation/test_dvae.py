"""DALL·E's dVAE against an independent reading of its published layout; sampling of codes."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.canvases.dvae import DVAECanvas
from generation.models.checkpoints import CheckpointError
from generation.models.dvae import DVAE, DVAEConfig, infer_config
from generation.models.library import Library
from tests.generation import tiny


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Reading:
    """A reading of the published tensors as openai/DALL-E's modules put them together."""

    def __init__(self, weights: dict[str, Tensor], blocks: int) -> None:
        self.weights = weights
        self.count = blocks

    def conv(self, name: str, x: Tensor) -> Tensor:
        kernel = self.weights[f"{name}.w"]
        return F.conv2d(x, kernel, self.weights[f"{name}.b"], padding=(kernel.shape[-1] - 1) // 2)

    def block(self, name: str, x: Tensor) -> Tensor:
        inner = x
        for number in (1, 2, 3, 4):
            inner = self.conv(f"{name}.res_path.conv_{number}", torch.relu(inner))
        kept = self.conv(f"{name}.id_path", x) if f"{name}.id_path.w" in self.weights else x
        return kept + inner / (4 * self.count) ** 2

    def group(self, part: str, number: int, x: Tensor) -> Tensor:
        for block in range(1, self.count + 1):
            x = self.block(f"{part}.blocks.group_{number}.block_{block}", x)
        return x

    def encode(self, pictures: Tensor) -> Tensor:
        x = self.conv("encoder.blocks.input", 0.8 * pictures + 0.1)
        for number in (1, 2, 3):
            x = F.max_pool2d(self.group("encoder", number, x), 2)
        return self.conv("encoder.blocks.output.conv", self.group("encoder", 4, x).relu())

    def decode(self, one_hot: Tensor) -> Tensor:
        x = self.conv("decoder.blocks.input", one_hot)
        for number in (1, 2, 3):
            x = F.interpolate(self.group("decoder", number, x), scale_factor=2)
        x = self.conv("decoder.blocks.output.conv", self.group("decoder", 4, x).relu())
        return (x[:, :3].sigmoid() - 0.1) / 0.8


def one_hot(codes: Tensor, count: int) -> Tensor:
    return F.one_hot(codes, count).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("blocks", [1, 2])
def test_encoding_and_decoding_equal_an_independent_reading(blocks: int) -> None:
    weights = tiny.dvae_weights(blocks=blocks)
    ours, theirs = DVAE.from_weights(weights), Reading(weights, blocks)
    pictures = torch.rand(2, 3, 32, 48, generator=seeded())
    logits = theirs.encode(pictures)
    assert logits.shape == (2, 32, 4, 6) and float(logits.std()) > 0.05
    assert tiny.difference(ours.encode(pictures), logits) < 1e-5
    codes = torch.randint(32, (2, 4, 6), generator=seeded())
    drawn = theirs.decode(one_hot(codes, 32))
    assert drawn.shape == (2, 3, 32, 48) and float(drawn.std()) > 0.05
    assert tiny.difference(ours.decode(codes), drawn) < 1e-5


def test_the_gradient_passes_straight_through_to_the_softmax() -> None:
    weights = tiny.dvae_weights()
    ours, theirs = DVAE.from_weights(weights), Reading(weights, 1)
    codes = torch.randint(32, (2, 4, 6), generator=seeded())
    wanted = torch.randn(2, 3, 32, 48, generator=seeded(1))
    gradients: list[Tensor] = []
    for own in (True, False):
        logits = torch.randn(2, 32, 4, 6, generator=seeded(2), requires_grad=True)
        soft = logits.softmax(dim=1)
        drawn = (
            ours.decode(codes, logits)
            if own
            else theirs.decode(one_hot(codes, 32) + soft - soft.detach())
        )
        gradients += torch.autograd.grad((drawn * wanted).sum(), logits)
    assert float(gradients[1].abs().max()) > 1e-3
    assert tiny.difference(*gradients) < 1e-6


def test_the_published_layout_is_recognised() -> None:
    with torch.device("meta"):
        model = DVAE(DVAEConfig())
    assert infer_config(model.state_dict()) == DVAEConfig()
    counts = [
        sum(tensor.numel() for tensor in part.parameters())
        for part in (model.encoder, model.decoder)
    ]
    assert counts == [53_786_240, 43_829_766]


def test_published_pickles_are_read_as_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold whole modules of a package which is not here, and nothing of it is needed."""
    weights = tiny.dvae_weights()
    folder = tmp_path / "dalle-dvae"
    folder.mkdir()
    for part in ("encoder", "decoder"):
        kind = type(part.capitalize(), (nn.Module,), {"__module__": f"dall_e.{part}"})
        package = types.ModuleType(f"dall_e.{part}")
        setattr(package, part.capitalize(), kind)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "dall_e", types.ModuleType("dall_e"))
            patch.setitem(sys.modules, f"dall_e.{part}", package)
            module = nested(kind(), weights, f"{part}.")
            torch.save(module, folder / f"{part}.pkl")
    library = Library(tmp_path)
    assert library.info("dalle-dvae").available
    read = (library.weights("dalle-dvae", f"{part}.pkl") for part in ("encoder", "decoder"))
    model = DVAE.from_files(*read)
    state = model.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())
    assert {path.name for path in folder.glob("*.safetensors")} == {
        "encoder.safetensors",
        "decoder.safetensors",
    }


def nested(root: nn.Module, weights: dict[str, Tensor], prefix: str) -> nn.Module:
    """Hang tensors into modules within modules, as their names say."""
    for name, tensor in weights.items():
        if name.startswith(prefix):
            *parts, last = name.removeprefix(prefix).split(".")
            place = root
            for part in parts:
                if part not in place._modules:
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_parameter(last, nn.Parameter(tensor))
    return root


def test_one_file_without_the_other_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "dalle-dvae").mkdir()
    torch.save({"blocks.input.w": torch.ones(1)}, tmp_path / "dalle-dvae" / "decoder.pkl")
    info = Library(tmp_path).info("dalle-dvae")
    assert not info.available and "is not here" in info.missing


def test_other_layouts_are_refused() -> None:
    with pytest.raises(CheckpointError, match="not the encoder and decoder"):
        DVAE.from_files({"weight": torch.ones(1)}, {})
    weights = tiny.dvae_weights()
    del weights["decoder.blocks.group_2.block_1.res_path.conv_3.b"]
    with pytest.raises(CheckpointError, match="do not fit"):
        DVAE.from_weights(weights)


# --- the canvas ------------------------------------------------------------------------------


def test_codes_are_sampled_as_often_as_their_softmax_says() -> None:
    canvas = DVAECanvas(tiny.dvae(), tiny.CPU)
    random = seeded()
    logits = torch.randn(32, generator=seeded(1))
    places = 64  # of one draw
    sampled = torch.zeros(32)
    for _ in range(200):
        noise = canvas.chance(64, 64, random)["gumbel"]
        codes = (logits[:, None, None] + noise).argmax(dim=0)
        assert codes.numel() == places
        sampled += torch.bincount(codes.flatten(), minlength=32)
    total = 200 * places
    expected = total * logits.softmax(dim=0)
    chi_square = float(((sampled - expected) ** 2 / expected).sum())
    assert chi_square < 61.1  # the 99.9th percentile at 31 degrees of freedom


def test_what_is_shown_are_the_likeliest_codes_and_what_is_judged_a_sample() -> None:
    canvas = DVAECanvas(tiny.dvae(), tiny.CPU)
    start = canvas.start(32, 32, seeded(), None)
    parameters = {"logits": start.parameters["logits"][None]}
    shown = canvas.draw(parameters, {}, 32, 32)
    assert torch.equal(shown, canvas.draw(parameters, {}, 32, 32))
    likeliest = parameters["logits"].argmax(dim=1)
    assert tiny.difference(shown, tiny.dvae().decode(likeliest).clamp(0, 1)) < 1e-6
    random, drawn = seeded(), []
    for _ in range(2):
        chance = canvas.chance(32, 32, random)
        drawn.append(canvas.draw(parameters, {"gumbel": chance["gumbel"][None]}, 32, 32))
    assert tiny.difference(drawn[0], drawn[1]) > 0.01
    sure = {"logits": 1000 * parameters["logits"]}
    judged = canvas.draw(sure, {"gumbel": chance["gumbel"][None]}, 32, 32)
    assert tiny.difference(judged, shown) < 1e-6


def test_a_start_picture_becomes_what_the_encoder_sees_in_it() -> None:
    canvas = DVAECanvas(tiny.dvae(), tiny.CPU)
    picture = torch.rand(3, 32, 48, generator=seeded())
    start = canvas.start(48, 32, seeded(), picture)
    assert torch.equal(start.parameters["logits"], tiny.dvae().encode(picture[None])[0])
    parameters = {"logits": start.parameters["logits"][None]}
    drawn = canvas.draw(parameters, {}, 48, 32)
    anchor = {"picture": picture[None]}
    expected = float((drawn - picture).square().mean())
    assert float(canvas.pull(parameters, drawn, anchor)[0]) == pytest.approx(expected)
    assert float(canvas.pull(parameters, picture[None], anchor)[0]) == 0
