"""What steps cost, which models stay, and when things should end."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.assignment import Report
from generation.costs import Costs, StepTimes
from generation.eta import Piece, forecast
from generation.residency import Residency
from generation.scheduler import Scheduler
from tests.fakes.engine import job
from tests.fakes.world import World, line

ONE, TWO, THREE = ("fake", "one"), ("fake", "two"), ("fake", "three")


def test_nothing_is_known_before_the_first_step() -> None:
    assert StepTimes().step_s(1) is None
    assert Costs().step_s(("k",), 1) is None
    assert Costs().guess_s(("k",), 1) > 0


@given(st.floats(0.001, 1.0), st.floats(0.0, 1.0), st.integers(0, 100))
def test_step_times_are_learned_through_noise(first_s: float, slope: float, seed: int) -> None:
    random = Random(seed)
    times = StepTimes()

    def truth(runs: int) -> float:
        return first_s * (1 + slope * (runs - 1))

    for _ in range(300):
        runs = random.choice([1, 2, 4, 8])
        times.add(runs, truth(runs) * random.uniform(0.95, 1.05))
    for runs in (1, 2, 3, 8):
        assert times.step_s(runs) == pytest.approx(truth(runs), rel=0.15)


def test_a_first_slow_step_of_a_batch_size_is_not_believed_for_long() -> None:
    times = StepTimes()
    times.add(1, 30.0)
    assert times.step_s(1) == 30.0
    times.add(1, 0.1)
    assert times.step_s(1) == pytest.approx(0.1)


def test_one_hiccup_does_not_make_a_kind_of_work_look_slow() -> None:
    times = StepTimes()
    for _ in range(30):
        times.add(1, 0.1)
    times.add(1, 60.0)
    seconds = times.step_s(1)
    assert seconds is not None
    assert seconds < 0.15


def test_what_has_really_become_slow_is_followed() -> None:
    times = StepTimes()
    for _ in range(30):
        times.add(1, 0.1)
    for _ in range(60):
        times.add(1, 1.0)
    seconds = times.step_s(1)
    assert seconds is not None
    assert seconds > 0.6


def test_the_deadline_is_ten_times_the_slowest_but_one_in_a_hundred() -> None:
    costs = Costs()
    assert costs.limit_s(("k",), 1, 30.0, 120.0) == 120.0
    for _ in range(100):
        costs.add_step(("k",), 1, 10.0)
    assert costs.limit_s(("k",), 1, 30.0, 120.0) == pytest.approx(100.0)
    assert costs.limit_s(("k",), 1, 300.0, 120.0) == 300.0


def test_predicted_memory_is_corrected_by_what_was_measured() -> None:
    costs = Costs()
    assert costs.peak_bytes(("k",), 1000) == 1000
    costs.add_peak(("k",), 1000, 1500)
    assert costs.peak_bytes(("k",), 2000) == 3000
    costs.add_peak(("k",), 1000, 0)
    assert costs.peak_bytes(("k",), 2000) == 3000


def test_what_is_learned_of_kinds_long_gone_is_forgotten() -> None:
    costs = Costs(kinds=10)
    for nth in range(100):
        costs.add_step((nth,), 1, 0.1)
    assert costs.step_s((0,), 1) is None
    assert costs.step_s((99,), 1) is not None


def test_room_is_made_by_what_nobody_waits_for_first() -> None:
    residency = Residency(1000)
    residency.loaded(ONE, 0.0, 5.0, 400)
    residency.loaded(TWO, 1.0, 5.0, 400)
    assert residency.make_room(THREE, 100, {ONE, THREE}, 2.0) == ()
    assert residency.make_room(THREE, 400, {ONE, THREE}, 2.0) == (TWO,)
    assert residency.make_room(THREE, 400, {TWO, THREE}, 2.0) == (ONE,)


def test_a_wanted_model_stays_ten_times_its_load_time() -> None:
    residency = Residency(1000)
    residency.loaded(ONE, 100.0, 5.0, 900)
    assert residency.make_room(TWO, 500, {ONE, TWO}, 149.0) is None
    assert residency.make_room(TWO, 500, {ONE, TWO}, 150.0) == (ONE,)
    assert residency.make_room(TWO, 500, {TWO}, 101.0) == (ONE,)


def test_where_the_memory_is_not_known_all_stay() -> None:
    residency = Residency(None)
    residency.loaded(ONE, 0.0, 5.0, 10**12)
    assert residency.make_room(TWO, 10**12, {TWO}, 1.0) == ()


def pieces(*specs: tuple[str, str, int]) -> list[Piece]:
    return [Piece(job_id, ("s", person), ("k",), steps, False) for job_id, person, steps in specs]


def test_one_persons_jobs_end_one_after_the_other() -> None:
    found = forecast(
        pieces(("a", "ann", 10), ("b", "ann", 10)),
        weight=lambda stream: 1.0,
        step_s=lambda key, runs: 0.1 * runs,
        max_batch=8,
        ride_gain=1.2,
        wait_s=0.0,
    )
    assert found["a"].ends_in_s == pytest.approx(1.0)
    assert found["b"].starts_in_s == pytest.approx(1.0)
    assert found["b"].ends_in_s == pytest.approx(2.0)


def test_two_people_share() -> None:
    found = forecast(
        pieces(("a", "ann", 10), ("b", "bob", 20)),
        weight=lambda stream: 1.0,
        step_s=lambda key, runs: 0.1 * runs,
        max_batch=8,
        ride_gain=1.2,
        wait_s=0.0,
    )
    assert found["a"].ends_in_s == pytest.approx(2.0)
    assert found["b"].ends_in_s == pytest.approx(3.0, rel=0.05)


def test_a_batch_that_costs_no_more_ends_together() -> None:
    found = forecast(
        pieces(*((f"d{nth}", "ann", 10) for nth in range(4))),
        weight=lambda stream: 1.0,
        step_s=lambda key, runs: 0.1,
        max_batch=8,
        ride_gain=1.2,
        wait_s=0.0,
    )
    assert {round(found[f"d{nth}"].ends_in_s, 6) for nth in range(4)} == {1.0}


@pytest.mark.parametrize("slope_s", [0.0, 0.1])
@given(random=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_estimates_come_true_where_nothing_else_is_asked(slope_s: float, random: Random) -> None:
    """Against the real scheduler, played out, on a machine that is known."""
    world = World(cost=line(0.1, slope_s), load_s=0.0)
    for nth in range(60):
        runs = 1 + nth % 8
        world.scheduler.costs.add_step(("fake", "plain", 64), runs, world.cost(("plain", 64), runs))
    for nth in range(random.randint(1, 8)):
        person = random.choice("abc")
        world.submit(f"d{nth}", person, random.choice("st"), random.choice([20, 50, 200]))
    world.turn()
    found = world.scheduler.forecast()
    began = world.now
    world.run()
    for job_id, when in found.items():
        took = world.when("done", job_id) - began
        assert when.ends_in_s == pytest.approx(took, rel=0.25, abs=2.0)


def test_what_was_drawn_before_is_no_part_of_an_estimate() -> None:
    world = World(load_s=0.0)
    world.submit("warm", steps=30)
    world.run()
    world.submit("d1", steps=1000, step=900)
    assert world.scheduler.forecast()["d1"].ends_in_s == pytest.approx(100 * 0.1)
    world.turn()
    assert world.scheduler.forecast()["d1"].ends_in_s == pytest.approx(95 * 0.1)
    world.cancel("d1")
    world.submit("d2", steps=1000, step=900)
    world.checkpoints["d2"] = 0  # it could not be read
    world.turn()
    assert world.scheduler.forecast()["d2"].ends_in_s == pytest.approx(995 * 0.1)


def test_a_long_queue_is_estimated_in_few_rounds() -> None:
    calls = 0

    def step_s(key: object, runs: int) -> float:
        nonlocal calls
        calls += 1
        return 0.1 * runs

    many = pieces(*((f"d{nth}", f"p{nth % 50}", 20 + nth % 7) for nth in range(2000)))
    found = forecast(many, lambda stream: 1.0, step_s, 8, 1.2, 0.5)
    assert len(found) == 2000
    assert calls < 200 * 100


def test_how_far_a_coarse_estimate_was_off_says_nothing_of_a_fine_one() -> None:
    scheduler = Scheduler()
    kind = ("fake", "plain")
    scheduler.add_worker("w", 100_000)

    def turn(job_id: str, estimate: int) -> int:
        """Draw a job that is expected to take `estimate` bytes; return what was reckoned with."""
        scheduler.submit(job(job_id), kind, kind, kind, lambda runs: estimate * runs)
        assignment = scheduler.choose("w", 0.0)
        assert assignment is not None
        reckoned = scheduler.predicted_bytes("w")
        report = Report(1.0, {job_id: 5}, ended=(job_id,), peak_bytes=8_000)
        scheduler.report("w", report, 0.0)
        return reckoned

    assert turn("coarse", 2_000) == 2_000, "before the model is loaded"
    assert turn("fine", 8_000) == 8_000, "and not four times that"
    assert turn("again", 2_000) == 8_000


def test_what_was_planned_before_its_model_was_loaded_is_planned_again() -> None:
    scheduler = Scheduler()
    kind = ("fake", "plain")
    scheduler.add_worker("w", 10_000)
    coarse, fine, real = 6_000, 1_000, 1_100
    for person in "abc":
        scheduler.submit(job(f"of {person}", person), kind, kind, kind, lambda runs: coarse * runs)
    first = scheduler.choose("w", 0.0)
    assert first is not None and len(first.job_ids) == 1, "no two fit, as far as is known"
    assert scheduler.predicted_bytes("w") == coarse
    [began] = first.job_ids
    peaks = {began: tuple(fine * runs for runs in range(1, 9))}
    steps = {began: 1}
    report = Report(0.5, steps, step_times=((1, 0.5),), load_s=1.0, peak_bytes=real, peaks=peaks)
    scheduler.report("w", report, 1.0)
    ticket = scheduler.ticket(began)
    assert ticket is not None
    assert [ticket.predict_bytes(runs) for runs in (1, 8)] == [fine, 8 * fine]
    assert scheduler.costs.peak_bytes(ticket.memory_key, ticket.predict_bytes(2)) == 2 * real
    second = scheduler.choose("w", 1.0)
    assert second is not None and len(second.job_ids) > 1, "what was measured counts for all"
