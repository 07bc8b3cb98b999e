"""What nobody waits for: drawn when there is nothing else, fairly, and out of everybody's way.

`World` itself checks in every test that no background run is chosen while another could be, and
that none displaces a model that somebody waits for.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.scheduler import Limits
from tests.fakes.world import Kind, World, line


def times(world: World, what: str) -> dict[str, float]:
    return {job_id: at for at, event, job_id in world.events if event == what}


def test_somebody_who_comes_waits_for_one_quantum_at_most() -> None:
    world = World(cost=line(0.1, 0.0), load_s=0.0)
    for nth in range(20):
        world.submit(f"night{nth}", "bob", steps=200, background=True)
    for _ in range(30):
        world.turn()
    assert world.assignments[-1].job_ids[0].startswith("night")
    world.submit("now", "ann", steps=20)
    began = world.now
    while "now" not in times(world, "done"):
        assignment = world.turn()
        assert assignment is not None and assignment.job_ids == ("now",)
    assert times(world, "done")["now"] == pytest.approx(began + 20 * 0.1)
    assert world.turn() is not None, "and then the night goes on"


def test_a_quantum_that_was_begun_is_the_only_delay() -> None:
    world = World(cost=line(0.1, 0.0), load_s=0.0)
    world.submit("night", "bob", steps=500, background=True)
    for _ in range(5):
        world.turn()
    world.start()
    world.submit("now", "ann", steps=5)
    asked = world.now
    world.finish()
    assert world.now - asked <= world.limits.quantum_s + 0.1
    following = world.start()
    assert following is not None and following.job_ids == ("now",)


def test_background_work_is_fair_among_itself() -> None:
    world = World(cost=line(0.1, 0.1), limits=Limits(max_batch=1), load_s=0.0)
    for person in ("ann", "bob", "cid"):
        for nth in range(1 if person == "ann" else 10):
            world.submit(f"{person}{nth}", person, steps=300, background=True)
    world.scheduler.set_weights({"s": 1.0})
    for _ in range(60):
        world.turn()
    spent = dict.fromkeys(("ann", "bob", "cid"), 0.0)
    for ticket in world.scheduler.tickets():
        spent[ticket.job.person] += ticket.gpu_s
    assert max(spent.values()) - min(spent.values()) <= 2 * (world.limits.quantum_s + 0.1)


def test_a_night_of_work_costs_nobody_their_share_of_the_day() -> None:
    """Ann's hundred seeds of the night do not put her behind Bob when both ask for more."""
    world = World(cost=line(0.1, 0.1), limits=Limits(max_batch=1), load_s=0.0)
    world.submit("night", "ann", steps=600, background=True)
    for _ in range(100):
        world.turn()
    world.submit("ann", "ann", steps=100)
    world.submit("bob", "bob", steps=100)
    while not {"ann", "bob"} <= set(times(world, "done")):
        world.turn()
    done = times(world, "done")
    assert abs(done["ann"] - done["bob"]) <= 2 * (world.limits.quantum_s + 0.1)


def test_its_model_gives_way_at_once_and_none_gives_way_to_it() -> None:
    world = World(capacity_bytes=1700, load_s=2.0, workers=("w", "v"))
    world.submit("night", "bob", steps=500, kind=("large", 64), background=True)
    world.turn("w")
    assert world.devices["w"].loaded == {("fake", "large")}
    world.submit("now", "ann", steps=100, kind=("plain", 64))
    assignment = world.turn("w")
    assert assignment is not None and assignment.job_ids == ("now",)
    assert assignment.unload == (("fake", "large"),), "it need not stay its time"
    # The other device has nothing that somebody waits for: the night goes on there.
    assert (elsewhere := world.turn("v")) is not None and elsewhere.job_ids == ("night",)
    world.submit("more", "cid", steps=100, kind=("large", 64))
    world.start("w")
    assert (helped := world.turn("v")) is not None and "night" not in helped.job_ids
    world.finish("w")


def test_its_places_come_after_all_others() -> None:
    world = World(cost=line(0.1, 0.1), load_s=0.0)
    world.submit("night", "bob", steps=50, background=True)
    world.submit("now", "ann", steps=50)
    world.submit("next", "ann", steps=50)
    found = world.scheduler.forecast()
    assert found["night"].starts_in_s >= max(found["now"].ends_in_s, found["next"].ends_in_s)
    assert found["night"].ends_in_s > found["night"].starts_in_s


KINDS: list[Kind] = [("one", 64), ("two", 64)]
JOBS = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(KINDS), st.integers(1, 30)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(JOBS, st.sampled_from([1200, 1700, 3000]))
def test_all_is_drawn_in_the_end_and_the_awaited_first(
    jobs: list[tuple[str, bool, Kind, int]], capacity_bytes: int
) -> None:
    world = World(cost=line(0.05, 0.02), capacity_bytes=capacity_bytes, load_s=0.5)
    for nth, (person, background, kind, steps) in enumerate(jobs):
        world.submit(f"d{nth}", person, steps=steps, kind=kind, background=background)
    world.run()
    done = times(world, "done")
    assert len(done) == len(jobs)
    awaited = [done[f"d{nth}"] for nth, job in enumerate(jobs) if not job[1]]
    others = [done[f"d{nth}"] for nth, job in enumerate(jobs) if job[1]]
    assert not awaited or not others or max(awaited) <= min(others)
