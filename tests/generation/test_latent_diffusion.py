"""Latent diffusion: our steps against diffusers' own pipelines, alone and in company."""

from __future__ import annotations

import functools
import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from generation.engine import BadCheckpointError, EngineError
from generation.engines import build_engines, sigma_samplers
from generation.engines.conditions import join
from generation.engines.latent_diffusion import (
    LatentDiffusionEngine,
    LatentRun,
    latent_options,
)
from generation.engines.noise_schedules import TrainedNoise, levels
from generation.engines.stable_diffusion import StableDiffusion
from generation.models.adding import write_entry
from generation.models.catalogue import Model, ModelFile
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Setting, Steer
from tests.generation import tiny, tiny_pipelines

SCHEDULERS: dict[str, Any] = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpm++2m": diffusers.DPMSolverMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}
KINDS = ("sd", "sd2", "xl", "lcm")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tmp_path_factory.mktemp("models") / kind for kind in KINDS}


@pytest.fixture(scope="module")
def pipelines(folders: dict[str, Path]) -> dict[str, Any]:
    return {kind: tiny_pipelines.make(folder, kind) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def engines(
    folders: dict[str, Path], pipelines: dict[str, Any], lora: Path
) -> dict[str, LatentDiffusionEngine]:
    return {kind: engine(folders[kind], lora) for kind in pipelines}


def engine(folder: Path, lora: Path | None = None) -> LatentDiffusionEngine:
    info = EngineInfo(
        name="tiny-latent",
        title="Tiny latent diffusion",
        models=(ModelInfo(name="tiny", title="tiny", licence="MIT"),),
        default_width=32,
        default_height=32,
        min_side=16,
        max_side=512,
        max_pixels=512 * 512,
        size_multiple=8,
        default_steps=6,
        max_steps=150,
        guidance=5.0,
        takes_init=True,
        takes_mask=True,
        takes_negative=True,
        steerable=True,
        options=latent_options(sampler="euler", loras=("style", "wrong")),
    )

    def weights(name: str) -> dict[str, Tensor]:
        if name == "wrong" or lora is None:
            return {"unet.up_blocks.0.nothing.lora_A.weight": torch.ones(2, 8)}
        return load_file(lora)

    return LatentDiffusionEngine(
        info,
        lambda _: StableDiffusion(folder, tiny.CPU, lora_weights=weights),
        device=tiny.CPU,
    )


def job(
    *,
    prompt: str = "a red fox",
    steps: int = 4,
    seed: int = 3,
    settings: dict[str, Setting] | None = None,
    init: bytes | None = None,
    mask: bytes | None = None,
    **recipe: Any,
) -> Job:
    names = {hashlib.sha256(each).hexdigest(): each for each in (init, mask) if each is not None}
    return Job(
        id=str(seed),
        recipe=Recipe(
            engine="tiny-latent",
            model="tiny",
            prompt=prompt,
            width=recipe.pop("width", 32),
            height=recipe.pop("height", 32),
            steps=steps,
            seed=seed,
            settings=settings or {},
            init_sha256=None if init is None else hashlib.sha256(init).hexdigest(),
            mask_sha256=None if mask is None else hashlib.sha256(mask).hexdigest(),
            **recipe,
        ),
        stream="s",
        person="p",
        pictures=names,
    )


def finish(drawing: LatentDiffusionEngine, run: LatentRun) -> np.ndarray[Any, Any]:
    while not run.done:
        drawing.step([run])
    assert run.error is None
    return np.asarray(drawing.image(run), np.float32)


def draw(drawing: LatentDiffusionEngine, **asked: Any) -> np.ndarray[Any, Any]:
    return finish(drawing, drawing.begin(job(**asked), None))


def theirs(pipeline: Any, sampler: str, *, prediction: str, **changes: Any) -> Any:
    """Return the pipeline with the sampler's scheduler and a generator at the seed."""
    config = {**tiny_pipelines.SCHEDULER, "prediction_type": prediction, **changes}
    pipeline.scheduler = SCHEDULERS[sampler].from_config(config)
    pipeline.set_progress_bar_config(disable=True)
    return functools.partial(
        pipeline,
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    )


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@functools.cache
def a_picture() -> bytes:
    return png(Image.radial_gradient("L").convert("RGB").resize((32, 32)))


@functools.cache
def a_mask(width: int = 32, height: int = 32) -> bytes:
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    return png(mask)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the first kind's UNet and text encoder, with random weights."""
    folder = tmp_path_factory.mktemp("lora")
    pipeline = tiny_pipelines.make(folder / "model", "sd")
    torch.manual_seed(11)
    kept = {}
    for part, targets in (("unet", ["to_q", "to_v"]), ("text_encoder", ["q_proj", "v_proj"])):
        network = getattr(pipeline, part)
        network.add_adapter(
            LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets)
        )
        kept[f"{part}_lora_layers"] = {
            name: 0.5 * torch.randn_like(tensor)
            for name, tensor in get_peft_model_state_dict(network).items()
        }
    diffusers.StableDiffusionPipeline.save_lora_weights(folder, **kept)
    return folder / "pytorch_lora_weights.safetensors"


# --- noise levels ------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(
    ("sampler", "karras"),
    [("euler", False), ("euler", True), ("euler ancestral", False), ("dpm++2m", False),
     ("dpm++2m", True)],
)  # fmt: skip
@pytest.mark.parametrize("steps", [3, 7, 50])
def test_levels_are_those_of_the_scheduler(
    sampler: str, spacing: str, karras: bool, steps: int
) -> None:
    config: dict[str, Any] = {**tiny_pipelines.SCHEDULER, "timestep_spacing": spacing}
    extra = {"use_karras_sigmas": True} if karras else {}
    scheduler = SCHEDULERS[sampler].from_config({**config, **extra})
    scheduler.set_timesteps(steps)
    ours = levels(
        TrainedNoise.from_config(config),
        steps,
        sampler=sampler,
        schedule="karras" if karras else "model",
    )
    assert torch.allclose(ours.sigmas, scheduler.sigmas, rtol=1e-5, atol=1e-6)
    assert torch.allclose(ours.timesteps, scheduler.timesteps.float(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("sampler", ["ddim", "lcm"])
def test_whole_timesteps_are_those_of_the_scheduler(sampler: str) -> None:
    for steps in (1, 3, 8, 50):
        scheduler = SCHEDULERS[sampler].from_config(tiny_pipelines.SCHEDULER)
        scheduler.set_timesteps(steps)
        ours = levels(TrainedNoise.from_config(tiny_pipelines.SCHEDULER), steps, sampler=sampler)
        assert ours.timesteps.tolist() == scheduler.timesteps.tolist()


def test_nothing_of_the_picture_is_left_where_the_publisher_says_so() -> None:
    config = {**tiny_pipelines.SCHEDULER, "rescale_betas_zero_snr": True}
    scheduler = diffusers.EulerDiscreteScheduler.from_config(config)
    ours = torch.from_numpy(TrainedNoise.from_config(config).sigmas).float()
    expected = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    assert torch.allclose(ours, expected.float(), rtol=1e-4)
    assert float(ours[-1]) > 1000


def test_unknown_training_is_refused() -> None:
    for changes in ({"beta_schedule": "magic"}, {"prediction_type": "flow"}):
        with pytest.raises(EngineError, match="not known here"):
            TrainedNoise.from_config({**tiny_pipelines.SCHEDULER, **changes})


# --- against diffusers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sampler"),
    [*((kind, name) for kind in ("sd", "sd2", "xl") for name in SCHEDULERS), ("lcm", "lcm")],
)
def test_the_picture_is_that_of_diffusers(
    kind: str, sampler: str, pipelines: dict[str, Any], engines: dict[str, LatentDiffusionEngine]
) -> None:
    """The same seed gives the same picture, alone and in a batch with strangers at other steps."""
    prediction = "v_prediction" if kind == "sd2" else "epsilon"
    pipeline = theirs(pipelines[kind], sampler, prediction=prediction)
    # Without a negative prompt SDXL is guided away from zeros.
    away = {"sd": {"negative_prompt": "fog"}, "sd2": {"negative_prompt": ""}}.get(kind, {})
    expected = pipeline("a red fox", width=40, height=32, guidance_scale=5.0, **away).images[0]
    drawing = engines[kind]
    asked: dict[str, Any] = {
        "settings": {"sampler": sampler},
        "negative": away.get("negative_prompt", ""),
        "width": 40,
    }
    alone = draw(drawing, **asked)
    assert np.abs(alone - expected * 255).max() < 2
    assert alone.std() > 20
    strangers = [
        drawing.begin(
            job(seed=seed, prompt=f"number {seed} | fog:.5", steps=6, width=40, guidance=seed / 4),
            None,
        )
        for seed in (4, 5)
    ]
    drawing.step(strangers)
    drawing.step(strangers[:1])
    among = drawing.begin(job(**asked), None)
    while not among.done:
        drawing.step([strangers[0], among, strangers[1]])
    crowded = np.asarray(drawing.image(among), np.float32)
    assert np.abs(crowded - expected * 255).max() < 2
    # Strangers' pictures are others.
    assert np.abs(np.asarray(drawing.image(strangers[0]), np.float32) - alone).max() > 20


@pytest.mark.parametrize(
    ("sampler", "schedule", "config"),
    [
        ("euler", "karras", {"use_karras_sigmas": True}),
        ("dpm++2m", "karras", {"use_karras_sigmas": True}),
        ("euler", "trailing", {"timestep_spacing": "trailing"}),
        ("dpm++2m", "trailing", {"timestep_spacing": "trailing"}),
        # With dpm++ diffusers cuts these timesteps' fractions off, which the network can take.
        ("euler", "exponential", {"use_exponential_sigmas": True}),
    ],
)
def test_so_it_is_with_other_schedules(
    sampler: str,
    schedule: str,
    config: dict[str, Any],
    pipelines: dict[str, Any],
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    pipeline = theirs(pipelines["sd"], sampler, prediction="epsilon", **config)
    expected = pipeline("a red fox", width=32, height=32, guidance_scale=5.0).images[0]
    ours = draw(engines["sd"], settings={"sampler": sampler, "schedule": schedule})
    assert np.abs(ours - expected * 255).max() < 2


def test_a_turbo_model_draws_in_one_step(
    pipelines: dict[str, Any], engines: dict[str, LatentDiffusionEngine]
) -> None:
    spacing = {"timestep_spacing": "trailing"}
    pipeline = theirs(pipelines["xl"], "euler ancestral", prediction="epsilon", **spacing)
    pipeline.keywords["num_inference_steps"] = 1
    expected = pipeline("a red fox", width=32, height=32, guidance_scale=0.0).images[0]
    ours = draw(
        engines["xl"],
        steps=1,
        guidance=1.0,
        settings={"sampler": "euler ancestral", "schedule": "trailing"},
    )
    assert np.abs(ours - expected * 255).max() < 2


@pytest.mark.parametrize("sampler", list(SCHEDULERS))
def test_a_start_picture_is_gone_on_with_as_in_diffusers(
    sampler: str, pipelines: dict[str, Any], engines: dict[str, LatentDiffusionEngine]
) -> None:
    drawing = engines["sd"]
    run = drawing.begin(job(init=a_picture(), strength=0.6, settings={"sampler": sampler}), None)
    assert run.start is not None
    if sampler == "lcm":
        assert run.step == 0
        assert float(run.levels.timesteps[0]) < 0.6 * 1000
        finish(drawing, run)
        return
    parts = {name: pipelines["sd"].components[name] for name in pipelines["sd"].components}
    whole = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    pipeline = theirs(whole, sampler, prediction="epsilon")
    expected = pipeline(
        "a red fox", image=run.start.latents[None], strength=0.6, guidance_scale=5.0
    ).images[0]
    assert run.step == 2  # of four steps, int(4 · .6) are taken
    assert np.abs(finish(drawing, run) - expected * 255).max() < 2


@pytest.mark.parametrize("strength", [0.7, 1.0])
@pytest.mark.parametrize("sampler", ["euler", "dpm++2m"])
def test_inpainting_is_that_of_diffusers_where_the_mask_is_white(
    sampler: str,
    strength: float,
    pipelines: dict[str, Any],
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["sd"]
    run = drawing.begin(
        job(init=a_picture(), mask=a_mask(), strength=strength, settings={"sampler": sampler}),
        None,
    )
    assert run.start is not None
    known = run.start.latents[None]
    parts = dict(pipelines["sd"].components)
    whole = diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    expected = theirs(whole, sampler, prediction="epsilon")(
        "a red fox",
        image=known,
        mask_image=Image.open(io.BytesIO(a_mask())),
        masked_image_latents=torch.zeros_like(known),
        strength=strength,
        guidance_scale=5.0,
        width=32,
        height=32,
    ).images[0]
    drawn = finish(drawing, run)
    assert np.abs(drawn[:, 16:] - expected[:, 16:] * 255).max() < 2
    start = np.asarray(Image.open(io.BytesIO(a_picture())), np.float32)
    assert np.array_equal(drawn[:, :16], start[:, :16])
    assert np.abs(drawn[:, 16:] - start[:, 16:]).mean() > 5


def test_a_lora_is_that_of_diffusers_and_goes_again(
    folders: dict[str, Path], lora: Path, engines: dict[str, LatentDiffusionEngine]
) -> None:
    drawing = engines["sd"]
    plain = draw(drawing)
    with_it = draw(drawing, settings={"lora": "style"})
    less = draw(drawing, settings={"lora": "style", "lora_scale": 0.4})
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        folders["sd"], safety_checker=None, local_files_only=True
    )
    pipeline.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="style")
    for scale, ours in ((1.0, with_it), (0.4, less)):
        pipeline.set_adapters(["style"], [scale])
        expected = theirs(pipeline, "euler", prediction="epsilon")(
            "a red fox", width=32, height=32, guidance_scale=5.0
        ).images[0]
        assert np.abs(ours - expected * 255).max() < 2
    assert np.abs(with_it - plain).max() > 3
    assert np.array_equal(draw(drawing), plain)
    one, none = job(settings={"lora": "style"}).recipe, job().recipe
    assert drawing.batch_key(one) != drawing.batch_key(none)
    with pytest.raises(EngineError, match="another kind"):
        draw(drawing, settings={"lora": "wrong"})
    assert np.array_equal(draw(drawing), plain)


# --- runs --------------------------------------------------------------------------------------


def test_runs_of_all_samplers_share_one_call(
    engines: dict[str, LatentDiffusionEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = engines["sd"]
    runs = [drawing.begin(job(settings={"sampler": name}), None) for name in SCHEDULERS]
    drawing.step(runs[:2])
    calls: list[int] = []
    predict = StableDiffusion.predict

    def counted(self: StableDiffusion, latents: Tensor, *others: Any) -> Tensor:
        calls.append(len(latents))
        return predict(self, latents, *others)

    monkeypatch.setattr(StableDiffusion, "predict", counted)
    drawing.step(runs)
    assert calls == [2 * len(runs)]
    assert len({drawing.batch_key(run.recipe) for run in runs}) == 1


@pytest.mark.parametrize("sampler", ["dpm++2m", "euler ancestral"])
def test_in_exact_mode_company_changes_nothing(
    sampler: str, engines: dict[str, LatentDiffusionEngine]
) -> None:
    drawing = engines["xl"]
    asked: dict[str, Any] = {"settings": {"sampler": sampler}, "exact": True}
    alone = drawing.begin(job(**asked), None)
    expected = finish(drawing, alone)
    among = drawing.begin(job(**asked), None)
    strangers = [drawing.begin(job(seed=seed, steps=6, exact=True), None) for seed in (5, 6)]
    drawing.step(strangers)
    while not among.done:
        drawing.step([*strangers, among])
    assert torch.equal(alone.latents, among.latents)
    assert np.array_equal(np.asarray(drawing.image(among), np.float32), expected)


@pytest.mark.parametrize("sampler", list(SCHEDULERS))
def test_a_checkpoint_goes_on_to_the_same_picture(
    sampler: str, folders: dict[str, Path], engines: dict[str, LatentDiffusionEngine]
) -> None:
    drawing = engines["sd"]
    given = job(
        settings={"sampler": sampler},
        steers=(Steer(2, "a blue whale", 2),),
        init=a_picture(),
        mask=a_mask(),
        strength=0.9,
    )
    run = drawing.begin(given, None)
    for _ in range(2):
        drawing.step([run])
    saved, stood = drawing.checkpoint(run), run.step
    expected = finish(drawing, run)
    other = engine(folders["sd"])
    resumed = other.begin(given, saved)
    assert resumed.step == stood
    assert np.array_equal(finish(other, resumed), expected)
    for wrong in (saved[:-40], b""):
        with pytest.raises(BadCheckpointError):
            other.begin(given, wrong)


def test_a_failed_step_can_be_tried_again(
    engines: dict[str, LatentDiffusionEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = engines["sd"]
    asked: dict[str, Any] = {"settings": {"sampler": "euler ancestral"}}
    expected = draw(drawing, **asked)
    run = drawing.begin(job(**asked), None)
    drawing.step([run])
    with monkeypatch.context() as patch:
        # The first of two runs has drawn its chance when the second falls.
        patch.setitem(sigma_samplers.SAMPLERS, "ddim", _out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            drawing.step([run, drawing.begin(job(settings={"sampler": "ddim"}), None)])
    assert run.step == 1
    assert np.array_equal(finish(drawing, run), expected)


def _out_of_memory(*_: Any) -> Any:
    raise torch.OutOfMemoryError


def test_a_steer_changes_the_picture_and_its_recipe_repeats_it(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["xl"]
    run = drawing.begin(job(), None)
    for _ in range(2):
        drawing.step([run])
    drawing.steer(run, Steer(0, "a blue whale", 3))
    steered = finish(drawing, run)
    assert not np.array_equal(steered, draw(drawing))
    assert np.array_equal(draw(drawing, steers=run.recipe.steers), steered)


def test_a_first_look_goes_on_to_the_same_picture(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["sd"]
    first = drawing.begin(job(until_step=2, settings={"sampler": "dpm++2m"}), None)
    look = finish(drawing, first)
    assert first.step == 2 and look.shape == (32, 32, 3)
    whole = job(settings={"sampler": "dpm++2m"})
    gone_on = finish(drawing, drawing.begin(whole, drawing.checkpoint(first)))
    assert np.array_equal(gone_on, finish(drawing, drawing.begin(whole, None)))


@pytest.mark.parametrize("kind", ["sd", "xl"])
def test_no_word_of_a_long_prompt_is_lost_and_company_stays_apart(
    kind: str, engines: dict[str, LatentDiffusionEngine]
) -> None:
    drawing = engines[kind]
    long = "a very long story about rivers and hills " * 5
    first, second = (drawing.begin(job(prompt=long + end), None) for end in ("fox", "owl"))
    assert len(first.prompts[0][0].states) % 77 == 0
    assert len(first.prompts[0][0].states) > 77
    assert tiny.difference(first.prompts[0][0].states, second.prompts[0][0].states) > 1e-3
    alone, among = (drawing.begin(job(), None) for _ in range(2))
    while not alone.done:
        drawing.step([alone])
        drawing.step([first, among])
    assert tiny.difference(alone.latents, among.latents) < 1e-4


def test_a_run_that_falls_apart_takes_nobody_with_it(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["sd"]
    sick, well, alone = (drawing.begin(job(), None) for _ in range(3))
    sick.latents = torch.full_like(sick.latents, float("inf"))
    drawing.step([sick, well])
    drawing.step([alone])
    assert sick.error is not None and sick.step == 0
    assert tiny.difference(well.latents, alone.latents) < 1e-4


def test_large_previews_are_one_pixel_a_latent(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["sd"]
    run = drawing.begin(job(width=320, height=256), None)
    assert drawing.preview(run).size == (160, 128)
    # Decoding one picture takes more than a few runs' step.
    one, two, many = (drawing.predict_bytes(run.recipe, runs) for runs in (1, 2, 16))
    assert 0 < one <= two < many


def test_memory_is_predicted_by_what_the_network_is_asked(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    steered: dict[str, Any] = {"steers": (Steer(0, "c | d", 3),), "negative": "fog | rain"}
    for kind, expected in (("sd", 7), ("lcm", 5)):  # lcm is told the guidance
        drawing = engines[kind]
        asked = job(prompt="a | b | a | e", width=512, height=512, **steered)
        run = drawing.begin(job(prompt="a | b | a | e", **steered), None)
        rows = join([run], tiny.CPU, guidance=[1.0] if kind == "lcm" else None)
        assert len(rows.owned) == expected
        two, three, four = (drawing.predict_bytes(asked.recipe, runs) for runs in (2, 3, 4))
        alone = job(prompt="a", width=512, height=512, guidance=1.0).recipe  # of one row
        base, more = (drawing.predict_bytes(alone, runs) for runs in (20, 21))
        assert four - three == three - two == expected * (more - base) > 0


# --- what cannot be drawn ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": "fog:-1"}, "nothing to draw"),
        ({"width": 33}, "multiples"),
        ({"init": b"GIF89a"}, "cannot be read"),
        ({"mask": a_mask()}, "Give that picture"),
        ({"init": a_picture(), "mask": b"GIF89a"}, "mask cannot be read"),
        ({"init": a_picture(), "mask": a_mask(64, 32)}, "same proportions"),
        ({"init": a_picture(), "mask": png(Image.new("L", (32, 32)))}, "no white"),
        ({"settings": {"sampler": "magic"}}, "one of"),
        ({"settings": {"lora": "magic"}}, "one of"),
        ({"settings": {"sampler": "lcm"}, "steps": 60}, "at most 50 steps"),
        ({"settings": {"sampler": "lcm"}, "init": a_picture(), "strength": 0.06}, "at most 3"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(
    changes: dict[str, Any], sentence: str, engines: dict[str, LatentDiffusionEngine]
) -> None:
    with pytest.raises(EngineError, match=sentence):
        engines["sd"].begin(job(**changes), None)


@pytest.mark.parametrize(
    "part",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "unet/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
        "model_index.json",
        "tokenizer",
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_a_half_downloaded_folder_is_said_in_a_sentence(
    part: str, cut: bool, folders: dict[str, Path], pipelines: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(folders["sd"], folder)
    path = folder / part
    if path.is_dir():
        shutil.rmtree(path)
    elif cut:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    with pytest.raises(EngineError, match=r"half is not complete: .*models verify"):
        StableDiffusion(folder, tiny.CPU)


def test_pickles_are_not_weights(
    folders: dict[str, Path], pipelines: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(folders["sd"], folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(EngineError, match="not complete"):
        StableDiffusion(folder, tiny.CPU)


# --- finding models ----------------------------------------------------------------------------


def test_an_added_folder_is_drawn_with_by_the_engine_of_its_kind(
    folders: dict[str, Path], pipelines: dict[str, Any], tmp_path: Path
) -> None:
    for kind in KINDS:
        shutil.copytree(folders[kind], tmp_path / kind)
        files = tuple(
            ModelFile(name=path.relative_to(tmp_path / kind).as_posix())
            for path in (tmp_path / kind).rglob("*")
            if path.is_file()
        )
        entry = Model(name=kind, family="diffusion", title=kind, licence="MIT", files=files)
        write_entry(entry, tmp_path)
    engines = build_engines(device="cpu", models_dir=tmp_path)
    names = {
        name: [model.name for model in engines[name].info.models if model.available]
        for name in ("stable-diffusion", "stable-diffusion-xl", "consistency")
    }
    assert names == {
        "stable-diffusion": ["sd", "sd2"],
        "stable-diffusion-xl": ["xl"],
        "consistency": ["lcm"],
    }
    drawing = engines["stable-diffusion"]
    recipe = Recipe(
        engine="stable-diffusion", model="sd", prompt="x", width=256, height=256, steps=1, seed=1
    )
    run = drawing.begin(Job(id="1", recipe=recipe, stream="s", person="p"), None)
    drawing.step([run])
    assert run.error is None and drawing.image(run).size == (256, 256)
    drawing.unload("sd")
    (tmp_path / "xl" / "unet" / "config.json").unlink()
    assert "stable-diffusion-xl" not in build_engines(device="cpu", models_dir=tmp_path)
