"""Diffusers pipelines that run in a thread: the same picture, step by step, and an end to it."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from diffusers import StableDiffusion3Pipeline as SD3
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from generation.engine import BadCheckpointError, EngineError
from generation.engines.pipeline_words import unread
from generation.engines.pipelines import (
    PipelineEngine,
    PipelineRun,
    load_pipeline,
    pipeline_options,
)
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Setting, Steer
from tests.generation import tiny, tiny_pipelines


def make_sd3(folder: Path) -> None:
    """Save a tiny Stable Diffusion 3."""
    torch.manual_seed(5)
    text = CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        vocab_size=400,
        bos_token_id=377,
        eos_token_id=378,
        pad_token_id=378,
    )
    tokens = tiny_pipelines.tokenizer(folder / "words")
    SD3(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=1,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=64,
            pooled_projection_dim=64,
            out_channels=4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=AutoencoderKL(
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            shift_factor=0.06,
            scaling_factor=1.5,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(text).eval(),
        tokenizer=tokens,
        text_encoder_2=CLIPTextModelWithProjection(text).eval(),
        tokenizer_2=tokens,
        text_encoder_3=T5EncoderModel(
            T5Config(d_model=64, d_kv=8, d_ff=37, num_layers=2, num_heads=4, vocab_size=400)
        ).eval(),
        tokenizer_3=tokens,
    ).save_pretrained(folder, safe_serialization=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pipelines")
    make_sd3(folder / "sd3")
    tiny_pipelines.make(folder / "xl", "xl")
    return {name: folder / name for name in ("sd3", "xl")}


@pytest.fixture(scope="module")
def drawing(folders: dict[str, Path]) -> PipelineEngine:
    info = EngineInfo(
        name="pipeline",
        title="Pipeline",
        models=(ModelInfo(name="sd3", title="sd3", licence="MIT"),),
        default_width=32,
        default_height=32,
        min_side=16,
        max_side=64,
        max_pixels=64 * 64,
        size_multiple=8,
        default_steps=5,
        max_steps=50,
        takes_negative=True,
        options=pipeline_options(),
    )
    return PipelineEngine(
        info, lambda name: load_pipeline(folders[name], tiny.CPU), device=tiny.CPU
    )


def job(model: str = "sd3", *, settings: dict[str, Setting] | None = None, **recipe: Any) -> Job:
    return Job(
        id="1",
        recipe=Recipe(
            engine="pipeline",
            model=model,
            prompt=recipe.pop("prompt", "a red fox | fog:-1"),
            width=32,
            height=recipe.pop("height", 32),
            steps=5,
            seed=recipe.pop("seed", 3),
            settings=settings or {},
            **recipe,
        ),
        stream="s",
        person="p",
    )


def finish(drawing: PipelineEngine, run: PipelineRun) -> np.ndarray[Any, Any]:
    while not run.done:
        drawing.step([run])
    assert run.error is None, run.error
    return np.asarray(drawing.image(run))


@pytest.mark.parametrize("model", ["sd3", "xl"])
def test_the_picture_is_the_pipelines_own_whoever_is_beside_it(
    model: str, folders: dict[str, Path], drawing: PipelineEngine
) -> None:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folders[model], local_files_only=True)
    expected = np.asarray(
        pipeline(
            "a red fox",
            negative_prompt="fog",
            width=32,
            height=32,
            num_inference_steps=5,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(3),
        ).images[0]
    )
    settings: dict[str, Setting] = {"guidance_scale": 4.0}
    run = drawing.begin(job(model, settings=settings), None)
    other = drawing.begin(job(model, seed=4, prompt="a blue whale"), None)
    drawing.step([other])
    steps = 0
    while not run.done:
        drawing.step([other, run])
        steps += 1
        assert run.step == steps and drawing.preview(run).width > 0
    assert np.array_equal(np.asarray(drawing.image(run)), expected)
    assert not np.array_equal(np.asarray(drawing.image(other)), expected)


def test_a_step_is_a_step(drawing: PipelineEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = SD3Transformer2DModel.forward

    def counted(self: SD3Transformer2DModel, *given: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(self, *given, **named)

    monkeypatch.setattr(SD3Transformer2DModel, "forward", counted)
    run = drawing.begin(job(), None)
    assert calls == []
    for taken in range(1, 6):
        drawing.step([run])
        assert len(calls) == taken and run.step == taken
    drawing.step([run])
    assert len(calls) == 5


def test_previews_show_what_the_picture_becomes(drawing: PipelineEngine) -> None:
    """With Euler's steps the last but one expectation is nearer to the end than the latents."""
    run = drawing.begin(job(), None)
    for _ in range(4):
        drawing.step([run])
    expected = run.call.expected()
    assert expected is not None and run.call._latents is not None
    latents = run.call._latents[0].clone()
    drawing.step([run])
    final = run.call._latents[0]
    assert float((expected - final).abs().mean()) < float((latents - final).abs().mean())


def test_a_cancelled_run_lets_its_thread_go(drawing: PipelineEngine) -> None:
    def threads() -> int:
        return sum(thread.name == "pipeline" for thread in threading.enumerate())

    before = threads()
    run = drawing.begin(job(), None)
    drawing.step([run])
    assert threads() == before + 1
    del run
    gc.collect()
    deadline = time.monotonic() + 10
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == before


def test_it_begins_anew_from_a_checkpoint_and_becomes_the_same(drawing: PipelineEngine) -> None:
    run = drawing.begin(job(), None)
    drawing.step([run])
    saved = drawing.checkpoint(run)
    again = drawing.begin(job(), saved)
    assert again.step == 0
    assert np.array_equal(finish(drawing, again), finish(drawing, run))
    with pytest.raises(BadCheckpointError):
        drawing.begin(job(height=40), saved)


def test_a_first_look_ends_early(drawing: PipelineEngine) -> None:
    run = drawing.begin(job(until_step=2), None)
    assert finish(drawing, run).shape == (32, 32, 3)
    assert run.step == 2 and run.call.picture is None


def test_what_goes_wrong_in_the_thread_is_the_runs_error(
    drawing: PipelineEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = drawing.begin(job(), None), drawing.begin(job(), None)

    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr(bad.call._pipeline.scheduler, "step", broken)
    drawing.step([bad, good])
    assert bad.error is not None and "no such thing" in str(bad.error)
    assert good.error is None and good.step == 1


def test_what_cannot_be_done_is_said_in_a_sentence(
    drawing: PipelineEngine, folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="nothing to draw"):
        drawing.begin(job(prompt="fog:-1"), None)
    with pytest.raises(EngineError, match="cannot be steered"):
        drawing.steer(drawing.begin(job(), None), Steer(0, "an owl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="empty is damaged, incomplete"):
        load_pipeline(tmp_path / "empty", tiny.CPU)


def test_words_that_no_encoder_reads_are_named(drawing: PipelineEngine) -> None:
    assert drawing.begin(job(), None).notices == ()
    long = " ".join(["sea"] * 25)  # its tokens are single letters
    for asked in (job(prompt=f"{long} tiger"), job(prompt="a fox", negative=f"{long} tiger")):
        (said,) = drawing.begin(asked, None).notices
        assert "These words do not count" in said and "tiger”" in said
        assert "|" not in said  # parts are joined here, so to part them helps nothing


def test_the_encoder_that_reads_most_counts() -> None:
    class CLIPWords:
        model_max_length = 4

        def __call__(self, text: str, **_: object) -> SimpleNamespace:
            return SimpleNamespace(input_ids=["", *text.split(), ""])

    class T5Words(CLIPWords):
        model_max_length = 512

    class Pipeline:
        def __init__(self, **components: object) -> None:
            self.components = components

        def __call__(self, prompt: str, max_sequence_length: int = 6) -> None:
            pass

    both = {"tokenizer": CLIPWords(), "text_encoder": 1, "tokenizer_2": T5Words()}
    assert unread(Pipeline(**both, text_encoder_2=1), "a b c d") == ""
    assert unread(Pipeline(**both, text_encoder_2=1), "a b c d e") == "e"
    assert unread(Pipeline(**both, text_encoder_2=None), "a b c d e") == "c d e"
    assert unread(Pipeline(), "a b c d e") == ""
