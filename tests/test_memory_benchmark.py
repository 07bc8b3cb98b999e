"""Predicted memory is near what is measured, for what ships."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import memory
from benchmarks.step import OnePerceptor
from generation import starter
from generation.clip.perceptor import Perceptor
from generation.engines.guided import GuidedDiffusionEngine, guided_options
from generation.models.guided import GuidedConfig, GuidedUNet

CPU = torch.device("cpu")


def test_what_is_given_out_is_counted_at_its_peak() -> None:
    def act() -> None:
        first = torch.ones(1 << 20)
        second = first + 1
        del first
        third = second * 2
        del second, third

    assert memory.peak_bytes(act, CPU) == pytest.approx(2 * 4 << 20, rel=1e-4)


def test_what_was_freed_unseen_does_not_count_later() -> None:
    left = []
    memory.peak_bytes(lambda: left.append(torch.ones(1 << 20)), CPU)
    left.clear()
    assert memory.peak_bytes(lambda: torch.ones(1 << 20), CPU) == pytest.approx(4 << 20, rel=1e-4)


def test_the_starter_model_takes_what_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    memory.main(["--device", "cpu", "--cases", "starter-128", "--runs", "1", "4"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    for one in said["bytes"].values():
        assert 0.9 < one["ratio"] < 1.1


def test_guided_diffusion_takes_about_what_is_predicted() -> None:
    clip, tokenizer, wants = starter.load_clip(CPU)
    judge = Perceptor(
        clip, tokenizer, size=wants.image_size, mean=wants.mean, std=wants.std, device=CPU
    )
    # The published network's levels, an eighth as wide.
    config = GuidedConfig(32, (1, 1, 2, 2, 4, 4), (False,) * 3 + (True,) * 3, head_channels=16)
    network = memory.filled(lambda: GuidedUNet(config), CPU)
    info = memory.info("guided-diffusion", 64, options=guided_options(("one",), cutouts=2))
    drawing = GuidedDiffusionEngine(info, lambda _: network, OnePerceptor(judge), device=CPU)
    found = memory.measure(drawing, 1, 64, CPU)
    assert 0.85 < found["ratio"] < 1.25
