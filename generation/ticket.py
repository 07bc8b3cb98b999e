"""A job as the scheduler knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from generation.costs import CostKey
from generation.engine import BatchKey
from generation.fair import Flow
from generation.protocol import Job, SteerJob
from generation.residency import ModelKey


@dataclass(eq=False)
class Ticket:
    """A job in the scheduler. `job` carries its newest checkpoint.

    `step` is 0 until it has been drawn here, wherever it goes on. `model` is what must be loaded
    for it. `worker` is who holds its run, `busy` whether that worker is at it now, `shown` whether
    it has been drawn at all. Until past `alone_until` steps it shares no batch, since it was in one
    that failed, or in a crash; `cleared` says that it needs the whole device. `leaving` is another
    worker, for which its own is to let go of it. `steers` wait for a worker, and `steered` is the
    number of the newest that one has taken.
    """

    job: Job
    model: ModelKey
    key: BatchKey
    cost_key: CostKey
    predict_bytes: Callable[[int], int]
    step: int = 0
    gpu_s: float = 0.0
    worker: str | None = None
    busy: bool = False
    shown: bool = False
    alone_until: int = -1
    cleared: bool = False
    leaving: str | None = None
    steers: list[SteerJob] = field(default_factory=list)
    steered: int = 0

    @property
    def flow(self) -> Flow:
        """Who is charged."""
        return self.job.stream, self.job.person

    def plan_again(self, peaks: tuple[int, ...]) -> None:
        """Take better estimates of the memory of a step of 1, 2, … such runs."""
        self.predict_bytes = lambda runs: peaks[runs - 1]

    @property
    def memory_key(self) -> CostKey:
        """The kind of work, and of estimate of its memory.

        Before its model is loaded an engine can only estimate coarsely: how far that was off says
        nothing of an estimate made later.
        """
        return (*self.cost_key, self.predict_bytes(1))

    @property
    def steps_left(self) -> int:
        """How many steps are before it; until it has been drawn here, from its checkpoint on."""
        return self.job.recipe.last_step - (self.step or self.job.step)

    @property
    def alone(self) -> bool:
        """Whether it may share no batch."""
        return self.cleared or self.step <= self.alone_until
