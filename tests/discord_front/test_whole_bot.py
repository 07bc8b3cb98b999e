"""The limit that Discord sets for a bot as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from bot.delivery import whole_bot
from bot.delivery.lane import Lane
from bot.delivery.pace import Urgency
from bot.delivery.turns import AGED_ONE_IN, Rate, Turns
from bot.delivery.whole_bot import A_SECOND, BURST, PLACES, WholeBot, unhurried

API = URL("https://discord.com/api/v10")
MOST = A_SECOND + BURST
CARD = API / "channels/1/messages/2"
ACTS = ("ask", "hurry", "leave", "next")


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    async def sleep(self, delay_s: float) -> None:
        for _ in range(3):
            await asyncio.sleep(0)  # whoever was let through goes before time does
        self.now_s += delay_s


async def test_a_rush_goes_out_no_faster_than_discord_takes_it() -> None:
    time = Time()
    bot = WholeBot(lambda: time.now_s, time.sleep)
    sent: list[tuple[float, int]] = []

    async def send(number: int) -> None:
        await bot.turn(CARD)
        sent.append((time.now_s, number))

    await asyncio.gather(*(send(number) for number in range(5 * MOST)))
    assert [number for _, number in sent] == [*range(5 * MOST)]
    for first, after in zip(sent, sent[MOST:], strict=False):
        assert after[0] - first[0] >= 1.0
    assert sent[-1][0] - sent[0][0] == pytest.approx((5 * MOST - BURST) / A_SECOND)
    assert all(a[0] <= b[0] for a, b in pairwise(sent))


@pytest.mark.parametrize(
    "url",
    [
        API / "interactions/1/token/callback",
        API / "webhooks/1/token/messages/@original",
        URL("https://cdn.discordapp.com/attachments/1/2/fox.png"),
    ],
)
async def test_what_does_not_count_is_not_held_up(url: URL) -> None:
    time = Time()
    bot = WholeBot(lambda: time.now_s, time.sleep)
    for _ in range(BURST):
        await bot.turn(CARD)
    for _ in range(3 * MOST):
        await bot.turn(url)
    assert time.now_s == 1000.0
    await bot.turn(CARD)
    assert time.now_s == pytest.approx(1000.0 + 1 / A_SECOND)


async def test_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    bot = WholeBot()
    for _ in range(BURST):
        await bot.turn(CARD)
    waiting = asyncio.create_task(bot.turn(CARD))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(10):
        await bot.turn(CARD)


async def test_what_nobody_has_pressed_for_goes_after_the_cards() -> None:
    time = Time()
    bot = WholeBot(lambda: time.now_s, time.sleep)
    sent: list[str] = []

    async def send(name: str) -> None:
        await bot.turn(CARD)
        sent.append(name)

    async def look() -> None:
        with unhurried():
            await send("look")

    async def card() -> None:
        place = bot.place(Urgency.FORMING)
        await place.reached()
        with place.within():
            await send("card")

    for _ in range(BURST):
        await bot.turn(CARD)
    looks = [look() for _ in range(10)]
    await asyncio.gather(*looks, *(card() for _ in range(10)), send("pressed"))
    assert sent[0] == "pressed"
    # One turn in so many is whoever has waited longest.
    assert sent[: 1 + 10].count("look") <= 2 and sent.count("look") == 10


# --- who goes first ------------------------------------------------------------------------


def test_the_most_urgent_goes_first_and_nobody_waits_for_ever() -> None:
    turns = Turns()
    old = turns.ask(3)
    for _ in range(3):
        turns.ask(0)
    first = [turn.rank for _ in range(4) if (turn := turns.next())]
    assert first == [0, 0, 0, 3]
    assert turns.next() is None
    old = turns.ask(3)
    served = 0
    while old in turns:
        turns.ask(0)
        assert turns.next() is not None
        served += 1
    assert served <= AGED_ONE_IN


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 3))))
def test_turns_are_given_by_urgency_and_then_by_age(acts: list[tuple[str, int]]) -> None:
    turns, waiting, given_ = Turns(), [], 0
    for act, number in acts:
        if act == "ask":
            waiting.append(turns.ask(number))
        elif act == "hurry" and waiting:
            turns.hurry(waiting[number % len(waiting)], number)
        elif act == "leave" and waiting:
            turns.leave(waiting.pop(number % len(waiting)))
        elif act == "next":
            turn = turns.next()
            assert (turn is None) == (not waiting)
            if turn is not None:
                given_ += 1
                by_age = given_ % AGED_ONE_IN == 0
                assert turn is (waiting[0] if by_age else min(waiting, key=lambda one: one.rank))
                waiting.remove(turn)
        assert len(turns) == len(waiting)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 9), st.lists(st.floats(0, 0.3), min_size=1, max_size=200))
def test_no_second_has_more_than_it_may(a_second: int, burst: int, pauses: list[float]) -> None:
    rate, now_s, went_s = Rate(a_second, burst), 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        now_s += rate.wait_s(now_s)
        rate.went(now_s)
        went_s.append(now_s)
    most = a_second + burst
    assert all(b - a > 1 - 1e-9 for a, b in zip(went_s, went_s[most:], strict=False))
    assert went_s[-1] <= sum(pauses) + len(pauses) / a_second


async def test_a_press_goes_before_cards_and_an_end_before_what_forms() -> None:
    time = Time()
    bot = WholeBot(lambda: time.now_s, time.sleep)
    for _ in range(BURST):
        await bot.turn(CARD)
    sent: list[str] = []

    async def card(name: str, urgency: Urgency) -> None:
        place = bot.place(urgency)
        try:
            await place.reached()
            with place.within():
                await bot.turn(CARD)
            sent.append(name)
        finally:
            place.leave()

    async def press() -> None:
        await bot.turn(CARD)
        sent.append("press")

    async with asyncio.TaskGroup() as group:
        for name, urgency in (("forming", Urgency.FORMING), ("end", Urgency.END)):
            group.create_task(card(name, urgency))
        await asyncio.sleep(0)
        group.create_task(press())
    assert sent == ["press", "end", "forming"]


class Crowd:
    """Lanes of a channel each, whose cards show the newest of a count."""

    def __init__(self, channels: int) -> None:
        self.time = Time()
        self.bot = WholeBot(lambda: self.time.now_s, self.time.sleep)
        self.newest = 0
        self.drawn_up = 0
        self.sent: list[tuple[int, int]] = []
        self.lanes = [Lane(self._shower(channel), whole=self.bot) for channel in range(channels)]

    def _shower(self, channel: int) -> Callable[[Lane, int], Awaitable[None]]:
        async def show(lane: Lane, key: int) -> None:
            self.drawn_up += 1
            drawn = self.newest
            await self.bot.turn(CARD)
            self.drawn_up -= 1
            lane.sent(key, posted=False)
            self.sent.append((channel, drawn))

        return show

    async def rest(self) -> None:
        """Return when nothing is wanted any more."""
        async with asyncio.timeout(10):
            await asyncio.gather(*(lane._task for lane in self.lanes if lane._task is not None))


async def test_a_card_is_drawn_up_when_its_time_has_come() -> None:
    crowd = Crowd(3 * MOST)
    for lane in crowd.lanes:
        lane.want(1, Urgency.FORMING, posted=False)
    while not crowd.sent:
        await asyncio.sleep(0)
        assert crowd.drawn_up <= PLACES
    crowd.newest = 1
    crowd.lanes[-1].want(1, Urgency.END, posted=False)
    await crowd.rest()
    place = [channel for channel, _ in crowd.sent].index(3 * MOST - 1)
    assert place < PLACES, "an end overtakes what was not drawn up before it"
    assert crowd.sent[place] == (3 * MOST - 1, 1)
    assert len(crowd.sent) == 3 * MOST, "one message each, though one was wanted twice"


async def test_a_card_that_is_held_up_elsewhere_costs_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whole_bot, "HELD_S", 0.01)
    bot = WholeBot()
    held = [bot.place(Urgency.END) for _ in range(PLACES)]
    late = bot.place(Urgency.WAITING)
    assert all(place.given.done() for place in held) and not late.given.done()
    async with asyncio.timeout(10):
        await late.reached()
    for place in (*held, late):
        place.leave()
    again = [bot.place(Urgency.END) for _ in range(PLACES)]
    assert all(place.given.done() for place in again), "no place is lost, nor given twice"
    assert not bot.place(Urgency.END).given.done()


async def test_who_leaves_the_line_costs_no_place() -> None:
    bot = WholeBot()
    held = [bot.place(Urgency.END) for _ in range(PLACES)]
    gone, next_ = bot.place(Urgency.END), bot.place(Urgency.WAITING)
    waiting = asyncio.create_task(gone.reached())
    await asyncio.sleep(0)
    waiting.cancel()
    gone.leave()
    held[0].leave()
    assert next_.given.done()
