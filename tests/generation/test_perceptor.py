"""The perceptor: any open_clip model, with size and normalisation from its own configuration."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from benchmarks import memory
from generation.clip.perceptor import Perceptor
from generation.engine import EngineError
from generation.engines.perceptors import SharedPerceptors
from generation.models import compiling
from generation.models.compiling import Compiler
from generation.models.library import Library
from tests.generation import tiny

SHAPE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def architecture(tmp_path: Path) -> str:
    (tmp_path / "tiny-clip-for-tests.json").write_text(json.dumps(SHAPE))
    open_clip.add_model_config(tmp_path)
    return "tiny-clip-for-tests"


def test_an_open_clip_model_loads_from_a_local_file(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model(architecture)
    file = tmp_path / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, file)
    perceptor = Perceptor.from_open_clip(architecture, str(file), tiny.CPU)
    assert perceptor.size == 32
    picture = torch.rand(2, 3, 32, 32)
    mean, std = (
        torch.tensor(each).view(3, 1, 1)
        for each in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.no_grad():
        expected = model.eval().encode_image((picture - mean) / std, normalize=True)
    assert tiny.difference(perceptor.encode_image(picture), expected) < 1e-5


def test_texts_are_unit_vectors_that_do_not_depend_on_company() -> None:
    perceptor = tiny.perceptor()
    alone = perceptor.encode_text(["a red fox"])[0]
    among = perceptor.encode_text(["night", "a red fox", "x" * 500])[1]
    assert torch.equal(alone, among)
    assert float(alone.norm()) == pytest.approx(1)


def test_whole_pictures_are_looked_at_in_float32_whatever_crops_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = tiny.perceptor()
    compiler = Compiler(tiny.CPU, precision="bf16")
    half = Perceptor(
        plain.model, plain._tokenizer, size=16, mean=plain.mean.flatten().tolist(),
        std=plain.std.flatten().tolist(), device=tiny.CPU, compiler=compiler,
    )  # fmt: skip
    monkeypatch.setitem(compiling._ROUNDING, torch.bfloat16, 1.0)  # random weights round coarsely
    crops, picture = torch.rand(2, 3, 16, 16).requires_grad_(), torch.rand(3, 50, 70)
    assert not torch.equal(half.encode_image(crops), plain.encode_image(crops))
    assert torch.equal(half.look(picture), plain.look(picture))
    assert torch.equal(half.score(picture, ["a"]), plain.score(picture, ["a"]))


def test_what_crops_keep_for_their_gradient_is_predicted() -> None:
    perceptor = tiny.perceptor()
    few, many = (
        memory.peak_bytes(partial(perceptor.encode_image, crops), tiny.CPU)
        for crops in (torch.rand(count, 3, 16, 16).requires_grad_() for count in (4, 24))
    )
    # Besides there is what comes and goes, which is the more the smaller the network is.
    assert 0.6 * (many - few) / 20 < perceptor.kept().a_row <= (many - few) / 20


def test_a_score_is_a_cosine() -> None:
    scores = tiny.perceptor().score(torch.rand(3, 50, 70), ["a", "b", "a"])
    assert scores.shape == (3,) and scores.abs().max() <= 1
    assert scores[0] == scores[2]


def test_a_damaged_file_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "ViT-B-32").mkdir()
    (tmp_path / "ViT-B-32" / "open_clip_model.safetensors").write_bytes(b"no weights")
    perceptors = SharedPerceptors(Library(tmp_path), tiny.CPU)
    assert perceptors.names == ("ViT-B-32",)
    with pytest.raises(EngineError, match="ViT-B-32 are damaged"):
        perceptors.acquire("ViT-B-32")
