"""How much memory a step takes, against what the engine predicts of it.

What is counted is what torch's allocator has given out at the same time beyond what was there
before the step: of one step of so many runs, and of taking the picture of one of them. On a GPU the
allocator says so itself; on the CPU the profiler notes each allocation, those within an operation
included. Networks have the full published shapes and random weights: they take as much memory
whatever they mean.

    python -m benchmarks.memory [--cases vqgan-256 vqgan-192x320 guided-256 sd-512] [--runs 1 2]
        [--cutouts 8 32] [--precision auto|fp32|bf16] [--exact]

A case is a kind of engine and a side, or a width and a height. ``--cutouts`` is for those that CLIP
steers. Prints a table for people and one line of JSON. The ratio is predicted to measured: below 1
a batch could be begun that does not fit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import torch

from benchmarks.step import OnePerceptor, describe, networks
from generation.canvases.vqgan import VQGANCanvas
from generation.clip.perceptor import Perceptor
from generation.engine import Engine
from generation.engines import stable_diffusion
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.guided import GuidedDiffusionEngine, guided_options
from generation.engines.latent_diffusion import LatentDiffusionEngine, latent_options
from generation.models.compiling import Compiler, Precision
from generation.models.guided import PUBLISHED, GuidedUNet
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe

CASES = ("vqgan-256", "vqgan-512", "guided-256", "sd-512", "starter-128")


def peak_bytes(act: Callable[[], object], device: torch.device) -> int:
    """Return the most that was given out beyond what there was before, while it acts."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        act()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        act()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]"]
    noted = [event["args"] for event in sorted(found, key=lambda event: float(event["ts"]))]
    if not noted:
        return 0
    # What an earlier profile saw given out, and not freed before it ended, counts for ever.
    before = int(noted[0]["Total Allocated"]) - int(noted[0]["Bytes"])
    return max(int(one["Total Allocated"]) for one in noted) - before


def jobs(info: EngineInfo, count: int, side: int, **recipe: Any) -> list[Job]:
    """Return as many people's jobs; `recipe` has what is not as here."""
    return [
        Job(
            id=str(seed),
            recipe=Recipe(
                engine=info.name,
                model=info.models[0].name,
                prompt="a lighthouse in a storm",
                width=side,
                height=recipe.get("height", side),
                steps=20,
                seed=seed,
                guidance=info.guidance,
                exact=recipe.get("exact", False),
                settings=info.defaults | recipe.get("settings", {}),
            ),
            stream="",
            person=str(seed),
        )
        for seed in range(count)
    ]


def measure(
    engine: Engine[Any], count: int, side: int, device: torch.device, **recipe: Any
) -> dict[str, float]:
    """Return predicted and measured bytes of a step of `count` runs and of one picture.

    `recipe` has what is not as `jobs` has it.
    """
    asked = jobs(engine.info, count, side, **recipe)
    runs = [engine.begin(job, None) for job in asked]
    engine.step(runs)  # what is made once, and kept, is not a step's
    step = peak_bytes(lambda: engine.step(runs), device)
    picture = peak_bytes(lambda: engine.image(runs[0]), device)
    predicted = engine.predict_bytes(asked[0].recipe, count)
    return {
        "predicted": predicted,
        "step": step,
        "picture": picture,
        "ratio": predicted / max(step, picture),
    }


# --- what is measured --------------------------------------------------------------------------


def vqgan(side: int, device: torch.device, precision: Precision = "auto") -> Engine[Any]:
    """VQGAN f16 16384 with CLIP ViT-B/32 and 32 crops."""
    compiler = Compiler(device, precision=precision)
    model, perceptor, _ = networks("full", device, compiler)
    canvas = VQGANCanvas(model, device, compiler)
    source = OnePerceptor(perceptor)
    return ClipSteeredEngine(describe(32, side), lambda _name: canvas, source, device=device)


def guided(side: int, device: torch.device, precision: Precision = "auto") -> Engine[Any]:
    """OpenAI's unconditional network of 256 pixels with CLIP ViT-B/32 and 16 crops."""
    import open_clip

    clip = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    compiler = Compiler(device, precision=precision)
    perceptor = Perceptor.of_open_clip(clip, open_clip.get_tokenizer("ViT-B-32"), device, compiler)
    network = filled(lambda: GuidedUNet(PUBLISHED[256]), device)
    described = info("guided-diffusion", side, options=guided_options(("one",), cutouts=16))
    return GuidedDiffusionEngine(
        described, lambda _: network, OnePerceptor(perceptor), device=device
    )


def sd(side: int, device: torch.device, _precision: Precision = "auto") -> Engine[Any]:
    """Stable Diffusion 1.5: a prompt and what it is guided away from, in a row each.

    It has number formats of its own.
    """
    import diffusers
    import transformers

    four = {"down_block_types": ("DownEncoderBlock2D",) * 4}
    parts: dict[str, Callable[[], Any]] = {
        "unet": lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        "vae": lambda: diffusers.AutoencoderKL(
            **four,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        ),
        "text_encoder": lambda: transformers.CLIPTextModel(
            transformers.CLIPTextConfig(hidden_size=768, num_attention_heads=12)
        ),
    }
    half = torch.float16 if device.type == "cuda" else torch.float32

    def read_network(_folder: Path, part: str, *_others: object) -> Any:
        return filled(parts[part], device, torch.float32 if part == "vae" else half)

    def load(_name: str) -> stable_diffusion.StableDiffusion:
        with tempfile.TemporaryDirectory() as name:
            folder = configured(Path(name))
            with mock.patch.object(stable_diffusion, "read_network", read_network):
                return stable_diffusion.StableDiffusion(folder, device)

    described = info("stable-diffusion", side, guidance=7.5, options=latent_options())
    return LatentDiffusionEngine(described, load, device=device)


def starter(_side: int, device: torch.device, precision: Precision = "auto") -> Engine[Any]:
    """The diffusion model that ships."""
    return _shipped("diffusion", device, precision)


def clip(_side: int, device: torch.device, precision: Precision = "auto") -> Engine[Any]:
    """The VQGAN and the CLIP that ship."""
    return _shipped("vqgan-clip", device, precision)


def _shipped(name: str, device: torch.device, precision: Precision) -> Engine[Any]:
    from generation.engines import build_engines

    where = str(device)
    return build_engines(device=where, models_dir=None, exact=False, precision=precision)[name]


class Maker(Protocol):
    """Makes an engine for pictures of up to so many pixels a side."""

    def __call__(
        self, side: int, device: torch.device, precision: Precision = ..., /
    ) -> Engine[Any]:
        """Return it, with its networks loaded or ready to be."""
        ...


MAKERS: dict[str, Maker] = {
    "clip": clip,
    "vqgan": vqgan,
    "guided": guided,
    "sd": sd,
    "starter": starter,
}


def filled(
    make: Callable[[], Any], device: torch.device, dtype: torch.dtype = torch.float32
) -> Any:
    """Return a network with small random weights, without what its own beginning would cost."""
    with torch.device("meta"):
        network = make()
    network = network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    # Not the state: some buffers, the places in the text among them, are not part of it.
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.uniform_(-0.02, 0.02)
        else:  # places in the text
            tensor.copy_(torch.arange(tensor.numel(), device=device).view(tensor.shape))
    return network


def configured(folder: Path) -> Path:
    """Write what is read of a diffusers folder besides its networks."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    files = {
        "model_index.json": json.dumps({"_class_name": "StableDiffusionPipeline"}),
        "scheduler/scheduler_config.json": json.dumps(
            {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        ),
        "tokenizer/vocab.json": json.dumps({word: nth for nth, word in enumerate(words)}),
        "tokenizer/merges.txt": "#version: 0.2\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def info(name: str, side: int, **more: Any) -> EngineInfo:
    """Describe an engine whose pictures are squares of `side` pixels."""
    return EngineInfo(
        name=name,
        title=name,
        models=(ModelInfo(name=name, title=name, licence="none"),),
        default_width=side,
        default_height=side,
        min_side=64,
        max_side=2048,
        max_pixels=2048 * 2048,
        size_multiple=8,
        default_steps=20,
        max_steps=1000,
        **more,
    )


def _case(text: str) -> str:
    kind, _, size = text.partition("-")
    if kind not in MAKERS or not all(side.isdigit() for side in size.split("x", 1)):
        raise argparse.ArgumentTypeError(
            f"one of {', '.join(MAKERS)}, a dash and a side, or two with an x between them"
        )
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", nargs="+", type=_case, default=list(CASES), metavar="KIND-SIZE")
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cutouts", type=int, nargs="+", default=[])
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--exact", action="store_true")
    arguments = parser.parse_args(argv)
    device = torch.device(arguments.device)
    found: dict[str, dict[str, float]] = {}
    print(f"{'':40}{'predicted':>12}{'a step':>12}{'a picture':>12}{'ratio':>8}", flush=True)
    wanted = product(arguments.cases, arguments.cutouts or [0], arguments.runs)
    for case, cutouts, count in wanted:
        kind, _, size = case.partition("-")
        width, _, height = size.partition("x")
        side, high = int(width), int(height or width)
        recipe = {"height": high, "exact": arguments.exact}
        if cutouts:
            recipe["settings"] = {"cutouts": cutouts}
        # A new one each time: the first picture makes, and keeps, what others only use.
        engine = MAKERS[kind](max(side, high), device, arguments.precision)
        name = f"{case}, {f'{cutouts} cutouts, ' if cutouts else ''}{count} together"
        one = found[name] = measure(engine, count, side, device, **recipe)
        sizes = "".join(
            f"{one[key] / 2**20:>8,.0f} MiB" for key in ("predicted", "step", "picture")
        )
        print(f"{name:40}{sizes}{one['ratio']:>8.2f}", flush=True)
        del engine
    said = {
        "benchmark": "memory",
        "device": device.type,
        "precision": arguments.precision,
        "exact": arguments.exact,
        "torch": torch.__version__,
    }
    print(json.dumps({**said, "bytes": found}))


if __name__ == "__main__":
    main()
