"""Upscaling: no seams, runs in company, the published layouts and ncnn's files."""

from __future__ import annotations

import hashlib
import io
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from bot.sizes import tiles
from generation import starter
from generation.engine import BadCheckpointError, EngineError
from generation.engines import upscalers
from generation.engines.upscale import SCALE, UpscaleEngine, UpscaleRun, spans
from generation.engines.upscalers import build_upscaler
from generation.imaging import decode_picture
from generation.models import esrgan
from generation.models.library import Library
from generation.models.ncnn import NcnnError, read_layers
from generation.protocol import Job, Recipe, Steer

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    "upscaler" not in starter.available(), reason="the shipped upscaler is not in this checkout"
)


def picture(width: int, height: int, seed: int = 0) -> bytes:
    """Return a PNG of smooth colours with some sharp edges, as drawn pictures have."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (9, 9, 3), dtype=np.uint8))
    drawn = coarse.resize((width, height), Image.Resampling.BICUBIC)
    drawn.paste((20, 30, 40), (width // 3, height // 4, width // 2, height // 2))
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()


def job(engine: UpscaleEngine, init: bytes, **changes: Any) -> Job:
    width, height = Image.open(io.BytesIO(init)).size
    sha256 = hashlib.sha256(init).hexdigest()
    recipe: dict[str, Any] = {
        "engine": "upscale",
        "model": "starter-upscaler",
        "prompt": "",
        "width": SCALE * width,
        "height": SCALE * height,
        "steps": tiles(engine.info, width, height),
        "seed": 0,
        "init_sha256": sha256,
    }
    return Job(
        id=sha256[:8],
        recipe=Recipe(**(recipe | changes)),
        stream="s",
        person="p",
        pictures={sha256: init},
    )


@pytest.fixture(scope="module")
def engine() -> UpscaleEngine:
    built = build_upscaler(Library(None, ["starter-upscaler"]), CPU, exact=False)
    built.load("starter-upscaler")
    return built


def finish(engine: UpscaleEngine, run: UpscaleRun) -> Tensor:
    while not run.done:
        engine.step([run])
    assert run.error is None
    return run.large


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_windows_cover_each_pixel_once_and_are_as_many_as_the_front_says(
    width: int, height: int
) -> None:
    for side in (width, height):
        found = spans(side)
        assert [span.keep_start for span in found] == [
            0,
            *(span.keep_stop for span in found[:-1]),
        ]
        assert found[-1].keep_stop == side
        for span in found:
            assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= side
            assert len({span.stop - span.start for span in found}) == 1
    info = build_upscaler(Library(None, ["starter-upscaler"]), CPU, exact=False).info
    assert tiles(info, width, height) == len(spans(width)) * len(spans(height))


def test_windows_leave_no_seam(engine: UpscaleEngine) -> None:
    init = picture(210, 150)
    large = finish(engine, engine.begin(job(engine, init), None))
    network = esrgan.build(upscalers._weights(Library(None), "starter-upscaler"), SCALE)
    with torch.no_grad():
        whole = network(decode_picture(init, 210, 150)[None])[0]
    whole = (whole.clamp(0, 1) * 255).round()
    error = (large.float() - whole).square().mean() / 255**2
    assert -10 * math.log10(max(float(error), 1e-12)) > 50
    # Where windows meet, it is no worse than elsewhere.
    across = (large.float() - whole).abs().amax(dim=(0, 1))
    assert float(across.max()) <= 3


def test_runs_in_company_become_what_they_become_alone(engine: UpscaleEngine) -> None:
    inits = [picture(140, 24, seed) for seed in range(3)]
    alone = [finish(engine, engine.begin(job(engine, init), None)) for init in inits]
    runs = [engine.begin(job(engine, init), None) for init in inits]
    assert len({engine.batch_key(run.recipe) for run in runs}) == 1
    engine.step(runs[:1])
    while not all(run.done for run in runs):
        engine.step([run for run in runs if not run.done])
    for one, run in zip(alone, runs, strict=True):
        assert int((one.int() - run.large.int()).abs().max()) <= 1
    exact = {engine.batch_key(job(engine, init, exact=True).recipe) for init in inits}
    assert len(exact) == 3


def test_a_checkpoint_goes_on_to_the_same_picture(engine: UpscaleEngine) -> None:
    wanted = job(engine, picture(140, 20), exact=True)
    whole = finish(engine, engine.begin(wanted, None))
    run = engine.begin(wanted, None)
    engine.step([run])
    early = engine.image(run)
    assert early.size == (560, 80)
    assert max(engine.preview(run).size) == 512
    again = engine.begin(wanted, engine.checkpoint(run))
    assert again.step == 1
    assert torch.equal(finish(engine, again), whole)
    with pytest.raises(BadCheckpointError):
        engine.begin(wanted, b"nothing")


def test_what_cannot_be_done_is_said(engine: UpscaleEngine) -> None:
    wanted = job(engine, picture(64, 64))
    with pytest.raises(EngineError, match="Give one to start from"):
        engine.begin(Job(id="x", recipe=wanted.recipe, stream="s", person="p"), None)
    with pytest.raises(EngineError, match="takes 1 steps"):
        engine.begin(job(engine, picture(64, 64), steps=7), None)
    run = engine.begin(wanted, None)
    with pytest.raises(EngineError, match="cannot be steered"):
        engine.steer(run, Steer(0, "an owl"))


def test_it_is_sharper_than_stretching(engine: UpscaleEngine) -> None:
    """Enlarging what was made small brings back more than stretching does."""
    large = Image.new("RGB", (256, 256), "white")
    for nth in range(6):
        box = (20 + 40 * nth % 180, 15 + 37 * nth, 70 + 40 * nth % 180, 40 + 37 * nth)
        large.paste((200 - 30 * nth, 40 * nth, 90), box)
    small = large.resize((64, 64), Image.Resampling.BOX)
    file = io.BytesIO()
    small.save(file, "PNG")
    drawn = finish(engine, engine.begin(job(engine, file.getvalue()), None))
    truth = torch.from_numpy(np.array(large)).permute(2, 0, 1).float()
    stretched = np.array(small.resize((256, 256), Image.Resampling.BICUBIC))
    plain = torch.from_numpy(stretched).permute(2, 0, 1).float()
    assert (drawn - truth).square().mean() < 0.8 * (plain - truth).square().mean()


# --- ncnn's files, and the published ones ------------------------------------------------------


def ncnn_files(network: nn.Module, order: list[str], *, half: bool) -> tuple[str, bytes]:
    """Write a network as ncnn's converter does; `order` names its layers as they are computed."""
    modules = dict(network.named_modules())
    lines, data = [], io.BytesIO()
    for nth, name in enumerate(order):
        layer = modules[name]
        blobs = f"{name} 1 1 {nth} {nth + 1}"
        if isinstance(layer, nn.PReLU):
            lines.append(f"PReLU {blobs} 0={layer.weight.numel()}")
            data.write(layer.weight.detach().numpy().astype("<f4").tobytes())
            continue
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        count = layer.weight.numel()
        lines.append(f"Convolution {blobs} 0={layer.out_channels} 1=3 4=1 5=1 6={count}")
        weight = layer.weight.detach().numpy()
        data.write(struct.pack("<I", 0x01306B47 if half else 0))
        data.write(weight.astype("<f2" if half else "<f4").tobytes())
        if half and count % 2:
            data.write(b"\0\0")
        data.write(layer.bias.detach().numpy().astype("<f4").tobytes())
    head = f"7767517\n{len(lines) + 1} {len(lines) + 1}\nInput input 0 1 data\n"
    return head + "\n".join(lines) + "\n", data.getvalue()


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for nth in range(5):
            out = 8 if nth == 4 else 32
            self.add_module(f"conv{nth + 1}", nn.Conv2d(8 + 32 * nth, out, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        known = [x]
        for convolve in self.children():
            known.append(F.leaky_relu(convolve(torch.cat(known, 1)), 0.2))
        last = next(reversed(list(self.children())))
        return x + 0.2 * Tensor(last(torch.cat(known[:5], 1)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = Dense(), Dense(), Dense()

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * Tensor(self.rdb3(self.rdb2(self.rdb1(x))))


class Published(nn.Module):
    """RRDBNet as its paper and its published file describe it, with 8 channels and two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(Block(), Block())
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            self.add_module(name, nn.Conv2d(8, 8, 3, padding=1))
        self.conv_last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(x)
        found = first + self.get_submodule("conv_body")(self.body(first))
        for name in ("conv_up1", "conv_up2"):
            found = F.leaky_relu(
                self.get_submodule(name)(F.interpolate(found, scale_factor=2)), 0.2
            )
        found = F.leaky_relu(self.get_submodule("conv_hr")(found), 0.2)
        return Tensor(self.conv_last(found))


def tiny_rrdb() -> tuple[nn.Module, list[str]]:
    torch.manual_seed(3)
    network = Published()
    return network, [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]


@pytest.mark.parametrize("half", [False, True])
def test_an_rrdbnet_is_read_from_ncnn_as_it_was_written(tmp_path: Path, half: bool) -> None:
    network, order = tiny_rrdb()
    param, data = ncnn_files(network, order, half=half)
    (tmp_path / "tiny.param").write_text(param)
    (tmp_path / "tiny.bin").write_bytes(data)
    read = esrgan.build(esrgan.read_ncnn(tmp_path, "tiny"), 4)
    given = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(read(given), network(given), atol=1e-2 if half else 1e-6)


def test_the_shipped_network_is_what_ncnn_would_say(tmp_path: Path) -> None:
    network = esrgan.build(upscalers._weights(Library(None), "starter-upscaler"), 4)
    order = [f"body.{nth}" for nth in range(35)]
    param, data = ncnn_files(network, order, half=True)
    (tmp_path / "it.param").write_text(param)
    (tmp_path / "it.bin").write_bytes(data)
    again = esrgan.read_ncnn(tmp_path, "it")
    assert all(torch.equal(again[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("param", "data", "what"),
    [
        ("something else", b"", "not a .param file"),
        ("7767517\n2 2\nConvolution a 1 1 x y 0=4 1=3 5=1 6=10", b"", "do not go together"),
        ("7767517\n2 2\nConvolution a 1 1 x y 0=4 1=3 5=1 6=36", bytes(20), "cut off"),
        ("7767517\n2 2\nConvolution a 1 1 x y 0=4 1=3 5=0 6=36", b"\xff" * 300, "not known"),
        ("7767517\n2 2\nInnerProduct a 1 1 x y 0=4", b"", "not known"),
        ("7767517\n2 2\nPReLU a 1 1 x y 0=2", bytes(12), "go on after"),
        ("7767517\n2 2\nPReLU a 1 1 x y 0=-5", bytes(12), "out of range"),
        ("7767517\n2 2\nPReLU a 1 one x y 0=2", bytes(8), "not understood"),
    ],
)
def test_strange_files_of_ncnn_are_refused(param: str, data: bytes, what: str) -> None:
    with pytest.raises(NcnnError, match=what):
        read_layers(param, data)


def test_a_published_file_is_used_where_it_lies(tmp_path: Path) -> None:
    network, _ = tiny_rrdb()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "RealESRGAN_x4plus.pth")
    library = Library(tmp_path, ["starter-upscaler"])
    info = build_upscaler(library, CPU, exact=False).info
    assert {model.name for model in info.models if model.available} >= {
        "starter-upscaler",
        "realesrgan-x4plus",
    }
    # It is not the file that was published: only its checksum gives it away.
    with pytest.raises(EngineError, match="not the published file"):
        upscalers._weights(library, "realesrgan-x4plus")


def test_other_networks_are_refused() -> None:
    with pytest.raises(EngineError, match="not the weights of an upscaler"):
        esrgan.build({"conv.weight": torch.zeros(3, 3, 3, 3)}, 4)
