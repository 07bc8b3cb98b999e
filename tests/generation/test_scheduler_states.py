"""The whole scheduler under anything that can happen, with workers that check their orders."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from generation.scheduler import Limits
from tests.fakes.world import Kind, World, line

KINDS: list[Kind] = [("one", 64), ("one", 128), ("two", 64), ("three", 64)]
# How many runs of each kind fit into memory; of one of them, none does.
FITS: dict[Kind, int] = {("one", 64): 8, ("one", 128): 3, ("two", 64): 1, ("three", 64): 0}


class Anything(RuleBasedStateMachine):
    """Arrivals, cancels, checkpoints, weights, faults and turns, in any order."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            cost=line(0.05, 0.03),
            limits=Limits(max_batch=4, max_open=5),
            capacity_bytes=2600,
            fits=FITS.__getitem__,
            workers=("w", "v"),
        )
        self.asked = 0
        self.cancelled: set[str] = set()

    @rule(
        target=jobs,
        person=st.sampled_from("abc"),
        stream=st.sampled_from("st"),
        kind=st.sampled_from(KINDS),
        steps=st.integers(1, 40),
        count=st.integers(1, 3),
        culprit=st.booleans(),
        background=st.booleans(),
    )
    def ask(
        self,
        person: str,
        stream: str,
        kind: Kind,
        steps: int,
        count: int,
        culprit: bool,
        background: bool,
    ) -> object:
        ids = []
        for _ in range(count):
            self.asked += 1
            ids.append(f"d{self.asked}")
            self.world.submit(ids[-1], person, stream, steps, kind, background=background)
        if culprit:
            self.world.culprits.add(ids[-1])
        return multiple(*ids)

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        if self.world.scheduler.ticket(job_id) is not None:
            self.world.cancel(job_id)
            self.cancelled.add(job_id)

    @rule(job_id=jobs)
    def checkpoint(self, job_id: str) -> None:
        for device in self.world.devices.values():
            if job_id in device.steps:
                self.world.checkpoints[job_id] = device.steps[job_id]
                self.world.scheduler.checkpointed(job_id, device.steps[job_id], b"")

    @rule(weight=st.floats(0.0, 1000.0), stream=st.sampled_from("st"))
    def weigh(self, weight: float, stream: str) -> None:
        self.world.scheduler.set_weights({stream: weight})

    @rule(turns=st.integers(1, 5), worker=st.sampled_from("wv"))
    def turn(self, turns: int, worker: str) -> None:
        for _ in range(turns):
            if worker not in self.world.under_way:
                self.world.turn(worker)

    @rule(worker=st.sampled_from("wv"))
    def start_or_finish(self, worker: str) -> None:
        """Other things can happen while an assignment is under way."""
        if worker in self.world.under_way:
            self.world.finish(worker)
        else:
            self.world.start(worker)

    @rule()
    def lose(self) -> None:
        self.world.under_way.pop("v", None)
        self.world.scheduler.lose_worker("v")
        self.world.devices["v"].steps.clear()
        self.world.devices["v"].loaded.clear()
        self.world.scheduler.add_worker("v", 2600)

    @invariant()
    def nobody_is_lost(self) -> None:
        over = [job_id for _, what, job_id in self.world.events if what in ("done", "failed")]
        assert len(over) == len(set(over)), "a job ends once"
        left = {ticket.job.id for ticket in self.world.scheduler.tickets()}
        assert left.isdisjoint(over)
        assert len(left | set(over) | self.cancelled) == self.asked

    @invariant()
    def the_trees_know_who_has_work(self) -> None:
        scheduler = self.world.scheduler
        for background, lane in scheduler._lanes.items():
            flows = {t.flow for t in scheduler.tickets() if t.job.background is background}
            assert all(
                (flow in lane.tree) == (flow in flows)
                for flow in [(stream, person) for stream in "st" for person in "abc"]
            )
            if not self.world.under_way:
                assert not lane.tree.streams._held_s, "held of somebody, and for nothing"

    @invariant()
    def workers_hold_what_the_scheduler_thinks(self) -> None:
        for name, device in self.world.devices.items():
            if name in self.world.under_way:
                continue
            held = {t.job.id for t in self.world.scheduler.tickets() if t.worker == name}
            assert held == set(device.steps)
            assert set(self.world.scheduler.residency(name).models()) == device.loaded

    def teardown(self) -> None:
        """Whatever went before, all that is left ends, and nobody fails who should not."""
        for worker in tuple(self.world.under_way):
            self.world.finish(worker)
        for _ in range(5000):
            took = [self.world.turn("w"), self.world.turn("v")]
            if took == [None, None]:
                break
        assert not self.world.scheduler.tickets(), "there is work, and nobody does it"
        failed = {failure.job_id for failure in self.world.failed}
        for job_id in failed:
            assert job_id in self.world.culprits or self.world.kind[job_id] == KINDS[3]
        done = {job_id for _, what, job_id in self.world.events if what == "done"}
        assert not {job_id for job_id in done if self.world.kind[job_id] == KINDS[3]}


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
