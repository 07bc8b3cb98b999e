"""Batches as the device gets them, models as files to carry, and the one command of a lent GPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from generation.models.compact import expand, is_compact
from generation.starter import CLIP_WEIGHTS, WEIGHTS_NAME, clip_tokenizer
from generation.starter.text import token_states, tokenize
from generation.starter.transformer import StarterTransformer
from tests.training import tiny
from training import carried, diffusion, export, gpu, state, vqgan
from training import clip as clip_training
from training.conditioning import TextStates
from training.packs import pack
from training.shards import Feed, Shards, make_shard, shard_path
from training.shipped import shipped_distiller
from training.state import Stretch, latest

_CPU = torch.device("cpu")


def test_text_states_are_the_towers_own_whoever_shares_the_batch() -> None:
    clip = diffusion.frozen_text(_CPU)
    captions = ["a cat", "two red apples to the left of a very small castle", "a cat", "fire"]
    texts = TextStates(clip, captions, _CPU)
    rows = texts.rows(captions)
    assert rows[0] == rows[2] != texts.empty
    states, mask = texts.batch(np.append(rows, texts.empty))
    tokens, wanted_mask = tokenize(clip_tokenizer(), [*captions, ""])
    wanted = token_states(clip, tokens)
    assert torch.equal(mask, wanted_mask)
    # Told in bfloat16 where the processor has it.
    apart = (states[mask] - wanted[mask]).norm(dim=-1) / wanted[mask].norm(dim=-1)
    assert apart.max() < 0.03
    assert not states[~mask].any()
    alone, _ = texts.batch(rows[3:])
    assert torch.equal(alone[0], states[3, : alone.shape[1]])


def test_held_pictures_are_those_on_disk(cache: Path) -> None:
    make_shard("square", 0, 3)
    make_shard("square", 1, 2)
    shards, rows = Shards("square"), np.array([4, 0, 4, 2])
    held, read = (Feed(shards, _CPU, hold=hold).batch(rows) for hold in (True, False))
    assert held.shape == (4, 3, 128, 128)
    assert torch.equal(held, read)
    assert torch.equal(held[1, :, 5, 7], torch.from_numpy(shards.picture(0)[5, 7].copy()).float())


def test_crops_are_pieces_of_the_pictures(cache: Path) -> None:
    # Red says the column and green the row, so that a crop tells where it was cut.
    y, x = np.mgrid[:128, :128].astype(np.uint8)
    path = shard_path("square", 0)
    np.save(path, np.stack([x, y, np.zeros_like(x)], -1)[None].repeat(2, 0))
    path.with_suffix(".json").write_text(json.dumps(["one", "two"]))
    crops = vqgan.Crops(Feed(Shards("square"), _CPU), 0).batch(60, 64) * 127.5 + 127.5
    across, down = crops[:, 0].diff(dim=-1), crops[:, 1].diff(dim=-2)
    steps = down.mean((1, 2))
    assert torch.allclose(down, steps.view(-1, 1, 1), atol=1e-3)
    assert torch.allclose(across.abs(), steps.view(-1, 1, 1), atol=1e-3), "shapes are kept"
    assert steps.min() > 1 - 1e-3
    assert steps.max() < 2 + 1e-3
    whole = steps < 1 + 1e-3
    assert 24 <= int(whole.sum()) <= 48, "six in ten are cut at full size"
    assert torch.allclose(crops[whole], crops[whole].round(), atol=1e-3)
    mirrored = (across[:, 0, 0] < 0).float().mean()
    assert 0.3 < mirrored < 0.7


def test_the_shipped_tower_is_the_same_with_its_embedding_in_factors() -> None:
    whole = expand(CLIP_WEIGHTS)["token_embedding.weight"]
    embedding = shipped_distiller().clip.state_dict()
    factors = embedding["token_embedding.rows"] @ embedding["token_embedding.up"]
    assert torch.allclose(factors, whole, atol=1e-3 * float(whole.abs().max()))


def test_the_gpus_model_has_room_in_the_repository() -> None:
    with torch.device("meta"):
        model = StarterTransformer(**diffusion.GPU_MODEL)
    assert sum(parameter.numel() for parameter in model.parameters()) < 17_400_000


def _saved_diffusion() -> dict[str, torch.Tensor]:
    trainer = diffusion.Trainer(tiny.DIFFUSION, 0, _CPU)
    nn.init.normal_(trainer.model.head.weight)
    trainer.average.update(trainer.model)
    torch.save({**trainer.state(), "seconds": 12.5, "step": 3, "samples": 9}, latest("diffusion"))
    return trainer.average.values


def test_carried_models_come_back_in_parts(cache: Path, tmp_path: Path) -> None:
    wanted = _saved_diffusion()
    out = tmp_path / "out"
    paths = carried.write("diffusion", out, limit=170_000)
    assert len(paths) > 1
    assert all(path.stat().st_size <= 170_000 for path in paths)
    latest("diffusion").unlink()
    assert carried.restore(out) == ["diffusion"]
    state = torch.load(latest("diffusion"), weights_only=True)
    assert (state["seconds"], state["samples"]) == (12.5, 9)
    assert all(torch.allclose(state["average"][k], v, atol=1e-2) for k, v in wanted.items())
    resumed = diffusion.Trainer(state["config"], 1, _CPU)
    resumed.load(state)
    paths[-1].unlink()
    with pytest.raises(carried.CarriedFormatError, match="copy all of them"):
        carried.read("diffusion", out)


def test_other_files_are_not_taken_for_carried_models(tmp_path: Path) -> None:
    assert carried.read("clip", tmp_path) is None
    save_file({"x": torch.zeros(2)}, tmp_path / "clip-0.safetensors")
    with pytest.raises(carried.CarriedFormatError, match="no unfinished clip"):
        carried.read("clip", tmp_path)


def test_one_command_trains_everything_in_calls(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusion, "CPU_MODEL", tiny.DIFFUSION)
    monkeypatch.setattr(vqgan, "CONFIG", tiny.VQGAN)
    monkeypatch.setattr(vqgan, "Perceptual", tiny.NoPerception)
    for module in (diffusion, vqgan, clip_training):
        monkeypatch.setattr(module, "CPU_BATCH", 4)
    monkeypatch.setattr(gpu, "_RESERVE_S", 0.0)
    monkeypatch.setattr(gpu, "_LEAST_S", 0.0)
    packs, out, data = tmp_path / "packs", tmp_path / "out", gpu.Data(2, 1, 6, 1, 8)
    pack(str(packs))

    monkeypatch.setenv("DREAMSTREAM_TRAINING", str(tmp_path / "lent"))
    calls = 0
    while not gpu.run(1.0 if calls else 0.0001, 0.03, out, packs, data=data):
        calls += 1
        assert calls < 4
    assert calls >= 1
    assert {path.name for path in out.iterdir()} == {
        "vqgan-0.safetensors", "clip-0.safetensors", "diffusion-0.safetensors", "log.jsonl"
    }  # fmt: skip
    assert gpu.run(1.0, 0.03, out, packs, data=data), "a fulfilled plan has nothing to do"
    samples = torch.load(latest("diffusion"), weights_only=True)["samples"]
    assert samples > 0

    # Another machine, which knows only what came back, goes on with a longer plan.
    # Its first step alone may take longer than was planned.
    longer = 2 * max(0.03, gpu._done_s("diffusion") / gpu.SHARES["diffusion"] / 60)
    monkeypatch.setenv("DREAMSTREAM_TRAINING", str(tmp_path / "lent-later"))
    assert gpu.run(10.0, longer, tmp_path / "out2", packs, start=out, data=data)
    assert torch.load(latest("diffusion"), weights_only=True)["samples"] > samples

    shipped = tmp_path / "shipped"
    for name, path in (("STARTER_DIR", shipped), ("DIFFUSION_DIR", shipped / "diffusion"),
                       ("CLIP_WEIGHTS", shipped / "clip.safetensors"),
                       ("VQGAN_WEIGHTS", shipped / "vqgan" / "model.safetensors")):  # fmt: skip
        monkeypatch.setattr(export, name, path)
    export.export(["vqgan", "diffusion"], tmp_path / "out2")
    weights = shipped / "diffusion" / "transformer" / WEIGHTS_NAME
    assert is_compact(weights)
    config = json.loads((weights.parent / "config.json").read_text())
    assert config["width"] == tiny.DIFFUSION["width"]
    wanted = load_file(tmp_path / "out2" / "diffusion-0.safetensors")
    found = expand(weights)
    assert all(torch.allclose(found[k], v.float(), atol=0.05) for k, v in wanted.items())
    with pytest.raises(FileNotFoundError, match="export others"):
        export.export(["clip"], packs)


def test_who_trains_for_a_minute_sees_how_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSTREAM_TRAINING", str(tmp_path))
    stretch = Stretch("short", 1, 1)
    assert stretch.running

    def told() -> list[float]:
        if not stretch.log_path.exists():
            return []
        return [json.loads(line)["loss"] for line in stretch.log_path.read_text().splitlines()]

    for loss in (1.0, 2.0):
        stretch.advance(3)
        stretch.log(25, loss=loss)
    assert told() == [], "two quick steps say nothing yet"
    stretch.save({})
    assert told() == [1.5]
    monkeypatch.setattr(state, "_LONGEST_S", -1.0)
    stretch.advance(3)
    stretch.log(25, loss=4.0)
    stretch.save({})
    assert told() == [1.5, 4.0], "a slow step is told at once, and once"
