"""The benchmarks of many people run, through the real scheduler, and compare like with like."""

from __future__ import annotations

import json

import pytest

from benchmarks import growth, preview
from benchmarks.desk import Desk, job
from generation.settings import Settings
from tests.fakes.engine import FakeEngine


def test_everybodys_dreams_are_drawn_and_what_it_took_is_known() -> None:
    engine = FakeEngine()
    desk = Desk({"fake": engine}, Settings(device="cpu"))
    for number in range(3):
        desk.ask(job(engine, f"{number}", f"person {number}", side=64, steps=4, seed=number))
    assert desk.draw_all() > 0
    assert not desk.failed and all(times.done is not None for times in desk.times.values())
    assert all(times.preview_s > 0 for times in desk.times.values())
    assert sum(runs for runs, _ in desk.step_times) == 12
    assert desk.decided_s > 0 and desk.planned_s > 0
    worn = Desk({"fake": engine}, Settings(device="cpu"))
    worn.ask(job(engine, "0", "ann", side=64, steps=4, settings={"error_at": 2}))
    worn.draw_all()
    assert list(worn.failed) == ["0"]


def test_a_light_person_waits_less_than_first_in_first_out() -> None:
    engine = FakeEngine()
    heavy, light = preview.asks(engine, side=64, heavy_steps=60, lights=3)
    slowly = {"step_s": 0.002}
    for asked in (heavy, light):
        asked[:] = [
            job(engine, one.id, one.person, side=64, steps=one.recipe.steps, settings=slowly)
            for one in asked
        ]
    settings = Settings(device="cpu", quantum_s=0.02)
    found = preview.measure({"fake": engine}, settings, heavy, light)
    # First in, first out, the last of three waits for a quarter of 480 steps and more.
    assert found["p95_s"]["first in, first out"] > 0.2
    assert found["p95_ratio"] < 0.7
    assert found["heavy"] == {"dreams": 8, "steps": 60}


def test_what_deciding_costs_is_counted_by_the_step() -> None:
    alone, many = growth.deciding(1, turns=20), growth.deciding(32, turns=20)
    assert 0 < alone < many < growth.STEP_S


def test_what_is_kept_is_read_in_the_same_ways_by_size(capsys: pytest.CaptureFixture[str]) -> None:
    growth.main(["--runs", "1", "--pictures", "12", "600", "--turns", "1"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["growth_from"] == 600
    assert set(said["kept_s"]) == {"12", "600"}
    assert all(seconds > 0 for seconds in said["kept_s"]["600"].values())
