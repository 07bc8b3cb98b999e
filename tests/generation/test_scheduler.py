"""Who is drawn next: single decisions, told one by one."""

from __future__ import annotations

import msgspec
import pytest

from generation.protocol import Job
from generation.scheduler import Limits, Scheduler
from tests.fakes.engine import recipe
from tests.fakes.world import Device, World, line


def submit(scheduler: Scheduler, job_id: str, person: str = "ann", stream: str = "s") -> None:
    job = Job(id=job_id, recipe=recipe(), stream=stream, person=person)
    kind = ("fake", "plain")
    scheduler.submit(job, kind, kind, kind, lambda runs: 0)


def learn(world: World, seconds: tuple[float, float]) -> None:
    """Have the scheduler know what steps cost, as if it had drawn for a while."""
    for _ in range(50):
        for runs in (1, 8):
            cost = seconds[0] + seconds[1] * (runs - 1)
            world.scheduler.costs.add_step(("fake", "plain", 64), runs, cost)


def test_nothing_to_do_is_nothing() -> None:
    world = World()
    assert world.turn() is None


def test_a_job_is_drawn_to_its_end() -> None:
    world = World()
    world.submit("d1")
    world.run()
    assert world.when("done", "d1") == pytest.approx(2.0 + 20 * 0.1)


def test_the_same_job_twice_is_one() -> None:
    scheduler = Scheduler()
    submit(scheduler, "d1")
    submit(scheduler, "d1")
    assert len(scheduler.tickets()) == 1


def test_jobs_that_start_from_one_picture_hold_it_once() -> None:
    scheduler = Scheduler()
    kind = ("fake", "plain")
    for nth in range(3):
        picture = bytes(bytearray(b"a picture" if nth < 2 else b"another"))
        name = "one" if nth < 2 else "other"
        wanted = Job(
            id=f"d{nth}",
            recipe=msgspec.structs.replace(recipe(), init_sha256=name),
            stream="s",
            person="ann",
            pictures={name: picture},
        )
        scheduler.submit(wanted, kind, kind, kind, lambda runs: 0)
    first, second, third = (ticket.job.init for ticket in scheduler.tickets())
    assert first is second
    assert third == b"another"


def test_a_turn_is_about_a_quantum_long() -> None:
    world = World(limits=Limits(quantum_s=0.5))
    world.submit("d1", steps=1000)
    first = world.turn()
    assert first is not None
    assert first.steps == 1, "what a step costs is not known yet"
    for _ in range(5):
        world.turn()
    assert world.assignments[-1].steps == 5


def test_two_peoples_runs_share_their_steps() -> None:
    world = World()
    world.submit("d1", "ann")
    world.submit("d2", "bob")
    world.run()
    assert {assignment.job_ids for assignment in world.assignments[:3]} == {("d1", "d2")}


def test_runs_of_different_kinds_take_turns() -> None:
    world = World()
    world.submit("d1", "ann", kind=("plain", 64))
    world.submit("d2", "bob", kind=("plain", 128))
    world.run()
    assert abs(world.when("done", "d1") - world.when("done", "d2")) < 1.0
    assert all(len(assignment.job_ids) == 1 for assignment in world.assignments)


def test_where_batching_pays_one_persons_runs_go_together() -> None:
    world = World(cost=line(0.1, 0.01))
    learn(world, (0.1, 0.01))
    for nth in range(4):
        world.submit(f"d{nth}")
    assignment = world.turn()
    assert assignment is not None
    assert len(assignment.job_ids) == 4


def test_where_it_does_not_they_go_one_after_the_other() -> None:
    world = World(cost=line(0.1, 0.1), load_s=0.0)
    learn(world, (0.1, 0.1))
    for nth in range(4):
        world.submit(f"d{nth}")
    world.run()
    done = [world.when("done", f"d{nth}") for nth in range(4)]
    assert done == sorted(done)
    assert done[0] <= done[3] / 3
    assert max(len(assignment.job_ids) for assignment in world.assignments) == 1


def test_riders_never_slow_anybody_below_their_share() -> None:
    """On a machine where batching gains nothing, one run keeps half of it against eight."""
    world = World(cost=line(0.1, 0.1))
    learn(world, (0.1, 0.1))
    for nth in range(8):
        world.submit(f"heavy{nth}", "heavy", steps=1000)
    world.submit("light", "light", steps=50)
    while "light" in {ticket.job.id for ticket in world.scheduler.tickets()}:
        world.turn()
    alone_s = 50 * 0.1
    assert world.when("done", "light") <= world.load_s + 2 * alone_s + 2 * 0.5


def test_riding_costs_nobody_outside_the_batch() -> None:
    """Two people of one kind and a third of another: each gets a third, riders or not."""
    world = World(cost=line(0.1, 0.01))
    learn(world, (0.1, 0.01))
    for nth in range(7):
        world.submit(f"heavy{nth}", "heavy", steps=100_000)
    world.submit("light", "light", steps=100_000)
    world.submit("other", "other", steps=100_000, kind=("plain", 128))
    before = 0.0
    other_s = 0.0
    while world.now < 300:
        assignment = world.turn()
        assert assignment is not None
        if "other" in assignment.job_ids:
            other_s += world.now - before
        before = world.now
    assert other_s / 300 == pytest.approx(1 / 3, abs=0.05)


def test_the_due_pay_for_the_step_and_riders_for_what_they_add() -> None:
    world = World(cost=line(0.1, 0.02))
    learn(world, (0.1, 0.02))
    world.submit("due", "light", steps=1000)
    for nth in range(3):
        world.submit(f"rider{nth}", "heavy", steps=1000)
    assignment = world.turn()
    assert assignment is not None
    assert assignment.job_ids == ("due", "rider0", "rider1", "rider2")
    charged = [ticket.gpu_s / assignment.steps for ticket in world.scheduler.tickets()]
    # Due are the two people's first runs: 0.12 s. Two riders more: 0.16 s.
    assert charged == pytest.approx([0.06, 0.06, 0.02, 0.02], rel=0.01)


def test_weights_are_shares_of_the_machine() -> None:
    world = World()
    world.scheduler.set_weights({"party": 3.0, "dull": 1.0})
    world.submit("d1", "ann", "party", steps=100_000, kind=("plain", 64))
    world.submit("d2", "bob", "dull", steps=100_000, kind=("plain", 128))
    while world.now < 200:
        world.turn()
    shares = {j: t.gpu_s for j in ("d1", "d2") if (t := world.scheduler.ticket(j)) is not None}
    assert shares["d1"] / shares["d2"] == pytest.approx(3.0, rel=0.1)
    world.scheduler.set_weights({})
    begun = world.now
    before = dict(shares)
    while world.now < begun + 200:
        world.turn()
    shares = {j: t.gpu_s for j in ("d1", "d2") if (t := world.scheduler.ticket(j)) is not None}
    assert shares["d1"] - before["d1"] == pytest.approx(shares["d2"] - before["d2"], rel=0.1)


def test_a_newcomer_is_shown_something_first() -> None:
    world = World()
    for nth in range(6):
        world.submit(f"d{nth}", f"p{nth}", steps=1000, kind=("plain", nth))
    for _ in range(60):
        world.turn()
    world.submit("new", "newcomer", kind=("plain", 99))
    assignment = world.turn()
    assert assignment is not None
    assert assignment.job_ids == ("new",)


def test_coming_back_at_once_does_not_jump_the_queue() -> None:
    """Cancelling and asking again gives a first preview, not the machine."""
    world = World(limits=Limits(early_s=2.0))
    world.submit("steady", "steady", steps=100_000, kind=("plain", 1))
    gamer_s = steady_s = 0.0
    for nth in range(400):
        world.submit(f"g{nth}", "gamer", steps=1000, kind=("plain", 2))
        before = world.now
        assignment = world.turn()
        assert assignment is not None
        if nth > 0:
            spent = world.now - before
            steady_s += spent * ("steady" in assignment.job_ids)
            gamer_s += spent * ("steady" not in assignment.job_ids)
        world.cancel(f"g{nth}")
    assert gamer_s - steady_s <= 2.0 + 1.0 + world.load_s


def test_a_cancelled_run_is_charged_for_what_was_under_way() -> None:
    world = World()
    world.submit("d1", "ann", kind=("plain", 1))
    assignment = world.scheduler.choose("w", 0.0)
    assert assignment is not None
    world.submit("d2", "bob", kind=("plain", 2))
    report = world.carry_out("w", assignment)
    world.scheduler.remove("d1")
    world.scheduler.report("w", report, world.now)
    world.submit("d3", "ann", kind=("plain", 1))
    tree = world.scheduler.tree
    assert tree.people("s").start_tag("ann") == report.seconds > tree.people("s").start_tag("bob")


def test_out_of_memory_halves_the_batch() -> None:
    world = World(cost=line(0.1, 0.01), fits=lambda kind: 3)
    learn(world, (0.1, 0.01))
    for nth in range(8):
        world.submit(f"d{nth}", f"p{nth}")
    sizes = []
    for _ in range(4):
        assignment = world.turn()
        assert assignment is not None
        sizes.append(len(assignment.job_ids))
    assert sizes == [8, 4, 2, 2]
    world.run()
    assert not world.failed


def test_who_does_not_fit_even_alone_is_told() -> None:
    world = World(fits=lambda kind: 0 if kind[1] == 4096 else 8)
    world.submit("small", "ann")
    world.turn()
    world.submit("huge", "bob", kind=("plain", 4096))
    world.run()
    assert [failure.job_id for failure in world.failed] == ["huge"]
    assert world.failed[0].retry
    assert "memory" in world.failed[0].reason
    assert world.when("done", "small")


def test_the_last_attempt_has_the_device_for_itself() -> None:
    world = World(fits=lambda kind: 0 if kind[0] == "big" else 8)
    world.submit("small", "ann", steps=1000)
    world.turn()
    world.submit("huge", "bob", kind=("big", 64))
    while not world.failed:
        world.turn()
    last = next(a for a in reversed(world.assignments) if a.job_ids == ("huge",))
    assert last.suspend == ("small",)
    assert last.unload == (("fake", "plain"),)


@pytest.mark.parametrize("known", [True, False])
def test_who_needs_the_whole_device_takes_turns_with_the_others(known: bool) -> None:
    """Both models fit, but one's run does not beside the other: they swap seldom, too."""
    world = World(load_s=2.0, capacity_bytes=100_000 if known else None)
    world.submit("big", "ann", steps=100_000, kind=("big", 1024))
    world.submit("small", "bob", steps=100_000)
    world.turn()
    big = world.scheduler.ticket("big")
    assert big is not None
    big.cleared = True
    for _ in range(2000):
        world.turn()
    swapping_s = world.now - world.busy_s
    assert swapping_s / world.now <= 1 / 11 + 0.01
    unloads = sum(len(assignment.unload) for assignment in world.assignments)
    assert unloads > 5, "the others wait for their turn, not for its end"
    shares = [ticket.gpu_s for ticket in world.scheduler.tickets()]
    assert min(shares) / max(shares) > 0.9, "and in the long run both get their share"


def test_the_device_is_not_idle_where_two_runs_need_all_of_it() -> None:
    """Each keeps the other from its turn until it has stayed its time: somebody draws all along."""
    world = World(load_s=20.0)
    world.submit("a", "ann", steps=2000, kind=("big", 1024))
    world.submit("b", "bob", steps=2000)
    for _ in range(6):
        world.turn()
    world.fits = lambda _kind: 10 if len(world.devices["w"].loaded) == 1 else 0
    while world.scheduler.tickets():
        assert world.turn() is not None, "it waits, and so do they"


def test_others_draw_with_the_model_of_who_keeps_the_device() -> None:
    world = World(load_s=20.0)
    world.submit("big", "ann", steps=100_000, kind=("big", 1024))
    world.submit("small", "carl", steps=100_000)
    for _ in range(4):
        world.turn()
    big = world.scheduler.ticket("big")
    assert big is not None
    big.cleared = True
    while (assignment := world.turn()) is None or not assignment.unload:
        pass
    for _ in range(5):
        world.turn()
    world.submit("new", "bob", steps=20, kind=("big", 64))
    asked = world.now
    while world.scheduler.ticket("new"):
        world.turn()
    assert world.when("shown", "new") - asked < 2.0


def test_an_unknown_error_fails_its_culprit_only() -> None:
    world = World(cost=line(0.1, 0.01))
    learn(world, (0.1, 0.01))
    for nth in range(4):
        world.submit(f"d{nth}", f"p{nth}")
    world.culprits = {"d2"}
    world.run()
    assert [failure.job_id for failure in world.failed] == ["d2"]
    assert {j for _, what, j in world.events if what == "done"} == {"d0", "d1", "d3"}
    together = [assignment for assignment in world.assignments if len(assignment.job_ids) == 3]
    assert together, "the innocent go on together"


def test_what_was_in_a_crash_is_alone_until_well_past_it() -> None:
    world = World(cost=line(0.1, 0.01), load_s=0.0)
    learn(world, (0.1, 0.01))
    world.submit("suspect", "ann", steps=400, attempt=1, fell_at=50)
    for nth in range(3):
        world.submit(f"d{nth}", "bob", steps=400)
    world.run()
    batches = [a.job_ids for a in world.assignments]
    first = next(nth for nth, ids in enumerate(batches) if "suspect" in ids and len(ids) > 1)
    steps = sum(a.steps for a in world.assignments[:first] if a.job_ids == ("suspect",))
    assert steps > 100 + 50
    assert not [ids for ids in batches[:first] if "suspect" in ids and len(ids) > 1]


def test_memory_bounds_the_batch() -> None:
    world = World(cost=line(0.1, 0.01), capacity_bytes=1600)
    learn(world, (0.1, 0.01))
    for nth in range(8):
        world.submit(f"d{nth}", f"p{nth}")
    assignment = world.turn()
    assert assignment is not None
    assert len(assignment.job_ids) == 4, "1000 + 4 × 100 of 92 % of 1600"


def test_a_loaded_model_stays_while_it_is_wanted() -> None:
    """Two models that do not fit together swap seldom: a part in eleven of the time at most."""
    world = World(capacity_bytes=1500, load_s=2.0)
    world.submit("d1", "ann", steps=100_000, kind=("one", 64))
    world.submit("d2", "bob", steps=100_000, kind=("two", 64))
    for _ in range(1000):
        world.turn()
    swapping_s = world.now - world.busy_s
    assert swapping_s / world.now <= 1 / 11 + 0.01
    shares = [t.gpu_s for t in world.scheduler.tickets()]
    assert min(shares) / max(shares) > 0.9, "and in the long run both get their share"


def test_models_that_fit_together_stay_together() -> None:
    world = World(capacity_bytes=10_000, load_s=2.0)
    world.submit("d1", "ann", steps=1000, kind=("one", 64))
    world.submit("d2", "bob", steps=1000, kind=("two", 64))
    for _ in range(100):
        world.turn()
    assert world.now - world.busy_s == pytest.approx(4.0)


def test_too_many_open_runs_are_suspended() -> None:
    world = World(limits=Limits(max_open=3, max_batch=2))
    for nth in range(6):
        world.submit(f"d{nth}", f"p{nth}", steps=30, kind=("plain", nth))
    for _ in range(30):
        world.turn()
        assert len(world.devices["w"].steps) <= 3
    world.run()
    assert len([1 for _, what, _ in world.events if what == "done"]) == 6


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(("people", "most"), [(9, 0.3), (12, 1.1)])
def test_with_too_many_people_few_runs_are_suspended_at_once(
    people: int, most: float, streams: int
) -> None:
    world = World(cost=line(0.1, 0.01), limits=Limits(max_open=8, max_batch=2), load_s=0.0)
    for nth in range(people):
        world.submit(f"d{nth}", f"p{nth}", f"s{nth % streams}", steps=500)
    for _ in range(10 * people):
        world.turn()
    settled = world.assignments[people:]
    assert sum(len(one.suspend) for one in settled) <= most * len(settled)
    steps = [ticket.step for ticket in world.scheduler.tickets()]
    assert max(steps) - min(steps) <= 0.4 * max(steps), "it costs nobody their share"


def test_a_persons_later_dreams_are_suspended_before_the_first() -> None:
    world = World(cost=line(0.1, 0.01), limits=Limits(max_open=2, max_batch=2))
    for job_id in ("d1", "d2"):
        world.submit(job_id)
    while world.turn().job_ids != ("d1", "d2"):  # type: ignore[union-attr]
        pass
    world.submit("other", "bob", kind=("plain", 32))
    while "other" not in (assignment := world.turn()).job_ids:  # type: ignore[union-attr]
        pass
    assert assignment is not None
    assert assignment.suspend == ("d2",)


def test_a_lost_workers_runs_go_on_elsewhere() -> None:
    world = World(workers=("w", "v"))
    world.submit("d1", steps=100)
    for _ in range(5):
        world.turn("w")
    assert world.turn("v") is None, "its run is on the other"
    under_way = world.scheduler.choose("w", world.now)
    assert under_way is not None
    world.scheduler.lose_worker("w")
    world.scheduler.checkpointed("d1", 7, b"step 7")
    again = world.scheduler.choose("v", world.now)
    assert again is not None
    assert again.job_ids == ("d1",)
    assert again.jobs[0].checkpoint == b"step 7"


def test_two_workers_draw_two_people() -> None:
    world = World(workers=("w", "v"))
    world.submit("d1", "ann", steps=100, kind=("plain", 1))
    world.submit("d2", "bob", steps=100, kind=("plain", 2))
    first = world.scheduler.choose("w", 0.0)
    second = world.scheduler.choose("v", 0.0)
    assert first is not None
    assert second is not None
    assert {*first.job_ids, *second.job_ids} == {"d1", "d2"}


def test_an_idle_worker_takes_over_half_of_the_busiest_ones_runs() -> None:
    world = World(workers=("w",))
    for nth in range(5):
        world.submit(f"d{nth}", f"p{nth}", steps=100, kind=("plain", nth))
    for _ in range(5):
        world.turn("w")
    assert len(world.devices["w"].steps) == 5
    world.devices["late"] = Device()
    world.scheduler.add_worker("late")
    assert world.turn("late") is None, "they come free with the other's next report"
    leaving = {ticket.job.id for ticket in world.scheduler.tickets() if ticket.leaving}
    assert len(leaving) == 2
    (assignment,) = filter(None, [world.turn("w")])
    assert set(assignment.suspend) == leaving
    for _ in range(4):
        world.turn("w")
        world.turn("late")
    assert set(world.devices["late"].steps) == leaving
    assert len(world.devices["w"].steps) == 3


def test_a_run_that_is_almost_done_or_alone_is_not_moved() -> None:
    world = World(workers=("w", "v"))
    world.submit("short", "ann", steps=8, kind=("plain", 1))
    world.submit("too", "bob", steps=8, kind=("plain", 2))
    world.turn("w")
    world.turn("w")
    assert world.turn("v") is None
    assert not [ticket for ticket in world.scheduler.tickets() if ticket.leaving]


def test_what_a_worker_was_to_let_go_of_it_keeps_when_it_has_nothing_else() -> None:
    world = World(workers=("w",))
    for nth in range(2):
        world.submit(f"d{nth}", f"p{nth}", steps=100, kind=("plain", nth))
    world.turn("w")
    world.turn("w")
    world.devices["v"] = Device()
    world.scheduler.add_worker("v")
    assert world.turn("v") is None
    (leaving,) = [ticket for ticket in world.scheduler.tickets() if ticket.leaving]
    (staying,) = [ticket for ticket in world.scheduler.tickets() if not ticket.leaving]
    world.cancel(staying.job.id)
    again = world.turn("w")
    assert again is not None
    assert again.job_ids == (leaving.job.id,)


def test_on_two_devices_three_people_get_two_thirds_of_one_each() -> None:
    world = World(cost=line(0.1, 0.1), workers=("w", "v"))
    for nth, person in enumerate(("ann", "bob", "cat")):
        world.submit(f"d{nth}", person, steps=4000, kind=("plain", nth))
    # Both carry their assignments out at the same time.
    for _ in range(700):
        before = world.now
        under_way = [worker for worker in ("w", "v") if world.start(worker)]
        for worker in under_way:
            world.now = before
            world.finish(worker)
    had = {ticket.job.id: ticket.gpu_s for ticket in world.scheduler.tickets()}
    assert max(had.values()) - min(had.values()) < 30, had
    moves = sum(len(assignment.suspend) for assignment in world.assignments)
    assert 5 < moves < 100, "they change places now and then"


def test_a_worker_is_given_only_what_it_can_draw() -> None:
    world = World(workers=("w",))
    world.scheduler.add_worker("v", offers=frozenset({("fake", "other")}))
    world.devices["v"] = Device()
    world.submit("d1", kind=("plain", 64))
    assert world.turn("v") is None
    world.submit("d2", "bob", kind=("other", 64))
    assignment = world.turn("v")
    assert assignment is not None
    assert assignment.job_ids == ("d2",)


def test_what_was_begun_before_goes_on_before_its_persons_others() -> None:
    world = World()
    world.submit("d1", steps=50)
    world.submit("d2", steps=50)
    ticket = world.scheduler.ticket("d1")
    assert ticket is not None
    world.scheduler.submit(
        msgspec.structs.replace(ticket.job, id="begun", gpu_s=4.0),
        ticket.model,
        ("of its", "own"),
        ticket.cost_key,
        ticket.predict_bytes,
    )
    first = world.scheduler.choose("w", 0.0)
    assert first is not None
    assert first.job_ids == ("begun",)
