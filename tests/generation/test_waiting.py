"""A step asks the device for nothing but its result: no value decides what is computed next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.memory import configured
from generation.clip.sending import send
from generation.clip.targets import slerp
from generation.engines import stable_diffusion
from generation.engines.deepdream import DeepDreamEngine
from generation.engines.deepdream_options import deepdream_options
from generation.engines.diffusion import DiffusionEngine, diffusion_options
from generation.engines.latent_diffusion import LatentDiffusionEngine, latent_options
from generation.engines.stable_diffusion import StableDiffusion
from generation.protocol import Setting, Steer
from tests.generation import elsewhere, tiny
from tests.generation.test_deepdream import classifier

# What gives a value to the host, or a shape that depends on values.
_WAITS = {
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::equal",
    "aten::masked_select",
    "aten::_unique2",
    "aten::item",
}


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what would make the host wait for a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.name().split(".")[0]
        by_mask = name == "aten::index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in _WAITS or by_mask:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_the_check_sees_what_waits() -> None:
    x = torch.rand(3)
    with Waits() as waits:
        float(x.sum())
        bool(x[0] > 2)
        x[x > 0.5]
    assert waits.seen == ["aten::_local_scalar_dense", "aten::_local_scalar_dense", "aten::index"]


@pytest.mark.parametrize("kind", ["classic", "augmented", "pooled", "scheduled"])
def test_a_step_waits_for_nothing(kind: str) -> None:
    engine = tiny.engine("vqgan")
    job = tiny.job("vqgan", settings={"cutout_kind": kind, "cutouts": 2})
    runs = [engine.begin(job, None)]
    engine.step(runs)
    engine.steer(runs[0], Steer(1, "another", glide_steps=4))
    with Waits() as waits:
        engine.step(runs)
    assert runs[0].error is None and runs[0].step == 2
    assert waits.seen == []


# --- of a device that is elsewhere ---------------------------------------------------------


def test_what_goes_to_a_device_and_back_is_seen() -> None:
    there = torch.zeros(2, device=elsewhere.DEVICE)
    here = torch.ones(2)
    with elsewhere.Traffic() as traffic:
        there.tolist()
        float(there[0])
        bool(there[0] > 0)
        there.cpu()
        torch.tensor([1.0], device=elsewhere.DEVICE)
        there.new_tensor([1.0])
        here.to(elsewhere.DEVICE)
        there.to(torch.float64)
        send([1.0, 2.0], elsewhere.DEVICE)
        here.tolist()
    assert [one.partition(",")[0] for one in traffic.asked] == [
        "tolist", "__float__", "__bool__", "cpu",
    ]  # fmt: skip
    assert [one.partition(",")[0] for one in traffic.sent] == ["tensor", "new_tensor", "to"]
    assert all(__file__ in one for one in (*traffic.asked, *traffic.sent))


class Flow:
    """A flow model of one convolution, elsewhere."""

    latent_channels, factor = 4, 8

    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        shape = (len(texts), 8)
        mask = torch.ones(shape, dtype=torch.bool, device=elsewhere.DEVICE)
        return torch.zeros(*shape, 4, device=elsewhere.DEVICE), mask

    def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        return latents * t.view(-1, 1, 1, 1) + (states * mask[..., None]).mean(dim=(1, 2)).view(
            -1, 1, 1, 1
        )

    def close(self) -> None: ...


def networks(folder: Path, part: str, kind: str, *_others: object) -> Any:
    """Return a part of a latent diffusion model, elsewhere."""
    import diffusers
    import transformers

    with elsewhere.DEVICE:
        if part == "unet":
            return diffusers.UNet2DConditionModel(
                block_out_channels=(32, 64),
                layers_per_block=1,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                cross_attention_dim=32,
                attention_head_dim=8,
            ).eval()
        if part == "vae":
            return diffusers.AutoencoderKL(block_out_channels=(32,), norm_num_groups=8).eval()
        config = transformers.CLIPTextConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
        )
        return transformers.CLIPTextModel(config).eval()


def latent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LatentDiffusionEngine:
    monkeypatch.setattr(stable_diffusion, "read_network", networks)
    configured(folder)
    described = msgspec.structs.replace(
        tiny.engine().info, name="latent", guidance=5.0, options=latent_options(sampler="euler")
    )
    return LatentDiffusionEngine(
        described,
        lambda _name: StableDiffusion(folder, elsewhere.DEVICE),
        device=elsewhere.DEVICE,
    )


@pytest.mark.parametrize("kind", ["flow", "latent", "deepdream"])
def test_a_step_asks_its_device_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its end; and what it sends there it sends in the stream's order, by `send`."""
    settings: dict[str, Setting] = {}
    engine: Any
    if kind == "flow":
        described = msgspec.structs.replace(
            tiny.engine().info, name="flow", guidance=4.0, options=diffusion_options()
        )
        flow: Any = Flow()
        engine = DiffusionEngine(described, lambda _name: flow, device=elsewhere.DEVICE)
    elif kind == "latent":
        engine = latent(tmp_path, monkeypatch)
        settings = {"sampler": "euler ancestral"}
    else:
        described = msgspec.structs.replace(
            tiny.engine().info, name="deepdream", options=deepdream_options()
        )
        load = classifier().to(elsewhere.DEVICE)
        engine = DeepDreamEngine(described, lambda _name: load, device=elsewhere.DEVICE)
        settings = {"octaves": 3}
    runs = [engine.begin(tiny.job(seed=seed, settings=settings), None) for seed in (1, 2)]
    for step in (1, 2):
        with elsewhere.Traffic() as traffic:
            engine.step(runs)
        assert [(run.step, run.error) for run in runs] == [(step, None)] * 2
        assert traffic.sent == []
        assert [one.partition(",")[0] for one in traffic.asked] == ["tolist"]


# --- what they are sent by -----------------------------------------------------------------


def test_numbers_are_sent_as_they_are() -> None:
    assert torch.equal(send([1, 2.5], tiny.CPU), torch.tensor([1.0, 2.5]))
    assert send((1, 2), tiny.CPU, torch.int64).dtype == torch.int64
    assert send(torch.ones(2), tiny.CPU, torch.float64).dtype == torch.float64


def test_lines_and_arcs() -> None:
    x, y = torch.eye(2)
    near = torch.nn.functional.normalize(torch.tensor([1.0, 1e-5]), dim=0)
    assert torch.allclose(slerp(x, y, 0.5), torch.full((2,), 0.5**0.5))
    assert torch.allclose(slerp(x, near, 0.5), x, atol=1e-4)
    found: Tensor = slerp(x, x, 0.3)
    assert torch.equal(found, x)
