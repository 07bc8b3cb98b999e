"""The catalogue is sound, and the library says truthfully what is here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from generation.models.catalogue import catalogue
from generation.models.checkpoints import CheckpointError
from generation.models.library import Library
from generation.models.vqgan import VQGAN
from tests.generation import tiny


def test_the_catalogue_is_complete() -> None:
    for name, model in catalogue().items():
        assert model.name == name and model.title and model.licence
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name)
        assert model.shipped or (model.page.startswith("https://") and model.files)
        named = model.family in ("clip", "classifier") and not model.shipped
        assert named == bool(model.architecture)
        for file in model.files:
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert all(url.startswith("https://") for url in (file.url, *file.mirrors) if url)


def test_architectures_are_known_to_open_clip_or_timm() -> None:
    import open_clip
    import timm

    for model in catalogue().values():
        if model.family == "classifier":
            assert timm.is_model(model.architecture)
        elif model.architecture:
            assert open_clip.get_model_config(model.architecture) is not None


def test_what_is_missing_is_said_with_what_to_do(tmp_path: Path) -> None:
    library = Library(tmp_path, shipped=["starter-vqgan"])
    by_name = {model.name: model for model in library.models("vqgan")}
    assert by_name["starter-vqgan"].available and not by_name["starter-vqgan"].missing
    missing = by_name["vqgan-imagenet-1024"]
    assert not missing.available
    assert "dreamstream models pull vqgan-imagenet-1024" in missing.missing
    with pytest.raises(CheckpointError, match="is not here"):
        library.path("vqgan-imagenet-1024")
    with pytest.raises(CheckpointError, match="No model"):
        library.path("nothing")


@pytest.mark.parametrize(
    "place", ["vqgan_imagenet_f16_1024.ckpt", "vqgan-imagenet-1024/vqgan_imagenet_f16_1024.ckpt"]
)
def test_a_published_file_is_converted_once(tmp_path: Path, place: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": tiny.vqgan().state_dict()}, file)
    library = Library(tmp_path)
    assert library.info("vqgan-imagenet-1024").available
    assert VQGAN.from_weights(library.weights("vqgan-imagenet-1024")).config == tiny.vqgan_config()
    assert (tmp_path / "vqgan-imagenet-1024.safetensors").is_file()
    file.unlink()
    assert library.weights("vqgan-imagenet-1024")


def test_files_that_are_all_called_alike_need_their_folder(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "open_clip_model.safetensors")
    assert not any(model.available for model in Library(tmp_path).models("clip"))
    (tmp_path / "ViT-B-16").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "ViT-B-16" / "open_clip_model.safetensors")
    here = [model.name for model in Library(tmp_path).models("clip") if model.available]
    assert here == ["ViT-B-16"]


def test_the_folder_can_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSTREAM_MODELS", str(tmp_path))
    save_file({"x": torch.zeros(1)}, tmp_path / "vqgan-coco.safetensors")
    assert Library(None).has("vqgan-coco")
    monkeypatch.delenv("DREAMSTREAM_MODELS")
    assert not Library(None).has("vqgan-coco")
