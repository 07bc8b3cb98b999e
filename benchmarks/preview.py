"""How long a light person waits for a first preview while a heavy one queues long dreams.

The real scheduler and worker with the models that ship, against the same engine drawing the same
asks first in, first out: in one run, so that what else the machine does falls on both. The heavy
person asks for 8 long dreams at once; light people come at even parts of the way, and ask for a
short one each. First in, first out, everybody's preview is shown after the first step at once.

    python -m benchmarks.preview [--engine vqgan-clip] [--side 64] [--heavy-steps 60] [--lights 6]

Prints a table for people and one line of JSON. The goal: 95 % of the light people wait a tenth as
long at most. Times are the clock's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from benchmarks.desk import Desk, Times, job
from benchmarks.fairness import quantile
from generation.engine import Engine, Run
from generation.engines import build_engines
from generation.protocol import Job
from generation.settings import Settings

HEAVY = 8
GOAL = 0.1


class Line(Protocol):
    """People's jobs in some order."""

    times: dict[str, Times]

    def ask(self, job: Job) -> None:
        """Take a job."""

    def turn(self) -> bool:
        """Go on for a while; return whether there was anything to do."""

    def taken(self, job_id: str) -> int:
        """Return how many steps of a job are taken."""


class Ours(Desk):
    """In the scheduler's order."""

    def taken(self, job_id: str) -> int:
        """Return how many steps of a job are taken."""
        ticket = self.scheduler.ticket(job_id)
        return ticket.step if ticket is not None else self.times[job_id].steps


class FirstInFirstOut:
    """Each to its end, in the order of their asking."""

    def __init__(self, engines: Mapping[str, Engine[Any]]) -> None:
        self._engines = engines
        self._waiting: deque[Job] = deque()
        self._run: Run | None = None
        self._taken: dict[str, int] = {}
        self.times: dict[str, Times] = {}

    def ask(self, job: Job) -> None:
        """Take a job."""
        self.times[job.id] = Times(time.perf_counter(), job.recipe.steps)
        self._waiting.append(job)

    def turn(self) -> bool:
        """Take one step."""
        if self._run is None:
            if not self._waiting:
                return False
            job = self._waiting.popleft()
            self._run = self._engines[job.recipe.engine].begin(job, None)
        run = self._run
        engine = self._engines[run.recipe.engine]
        engine.step([run])
        times = self.times[run.job.id]
        self._taken[run.job.id] = run.step
        if times.shown is None:
            engine.preview(run)  # waits for the device, as showing it would
            times.shown = time.perf_counter()
        if run.done:
            if run.error is not None:
                raise run.error
            engine.image(run)
            times.done = time.perf_counter()
            self._run = None
        return True

    def taken(self, job_id: str) -> int:
        """Return how many steps of a job are taken."""
        return self._taken.get(job_id, 0)


def asks(
    engine: Engine[Any], *, side: int, heavy_steps: int, lights: int
) -> tuple[list[Job], list[Job]]:
    """Return what the heavy person asks, and the light ones in the order of their coming."""
    light_steps = max(2, heavy_steps // 6)
    return (
        [
            job(engine, f"heavy-{n}", "heavy", side=side, steps=heavy_steps, seed=n)
            for n in range(HEAVY)
        ],
        [
            job(engine, f"light-{n}", f"light {n}", side=side, steps=light_steps, seed=90 + n)
            for n in range(lights)
        ],
    )


def played(line: Line, heavy: list[Job], light: list[Job]) -> None:
    """Let everybody ask, and draw it all. Light people come at even parts of the heavy steps."""
    for one in heavy:
        line.ask(one)
    waiting = deque(light)
    all_steps = sum(one.recipe.steps for one in heavy)
    drawing = True
    while drawing or waiting:
        taken = sum(line.taken(one.id) for one in heavy)
        came = len(light) - len(waiting)
        while waiting and taken * (len(light) + 1) >= all_steps * (came + 1):
            line.ask(waiting.popleft())
            came += 1
        drawing = line.turn()


def measure(
    engines: Mapping[str, Engine[Any]], settings: Settings, heavy: list[Job], light: list[Job]
) -> dict[str, Any]:
    """Draw the same asks in both orders; return the light people's waits, in seconds."""
    desk, plain = Ours(engines, settings), FirstInFirstOut(engines)
    engine = engines[heavy[0].recipe.engine]
    engine.load(str(engine.batch_key(heavy[0].recipe)[0]))  # in both it is there
    played(desk, heavy, light)
    desk.draw_all()
    if desk.failed:
        raise RuntimeError(f"not all could be drawn: {desk.failed}")
    played(plain, heavy, light)
    lines: dict[str, Line] = {"ours": desk, "first in, first out": plain}
    waits = {name: [line.times[one.id].preview_s for one in light] for name, line in lines.items()}
    p95 = {name: quantile(each, 0.95) for name, each in waits.items()}
    return {
        "benchmark": "preview",
        "engine": engine.info.name,
        "heavy": {"dreams": len(heavy), "steps": heavy[0].recipe.steps},
        "light": {"people": len(light), "steps": light[0].recipe.steps},
        "side": heavy[0].recipe.width,
        "p50_s": {name: quantile(each, 0.5) for name, each in waits.items()},
        "p95_s": p95,
        "p95_ratio": p95["ours"] / p95["first in, first out"],
        "heavy_preview_s": desk.times[heavy[0].id].preview_s,
        "goal": GOAL,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--engine", default="vqgan-clip")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--heavy-steps", type=int, default=60)
    parser.add_argument("--lights", type=int, default=6)
    asked = parser.parse_args(argv)
    engines = build_engines(device=asked.device, models_dir=None, exact=False)
    engine = engines[asked.engine]
    heavy, light = asks(engine, side=asked.side, heavy_steps=asked.heavy_steps, lights=asked.lights)
    found = measure(engines, Settings(device=asked.device), heavy, light)
    print(f"{'first preview of a light person':34}{'median':>10}{'95 % under':>12}")
    for name, p95_s in found["p95_s"].items():
        print(f"{name:34}{found['p50_s'][name]:>8.2f} s{p95_s:>10.2f} s")
    print(f"ratio of the 95 %: {found['p95_ratio']:.3f}; the goal is {GOAL} at most")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
