"""Sketches: what becomes of them, and ControlNets against diffusers' own pipelines."""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from generation.engine import EngineError
from generation.engines.latent_diffusion import LatentDiffusionEngine, LatentRun, latent_options
from generation.engines.latent_kinds import build_latent_engines
from generation.engines.perceptors import SharedPerceptors
from generation.engines.sketches import read_sketch
from generation.engines.stable_diffusion import StableDiffusion
from generation.models.adding import write_entry
from generation.models.catalogue import Model, ModelFile
from generation.models.library import Library
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Setting
from tests.generation import tiny, tiny_pipelines

KINDS = ("sd", "xl")


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@functools.cache
def drawn(width: int = 32, height: int = 32, paper: str = "white", ink: str = "black") -> bytes:
    """A circle on paper."""
    picture = Image.new("RGB", (width, height), paper)
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    ImageDraw.Draw(picture).ellipse(box, outline=ink, width=max(1, width // 16))
    return png(picture)


def make_controlnet(folder: Path, unet: Any, seed: int) -> None:
    """Save a ControlNet whose last layers, which are zeros at first, say something."""
    torch.manual_seed(seed)
    network = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    for layer in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.4)
    torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=0.5)
    network.save_pretrained(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def pipelines(home: Path) -> dict[str, Any]:
    made = {kind: tiny_pipelines.make(home / kind, kind) for kind in KINDS}
    for kind, pipeline in made.items():
        make_controlnet(home / f"control-{kind}", pipeline.unet, 3)
        make_controlnet(home / f"other-{kind}", pipeline.unet, 4)
    return made


@pytest.fixture(scope="module")
def engines(home: Path, pipelines: dict[str, Any]) -> dict[str, LatentDiffusionEngine]:
    return {kind: engine(home, kind) for kind in pipelines}


def engine(home: Path, kind: str) -> LatentDiffusionEngine:
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
        takes_sketch=True,
        takes_negative=True,
        steerable=True,
        options=latent_options(
            sampler="euler",
            controls=(f"control-{kind}", f"other-{kind}", "control-xl" if kind == "sd" else "sd"),
        ),
    )

    def load_model(_name: str) -> StableDiffusion:
        return StableDiffusion(home / kind, tiny.CPU, control_folder=lambda name: home / name)

    return LatentDiffusionEngine(info, load_model, device=tiny.CPU)


def job(
    sketch: bytes | None = None,
    *,
    steps: int = 4,
    seed: int = 3,
    init: bytes | None = None,
    settings: dict[str, Setting] | None = None,
    **recipe: Any,
) -> Job:
    def named(data: bytes | None) -> str | None:
        return None if data is None else hashlib.sha256(data).hexdigest()

    return Job(
        id=str(seed),
        recipe=Recipe(
            engine="tiny-latent",
            model="tiny",
            prompt=recipe.pop("prompt", "a red fox"),
            width=32,
            height=32,
            steps=steps,
            seed=seed,
            settings=settings or {},
            sketch_sha256=named(sketch),
            init_sha256=named(init),
            **recipe,
        ),
        stream="s",
        person="p",
        pictures={hashlib.sha256(data).hexdigest(): data for data in (sketch, init) if data},
    )


def finish(drawing: LatentDiffusionEngine, run: LatentRun) -> np.ndarray[Any, Any]:
    while not run.done:
        drawing.step([run])
    assert run.error is None
    return np.asarray(drawing.image(run), np.float32)


def draw(drawing: LatentDiffusionEngine, *asked: bytes, **how: Any) -> np.ndarray[Any, Any]:
    return finish(drawing, drawing.begin(job(*asked, **how), None))


def theirs(home: Path, pipeline: Any, kind: str, lines: Tensor, **how: Any) -> Any:
    """Return diffusers' picture of the same recipe, in 0..255."""
    network = diffusers.ControlNetModel.from_pretrained(home / f"control-{kind}")
    parts = dict(pipeline.components)
    if kind == "xl":
        whole: Any = diffusers.StableDiffusionXLControlNetPipeline(
            **{key: part for key, part in parts.items() if key not in ("image_encoder",)},
            controlnet=network,
            add_watermarker=False,
        )
    else:
        whole = diffusers.StableDiffusionControlNetPipeline(
            **parts, controlnet=network, requires_safety_checker=False
        )
    whole.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        {**tiny_pipelines.SCHEDULER, "prediction_type": "epsilon"}
    )
    whole.set_progress_bar_config(disable=True)
    answer = whole(
        "a red fox",
        image=lines[None],
        num_inference_steps=4,
        generator=torch.Generator().manual_seed(3),
        guidance_scale=5.0,
        width=32,
        height=32,
        output_type="np",
        **how,
    )
    return answer.images[0] * 255


# --- against diffusers -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("ours", "how"),
    [
        ({}, {}),
        ({"control_scale": 0.5}, {"controlnet_conditioning_scale": 0.5}),
        (
            {"control_start": 0.25, "control_end": 0.75},
            {"control_guidance_start": 0.25, "control_guidance_end": 0.75},
        ),
    ],
)
def test_a_sketch_leads_as_in_diffusers(
    kind: str,
    ours: dict[str, Setting],
    how: dict[str, Any],
    home: Path,
    pipelines: dict[str, Any],
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    """Alone, and among strangers: with another sketch, with none, with a longer prompt."""
    drawing = engines[kind]
    run = drawing.begin(job(drawn(), settings=ours), None)
    assert run.control is not None
    expected = theirs(home, pipelines[kind], kind, run.control.lines, **how)
    alone = finish(drawing, run)
    assert np.abs(alone - expected).max() < 2
    assert np.abs(alone - draw(drawing)).max() > 10
    other: dict[str, Setting] = {"control": f"other-{kind}"}
    strangers = [
        drawing.begin(job(prompt="a blue whale", seed=4, steps=6), None),
        drawing.begin(job(drawn(32, 32, "black", "white"), seed=5, steps=6, settings=other), None),
        drawing.begin(job(drawn(), prompt="a very long walk " * 9, seed=6, steps=6), None),
    ]
    drawing.step(strangers[:2])
    among = drawing.begin(job(drawn(), settings=ours), None)
    while not among.done:
        drawing.step([strangers[0], among, *strangers[1:]])
    crowded = np.asarray(drawing.image(among), np.float32)
    assert np.abs(crowded - expected).max() < 2
    # Whoever has no sketch is not led by another's.
    plain = draw(drawing, prompt="a blue whale", seed=4, steps=6)
    drawing.step(strangers)
    assert np.abs(np.asarray(drawing.image(strangers[0]), np.float32) - plain).max() < 2


def test_an_exact_picture_is_the_same_whoever_else_has_a_sketch(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["sd"]
    alone = draw(drawing, drawn(), exact=True)
    stranger = drawing.begin(job(seed=9), None)
    among = drawing.begin(job(drawn(), exact=True), None)
    while not among.done:
        drawing.step([stranger, among])
    assert np.array_equal(np.asarray(drawing.image(among), np.float32), alone)


def test_a_start_picture_and_a_checkpoint_go_together_with_a_sketch(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["sd"]
    asked = job(drawn(), init=drawn(32, 32, "red", "blue"), strength=0.8, steps=6)
    whole = finish(drawing, drawing.begin(asked, None))
    begun = drawing.begin(asked, None)
    drawing.step([begun])
    resumed = drawing.begin(asked, drawing.checkpoint(begun))
    assert np.array_equal(finish(drawing, resumed), whole)


def test_without_any_part_in_it_a_sketch_changes_nothing(
    engines: dict[str, LatentDiffusionEngine],
) -> None:
    drawing = engines["sd"]
    plain = draw(drawing)
    assert np.array_equal(draw(drawing, drawn(), settings={"control_scale": 0.0}), plain)


def test_what_is_wrong_is_said_in_a_sentence(
    home: Path, engines: dict[str, LatentDiffusionEngine]
) -> None:
    drawing = engines["sd"]
    never: dict[str, Setting] = {"control_start": 0.5, "control_end": 0.5}
    wrong: tuple[tuple[bytes, dict[str, Setting], str], ...] = (
        (drawn(), {"control": "none"}, "Name one, or leave the sketch out"),
        (drawn(), {"control": "control-xl"}, "control-xl does not fit this model"),
        (drawn(), never, "which is never"),
        (b"no picture", {}, "The sketch cannot be read"),
        (png(Image.new("RGB", (32, 32), "white")), {}, "There is nothing on the sketch"),
    )
    for data, settings, words in wrong:
        with pytest.raises(EngineError, match=words):
            drawing.begin(job(data, settings=settings), None)
    lost = job(drawn())
    lost.pictures.clear()
    with pytest.raises(EngineError, match="did not come with it"):
        drawing.begin(lost, None)


@pytest.mark.parametrize("damage", ["gone", "cut", "config"])
def test_a_controlnet_that_is_not_whole_is_named(
    damage: str, home: Path, pipelines: dict[str, Any], tmp_path: Path
) -> None:
    make_controlnet(tmp_path / "control-sd", pipelines["sd"].unet, 3)
    weights = tmp_path / "control-sd/diffusion_pytorch_model.safetensors"
    if damage == "gone":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        (tmp_path / "control-sd/config.json").write_text("{")
    model = StableDiffusion(home / "sd", tiny.CPU, control_folder=lambda name: tmp_path / name)
    with pytest.raises(EngineError, match=r"control-sd is not complete: .* models verify"):
        model.use_control("control-sd")


# --- which there are ---------------------------------------------------------------------------


def test_engines_offer_the_controlnets_that_are_here(
    home: Path, pipelines: dict[str, Any], tmp_path: Path
) -> None:
    def infos() -> dict[str, EngineInfo]:
        library = Library(tmp_path)
        shared = SharedPerceptors(library, tiny.CPU)
        made = build_latent_engines(library, shared, tiny.CPU, exact=False)
        return {one.info.name: one.info for one in made}

    info = infos()["stable-diffusion"]
    assert not info.takes_sketch
    assert "dreamstream models pull controlnet-sd15-scribble" in info.sketch_missing
    assert "pull controlnet-sdxl-scribble" in infos()["stable-diffusion-xl"].sketch_missing
    make_controlnet(tmp_path / "mine", pipelines["sd"].unet, 3)
    files = tuple(ModelFile(name=path.name) for path in (tmp_path / "mine").iterdir())
    entry = Model(name="mine", family="controlnet", title="Mine", licence="mine", files=files)
    write_entry(entry, tmp_path)
    info = infos()["stable-diffusion"]
    assert (info.takes_sketch, info.sketch_missing) == (True, "")
    option = next(option for option in info.options if option.name == "control")
    assert (option.default, option.choices) == ("mine", ("none", "mine"))


def test_an_engine_without_controlnets_says_how_to_get_one(home: Path) -> None:
    info = EngineInfo(
        name="tiny-latent", title="Tiny", models=(), default_width=32, default_height=32,
        min_side=16, max_side=64, max_pixels=4096, size_multiple=8, default_steps=4, max_steps=9,
        sketch_missing="Get it with: dreamstream models pull one", options=latent_options(),
    )  # fmt: skip
    drawing = LatentDiffusionEngine(
        info, lambda _: StableDiffusion(home / "sd", tiny.CPU), device=tiny.CPU
    )
    with pytest.raises(EngineError, match="Get it with: dreamstream models pull one"):
        drawing.begin(job(drawn()), None)


# --- what becomes of a sketch ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paper", "ink"),
    [("white", "black"), ("black", "white"), ("#f3ead2", "#3a2b80"), ("#224433", "#eeee99")],
)
def test_lines_are_white_on_black_whatever_the_paper(paper: str, ink: str) -> None:
    lines = read_sketch(drawn(64, 64, paper, ink), 64, 64)
    expected = read_sketch(drawn(64, 64), 64, 64)
    assert lines.shape == (3, 64, 64)
    assert (float(lines.min()), float(lines.max())) == (0, 1)
    assert float((lines - expected).abs().max()) < 0.02
    assert 0.05 < float(lines.mean()) < 0.4


def test_faint_pencil_on_grainy_paper_is_found() -> None:
    picture = Image.open(io.BytesIO(drawn(128, 128, "#e8e8e8", "#9a9a9a"))).convert("RGB")
    grain = np.random.default_rng(1).normal(0, 3, (128, 128, 1))
    noisy = Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))
    lines = read_sketch(png(noisy), 128, 128)[0]
    wanted = read_sketch(drawn(128, 128), 128, 128)[0] > 0.5
    assert float(lines[wanted].mean()) > 0.75
    assert float(lines[~wanted].mean()) < 0.12


def test_of_a_photograph_the_edges_are_taken() -> None:
    slope = Image.linear_gradient("L").resize((128, 128)).convert("RGB")
    disc = Image.new("L", (128, 128))
    ImageDraw.Draw(disc).ellipse((30, 30, 98, 98), fill=255)
    slope.paste((200, 40, 40), mask=disc.filter(ImageFilter.GaussianBlur(1)))
    lines = read_sketch(png(slope), 128, 128)[0]
    down, across = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    ring = ((down - 64).hypot(across - 64) - 34).abs()
    assert float(lines[ring < 1.5].mean()) > 0.6
    assert float(lines[ring > 8].mean()) < 0.05
    assert torch.equal(read_sketch(png(slope), 128, 128, "edges")[0], lines)
    # What a ControlNet of another kind is made for is not touched.
    kept = read_sketch(png(slope), 128, 128, "as it is")
    assert np.array_equal((kept * 255).round().byte().permute(1, 2, 0), np.asarray(slope))
