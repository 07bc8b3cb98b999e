"""Who is drawn next: the decisions of the scheduler, without clock, torch, input or output.

The loop around it is short: `submit` jobs; `choose` an `Assignment` for a free worker; let the
worker carry it out; hand its `Report` back. One assignment is about a quantum long (half a
second), so a new job, a cancel or a steer waits no longer than that.

An assignment is made in three steps.

1. *Who leads.* The fair queue's next person (`generation.fair`), but for two things: somebody who
   has nothing on show yet goes first, unless well ahead of their share (it is charged all the
   same); and a model that must stay a while keeps the room (`generation.residency`).
2. *Who shares the step* (`generation.batching`). The *due*, whom the fair queue would serve next
   anyway, for as long as their runs are compatible; then *riders*, where batching pays.
3. *For how long.* As many steps as fit in the quantum, by what steps were measured to take.

What nobody waits for (`Job.background`) is drawn when there is nothing else: in a fair queue of its
own, so that it costs nobody a turn later, without riding on others' steps, and never in the place
of a model that somebody waits for. It gives way at the end of its assignment.

A run stays with its worker, where its state and its model are, unless that would leave another
idle or somebody behind (`generation.rebalancing`): then it is checkpointed there and goes on here.

The measured seconds are charged: the due split what the batch would have cost without riders,
the riders split what they added. So riding is cheap, and costs nobody outside the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

import msgspec

from generation.assignment import Assignment, Report
from generation.batching import RIDE_GAIN, find_due, find_riders
from generation.costs import CostKey, Costs
from generation.engine import BatchKey
from generation.eta import Forecast, Piece, forecast
from generation.fair import FairTree, Flow
from generation.protocol import Failed, Job
from generation.rebalancing import LAG_S, Movable
from generation.residency import STAY_FACTOR, ModelKey, Residency
from generation.ticket import Ticket

ALONE_STEPS = 100
"""A job that was in a crash shares no batch until so many steps past where it was last seen to
be: more than an assignment takes, so that the next crash in that place finds it alone."""
MIN_WEIGHT, MAX_WEIGHT = 0.01, 100.0
CAP_S = 600.0
"""How long a batch stays small after the device's memory ran out."""


Offer = tuple[str, str]
"""An engine and one of its models, as recipes name them."""


@dataclass(frozen=True)
class Limits:
    """What an administrator sets. Who is further ahead than `early_s` gets no early preview."""

    quantum_s: float = 0.5
    max_batch: int = 8
    max_open: int = 64
    early_s: float = 5.0
    step_limit_s: float = 30.0
    first_step_limit_s: float = 120.0


@dataclass(frozen=True)
class _Flight:
    """An assignment on its way. `held_s` is held of each flow until it is charged."""

    assignment: Assignment
    due: tuple[Ticket, ...]
    riders: tuple[Ticket, ...]
    held_s: float
    predicted_bytes: int
    memory_key: CostKey

    @property
    def batch(self) -> tuple[Ticket, ...]:
        return self.due + self.riders


@dataclass
class _Worker:
    residency: Residency
    offers: frozenset[Offer] | None = None
    flight: _Flight | None = None
    # A run that was given the whole device, and until when it keeps it.
    holder: Ticket | None = None
    held_until: float = 0.0

    def can(self, ticket: Ticket) -> bool:
        recipe = ticket.job.recipe
        return self.offers is None or (recipe.engine, recipe.model) in self.offers

    def is_held_by(self, ticket: Ticket, now: float) -> bool:
        """Whether a run of its model keeps the whole device for now."""
        alone = not self.residency.others(ticket.model)
        held = self.holder is not None and ticket.model == self.holder.model
        return held and now < self.held_until and alone

    def hand_to(
        self, ticket: Ticket, unload: tuple[ModelKey, ...], wanted: Set[ModelKey], now: float
    ) -> None:
        """Let a run have the whole device, for as long as what must make room for it would stay.

        Else the models that others wait for were loaded again for each of their turns.
        """
        displaced_s = sum(self.residency.took_s(model) for model in unload if model in wanted)
        if displaced_s > 0:
            self.holder, self.held_until = ticket, now + STAY_FACTOR * displaced_s


@dataclass
class _Lane:
    """A fair queue and its flows' tickets, first come first."""

    tree: FairTree = field(default_factory=FairTree)
    flows: dict[Flow, dict[str, Ticket]] = field(default_factory=dict)


class Scheduler:
    """The jobs, the workers, and the decisions. Times are seconds of any steady clock."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lanes = {background: _Lane() for background in (False, True)}
        self.tree = self._lanes[False].tree
        self.costs = Costs()
        self._tickets: dict[str, Ticket] = {}
        self._workers: dict[str, _Worker] = {}
        self._batch_caps: dict[CostKey, tuple[int, float]] = {}

    # --- jobs ------------------------------------------------------------------------------

    def ticket(self, job_id: str) -> Ticket | None:
        """Return what is known of a job; None where it is over, or never was."""
        return self._tickets.get(job_id)

    def tickets(self) -> Collection[Ticket]:
        """Return all unfinished jobs, in order of arrival."""
        return self._tickets.values()

    def submit(
        self,
        job: Job,
        model: ModelKey,
        key: BatchKey,
        cost_key: CostKey,
        predict_bytes: Callable[[int], int],
    ) -> None:
        """Take a job.

        `model` says what must be loaded for it, `key` with whom it may share a step, `cost_key`
        what a step costs.
        """
        if job.id in self._tickets:
            return
        ticket = Ticket(job, model, key, cost_key, predict_bytes, gpu_s=job.gpu_s)
        if job.attempt > 0:
            ticket.alone_until = job.fell_at + ALONE_STEPS
        if job.pictures:
            pictures = {name: self._shared(name, data) for name, data in job.pictures.items()}
            ticket.job = msgspec.structs.replace(job, pictures=pictures)
        self._tickets[job.id] = ticket
        lane = self._lane(ticket)
        mates = lane.flows.setdefault(ticket.flow, {})
        if job.gpu_s > 0:
            # It was begun before, so it goes on before its person's others are begun.
            begun = [mate for mate in mates.values() if mate.shown or mate.job.gpu_s > 0]
            rest = [mate for mate in mates.values() if mate not in begun]
            mates.clear()
            mates.update((mate.job.id, mate) for mate in (*begun, ticket, *rest))
        mates[job.id] = ticket
        lane.tree.arrive(ticket.flow)

    def _lane(self, ticket: Ticket) -> _Lane:
        return self._lanes[ticket.job.background]

    def _shared(self, sha256: str, picture: bytes) -> bytes:
        """Return a picture as another job already holds it, if one does."""
        for ticket in self._tickets.values():
            if sha256 in ticket.job.pictures:
                return ticket.job.pictures[sha256]
        return picture

    def remove(self, job_id: str) -> Ticket | None:
        """Forget a job: cancelled, failed or finished. What is under way is still charged."""
        ticket = self._tickets.pop(job_id, None)
        if ticket is not None:
            lane = self._lane(ticket)
            mates = lane.flows[ticket.flow]
            del mates[job_id]
            if not mates:
                del lane.flows[ticket.flow]
                lane.tree.leave(ticket.flow)
        for device in self._workers.values():
            if device.holder is ticket:
                device.holder = None
        return ticket

    def checkpointed(self, job_id: str, step: int, data: bytes) -> None:
        """Keep a job's newest checkpoint, to go on from should its run be lost."""
        ticket = self._tickets.get(job_id)
        if ticket is not None:
            ticket.job = msgspec.structs.replace(ticket.job, step=step, checkpoint=data)

    def set_weights(self, streams: dict[str, float]) -> None:
        """Set the streams' shares, within `MIN_WEIGHT` and `MAX_WEIGHT`; 1 if not named."""
        for tree in (lane.tree for lane in self._lanes.values()):
            for stream in tree.streams.weighted():
                tree.set_weight(stream, 1.0)
            for stream, weight in streams.items():
                tree.set_weight(stream, min(max(MIN_WEIGHT, weight), MAX_WEIGHT))

    # --- workers ---------------------------------------------------------------------------

    def add_worker(
        self,
        worker: str,
        capacity_bytes: int | None = None,
        offers: frozenset[Offer] | None = None,
    ) -> None:
        """Take a device into use.

        `capacity_bytes` is None where it is not known, `offers` where it can draw all there is.
        """
        self._workers[worker] = _Worker(Residency(capacity_bytes), offers)

    def lose_worker(self, worker: str) -> None:
        """Note that a device is gone. Its runs go on elsewhere, from their checkpoints."""
        flight = self._workers.pop(worker).flight
        if flight is not None:
            self._charge(flight, 0.0)
        for ticket in self._tickets.values():
            if ticket.worker == worker:
                ticket.worker, ticket.busy, ticket.leaving = None, False, None
            elif ticket.leaving == worker:
                ticket.leaving = None

    def residency(self, worker: str) -> Residency:
        """Return what is loaded on a device."""
        return self._workers[worker].residency

    def predicted_bytes(self, worker: str) -> int:
        """Return the memory reckoned with for what a worker is at; 0 where it is at nothing.

        That of all the models that are loaded is in it.
        """
        state = self._workers[worker]
        if state.flight is None:
            return 0
        own = self.costs.peak_bytes(state.flight.memory_key, state.flight.predicted_bytes)
        model = state.flight.assignment.model
        return own + state.residency.total_bytes() - state.residency.size_bytes(model)

    # --- choosing --------------------------------------------------------------------------

    def choose(self, worker: str, now: float) -> Assignment | None:
        """Decide what a free worker does next; None where there is nothing for it."""
        foreground, background = self._lanes[False], self._lanes[True]
        ready = self._ready(worker, foreground)
        if ready:
            # Only first runs: what stands behind another of the same person's is not wanted yet.
            # So where a model must stay, some run of it can lead, unless that one needs the others
            # gone: where all keep each other from their turn, none is kept.
            wanted = {tickets[0].model for tickets in ready.values()}
            found = self._choose(worker, now, foreground, ready, wanted, frozenset())
            return found or self._choose(worker, now, foreground, ready, set(), frozenset())
        ready = self._ready(worker, background)
        wanted = {tickets[0].model for tickets in ready.values()}
        # Somebody's run on another device may come here next.
        kept = {t.model for mates in foreground.flows.values() for t in mates.values()}
        return self._choose(worker, now, background, ready, wanted, kept)

    def _choose(
        self,
        worker: str,
        now: float,
        lane: _Lane,
        ready: dict[Flow, list[Ticket]],
        wanted: set[ModelKey],
        kept: Set[ModelKey],
    ) -> Assignment | None:
        """Choose in one lane. Nothing `kept` makes room, and `wanted` models stay their time."""
        state = self._workers[worker]
        residency = state.residency
        held = {flow for flow, tickets in ready.items() if state.is_held_by(tickets[0], now)}
        ranks = {
            flow: (not self._early(lane, flow), *lane.tree.rank(flow)) for flow in held or ready
        }
        while ranks:
            flow = min(ranks, key=ranks.__getitem__)
            lead = ready[flow][0]
            if lead.cleared:
                unload = residency.clear(lead.model, wanted, now)
            else:
                need_bytes = self.costs.peak_bytes(lead.memory_key, lead.predict_bytes(1))
                unload = residency.make_room(lead.model, need_bytes, wanted, now)
            if unload is None or not kept.isdisjoint(unload):
                del ranks[flow]  # not now: a loaded model has not stayed its time
                continue
            if lead.cleared:
                state.hand_to(lead, unload, wanted, now)
            if len(self._workers) > 1 and lane.tree.ahead_s(lead.flow) > LAG_S:
                self._beckon(worker, lane, lead)
            most = self._most(lead, residency.room_bytes(lead.model, unload), now)
            lane.tree.serve(flow)
            due = find_due(lead, ready, ranks, lane.tree, most, self.limits.quantum_s)
            riders = find_riders(due, ready, ranks, lane.tree, self.costs, most)
            return self._assign(worker, due, riders, unload)
        return None

    def _ready(self, worker: str, lane: _Lane) -> dict[Flow, list[Ticket]]:
        """Return, for each flow, its first runs that this worker could step now."""
        ready = self._free(worker, lane)
        if not ready and len(self._workers) > 1:
            ready = self._kept(worker, lane)
        if not ready and len(self._workers) > 1:
            self._beckon(worker, lane)
        return ready

    def _free(self, worker: str, lane: _Lane) -> dict[Flow, list[Ticket]]:
        able = self._workers[worker].can
        ready: dict[Flow, list[Ticket]] = {}
        for flow, tickets in lane.flows.items():
            free = (
                t
                for t in tickets.values()
                if not t.busy
                and (
                    (t.worker == worker and t.leaving is None)
                    or (t.worker is None and t.leaving in (None, worker) and able(t))
                )
            )
            if found := list(islice(free, self.limits.max_batch)):
                ready[flow] = found
        return ready

    def _kept(self, worker: str, lane: _Lane) -> dict[Flow, list[Ticket]]:
        """Return what this worker was to let go of, where it is all that it has left."""
        for mates in lane.flows.values():
            for ticket in mates.values():
                if ticket.worker == worker:
                    ticket.leaving = None
        return self._free(worker, lane)

    def _beckon(self, worker: str, lane: _Lane, lead: Ticket | None = None) -> None:
        """Have others let go of runs for this worker: they come free with their next reports.

        Of half the busiest one's where this one has nothing to do; and where those whom it serves
        (`lead`) have got ahead, of one run of whoever is furthest behind.
        """
        state = self._workers[worker]
        movable = Movable(worker, state.can, self.residency, state.residency, self.costs)
        tickets = [ticket for mates in lane.flows.values() for ticket in mates.values()]
        if any(ticket.leaving == worker for ticket in tickets):
            return
        if lead is None:
            leaving = movable.half(tickets)
        else:
            leaving = movable.furthest_behind(tickets, lane.tree, lead)
        for ticket in leaving:
            ticket.leaving = worker

    def _early(self, lane: _Lane, flow: Flow) -> bool:
        """Whether a person has nothing on show yet, and may be let in first for it."""
        if any(ticket.shown for ticket in lane.flows[flow].values()):
            return False
        return lane.tree.ahead_s(flow) <= self.limits.early_s

    def _most(self, lead: Ticket, room_bytes: float, now: float) -> int:
        """Return how many runs may share the step, by memory and by experience."""
        if lead.alone:
            return 1
        cap, until = self._batch_caps.get(lead.cost_key, (0, now))
        most = cap if now < until else self.limits.max_batch
        while most > 1 and room_bytes < self.costs.peak_bytes(
            lead.memory_key, lead.predict_bytes(most)
        ):
            most -= 1
        return most

    def _assign(
        self,
        worker: str,
        due: list[Ticket],
        riders: list[Ticket],
        unload: tuple[ModelKey, ...],
    ) -> Assignment:
        limits = self.limits
        lead, batch = due[0], due + riders
        step_s = self.costs.step_s(lead.cost_key, len(batch))
        assignment = Assignment(
            model=lead.model,
            job_ids=tuple(ticket.job.id for ticket in batch),
            jobs=tuple(ticket.job for ticket in batch if ticket.worker != worker),
            steps=1 if step_s is None else max(1, round(limits.quantum_s / step_s)),
            quantum_s=limits.quantum_s,
            step_limit_s=self.costs.limit_s(
                lead.cost_key, len(batch), limits.step_limit_s, limits.first_step_limit_s
            ),
            steers=tuple(steer for ticket in batch for steer in ticket.steers),
            suspend=self._suspend(worker, batch, unload),
            unload=unload,
        )
        for ticket in batch:
            ticket.worker, ticket.busy, ticket.shown = worker, True, True
            ticket.leaving = None
            ticket.steers.clear()
            self._lane(ticket).tree.hold(ticket.flow, limits.quantum_s / len(batch))
        self._workers[worker].flight = _Flight(
            assignment,
            tuple(due),
            tuple(riders),
            limits.quantum_s / len(batch),
            lead.predict_bytes(len(batch)),
            lead.memory_key,
        )
        return assignment

    def _suspend(
        self, worker: str, batch: list[Ticket], unload: tuple[ModelKey, ...]
    ) -> tuple[str, ...]:
        """Return the runs that must leave the device: for want of their model, or of room.

        For want of room, those that would be served last. Those that were used least recently are
        what a fair queue serves next, and would be begun again at once.
        """
        idle = [
            ((background, lane.tree.rank(flow), place), ticket)
            for background, lane in self._lanes.items()
            for flow, mates in lane.flows.items()
            for place, ticket in enumerate(mates.values())
            if ticket.worker == worker and ticket not in batch
        ]
        idle.sort(key=itemgetter(0), reverse=True)
        surplus = len(idle) + len(batch) - self.limits.max_open
        return tuple(
            ticket.job.id
            for nth, (_, ticket) in enumerate(idle)
            if nth < surplus or ticket.leaving or ticket.model in unload or batch[0].cleared
        )

    # --- what came of it -------------------------------------------------------------------

    def report(self, worker: str, report: Report, now: float) -> tuple[list[Ticket], list[Failed]]:
        """Learn what became of the worker's assignment.

        Returns:
            the tickets of the runs that ended, as the worker said; and the jobs that the
            scheduler gives up, which are forgotten too.
        """
        state = self._workers[worker]
        flight, state.flight = state.flight, None
        assert flight is not None, "a report without an assignment"
        assignment = flight.assignment
        for job_id, peaks in report.peaks.items():
            if job_id in self._tickets:
                self._tickets[job_id].plan_again(peaks)
        self._learn(state.residency, flight, report, now)
        self._charge(flight, report.seconds)
        for job_id in assignment.suspend:
            if job_id in self._tickets:
                self._tickets[job_id].worker = None
        for ticket in flight.batch:
            ticket.busy = False
            ticket.step = report.steps.get(ticket.job.id, ticket.step)
        ended = [ticket for ticket in map(self.remove, report.ended) if ticket is not None]
        failed: list[Failed] = []
        if report.fault is not None:
            left = [ticket for ticket in flight.batch if ticket.job.id in self._tickets]
            for ticket in left:
                ticket.worker = None
            if report.fault.out_of_memory:
                failed = self._out_of_memory(state, flight, left, report.fault.detail, now)
            else:
                failed = self._error(left, report.fault.detail)
            for failure in failed:
                self.remove(failure.job_id)
        return ended, failed

    def _learn(self, residency: Residency, flight: _Flight, report: Report, now: float) -> None:
        cost_key = flight.due[0].cost_key
        for model in flight.assignment.unload:
            residency.unloaded(model)
        if report.load_s is not None:
            residency.loaded(flight.assignment.model, now, report.load_s, report.model_bytes)
        residency.used(flight.assignment.model, now)
        for runs, seconds in report.step_times:
            self.costs.add_step(cost_key, runs, seconds)
        if report.peak_bytes:
            others = residency.total_bytes() - residency.size_bytes(flight.assignment.model)
            own_bytes = report.peak_bytes - others
            self.costs.add_peak(flight.memory_key, flight.predicted_bytes, own_bytes)
            lead = flight.due[0]
            if lead.memory_key != flight.memory_key:  # loaded only now, or steered
                better_bytes = lead.predict_bytes(len(flight.batch))
                self.costs.add_peak(lead.memory_key, better_bytes, own_bytes)

    def _charge(self, flight: _Flight, seconds: float) -> None:
        cost_key, due, riders = flight.due[0].cost_key, flight.due, flight.riders
        base_s = seconds
        if riders:
            with_riders_s = self.costs.guess_s(cost_key, len(due) + len(riders))
            base_s *= self.costs.guess_s(cost_key, len(due)) / with_riders_s
        for tickets, part_s in ((due, base_s), (riders, seconds - base_s)):
            for ticket in tickets:
                ticket.gpu_s += part_s / len(tickets)
                self._lane(ticket).tree.charge(ticket.flow, part_s / len(tickets), flight.held_s)

    def _out_of_memory(
        self, state: _Worker, flight: _Flight, left: list[Ticket], detail: str, now: float
    ) -> list[Failed]:
        """Halve the batch; then run alone on an emptied device; then give up."""
        loaded = flight.assignment.model in state.residency
        if loaded and len(flight.batch) > 1:
            self._batch_caps[flight.due[0].cost_key] = (len(flight.batch) // 2, now + CAP_S)
            return []
        if not left:
            return []
        lead = left[0]
        if not lead.cleared:
            lead.cleared = True
            return []
        reason = (
            "This picture does not fit into the machine's memory. Try a smaller size, "
            "or try again later."
        )
        return [Failed(job_id=lead.job.id, reason=reason, detail=detail, retry=True)]

    def _error(self, left: list[Ticket], detail: str) -> list[Failed]:
        """Try each of a failed batch alone, so that only the culprit fails."""
        if len(left) > 1:
            for ticket in left:
                ticket.alone_until = ticket.step
            return []
        reason = "Something went wrong while drawing this; the log has the details."
        return [Failed(job_id=ticket.job.id, reason=reason, detail=detail) for ticket in left]

    # --- looking ahead ---------------------------------------------------------------------

    def forecast(self) -> dict[str, Forecast]:
        """Estimate when each unfinished job starts and ends, in seconds from now.

        What nobody waits for begins when all the rest has ended.
        """
        found = self._forecast(self._lanes[False])
        over_s = max((when.ends_in_s for when in found.values()), default=0.0)
        for job_id, when in self._forecast(self._lanes[True]).items():
            found[job_id] = Forecast(when.starts_in_s + over_s, when.ends_in_s + over_s)
        return found

    def _forecast(self, lane: _Lane) -> dict[str, Forecast]:
        residency = next((state.residency for state in self._workers.values()), Residency())
        pieces = [
            Piece(
                ticket.job.id,
                ticket.flow,
                ticket.cost_key,
                ticket.steps_left,
                ticket.shown,
                residency.load_s(ticket.model),
            )
            for ticket in self._tickets.values()
            if self._lane(ticket) is lane
        ]
        return forecast(
            pieces,
            lane.tree.streams.weight,
            self.costs.guess_s,
            self.limits.max_batch,
            RIDE_GAIN,
            self.limits.quantum_s,
            max(1, len(self._workers)),
        )
