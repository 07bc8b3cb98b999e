"""How many dreams an hour: 1, 4, 8, 16, 32 people through the real scheduler, against one by one.

Steered pictures (VQGAN + CLIP): each person asks for one, and the scheduler draws them together;
the classic loop draws one after another, so that its dreams an hour follow from its step.
Diffusion: 8 people with different steps, prompts and guidance, against diffusers' plain pipeline
one after another with the same networks. Both in one run, turn and turn about.

    python -m benchmarks.throughput [--networks starter] [--side 64] [--people 1 4 8] [--diffusion]

Prints a table for people and one line of JSON. On a processor, times are of the cores' work
(`benchmarks.step.timed`), so that others on the machine disturb them less.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.classic import ClassicLoop
from benchmarks.desk import Desk, job
from benchmarks.plain import pair
from benchmarks.step import TEXT, Networks, OnePerceptor, describe, networks, timed
from generation.canvases.vqgan import VQGANCanvas
from generation.engine import Engine
from generation.engines.clip_steered import ClipSteeredEngine
from generation.models.compiling import Compiler
from generation.settings import Settings

PEOPLE = (1, 4, 8, 16, 32)


def engine_of(
    drawn_with: Networks,
    device: torch.device,
    *,
    side: int,
    cutouts: int,
    compiler: Compiler | None = None,
) -> Engine[Any]:
    """Return the product's VQGAN + CLIP with some networks."""
    canvas = VQGANCanvas(drawn_with.vqgan, device, compiler or Compiler(device))
    source = OnePerceptor(drawn_with.perceptor)
    return ClipSteeredEngine(describe(cutouts, side), lambda _name: canvas, source, device=device)


def drawn(
    engine: Engine[Any], people: int, device: torch.device, **recipe: Any
) -> tuple[float, Desk]:
    """Draw a picture for each of so many people through the scheduler; return what it took.

    Raises:
        RuntimeError: not all could be drawn.
    """
    settings = Settings(device=str(device), max_batch=max(8, min(people, 16)))
    desk = Desk({engine.info.name: engine}, settings)
    for number in range(people):
        desk.ask(job(engine, f"dream-{number}", f"person {number}", **{"seed": number} | recipe))
    took_s = timed(desk.draw_all, device)
    if desk.failed:
        raise RuntimeError(f"not all could be drawn: {desk.failed}")
    return took_s, desk


def steered(
    engine: Engine[Any],
    drawn_with: Networks,
    device: torch.device,
    *,
    people: Sequence[int],
    side: int,
    cutouts: int,
    steps: int,
    note: Callable[[str, float], None] = lambda _name, _value: None,
) -> dict[str, Any]:
    """Measure dreams of `steps` steps an hour; `note` is told each figure as it comes."""
    classic = ClassicLoop(
        drawn_with.vqgan, drawn_with.perceptor, drawn_with.see, TEXT,
        side=side, cutouts=cutouts, seed=0,
    )  # fmt: skip
    timed(classic.step, device)
    classic_s: list[float] = []
    hour: dict[str, float] = {}
    batches: dict[str, float] = {}
    decided: dict[str, float] = {}
    for count in people:
        classic_s.append(timed(classic.step, device))
        took_s, desk = drawn(engine, count, device, side=side, steps=steps)
        hour[str(count)] = count * 3600 / took_s
        sizes = [runs for runs, _ in desk.step_times]
        batches[str(count)] = statistics.mean(sizes)
        decided[str(count)] = desk.decided_part
        note(f"dreams an hour, {count} people", hour[str(count)])
        classic_s.append(timed(classic.step, device))
    of_classic = 3600 / (statistics.median(classic_s) * steps)
    note("dreams an hour, the classic loop", of_classic)
    return {
        "side": side,
        "cutouts": cutouts,
        "steps": steps,
        "dreams_an_hour": {"classic": of_classic, **hour},
        "runs_in_a_step": batches,
        "scheduler_part": decided,
        "ratio_to_classic": {count: each / of_classic for count, each in hour.items()},
        "ratio_to_one_person": {count: each / hour[str(people[0])] for count, each in hour.items()},
    }


def diffusion(
    device: torch.device, *, tiny: bool, side: int, steps: int, people: int = 8
) -> dict[str, Any]:
    """Measure `people` asks of about `steps` steps, ours together against the pipeline in turn."""
    both = pair(device, tiny=tiny, side=side)
    asks: list[dict[str, Any]] = [
        {
            "prompt": f"a lighthouse number {number}, in a storm",
            "steps": max(2, steps - people // 2 + number),
            "guidance": 4.0 + number,
            "seed": number,
        }
        for number in range(people)
    ]

    def plain() -> None:
        for ask in asks:
            both.pipeline(
                ask["prompt"],
                height=side,
                width=side,
                num_inference_steps=ask["steps"],
                guidance_scale=ask["guidance"],
                generator=torch.Generator(device).manual_seed(ask["seed"]),
            )

    def together(max_batch: int) -> Desk:
        settings = Settings(device=str(device), max_batch=max_batch)
        desk = Desk({both.engine.info.name: both.engine}, settings)
        for number, ask in enumerate(asks):
            desk.ask(job(both.engine, f"dream-{number}", f"person {number}", side=side, **ask))
        desk.draw_all()
        if desk.failed:
            raise RuntimeError(f"not all could be drawn: {desk.failed}")
        return desk

    # Kernels are chosen at a shape's first step.
    both.pipeline("warm", height=side, width=side, num_inference_steps=2)
    together(people)
    sizes: list[int] = []

    def ours() -> None:
        sizes.extend(runs for runs, _ in together(people).step_times)

    contenders = {"plain": plain, "ours": ours, "ours, one by one": lambda: together(1)}
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(2):
        for name, act in contenders.items():
            took[name].append(timed(act, device))
    best = {name: min(each) for name, each in took.items()}
    return {
        "people": people,
        "side": side,
        "steps": [ask["steps"] for ask in asks],
        "seconds": best,
        "runs_in_a_step": statistics.mean(sizes),
        "ratio_to_plain": {name: best["plain"] / each for name, each in best.items()},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", choices=("full", "starter", "none"), default="full")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--cutouts", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--people", type=int, nargs="+", default=list(PEOPLE))
    parser.add_argument("--diffusion", choices=("full", "tiny"))
    asked = parser.parse_args(argv)
    device = torch.device(asked.device)
    said: dict[str, Any] = {
        "benchmark": "throughput", "device": device.type, "torch": torch.__version__,
    }  # fmt: skip
    if asked.networks != "none":
        drawn_with = networks(asked.networks, device)
        engine = engine_of(drawn_with, device, side=asked.side, cutouts=asked.cutouts)
        found = said["steered"] = steered(
            engine, drawn_with, device,
            people=asked.people, side=asked.side, cutouts=asked.cutouts, steps=asked.steps,
        )  # fmt: skip
        print(f"{'steered':22}{'dreams/h':>10}{'times classic':>16}{'in a step':>12}")
        print(f"{'the classic loop':22}{found['dreams_an_hour']['classic']:>10.1f}{1:>15.2f}×")
        for count, ratio in found["ratio_to_classic"].items():
            each, batch = found["dreams_an_hour"][count], found["runs_in_a_step"][count]
            print(f"{count + ' people':22}{each:>10.1f}{ratio:>15.2f}×{batch:>12.1f}")
    if asked.diffusion:
        tiny = asked.diffusion == "tiny"
        found = said["diffusion"] = diffusion(
            device, tiny=tiny, side=64 if tiny else 512, steps=asked.steps
        )
        print(f"{'diffusion, 8 people':22}{'seconds':>10}{'times plain':>16}")
        for name, ratio in found["ratio_to_plain"].items():
            print(f"{name:22}{found['seconds'][name]:>10.2f}{ratio:>15.2f}×")
    print(json.dumps(said))


if __name__ == "__main__":
    main()
