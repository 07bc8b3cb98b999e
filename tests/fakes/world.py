"""The real scheduler with simulated workers: time passes only because steps are said to take it.

Used by the scheduler's tests and by ``benchmarks/fairness.py``. Each worker checks that what it
is told to do makes sense.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from generation.assignment import Assignment, Fault, Report
from generation.protocol import Failed, Job, Recipe
from generation.residency import ModelKey
from generation.scheduler import Limits, Scheduler

Kind = tuple[str, Hashable]
"""A model and a shape: runs of one kind share a step."""
StepCost = Callable[[Kind, int], float]


def line(first_s: float, further_s: float) -> StepCost:
    """Return the cost of a step as a line: the first run costs so much, each further so much."""
    return lambda kind, runs: first_s + further_s * (runs - 1)


@dataclass
class Device:
    """What one simulated worker holds."""

    loaded: set[ModelKey] = field(default_factory=set)
    steps: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)


@dataclass
class World:
    """A scheduler, its devices and the time.

    `fits` says how many runs of a kind fit into memory; `culprits` are jobs whose third step
    raises. Events are kept as (time, what, job).
    """

    cost: StepCost = field(default_factory=lambda: line(0.1, 0.1))
    limits: Limits = field(default_factory=Limits)
    load_s: float = 2.0
    model_bytes: int = 1000
    run_bytes: int = 100
    capacity_bytes: int | None = None
    fits: Callable[[Kind], int] = lambda kind: 1_000_000
    workers: tuple[str, ...] = ("w",)

    def __post_init__(self) -> None:
        self.now = 0.0
        self.scheduler = Scheduler(self.limits)
        self.devices = {name: Device() for name in self.workers}
        for name in self.workers:
            self.scheduler.add_worker(name, self.capacity_bytes)
        self.culprits: set[str] = set()
        self.kind: dict[str, Kind] = {}
        self.checkpoints: dict[str, int] = {}
        self.events: list[tuple[float, str, str]] = []
        self.charged: dict[tuple[str, str], float] = {}
        self.failed: list[Failed] = []
        self.assignments: list[Assignment] = []
        self.busy_s = 0.0
        self.under_way: dict[str, Assignment] = {}

    def submit(
        self,
        job_id: str,
        person: str = "ann",
        stream: str = "s",
        steps: int = 20,
        kind: Kind = ("plain", 64),
        attempt: int = 0,
        fell_at: int = 0,
        background: bool = False,
        step: int = 0,
    ) -> None:
        """Ask for a picture, or for the rest of one that was drawn up to a step."""
        recipe = Recipe(
            engine="fake",
            model=kind[0],
            prompt="",
            width=64,
            height=64,
            steps=steps,
            seed=0,
        )
        job = Job(
            id=job_id,
            recipe=recipe,
            stream=stream,
            person=person,
            attempt=attempt,
            fell_at=fell_at,
            background=background,
            checkpoint=b"" if step else None,
            step=step,
        )
        self.checkpoints[job_id] = step
        self.kind[job_id] = kind
        self.scheduler.submit(
            job,
            ("fake", kind[0]),
            ("fake", *kind),
            ("fake", *kind),
            lambda runs: self.model_bytes + self.run_bytes * runs,
        )
        self.events.append((self.now, "asked", job_id))

    def cancel(self, job_id: str) -> None:
        """Cancel a job."""
        self.scheduler.remove(job_id)
        for device in self.devices.values():
            device.steps.pop(job_id, None)

    def turn(self, worker: str = "w") -> Assignment | None:
        """Let a worker have one assignment; time passes by what it takes."""
        assignment = self.start(worker)
        if assignment is not None:
            self.finish(worker)
        return assignment

    def start(self, worker: str = "w") -> Assignment | None:
        """Give a worker an assignment."""
        assignment = self.scheduler.choose(worker, self.now)
        if assignment is not None:
            self._check_lane(worker, assignment)
            self.assignments.append(assignment)
            self.under_way[worker] = assignment
        return assignment

    def _check_lane(self, worker: str, assignment: Assignment) -> None:
        """What nobody waits for is drawn where nothing else could be, and displaces nothing."""
        found = [self.scheduler.ticket(job_id) for job_id in assignment.job_ids]
        chosen = [ticket for ticket in found if ticket is not None]
        background = {ticket.job.background for ticket in chosen}
        assert len(background) == 1, "nobody rides from one lane in the other"
        if background == {False}:
            return
        waited_for = [t for t in self.scheduler.tickets() if not t.job.background]
        assert not [t.job.id for t in waited_for if not t.busy and t.worker in (None, worker)]
        assert not {t.model for t in waited_for} & set(assignment.unload)

    def finish(self, worker: str = "w") -> None:
        """Let a worker carry its assignment out, and report."""
        report = self.carry_out(worker, self.under_way.pop(worker))
        ended, failed = self.scheduler.report(worker, report, self.now)
        for ticket in ended:
            self.events.append((self.now, "done", ticket.job.id))
        for failure in failed:
            self.events.append((self.now, "failed", failure.job_id))
        self.failed += failed

    def run(self, turns: int = 100_000) -> None:
        """Let the worker work until nothing is left."""
        for _ in range(turns):
            if self.turn() is None:
                assert not self.scheduler.tickets(), "it is idle, and there is work"
                return
        raise AssertionError(f"work is left after {turns} turns")

    def carry_out(self, worker: str, assignment: Assignment) -> Report:
        """Do what a worker does, in no time but the simulated."""
        device = self.devices[worker]
        begun = {job.id for job in assignment.jobs}
        held = set(device.steps)
        assert len(set(assignment.job_ids)) == len(assignment.job_ids) > 0
        assert len(assignment.job_ids) <= self.limits.max_batch
        # What was cancelled since the assignment was made is dropped before the first step.
        gone = {j for j in assignment.job_ids if self.scheduler.ticket(j) is None}
        assert begun - gone == set(assignment.job_ids) - held - gone, "begin those not held"
        assert not set(assignment.suspend) & set(assignment.job_ids)
        kinds = {self.kind[job_id] for job_id in assignment.job_ids}
        assert len(kinds) == 1, "one batch, one kind"
        (kind,) = kinds
        assert assignment.model == ("fake", kind[0])
        for job_id in assignment.suspend:
            assert job_id in held or self.scheduler.ticket(job_id) is None
            if job_id in held:
                self.checkpoints[job_id] = device.steps.pop(job_id)
        device.loaded.difference_update(assignment.unload)
        for job_id in device.steps:
            assert ("fake", self.kind[job_id][0]) in device.loaded, "a run without its model"
        load_s: float | None = None
        if assignment.model not in device.loaded:
            load_s = self.load_s
            device.loaded.add(assignment.model)
            self.now += load_s
        for job in assignment.jobs:
            if job.id not in gone:
                device.steps[job.id] = self.checkpoints.get(job.id, 0)
        return self._step(device, assignment, kind, load_s)

    def _step(
        self, device: Device, assignment: Assignment, kind: Kind, load_s: float | None
    ) -> Report:
        ended: list[str] = []
        times: list[tuple[int, float]] = []
        steps: dict[str, int] = {}
        fault: Fault | None = None
        for _ in range(assignment.steps):
            runs = [job_id for job_id in assignment.job_ids if job_id in device.steps]
            if not runs:
                break
            if len(runs) > self.fits(kind):
                fault = Fault(True, "out of memory")
            elif any(j in self.culprits and device.steps[j] == 2 for j in runs):
                fault = Fault(False, "a bug")
            if fault is not None:
                self.now += 0.01
                break
            seconds = self.cost(kind, len(runs))
            self.now += seconds
            self.busy_s += seconds
            times.append((len(runs), seconds))
            for job_id in runs:
                if device.steps[job_id] == 0:
                    self.events.append((self.now, "shown", job_id))
                device.steps[job_id] += 1
                steps[job_id] = device.steps[job_id]
                ticket = self.scheduler.ticket(job_id)
                if ticket is not None and device.steps[job_id] >= ticket.job.recipe.steps:
                    ended.append(job_id)
                    del device.steps[job_id]
        if fault is not None:
            for job_id in assignment.job_ids:
                steps[job_id] = device.steps.pop(job_id, 0)
        return Report(
            seconds=sum(seconds for _, seconds in times),
            steps=steps,
            ended=tuple(ended),
            step_times=tuple(times),
            fault=fault,
            load_s=load_s,
            model_bytes=self.model_bytes if load_s is not None else 0,
        )

    def when(self, what: str, job_id: str) -> float:
        """Return when something first happened to a job."""
        return next(at for at, event, about in self.events if (event, about) == (what, job_id))
