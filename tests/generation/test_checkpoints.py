"""Published files become safetensors; what is not one is refused, and no pickle runs code."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from generation.models.checkpoints import CheckpointError, convert, file_sha256, read_weights
from generation.models.vqgan import VQGAN
from tests.generation import tiny


class Trainer:
    """A class that the reader does not know, as Lightning's callbacks are."""

    def __init__(self) -> None:
        self.best = 1.0


class Touch:
    """A pickle that would run code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def lightning_file(path: Path, **more: object) -> Path:
    state = OrderedDict(tiny.vqgan().state_dict())
    state["loss.discriminator.weight"] = torch.zeros(3)
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "1.0.8",
        "callbacks": {Trainer: {"best": torch.tensor(1.0)}},
        "hparams": Trainer(),
        "state_dict": state,
        **more,
    }
    torch.save(content, path)
    return path


def test_a_lightning_checkpoint_becomes_safetensors(tmp_path: Path) -> None:
    source = lightning_file(tmp_path / "last.ckpt")
    target = tmp_path / "model.safetensors"
    convert(source, target, sha256=file_sha256(source))
    weights = load_file(target)
    assert "loss.discriminator.weight" not in weights
    expected = tiny.vqgan().state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert VQGAN.from_weights(weights).config == tiny.vqgan_config()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "model.safetensors"]


@pytest.mark.parametrize("old_format", [False, True])
def test_bare_state_dicts_are_read(tmp_path: Path, old_format: bool) -> None:
    path = tmp_path / "model.pth"
    state = {"weight": torch.arange(6.0).view(2, 3), "half": torch.ones(2).half(), "step": 4}
    torch.save(state, path, _use_new_zipfile_serialization=not old_format)
    weights = read_weights(path)
    assert weights.keys() == {"weight", "half"}
    assert torch.equal(weights["weight"], torch.arange(6.0).view(2, 3))


class Published(nn.Module):
    """A module as OpenAI published its dVAE: pickled whole, with classes of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.device, self.size = torch.device("cpu"), torch.Size([2])
        self.hook: object = None
        self.blocks = nn.Sequential(
            OrderedDict(input=nn.Conv2d(2, 3, 1), norm=nn.BatchNorm2d(3), act=nn.ReLU())
        )


@pytest.mark.parametrize("old_format", [False, True])
def test_the_tensors_of_a_whole_module_are_read(tmp_path: Path, old_format: bool) -> None:
    path = tmp_path / "encoder.pkl"
    module = Published()
    torch.save(module, path, _use_new_zipfile_serialization=not old_format)
    weights, expected = read_weights(path), module.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_module_that_is_its_own_part_is_read_to_an_end(tmp_path: Path) -> None:
    path, module = tmp_path / "round.pkl", Published()
    module._modules["again"] = module
    torch.save(module, path)
    weights = read_weights(path)
    assert torch.equal(weights["again.blocks.input.weight"], weights["blocks.input.weight"])


def test_a_module_that_would_run_code_runs_none(tmp_path: Path) -> None:
    mark, path, module = tmp_path / "was-here", tmp_path / "evil.pkl", Published()
    module.hook = Touch(mark)
    torch.save(module, path)
    assert "blocks.input.weight" in read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize("old_format", [False, True])
def test_a_malicious_checkpoint_runs_nothing(tmp_path: Path, old_format: bool) -> None:
    mark = tmp_path / "was-here"
    path = tmp_path / "evil.ckpt"
    content = {"evil": Touch(mark), "state_dict": {"weight": torch.ones(2)}}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    assert torch.equal(read_weights(path)["weight"], torch.ones(2))
    assert not mark.exists()


def test_a_bare_malicious_pickle_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "was-here"
    path = tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(CheckpointError):
        read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "asking",
    [
        pytest.param(b"r" + (1 << 24).to_bytes(4, "little"), id="the 16,777,216th object"),
        pytest.param(b"p16777216\n", id="the same, in letters"),
        pytest.param(b"\x96" + (1 << 28).to_bytes(8, "little"), id="a quarter of a gibibyte"),
        pytest.param(b"\x95" + (1 << 28).to_bytes(8, "little"), id="as long a frame"),
    ],
)
def test_a_few_bytes_that_ask_for_much_memory_get_none(tmp_path: Path, asking: bytes) -> None:
    path = tmp_path / "model.bin"
    # What torch's own loader does not allow is read by ours.
    path.write_bytes(b"\x80\x05cos\nsystem\n" + asking + b".")
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="damaged or incomplete"):
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


def test_a_module_that_is_twice_its_own_part_is_refused(tmp_path: Path) -> None:
    path, module = tmp_path / "round.pkl", Published()
    module._modules |= {"again": module, "more": module}
    torch.save(module, path)
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_weights(path)


def test_a_checkpoint_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.ckpt", tmp_path / "packed.ckpt"
    torch.save({"weight": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as parts, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for part in parts.infolist():
            out.writestr(part.filename, parts.read(part))
    assert read_weights(plain)["weight"].shape == (1 << 20,)
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_weights(packed)


def test_a_tensor_of_many_times_its_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"weight": torch.ones(3), "mask": torch.zeros(1).expand(5, 5)}, path)
    assert read_weights(path)["mask"].shape == (5, 5)
    torch.save({"weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, path)
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_weights(path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".ckpt":
        lightning_file(path)
    else:
        save_file({"weight": torch.ones(100)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_weights(path)


def test_another_file_than_the_published_one_is_refused(tmp_path: Path) -> None:
    source = lightning_file(tmp_path / "last.ckpt")
    target = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="not the published file"):
        convert(source, target, sha256="ab" * 32)
    assert not target.exists()


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.pth"
    torch.save([1, 2, 3], path)
    with pytest.raises(CheckpointError, match="no weights"):
        read_weights(path)
    with pytest.raises(CheckpointError, match="is not in"):
        read_weights(tmp_path / "nothing.pth")
