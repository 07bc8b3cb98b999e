"""The parts of `benchmarks.gpu`: each checks or measures one thing and notes figures as they come.

    python -m benchmarks.gpu_parts PART --out DIR --device cuda --seconds 60 [--tiny]

A check that does not hold is a `CheckFailedError`, and the process's exit status 1. All networks
have the published shapes and random weights, but for those that ship; `--tiny` takes those that
ship, small pictures and few steps, to show on any machine that the way through is sound.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import memory, preview, throughput
from benchmarks.classic import ClassicLoop
from benchmarks.desk import Desk, job
from benchmarks.gpu import SKIPPED
from benchmarks.step import TEXT, Networks, networks, our_runs, timed
from generation.clip.perceptor import Perceptor
from generation.engine import Engine, Run
from generation.engines import build_engines
from generation.models.compiling import Compiler, Precision
from generation.protocol import Job
from generation.settings import Settings

BFLOAT16_APART = 0.02
"""How far apart a picture may be, of 1 and on average, after the same few steps in bfloat16."""


class CheckFailedError(Exception):
    """What should hold does not; the sentence says what was found."""


class NotHereError(Exception):
    """The machine has not got what a part is about."""


@dataclass
class Asked:
    """What a part is to do, and where its figures go. `seconds` is its slice."""

    part: str
    device: torch.device
    tiny: bool
    seconds: float
    out: Path
    began: float = field(default_factory=time.monotonic)

    def note(self, name: str, value: object) -> None:
        """Keep a figure, at once: the part may be ended at any time."""
        with (self.out / "figures.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": self.part, "name": name, "value": value}) + "\n")
        print(f"{name}: {value}", flush=True)

    def left_s(self) -> float:
        """Return how much of the slice is left."""
        return self.seconds - (time.monotonic() - self.began)

    @property
    def networks(self) -> str:
        """Which networks to take."""
        return "starter" if self.tiny else "full"


# --- what there is -----------------------------------------------------------------------------


def machine(asked: Asked) -> None:
    """What it is, and how fast it multiplies and copies."""
    device = asked.device
    asked.note("torch", torch.__version__)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        asked.note("name", properties.name)
        asked.note("memory_gib", round(properties.total_memory / 2**30, 1))
    for dtype in (torch.bfloat16, torch.float32):
        asked.note(
            f"tflop_per_s_{str(dtype)[6:]}", rate(device, dtype, 256 if asked.tiny else 8192)
        )
    pages = torch.rand(2**16 if asked.tiny else 2**30, device=device)
    target = torch.empty_like(pages)
    took_s = fastest(lambda: target.copy_(pages), device)
    asked.note("copied_tb_per_s", 2 * pages.nbytes / took_s / 1e12)


def rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Return how fast square matrices are multiplied, in TFLOP/s."""
    left, right = (torch.rand(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / fastest(lambda: left @ right, device) / 1e12


def fastest(act: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of some turns, at least a microsecond."""
    return max(1e-6, min(timed(act, device) for _ in range(10)))


# --- checks ------------------------------------------------------------------------------------


def starter(asked: Asked) -> None:
    """Every engine that ships with a model draws here, to its end."""
    engines = build_engines(device=str(asked.device), models_dir=None, exact=False)
    failed: dict[str, str] = {}
    for name, engine in engines.items():
        info = engine.info
        if info.needs_init:
            continue
        side = max(64, info.min_side) if asked.tiny else info.default_width
        steps = 2 if asked.tiny else min(10, info.default_steps)
        try:
            run = engine.begin(job(engine, name, "somebody", side=side, steps=steps), None)
            took_s = timed(partial(_to_end, engine, run), asked.device)
            spread = float(np.asarray(engine.image(run)).std())
            if run.error is not None:
                raise run.error
            if spread < 1:
                raise CheckFailedError(f"its picture is flat: {spread:.2f} of 255")
            asked.note(f"{name}, {side}², {steps} steps, s", took_s)
            engine.unload(str(engine.batch_key(run.recipe)[0]))
        except Exception as error:
            logging.exception("%s", name)
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            asked.note(f"{name} failed", failed[name])
    if failed:
        raise CheckFailedError(f"not drawn here: {failed}")


def _to_end(engine: Engine[Any], run: Run) -> None:
    while not run.done:
        engine.step([run])


def exact(asked: Asked) -> None:
    """An exact recipe gives the same pixels alone, again, and in company."""
    engines = build_engines(device=str(asked.device), models_dir=None, exact=False)
    differing: list[str] = []
    for name in ("diffusion", "vqgan-clip", "fourier-clip"):
        engine = engines[name]
        side, steps = (64, 3) if asked.tiny else (128, 12)
        asks = job(engine, "exact", "somebody", side=side, steps=steps, exact=True)
        first, again = (_pixels(engine, asks, company=0) for _ in range(2))
        among = _pixels(engine, asks, company=2 if asked.tiny else 5)
        apart = {"again": _apart(first, again), "in company": _apart(first, among)}
        asked.note(f"{name}, pixels apart of 255", apart)
        differing += [f"{name} {how}" for how, most in apart.items() if most]
    if differing:
        raise CheckFailedError(f"not to the pixel: {', '.join(differing)}")


def _pixels(engine: Engine[Any], asks: Job, *, company: int) -> Any:
    """Draw a job among so many strangers, of whom one joins later."""
    run = engine.begin(asks, None)
    side = asks.recipe.width
    strangers = [
        engine.begin(
            job(engine, f"stranger-{n}", f"{n}", side=side, steps=50, seed=100 + n, prompt="ships"),
            None,
        )
        for n in range(company)
    ]
    for step in range(asks.recipe.steps):
        engine.step([*(strangers if step else strangers[1:]), run])
    if run.error is not None:
        raise run.error
    return np.asarray(engine.image(run)).astype(int)


def _apart(one: Any, other: Any) -> int:
    return int(abs(one - other).max())


def precision(asked: Asked) -> None:
    """The same recipe in bfloat16 and in float32, and what the program itself made of it."""
    said = _listen()
    side, cutouts, steps = (64, 2, 3) if asked.tiny else (256, 32, 20)
    pictures, took = {}, {}
    forms: tuple[Precision, ...] = ("fp32", "bf16")
    for form in forms:
        compiler = Compiler(asked.device, precision=form)
        drawn_with = compiled(networks(asked.networks, asked.device), compiler, asked.networks)
        engine = throughput.engine_of(
            drawn_with, asked.device, side=side, cutouts=cutouts, compiler=compiler
        )
        runs = our_runs(engine, 1, side)  # type: ignore[arg-type]
        act = partial(engine.step, runs)
        took[form] = statistics.median([timed(act, asked.device) for _ in range(steps)][1:])
        pictures[form] = np.asarray(engine.image(runs[0])).astype(float) / 255
    apart = float(abs(pictures["fp32"] - pictures["bf16"]).mean())
    asked.note("step_s", took)
    asked.note(f"mean difference of a picture after {steps} steps, of 1", apart)
    asked.note("said", said)
    if not apart <= BFLOAT16_APART:
        raise CheckFailedError(f"bfloat16 draws another picture: {apart:.3f} of 1 apart")


def waiting(asked: Asked) -> None:
    """A step makes the host wait for the GPU once at most: for what it has to tell at its end."""
    if asked.device.type != "cuda":
        raise NotHereError("only a GPU is waited for")
    drawn_with = networks(asked.networks, asked.device)
    steered = throughput.engine_of(drawn_with, asked.device, side=256, cutouts=8)
    cases: dict[str, Callable[[], tuple[Engine[Any], list[Run]]]] = {
        "steered": lambda: (steered, list(our_runs(steered, 2, 256)))  # type: ignore[arg-type]
    }
    for kind, side in {"starter": 128, "guided": 256, "sd": 512}.items():
        cases[kind] = partial(_begun, kind, side, asked.device)
    often: list[str] = []
    for name, begin in cases.items():
        engine, runs = begin()
        where = waits(engine, runs)
        asked.note(f"{name}: a step waits at", where)
        if len(where) > 1:
            often.append(f"{name} {len(where)} times ({', '.join(where)})")
    if often:
        raise CheckFailedError(f"steps wait too often: {'; '.join(often)}")


def _begun(kind: str, side: int, device: torch.device) -> tuple[Engine[Any], list[Run]]:
    engine = memory.MAKERS[kind](side, device)
    return engine, [engine.begin(each, None) for each in memory.jobs(engine.info, 2, side)]


def waits(engine: Engine[Any], runs: list[Run]) -> list[str]:
    """Return where a step of the runs, not their first, makes the host wait for a GPU."""
    for _ in range(3):
        engine.step(runs)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            engine.step(runs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [
        f"{Path(one.filename).name}:{one.lineno}"
        for one in caught
        if "synchroniz" in str(one.message).lower()
    ]


def out_of_memory(asked: Asked) -> None:
    """Memory really runs out in a step of many, and every dream is drawn all the same."""
    people, side, steps = (4, 64, 2) if asked.tiny else (8, 512, 6)
    drawn_with = networks(asked.networks, asked.device)
    engine = throughput.engine_of(
        drawn_with, asked.device, side=side, cutouts=2 if asked.tiny else 16
    )
    if asked.device.type == "cuda":
        runs = our_runs(engine, 1, side)  # type: ignore[arg-type]
        engine.step(runs)
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated(asked.device)
        predicted = engine.predict_bytes(runs[0].recipe, 3)
        del runs
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(asked.device).total_memory
        # Room for about three, and for what cuDNN and the allocator take besides.
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, (held + 1.3 * predicted + 2**29) / total), asked.device
        )
    else:
        step = engine.step

        def tight(batch: Sequence[Any]) -> None:
            if len(batch) > 2:
                bytearray(1 << 60)  # no machine has it: a MemoryError of the allocator's own
            step(batch)

        engine.step = tight  # type: ignore[method-assign, assignment]
    # The scheduler is told of memory without end, so that only the device's own word stops it.
    settings = Settings(device=str(asked.device), memory_bytes=1 << 50, max_batch=people)
    desk = Desk({engine.info.name: engine}, settings)
    for number in range(people):
        desk.ask(job(engine, f"{number}", f"{number}", side=side, steps=steps, seed=number))
    desk.draw_all()
    faults = [report.fault for report in desk.reports if report.fault is not None]
    asked.note("times that memory ran out", len(faults))
    asked.note("runs in a step at last", desk.step_times[-1][0])
    undrawn = [name for name, times in desk.times.items() if times.done is None]
    asked.note("drawn", people - len(undrawn))
    if undrawn or desk.failed:
        raise CheckFailedError(f"not drawn: {desk.failed or undrawn}")
    others = [fault.detail for fault in faults if not fault.out_of_memory]
    if others:
        raise CheckFailedError(f"something else went wrong: {others[0].splitlines()[-1]}")
    if not faults:
        raise CheckFailedError("memory did not run out: nothing was tried")


def memory_predicted(asked: Asked) -> None:
    """Predicted memory against measured."""
    cases = ["starter-128"] if asked.tiny else ["vqgan-256", "vqgan-512", "sd-512", "guided-256"]
    off: list[str] = []
    for case in cases:
        kind, _, side = case.partition("-")
        for count in (1, 2) if asked.tiny else (1, 4):
            engine = memory.MAKERS[kind](int(side), asked.device)
            found = memory.measure(engine, count, int(side), asked.device)
            asked.note(f"{case}, {count} together", found)
            if not 0.9 <= found["ratio"] <= 1.1:
                off.append(f"{case}, {count} together: {found['ratio']:.2f}")
    if off:
        raise CheckFailedError(f"predicted to measured over a tenth off: {'; '.join(off)}")


# --- measurements --------------------------------------------------------------------------------


def compiled(drawn_with: Networks, compiler: Compiler, kind: str) -> Networks:
    """Return the networks with a CLIP whose tower goes through a compiler."""
    perceptor = drawn_with.perceptor
    if kind == "starter":
        from generation import starter

        model, tokenizer, wants = starter.load_clip(perceptor.device)
        with_compiler = Perceptor(
            model, tokenizer, size=wants.image_size, mean=wants.mean, std=wants.std,
            device=perceptor.device, compiler=compiler,
        )  # fmt: skip
    else:
        import open_clip

        tokenizer = open_clip.get_tokenizer("ViT-B-32")
        with_compiler = Perceptor.of_open_clip(
            perceptor.model, tokenizer, perceptor.device, compiler
        )
    return drawn_with._replace(perceptor=with_compiler)


def warm(act: Callable[[], object], compiler: Compiler, seconds: float) -> float:
    """Go on until nothing more is being compiled, or the time is up; return the seconds it took."""
    began = time.monotonic()
    quiet = 0
    while quiet < 20 and time.monotonic() - began < seconds:
        act()
        quiet = 0 if compiler.busy else quiet + 1
    return time.monotonic() - began


def _fast(asked: Asked) -> tuple[Networks, Compiler]:
    cuda = asked.device.type == "cuda"
    compiler = Compiler(asked.device, compiles=cuda)
    return compiled(networks(asked.networks, asked.device), compiler, asked.networks), compiler


def step(asked: Asked) -> None:
    """Iterations a second of one run and of eight together, beside the classic loop's."""
    said = _listen()
    side, cutouts, turns = (64, 2, 2) if asked.tiny else (512, 32, 30)
    drawn_with, compiler = _fast(asked)
    device = asked.device
    engine = throughput.engine_of(drawn_with, device, side=side, cutouts=cutouts, compiler=compiler)
    vqgan, perceptor, see = drawn_with
    classic = ClassicLoop(vqgan, perceptor, see, TEXT, side=side, cutouts=cutouts, seed=0)
    classic_s = statistics.median(timed(classic.step, device) for _ in range(max(2, turns // 3)))
    asked.note("classic loop, it/s", 1 / classic_s)
    side_rate = 256 if asked.tiny else 8192
    bf16 = rate(device, torch.bfloat16, side_rate)
    asked.note("measured bf16 rate, TFLOP/s", bf16)
    for count in (1, 2) if asked.tiny else (1, 8):
        runs = our_runs(engine, count, side)  # type: ignore[arg-type]
        act = partial(engine.step, runs)
        with FlopCounterMode(display=False) as counter:
            act()
        eager_s = statistics.median(timed(act, device) for _ in range(3))
        asked.note(f"{count} together, eager, it/s", 1 / eager_s)
        if compiler.compiles:
            share = 0.4 if count == 1 else 0.7
            asked.note(
                f"{count} together, s to warm up", warm(act, compiler, asked.left_s() * share)
            )
        step_s = statistics.median(timed(act, device) for _ in range(turns))
        asked.note(f"{count} together, it/s", 1 / step_s)
        asked.note(f"{count} together, pictures' steps a second", count / step_s)
        asked.note(f"{count} together, times classic", count * classic_s / step_s)
        part = counter.get_total_flops() / step_s / 1e12 / bf16
        asked.note(f"{count} together, part of the bf16 rate", part)
        asked.note("said", said)


def together(asked: Asked) -> None:
    """Dreams an hour of sixteen people through the real scheduler."""
    side, cutouts, steps = (64, 2, 4) if asked.tiny else (256, 32, 60)
    people = (1, 4) if asked.tiny else (1, 16)
    drawn_with, compiler = _fast(asked)
    engine = throughput.engine_of(
        drawn_with, asked.device, side=side, cutouts=cutouts, compiler=compiler
    )
    if compiler.compiles:
        for count in people:
            runs = our_runs(engine, count, side)  # type: ignore[arg-type]
            warm(partial(engine.step, runs), compiler, asked.left_s() * 0.35)
    found = throughput.steered(
        engine, drawn_with, asked.device,
        people=people, side=side, cutouts=cutouts, steps=steps, note=asked.note,
    )  # fmt: skip
    for name, value in found.items():
        asked.note(name, value)


def diffusion(asked: Asked) -> None:
    """Eight people's different asks against plain pipelines one after another."""
    found = throughput.diffusion(
        asked.device,
        tiny=asked.tiny,
        side=64 if asked.tiny else 512,
        steps=4 if asked.tiny else 25,
        people=3 if asked.tiny else 8,
    )
    for name, value in found.items():
        asked.note(name, value)


def first_preview(asked: Asked) -> None:
    """A light person's first preview while a heavy one queues 8 long dreams."""
    engines = build_engines(device=str(asked.device), models_dir=None, exact=False)
    engine = engines["diffusion" if asked.tiny else "vqgan-clip"]
    steps = 6 if asked.tiny else 200
    side = 64 if asked.tiny else 128
    heavy, light = preview.asks(engine, side=side, heavy_steps=steps, lights=2 if asked.tiny else 8)
    settings = Settings(device=str(asked.device))
    for name, value in preview.measure(engines, settings, heavy, light).items():
        asked.note(name, value)


PARTS: dict[str, Callable[[Asked], None]] = {
    "machine": machine,
    "starter": starter,
    "exact": exact,
    "precision": precision,
    "waiting": waiting,
    "out-of-memory": out_of_memory,
    "memory": memory_predicted,
    "step": step,
    "together": together,
    "diffusion": diffusion,
    "preview": first_preview,
}


def _listen() -> list[str]:
    """Return a list that fills with what the program says of how it computes."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger = logging.getLogger("generation.models.compiling")
    logger.setLevel(logging.INFO)
    logger.addHandler(Ear())
    return said


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out a part; return the exit status. The last line of the output says why it failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    named = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    if named.threads:
        torch.set_num_threads(named.threads)
    asked = Asked(named.part, torch.device(named.device), named.tiny, named.seconds, named.out)
    try:
        PARTS[named.part](asked)
    except NotHereError as error:
        print(error, flush=True)
        return SKIPPED
    except CheckFailedError as error:
        print(error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
