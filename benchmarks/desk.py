"""The real scheduler and worker in one thread: what the scheduler process does, without it.

Sockets and beats are left out, all else is the product's: `plan`, `Scheduler`, `Worker`, and the
thread that encodes previews and pictures. Used by the benchmarks of many people.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from generation.assignment import Report
from generation.device import find
from generation.engine import Engine
from generation.planning import plan
from generation.protocol import Checkpoint, Failed, Finished, Job, Progress, Recipe, ToBot
from generation.scheduler import Scheduler
from generation.settings import Settings
from generation.worker import Worker

_WORKER = "w"


@dataclass
class Times:
    """When a job of so many steps was asked for, first shown and drawn, by `time.perf_counter`."""

    asked: float
    steps: int
    shown: float | None = None
    done: float | None = None

    @property
    def preview_s(self) -> float:
        """How long its person waited for something to see. A picture counts as its own preview."""
        shown = self.shown if self.shown is not None else self.done
        assert shown is not None, "it was never shown"
        return shown - self.asked


@dataclass
class Desk:
    """People's jobs, and one device that draws them.

    `decided_s` is what choosing and accounting have taken so far, `planned_s` what taking jobs has,
    in seconds. `failed` has why a job came to nothing.
    """

    engines: Mapping[str, Engine[Any]]
    settings: Settings
    times: dict[str, Times] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    decided_s: float = 0.0
    planned_s: float = 0.0

    def __post_init__(self) -> None:
        device = find(self.settings.device, self.settings.threads)
        self.scheduler = Scheduler(self.settings.limits)
        self.worker = Worker(self.engines, device, self._take, self.settings)
        capacity = self.settings.memory_bytes or device.capacity_bytes
        self.scheduler.add_worker(_WORKER, capacity)
        self._lock = threading.Lock()

    def ask(self, job: Job) -> None:
        """Take a job."""
        self.times[job.id] = Times(time.perf_counter(), job.recipe.steps)
        began = time.perf_counter()
        planned = plan(self.engines, job, self.settings.max_batch, exact=self.settings.exact)
        self.scheduler.submit(
            job, planned.model, planned.key, planned.cost_key, planned.predict_bytes
        )
        self.planned_s += time.perf_counter() - began

    def turn(self) -> bool:
        """Carry out one assignment; return whether there was one."""
        began = time.perf_counter()
        with self._lock:
            assignment = self.scheduler.choose(_WORKER, time.monotonic())
        self.decided_s += time.perf_counter() - began
        if assignment is None:
            return False
        report = self.worker.advance(assignment)
        began = time.perf_counter()
        with self._lock:
            _, failed = self.scheduler.report(_WORKER, report, time.monotonic())
        self.decided_s += time.perf_counter() - began
        for failure in failed:
            self.failed[failure.job_id] = failure.reason
        self.reports.append(report)
        return True

    def draw_all(self) -> float:
        """Draw until nothing is left; return the seconds it took, encoding included."""
        began = time.perf_counter()
        while self.turn():
            pass
        self.worker.checkpoint_all()  # nothing is left to save: it waits for the encoder
        return time.perf_counter() - began

    @property
    def step_times(self) -> list[tuple[int, float]]:
        """The batch size and seconds of each step so far."""
        return [one for report in self.reports for one in report.step_times]

    @property
    def decided_part(self) -> float:
        """What choosing and accounting took, as a part of what the steps took."""
        return self.decided_s / sum(seconds for _, seconds in self.step_times)

    def _take(self, message: ToBot) -> None:
        """Note what the worker and its encoder say, from whichever thread."""
        now = time.perf_counter()
        match message:
            case Progress(preview=preview) if preview is not None:
                times = self.times[message.job_id]
                times.shown = times.shown or now
            case Finished():
                self.times[message.job_id].done = now
            case Failed():
                self.failed[message.job_id] = message.reason
            case Checkpoint():
                with self._lock:
                    self.scheduler.checkpointed(message.job_id, message.step, message.data)
            case _:
                pass


def job(
    engine: Engine[Any],
    name: str,
    person: str,
    *,
    side: int,
    steps: int,
    model: str = "",
    prompt: str = "a lighthouse in a storm",
    **recipe: Any,
) -> Job:
    """Ask an engine for a square picture."""
    info = engine.info
    return Job(
        id=name,
        recipe=Recipe(
            engine=info.name,
            model=model or next(one.name for one in info.models if one.available),
            prompt=prompt,
            width=side,
            height=side,
            steps=steps,
            **{"seed": 1, "guidance": info.guidance, "settings": info.defaults} | recipe,
        ),
        stream="",
        person=person,
    )
