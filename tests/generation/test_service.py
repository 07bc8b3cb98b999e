"""A service with the scheduler and a worker, in one thread."""

from __future__ import annotations

from generation.protocol import Finished, Setting, Submit, ToBot
from generation.scheduler import Scheduler
from generation.service import Service
from generation.settings import Settings
from generation.worker import Worker
from tests.fakes.engine import FakeEngine, job

MODEL_BYTES = 300_000
CAPACITY_BYTES = 600_000
"""Room for one model and a step of one run, not for two models."""


class FullDevice:
    """A device on which each loaded model takes its room."""

    name = "fake"
    capacity_bytes: int | None = CAPACITY_BYTES

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def synchronize(self) -> None: ...

    def used_bytes(self) -> int:
        return MODEL_BYTES * len(self._engine.loaded)

    def peak_bytes(self) -> int:
        return 0

    def free(self) -> None: ...


def test_what_is_loaded_is_what_the_batch_key_names() -> None:
    engine = FakeEngine()
    said: list[ToBot] = []
    scheduler = Scheduler()
    scheduler.add_worker("w", CAPACITY_BYTES)
    worker = Worker({"fake": engine}, FullDevice(engine), lambda message: None, Settings())
    service = Service(scheduler, {"fake": engine}, said.append, worker.post)

    def draw(job_id: str, **settings: Setting) -> None:
        service.take(Submit(job(job_id, settings=settings, steps=3)))
        while assignment := scheduler.choose("w", 0.0):
            service.account(*scheduler.report("w", worker.advance(assignment), 0.0))
        assert not scheduler.tickets()

    draw("d1", judge="sharp")
    assert engine.loaded == ["plain+sharp"]
    assert scheduler.residency("w").models() == (("fake", "plain+sharp"),)
    draw("d2")
    assert engine.loaded == ["plain"]
    assert not [message for message in said if not isinstance(message, Finished)]
