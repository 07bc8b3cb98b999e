"""The starter flow is computed in the number format that it was given, and exactly where asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from generation import starter
from generation.clip.perceptor import Perceptor
from generation.engines.exactness import deterministic_kernels
from generation.engines.starter_flow import StarterFlow
from generation.starter.model import LatentFlow
from generation.starter.network import FlowTransformer
from tests.generation import tiny


@pytest.mark.parametrize(
    ("dtype", "exact", "seen"),
    [
        (torch.float32, False, torch.float32),
        (torch.bfloat16, False, torch.bfloat16),
        (torch.bfloat16, True, torch.float32),
    ],
)
def test_the_network_computes_in_its_format_and_answers_in_float32(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, exact: bool, seen: torch.dtype
) -> None:
    torch.manual_seed(0)
    network = FlowTransformer(
        latent_channels=4, text_width=8, width=32, depth=2, heads=2, hidden=32, stem_width=8
    )
    formats: set[torch.dtype] = set()

    def note(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        formats.add(output.dtype)

    for layer in (network.to_tokens, network.to_patches, network.head):
        layer.register_forward_hook(note)
    monkeypatch.setattr(starter, "load_flow", lambda _device: LatentFlow(network.eval()))
    perceptor = cast(Perceptor, SimpleNamespace(model=nn.Identity()))
    flow = StarterFlow(perceptor, lambda: None, tiny.CPU, dtype)
    with deterministic_kernels(exact):
        answers = flow.velocity(
            torch.randn(2, 4, 4, 6),
            torch.tensor([0.3, 0.8]),
            torch.randn(2, 5, 8),
            torch.ones(2, 5, dtype=torch.bool),
        )
    assert formats == {seen}
    assert answers.dtype == torch.float32 and answers.shape == (2, 4, 4, 6)
    assert not answers.requires_grad
