"""Where more is asked for than can be answered at once, addresses take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bot.wall.turns import Turns


class Asked:
    """Requests of some addresses, which are answered at a test's word."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.lost: dict[str, asyncio.Future[None]] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """Have requests come; the first letter of a name is its address."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.lost[name] = asyncio.get_running_loop().create_future()
            self.tasks[name] = asyncio.create_task(self._answer(name))
            await self.settle()

    async def _answer(self, name: str) -> None:
        async with self._turns.of(name[0], self.lost[name]):
            self.begun.append(name)
            await self.ends[name].wait()

    async def answer(self, name: str) -> None:
        """Answer one that has begun."""
        self.ends[name].set()
        await self.settle()

    async def settle(self) -> None:
        """Let all do what they can."""
        for _ in range(5):
            await asyncio.sleep(0)


class Timers:
    """What the loop is to do later, and does at a test's word, however busy the machine is."""

    def __init__(self) -> None:
        self._set: dict[Timers.Timer, Callable[[], None]] = {}

    class Timer:
        def __init__(self, timers: Timers) -> None:
            self._timers = timers

        def cancel(self) -> None:
            self._timers._set.pop(self, None)

    def call_later(self, delay_s: float, work: Callable[[], None]) -> Timer:
        timer = self.Timer(self)
        self._set[timer] = work
        return timer

    def go_off(self) -> None:
        """Do all that is to be done by now."""
        due, self._set = self._set, {}
        for work in due.values():
            work()


async def test_who_asks_for_one_thing_waits_for_one_of_each_others_at_most() -> None:
    asked = Asked(Turns(at_once=2, longest_s=60))
    await asked.ask("a1", "a2", "a3", "a4", "a5", "b1", "c1", "c2")
    assert asked.begun == ["a1", "a2"]
    for name in ("a1", "a2", "a3", "b1", "c1", "a4", "c2", "a5"):
        await asked.answer(name)
    assert asked.begun == ["a1", "a2", "a3", "b1", "c1", "a4", "c2", "a5"]
    await asked.ask("d1", "d2", "d3")  # all places are free again, and no more than those
    assert asked.begun[-2:] == ["d1", "d2"]
    await asyncio.gather(*(asked.answer(name) for name in ("d1", "d2", "d3")))


async def test_who_takes_long_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", timers.call_later)
    asked = Asked(Turns(at_once=1))
    await asked.ask("a1", "b1", "c1")
    for begun in (["a1"], ["a1", "b1"], ["a1", "b1", "c1"]):
        assert asked.begun == begun
        timers.go_off()
        await asked.settle()
    for name in ("a1", "b1", "c1"):  # what ends late gives no second place away
        await asked.answer(name)
    await asked.ask("d1", "d2")
    assert asked.begun[3:] == ["d1"]
    for task in asked.tasks.values():
        task.cancel()


async def test_who_goes_away_while_they_wait_takes_no_place_along() -> None:
    asked = Asked(Turns(at_once=1, longest_s=60))
    await asked.ask("a1", "b1", "c1")
    asked.tasks["b1"].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked.tasks["b1"]
    asked.ends["a1"].set()
    await asyncio.sleep(0)
    asked.tasks["c1"].cancel()  # as it is given its turn
    await asked.settle()
    await asked.ask("d1")
    assert asked.begun[-1] == "d1"
    await asked.answer("d1")


async def test_who_hangs_up_leaves_the_line_at_once_and_is_not_answered() -> None:
    turns = Turns(at_once=1, longest_s=60)
    asked = Asked(turns)
    await asked.ask("a1", "a2", "a3", "b1")
    assert turns.waiting == 3
    for name in ("a1", "a2"):  # who is being answered goes on
        asked.lost[name].set_result(None)
        await asked.settle()
    assert turns.waiting == 2
    with pytest.raises(ConnectionError):
        await asked.tasks["a2"]
    asked.ends["a1"].set()
    await asyncio.sleep(0)
    assert turns.waiting == 1
    asked.lost["a3"].set_result(None)  # as it is given its turn
    await asked.settle()
    with pytest.raises(ConnectionError):
        await asked.tasks["a3"]
    assert asked.begun == ["a1", "b1"]
    await asked.answer("b1")
    await asked.ask("c1", "c2")
    assert asked.begun[2:] == ["c1"]
    await asked.answer("c1")
    await asked.answer("c2")
