"""How far a run that shares its steps with strangers strays from the same run alone.

Rounding differs with a batch's shape, and optimising amplifies it. Each of 20 prompts is drawn
twice by the models that ship: alone, and among strangers, of whom one is steered and leaves and
another joins within the first ten steps.

    python -m benchmarks.company [--engine vqgan-clip] [--side 64] [--steps 20] [--prompts 20]
        [--precision auto] [--form 0]

Prints one line of JSON: the largest difference of a picture in the first ten steps (of 1), and the
mean and the largest difference of the final CLIP scores. With --exact no pixel may differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import msgspec
import torch

from benchmarks.held_out import PROMPTS
from generation.engines import build_engines
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.protocol import Job, Recipe, Setting, Steer

FIRST_STEPS = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", default="vqgan-clip")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--cutouts", type=int, default=4)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--form", type=float, default=0.0, help="for engines that have a flow")
    asked = parser.parse_args(arguments)
    engine = build_engines(
        device="cpu", models_dir=None, exact=asked.exact, precision=asked.precision
    )[asked.engine]
    assert isinstance(engine, ClipSteeredEngine)
    found = [
        compare(engine, _recipe(engine, prompt, number, asked))
        for number, prompt in enumerate(PROMPTS[: asked.prompts])
    ]
    scores = [score for _, score in found]
    print(
        json.dumps(
            {
                "engine": asked.engine,
                "exact": asked.exact,
                "prompts": len(found),
                "steps": asked.steps,
                "side": asked.side,
                "first_steps": max(first for first, _ in found),
                "mean_score": sum(scores) / len(scores),
                "largest_score": max(scores),
            }
        )
    )


def compare(engine: ClipSteeredEngine, recipe: Recipe) -> tuple[float, float]:
    """Return by how much the run of a recipe differs alone and in company.

    That is the largest difference of a pixel (of 1) in the first ten steps, and that of the final
    scores.
    """
    alone, among = (engine.begin(_job(recipe), None) for _ in range(2))
    stranger = msgspec.structs.replace(recipe, prompt="a stranger", seed=recipe.seed + 100)
    strangers = [engine.begin(_job(stranger), None)]
    engine.steer(strangers[0], Steer(0, "the deep blue sea", 5))
    widest = 0.0
    for step in range(recipe.steps):
        if step == FIRST_STEPS // 3:
            strangers.append(engine.begin(_job(stranger), None))
        if step == 2 * FIRST_STEPS // 3:
            del strangers[0]
        engine.step([alone])
        engine.step([*strangers, among])
        if step < FIRST_STEPS:
            widest = max(widest, _difference(alone, among))
    for run in (alone, among):
        if run.error is not None:
            raise run.error
    assert alone.score is not None and among.score is not None
    return widest, abs(alone.score - among.score)


def _difference(alone: ClipRun, among: ClipRun) -> float:
    assert alone.shown is not None and among.shown is not None
    return float((alone.shown - among.shown).abs().max())


def _recipe(engine: ClipSteeredEngine, prompt: str, seed: int, asked: argparse.Namespace) -> Recipe:
    return Recipe(
        engine=engine.info.name,
        model=next(model.name for model in engine.info.models if model.available),
        prompt=prompt,
        width=asked.side,
        height=asked.side,
        steps=asked.steps,
        seed=seed,
        settings={"cutouts": asked.cutouts} | _form(engine, asked.form),
    )


def _form(engine: ClipSteeredEngine, form: float) -> dict[str, Setting]:
    return {option.name: form for option in engine.info.options if option.name == "form"}


def _job(recipe: Recipe) -> Job:
    return Job(id=recipe.prompt, recipe=recipe, stream="company", person="company")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
