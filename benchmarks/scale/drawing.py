"""The real scheduler with many simulated workers: when each picture shows, forms and is done.

Simulated time passes by what steps are said to take; what a decision costs is measured, as time of
this thread. Workers run beside each other, so unlike in `tests.fakes.world` there is a queue of
events. A worker that is idle is asked again at the next ask or report, one worker for each: the
process asks all of them, so it pays rather more than is counted here.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count

from benchmarks.scale.demand import Ask
from generation.assignment import Assignment, Report
from generation.protocol import Job, Recipe
from generation.scheduler import Limits, Scheduler

MODEL = ("assumed", "model")


@dataclass(frozen=True)
class Device:
    """What draws: `steps` a picture; a step costs `first_s`, and `further_s` for each further run.

    `measured` says where the seconds come from.
    """

    name: str
    steps: int
    first_s: float
    further_s: float
    measured: str

    def step_s(self, runs: int) -> float:
        """Return the seconds of a step of so many runs."""
        return self.first_s + self.further_s * (runs - 1)

    def picture_s(self, runs: int) -> float:
        """Return the device's seconds for a picture, where so many are always drawn together."""
        return self.steps * self.step_s(runs) / runs


STARTER = Device(
    "a core, starter models", 25, 0.03, 0.03, "measured: a 128 px picture, docs/starter.md"
)
GPU = Device("a GPU, 300 steps", 300, 0.02, 0.005, "assumed: 50 steps/s alone, 145 of eight")


@dataclass
class Drawn:
    """What became of the asks.

    `showing` has (time, ask) for each preview that a card could show, `done_s` (time, ask) for each
    picture. `first_s` and `last_s` are the waits, in seconds, for the first preview and the last
    picture of each ask that was over within the time. `open_most` is the most pictures under way.
    """

    showing: list[tuple[float, int]] = field(default_factory=list)
    done_s: list[tuple[float, int]] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    last_s: list[float] = field(default_factory=list)
    decisions: int = 0
    decisions_s: float = 0.0
    busy_s: float = 0.0
    open_most: int = 0
    open_end: int = 0


class Drawing:
    """A scheduler, its workers and the time."""

    def __init__(self, device: Device, workers: int, limits: Limits | None = None) -> None:
        self._device = device
        self._scheduler = Scheduler(limits)
        self._idle = deque(f"w{number}" for number in range(workers))
        self._reports: list[tuple[float, int, str, Assignment, Report]] = []
        self._order = count()
        self._left: dict[int, int] = {}
        self._asked: dict[int, Ask] = {}
        self._shown: set[int] = set()
        self._steps: dict[str, int] = {}
        self.drawn = Drawn()
        for worker in self._idle:
            self._scheduler.add_worker(worker)

    def run(self, asked: list[Ask], until_s: float) -> Drawn:
        """Draw what is asked, as far as it gets in so many seconds."""
        waiting = deque(asked)
        while True:
            ask_s = waiting[0].at_s if waiting else until_s
            report_s = self._reports[0][0] if self._reports else until_s
            if min(ask_s, report_s) >= until_s:
                break
            if ask_s <= report_s:
                self._submit(waiting.popleft())
            else:
                self._report(*heapq.heappop(self._reports))
            if self._idle:
                self._choose(self._idle.popleft(), min(ask_s, report_s))
        self.drawn.open_end = len(self._scheduler.tickets())
        return self.drawn

    def _submit(self, ask: Ask) -> None:
        self._left[ask.number] = ask.pictures
        self._asked[ask.number] = ask
        for number in range(ask.pictures):
            recipe = Recipe(
                engine=MODEL[0],
                model=MODEL[1],
                prompt="",
                width=256,
                height=256,
                steps=self._device.steps,
                seed=number,
            )
            job = Job(
                id=f"{ask.number}/{number}",
                recipe=recipe,
                stream=f"c{ask.channel}",
                person=ask.person,
            )
            self._steps[job.id] = 0
            self._scheduler.submit(job, MODEL, MODEL, MODEL, lambda runs: runs)
        self.drawn.open_most = max(self.drawn.open_most, len(self._scheduler.tickets()))

    def _choose(self, worker: str, now_s: float) -> None:
        began_s = time.thread_time()
        assignment = self._scheduler.choose(worker, now_s)
        self.drawn.decisions_s += time.thread_time() - began_s
        if assignment is None:
            self._idle.append(worker)
            return
        self.drawn.decisions += 1
        report = self._carried_out(assignment)
        self.drawn.busy_s += report.seconds
        entry = (now_s + report.seconds, next(self._order), worker, assignment, report)
        heapq.heappush(self._reports, entry)

    def _carried_out(self, assignment: Assignment) -> Report:
        """Return what a worker would report. Its runs end on the same step, or are over before."""
        steps = dict.fromkeys(assignment.job_ids, 0) | {
            job_id: self._steps[job_id] for job_id in assignment.job_ids
        }
        ended: list[str] = []
        times: list[tuple[int, float]] = []
        for _ in range(assignment.steps):
            runs = [job_id for job_id in assignment.job_ids if steps[job_id] < self._device.steps]
            if not runs:
                break
            times.append((len(runs), self._device.step_s(len(runs))))
            for job_id in runs:
                steps[job_id] += 1
                if steps[job_id] == self._device.steps:
                    ended.append(job_id)
        return Report(
            seconds=sum(seconds for _, seconds in times),
            steps=steps,
            ended=tuple(ended),
            step_times=tuple(times),
        )

    def _report(
        self, now_s: float, _order: int, worker: str, assignment: Assignment, report: Report
    ) -> None:
        self._steps |= report.steps
        for job_id in assignment.job_ids:
            number = int(job_id.partition("/")[0])
            if number not in self._shown:
                self._shown.add(number)
                self.drawn.first_s.append(now_s - self._asked[number].at_s)
            if job_id not in report.ended:
                self.drawn.showing.append((now_s, number))
        began_s = time.thread_time()
        ended, _ = self._scheduler.report(worker, report, now_s)
        self.drawn.decisions_s += time.thread_time() - began_s
        for ticket in ended:
            number = int(ticket.job.id.partition("/")[0])
            del self._steps[ticket.job.id]
            self.drawn.done_s.append((now_s, number))
            self._left[number] -= 1
            if not self._left[number]:
                self.drawn.last_s.append(now_s - self._asked[number].at_s)
        self._choose(worker, now_s)
