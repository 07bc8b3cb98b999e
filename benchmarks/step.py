"""How long a step of VQGAN+CLIP takes: ours against the classic loop, alone and together.

Both draw with the same networks (random weights: arithmetic takes as long whatever it means) in
the same process, turn and turn about, so that what else the machine does falls on both alike.

    python -m benchmarks.step [--side 256] [--cutouts 32] [--runs 1 4 16] [--networks full]

``full`` are VQGAN f16 16384 and CLIP ViT-B/32, ``starter`` those that ship. Prints a table for
people and one line of JSON; times are medians of a step and of a picture, ratios are to the
classic loop's step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.classic import ClassicLoop
from generation.canvases.vqgan import VQGANCanvas
from generation.clip.perceptor import Perceptor
from generation.engines.clip_family import clip_info
from generation.engines.clip_options import clip_options
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.models.compiling import Compiler
from generation.models.vqgan import VQGAN, VQGANConfig
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe

TEXT = "a lighthouse in a storm"


class OnePerceptor:
    """A `PerceptorSource` that has one."""

    names = ("one",)

    def __init__(self, perceptor: Perceptor) -> None:
        self._perceptor = perceptor

    def acquire(self, name: str) -> Perceptor:
        """Return it."""
        return self._perceptor

    def release(self, name: str) -> None:
        """Keep it."""


class Networks(NamedTuple):
    """What both draw with. `see` is the CLIP's vision tower as its package computes it."""

    vqgan: VQGAN
    perceptor: Perceptor
    see: Callable[[Tensor], Tensor]


def networks(kind: str, device: torch.device, compiler: Compiler | None = None) -> Networks:
    """Return both networks: the full published shapes, or the starter models.

    `compiler` says how CLIP is computed.
    """
    torch.manual_seed(0)
    if kind == "starter":
        from generation import starter
        from generation.models.vqgan import config_of_taming

        model, tokenizer, wants = starter.load_clip(device)
        see = deepcopy(model).encode_image
        config = config_of_taming(starter.vqgan_config())
        perceptor = Perceptor(
            model,
            tokenizer,
            size=wants.image_size,
            mean=wants.mean,
            std=wants.std,
            device=device,
            compiler=compiler,
        )
        vqgan = VQGAN.from_weights(starter.vqgan_state_dict(), config).to(device)
        return Networks(vqgan, perceptor, see)
    import open_clip

    config = VQGANConfig(
        channels=128,
        multipliers=(1, 1, 2, 2, 4),
        blocks=2,
        attention_levels=(4,),
        z_channels=256,
        embed_dim=256,
        codes=16384,
    )
    vqgan = VQGAN(config).to(device).eval().requires_grad_(False)
    clip = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).eval()
    see = deepcopy(clip.visual).requires_grad_(False).to(device)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    perceptor = Perceptor.of_open_clip(clip, tokenizer, device, compiler)
    return Networks(vqgan, perceptor, see)


def describe(cutouts: int, side: int) -> EngineInfo:
    """Describe the engine as the program does, with the notebook's crops."""
    options = clip_options(
        ("one",), cutouts=cutouts, kind="classic", learning_rate=0.1, start="chance"
    )
    models = (ModelInfo(name="vqgan", title="VQGAN", licence="none"),)
    return clip_info(
        name="vqgan-clip",
        title="VQGAN + CLIP",
        models=models,
        options=options,
        side=side,
        steps=1000,
        max_pixels=side * side,
        size_multiple=16,
    )


def our_runs(engine: ClipSteeredEngine, count: int, side: int) -> list[ClipRun]:
    """Begin `count` people's runs."""
    return [
        engine.begin(
            Job(
                id=str(seed),
                recipe=Recipe(
                    engine="vqgan-clip",
                    model="vqgan",
                    prompt=TEXT,
                    width=side,
                    height=side,
                    steps=1000,
                    seed=seed,
                ),
                stream="",
                person=str(seed),
            ),
            None,
        )
        for seed in range(count)
    ]


def timed(act: Callable[[], object], device: torch.device) -> float:
    """Return how long it takes, in seconds, the device's work included.

    On a processor these are the seconds of all its cores that the process had: what others do on
    the same cores lengthens those much less than it does the clock's.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - begun


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Take turns; return the medians."""
    device = torch.device(arguments.device)
    vqgan, perceptor, see = networks(arguments.networks, device)
    side, cutouts = arguments.side, arguments.cutouts
    classic = ClassicLoop(vqgan, perceptor, see, TEXT, side=side, cutouts=cutouts, seed=0)
    canvas = VQGANCanvas(vqgan, device)
    engine = ClipSteeredEngine(
        describe(cutouts, side), lambda _name: canvas, OnePerceptor(perceptor), device=device
    )
    groups = {count: our_runs(engine, count, side) for count in arguments.runs}

    def step_of(runs: list[ClipRun]) -> Callable[[], object]:
        return lambda: engine.step(runs)

    contenders: dict[str, Callable[[], object]] = {"classic": classic.step}
    contenders |= {f"ours, {count} together": step_of(runs) for count, runs in groups.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(arguments.warmup + arguments.turns):
        for name, act in contenders.items():
            took = timed(act, device)
            if turn >= arguments.warmup:
                times[name].append(took)
    medians = {name: statistics.median(each) for name, each in times.items()}
    pictures = {"classic": 1} | {f"ours, {count} together": count for count in groups}
    return {
        "benchmark": "step",
        "device": device.type,
        "networks": arguments.networks,
        "side": side,
        "cutouts": cutouts,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "step_s": medians,
        "step_of_one_picture_s": {name: medians[name] / pictures[name] for name in medians},
        "ratio_to_classic": {
            name: medians["classic"] / (medians[name] / pictures[name]) for name in medians
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", choices=("full", "starter"), default="full")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--cutouts", type=int, default=32)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    found = measure(arguments)
    print(f"{'':22}{'a step':>10}{'per picture':>14}{'times classic':>16}")
    steps, each, ratios = (
        found[name] for name in ("step_s", "step_of_one_picture_s", "ratio_to_classic")
    )
    assert isinstance(steps, dict) and isinstance(each, dict) and isinstance(ratios, dict)
    for name, step_s in steps.items():
        print(f"{name:22}{step_s:>8.3f} s{each[name]:>12.3f} s{ratios[name]:>15.2f}×")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
