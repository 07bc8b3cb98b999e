"""The simulation of many channels: its Discord keeps Discord's limits, and its sums come out."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale.cards import DRAW_S, Discord, How, Want
from benchmarks.scale.demand import Ask, Demand, asks
from benchmarks.scale.drawing import GPU, STARTER, Drawing
from benchmarks.scale.writes import seconds_a_picture
from bot.delivery.pace import Urgency
from bot.delivery.whole_bot import A_SECOND, PLACES
from bot.store import Store


def at_once(count: int) -> list[Want]:
    return [Want(1.0, channel, channel, Urgency.END) for channel in range(count)]


def test_discord_takes_fifty_a_second_and_refuses_the_rest_once() -> None:
    sent = Discord(latency_s=0.1).run(at_once(60), 10.0)
    assert Counter(round(at_s, 3) for at_s in sent.taken_s) == {1.1: 50, 2.1: 10}
    assert len(sent.refused_s) == 10


def test_what_is_held_goes_out_together_and_is_refused_again() -> None:
    # 200 at once: 150 refused, then 100, then 50.
    sent = Discord(latency_s=0.1).run(at_once(200), 10.0)
    assert len(sent.refused_s) == 150 + 100 + 50
    assert len(sent.taken_s) == 200


def test_after_five_tries_a_card_comes_back_later_and_still_arrives() -> None:
    sent = Discord(latency_s=0.1).run(at_once(400), 60.0)
    assert len(sent.taken_s) == 400
    assert sent.unsent == 0
    assert max(sent.late_s) > 5.0


def test_a_limiter_leaves_nothing_to_refuse_and_lets_ends_go_first() -> None:
    forming = [Want(1.0, channel, channel, Urgency.FORMING) for channel in range(200)]
    ends = [Want(1.5, channel, channel, Urgency.END) for channel in range(200, 210)]
    sent = Discord(How.BY_URGENCY).run(forming + ends, 30.0)
    assert not sent.refused_s
    assert max(sent.late_s) < 5 / 4 * len(ends) / A_SECOND + DRAW_S + 0.2
    assert len(sent.taken_s) == 210


def test_where_turns_are_short_an_end_takes_the_place_of_what_waits() -> None:
    # 400 new cards want 400 turns; those that are over by then are sent once, with their ends.
    new = [Want(1.0, channel, channel, Urgency.NEW) for channel in range(400)]
    ends = [Want(2.0, channel, channel, Urgency.END) for channel in range(300, 400)]
    sent = Discord(How.BY_URGENCY).run(new + ends, 60.0)
    assert sent.unsent == 0
    taken = len(sent.taken_s)
    assert 400 <= taken < 400 + PLACES, "but for those that were drawn up by then"
    late_s = max(sent.late_s)
    assert late_s < 5 / 4 * 100 / A_SECOND + 0.5
    assert late_s < max(Discord(How.IN_ORDER).run(new + ends, 60.0).late_s) / 2


@pytest.mark.parametrize("how", How)
def test_no_end_is_lost_and_no_limit_is_passed(how: How) -> None:
    random = Random(4)
    wants: list[Want] = []
    for card in range(1500):
        at_s, channel = random.uniform(0, 30), random.randrange(300)
        kinds = [Urgency.NEW, *[Urgency.FORMING] * 3, Urgency.END]
        wants += [Want(at_s + nth, channel, card, kind) for nth, kind in enumerate(kinds)]
    sent = Discord(how).run(wants, 600.0)
    assert sent.unsent == 0
    assert len(sent.late_s) == 1500
    # Of two windows that meet, fifty may come at the end of one and fifty as the next begins.
    taken_s = sorted(sent.taken_s)
    assert all(b - a > 8.9 for a, b in zip(taken_s, taken_s[500:], strict=False))


def test_a_lone_picture_takes_its_steps() -> None:
    drawn = Drawing(GPU, 3).run([Ask(0, 5.0, 0, "ann", 1)], 100.0)
    assert drawn.last_s == [pytest.approx(GPU.steps * GPU.first_s)]
    assert drawn.busy_s == pytest.approx(GPU.steps * GPU.first_s)
    assert drawn.first_s[0] <= 0.55


@pytest.mark.parametrize("workers", [1, 4])
def test_all_that_is_asked_is_drawn_once(workers: int) -> None:
    asked = asks(Demand(asks_an_hour=60.0), 5, 120.0, seed=2)
    drawn = Drawing(STARTER, workers).run(asked, 1000.0)
    assert drawn.open_end == 0
    wanted = {ask.number: ask.pictures for ask in asked}
    assert Counter(number for _, number in drawn.done_s) == wanted
    assert len(drawn.last_s) == len(drawn.first_s) == len(asked) > 5


def test_demand_is_as_much_as_it_says_and_the_same_for_each_seed() -> None:
    demand = Demand()
    asked = asks(demand, 1000, 3600.0, seed=7)
    assert asked == asks(demand, 1000, 3600.0, seed=7) != asks(demand, 1000, 3600.0, seed=8)
    assert len(asked) == pytest.approx(1000 * demand.asks_an_hour, rel=0.15)
    pictures = sum(ask.pictures for ask in asked) / len(asked)
    assert pictures == pytest.approx(demand.pictures_an_ask, rel=0.1)
    assert [ask.at_s for ask in asked] == sorted(ask.at_s for ask in asked)


def test_a_limit_is_reached_where_the_power_law_says() -> None:
    rows = [{"channels": n, "rate": 0.01 * n, "square": n * n} for n in (10.0, 100.0, 1000.0)]
    assert scale.crossing(rows, "rate", 0.5) == pytest.approx(50)
    assert scale.crossing(rows, "rate", 100.0) == pytest.approx(10_000)
    assert scale.crossing(rows, "square", 1e8) == pytest.approx(10_000)


def test_a_scale_gives_the_same_figures_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "ASKS", 40)
    first, again = (scale.simulate(1000, GPU, Demand(), 3) for _ in range(2))
    timed = {"decision_ms", "scheduler_load", "took_s"}
    assert {k: v for k, v in first.items() if k not in timed} == {
        k: v for k, v in again.items() if k not in timed
    }
    assert first["unlimited_invalid_in_600_s"] == 0
    assert first["wanted_a_s"] == pytest.approx(first["unlimited_requests_a_s"])


async def test_what_is_timed_is_a_dreams_whole_life(tmp_path: Path) -> None:
    assert await seconds_a_picture(tmp_path, 2) > 0
    store = await Store.open(tmp_path / "scale.db")
    try:
        dreams = await store.read("SELECT state FROM dream")
        cards = await store.read("SELECT state, message_id FROM delivery")
    finally:
        await asyncio.shield(store.close())
    assert [row["state"] for row in dreams] == ["done", "done"]
    assert all(row["state"] == "settled" and row["message_id"] for row in cards)
