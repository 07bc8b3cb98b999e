"""The weights in the repository: within their budgets, loadable, and about what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from generation.starter import (
    CLIP_WEIGHTS,
    DIFFUSION_DIR,
    VQGAN_WEIGHTS,
    WEIGHTS_NAME,
    available,
    load_clip,
    load_diffusion,
    load_vqgan,
)
from generation.starter.pipeline import StarterPipeline
from generation.starter.transformer import StarterTransformer
from training import export
from training.shipped import deeper, shipped_diffusion

_MB = 1_000_000


def test_weights_stay_light_to_clone() -> None:
    sizes = {
        "clip": CLIP_WEIGHTS.stat().st_size,
        "vqgan": VQGAN_WEIGHTS.stat().st_size,
        "diffusion": (DIFFUSION_DIR / "transformer" / WEIGHTS_NAME).stat().st_size,
    }
    assert sizes["clip"] <= 16 * _MB
    assert sizes["vqgan"] <= 5 * _MB
    assert sizes["diffusion"] <= 18 * _MB
    assert available() == {"clip", "vqgan", "diffusion", "upscaler"}


@pytest.mark.parametrize("grown", [False, True])
def test_diffusion_is_shipped_a_part_of_the_way_to_what_was_trained(
    grown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, before = shipped_diffusion()
    if grown:
        config, before = deeper(config, before, config["depth"] + 2)
    trained = {name: value + 0.5 for name, value in before.items()}
    monkeypatch.setattr(export, "_saved", lambda *_: {"config": config, "average": trained})
    monkeypatch.setattr(export, "DIFFUSION_DIR", tmp_path)
    export.export(["diffusion"], part=0.25)
    drawn = StarterPipeline.from_pretrained(tmp_path).transformer.state_dict()
    for name, value in before.items():
        # At rest they are rounded to a 254th of a row's largest.
        between = value + 0.125
        rounding = float(between.abs().max()) / 200
        assert torch.allclose(drawn[name], between, atol=rounding), name


@pytest.mark.parametrize("more", [0, 2, 4, 6])
def test_a_deeper_diffusion_answers_as_before_and_learns_from_there(more: int) -> None:
    config, weights = shipped_diffusion()
    depth = config["depth"] + more
    grown_config, grown_weights = deeper(config, weights, depth)
    before, grown = StarterTransformer(**config), StarterTransformer(**grown_config)
    before.load_state_dict(weights)
    grown.load_state_dict(grown_weights)
    assert len(grown.blocks) == depth
    chance = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 8, 6, 8, generator=chance)
    states = torch.randn(2, 5, config["text_width"], generator=chance)
    asked = latents, torch.tensor([0.2, 0.9]), states, torch.ones(2, 5, dtype=torch.bool)
    answer = grown(*asked)
    assert torch.equal(answer, before(*asked))
    answer.square().sum().backward()
    for name, parameter in grown.named_parameters():
        if name.endswith("to_out.weight"):  # the new ones, too, can begin to add something
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_network_grows_by_pairs_only() -> None:
    config, weights = shipped_diffusion()
    for depth in (config["depth"] - 2, config["depth"] + 1):
        with pytest.raises(ValueError, match="grows to an even number of at least"):
            deeper(config, weights, depth)


def test_words_lie_near_their_neighbours() -> None:
    clip, tokenizer, preprocess = load_clip()
    assert preprocess.image_size == 64
    words = ["a cat", "a kitten", "a pizza", "sadness", "loneliness"]
    with torch.no_grad():
        vectors = F.normalize(clip.encode_text(tokenizer(words)), dim=-1)
    alike = vectors @ vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2
    assert alike[3, 4] > alike[2, 4] + 0.1


def test_the_autoencoder_keeps_colours() -> None:
    from generation.starter.autoencoder import StarterVQGAN

    found = load_vqgan()
    model = StarterVQGAN(found["config"]).eval()
    model.load_state_dict(found["state_dict"])
    colours = torch.tensor([[0.76, -0.6, -0.6], [-0.78, 0.0, 0.68], [1.0, 0.6, -0.6]])
    images = colours.view(3, 3, 1, 1).expand(3, 3, 64, 64)
    with torch.no_grad():
        latents = model.continuous(images)
        drawn = model.decode(model.lookup(model.nearest(latents)))
    assert (drawn - images).abs().mean() < 0.25


@pytest.fixture(scope="module")
def pipeline() -> StarterPipeline:
    """The shipped pipeline."""
    return load_diffusion()


def test_a_seed_is_a_picture_whoever_shares_the_batch(pipeline: StarterPipeline) -> None:
    def draw(prompts: list[str]) -> list[Image.Image]:
        seeds = [torch.Generator().manual_seed(i) for i in range(len(prompts))]
        return pipeline(prompts, num_inference_steps=3, width=96, height=64, generator=seeds).images

    together, alone = draw(["a red car", "the sea"]), draw(["a red car"])
    assert together[0].size == (96, 64)
    difference = np.asarray(together[0], float) - np.asarray(alone[0], float)
    assert np.abs(difference).mean() < 3


def test_image_to_image_and_inpainting_keep_what_they_should(pipeline: StarterPipeline) -> None:
    start = Image.new("RGB", (96, 96), (40, 90, 200))
    mask = Image.new("L", (96, 96), 0)
    mask.paste(255, (0, 0, 48, 96))
    generator = torch.Generator().manual_seed(0)
    little = pipeline("the sea", image=start, strength=0.2, num_inference_steps=3,
                      generator=generator).images[0]  # fmt: skip
    assert np.abs(np.asarray(little, float) - np.asarray(start, float)).mean() < 40
    half = pipeline("a red apple", image=start, mask_image=mask, strength=1.0,
                    num_inference_steps=3, generator=generator).images[0]  # fmt: skip
    kept = np.asarray(half, float)[:, 64:] - np.asarray(start, float)[:, 64:]
    assert np.abs(kept).mean() < 25


def test_the_preview_resembles_the_picture(pipeline: StarterPipeline) -> None:
    images = torch.full((1, 3, 64, 64), -1.0)
    images[:, 0] = 1.0  # red
    shown = pipeline.flow.preview(pipeline.flow.encode(images))
    assert shown.shape == (1, 3, 8, 8)
    assert shown[0, 0].mean() > shown[0, 2].mean() + 0.5
