"""What goes on by itself in Discord goes on after an error that nobody foresaw."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import bot.delivery.lane
from bot.delivery.lane import Lane
from bot.delivery.pace import Urgency
from bot.delivery.posting import PATIENCE_S, Retries
from bot.delivery.sender import TooLargeError, TryLaterError
from bot.discord_front import DiscordFront
from bot.errors import StoreError
from bot.front import Front
from tests.bot.drawer import until
from tests.bot.test_unattended import kept, outlives, strays
from tests.discord_front.world import world


class NoDiscord:
    """A client that comes into Discord and stays there."""

    application_id = 1

    def __init__(self, front: Front) -> None:
        self.closed = asyncio.Event()

    async def login(self, token: str) -> None: ...

    async def connect(self, reconnect: bool) -> None:
        await self.closed.wait()

    async def close(self) -> None:
        self.closed.set()


async def test_all_that_is_done_for_discord_outlives_what_nobody_foresaw(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path) as w:
        make: Any = NoDiscord
        front = DiscordFront(w.client.front, "token", make)
        await front.start()
        dream_id, _ = await w.ask()
        await w.parts.draw(dream_id)
        await w.shows(-1, "a red fox")
        # The dream's end is being written. Whatever else there is, is held by nobody.
        await until(lambda: not strays())
        await asyncio.sleep(0.3)  # until all of them wait
        tasks = [task for task in kept() if task.get_name().startswith("discord")]
        names = {task.get_name() for task in tasks}
        assert {"discord", "discord-delivery", "discord-parties", "discord-stars"} <= names
        for task in tasks:
            await outlives(task, caplog)
        dream_id, _ = await w.ask(prompt="a blue hare")
        await w.parts.draw(dream_id)
        await w.shows(-1, "a blue hare")
        await front.stop()


async def test_a_card_that_cannot_be_shown_holds_up_no_other_and_comes_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bot.delivery.lane, "RETRY_S", 0.01)
    shown, failing = list[int](), [1, 1]

    async def show(lane: Lane, key: int) -> None:
        if key in failing:
            failing.remove(key)
            raise RuntimeError("nobody foresaw this")
        shown.append(key)

    lane = Lane(show)
    for key in (1, 2, 3):
        lane.want(key, Urgency.NEW, posted=False)
    await until(lambda: len(shown) == 3)
    await lane.stop(1.0)
    assert shown == [2, 3, 1]
    assert caplog.text.count("Traceback") == 1 and caplog.text.count("as before") == 1


async def test_what_is_refused_is_given_up_after_a_day_and_what_fails_here_is_not() -> None:
    async def show(lane: Lane, key: int) -> None: ...

    now_s, lane = [0.0], Lane(show)
    retries = Retries(600.0, lambda: now_s[0])

    def failed(error: Exception, after_s: float) -> bool:
        now_s[0] += after_s
        return retries.failed(lane, 1, Urgency.NEW, error, posted=False)

    refused = TryLaterError("403 Forbidden", outage=False)
    assert retries.begins(1, "red")
    assert failed(StoreError("Locked."), 0.0) and failed(StoreError("Locked."), 2 * PATIENCE_S)
    assert failed(refused, 0.0) and failed(TooLargeError("413"), PATIENCE_S)
    assert retries.begins(1, "blue")  # which is no reason to count anew
    assert failed(StoreError("Locked."), 1.0) and not failed(refused, 0.0)
    retries.hurry()
    assert not len(retries)
    assert not retries.begins(1, "blue") and retries.begins(1, "red")
    # It is begun anew, by what it shows now, or by whoever asks for it.
    assert failed(refused, 0.0) and failed(refused, PATIENCE_S) and not failed(refused, 1.0)
    assert not retries.begins(1, "red")
    retries.over(1)
    assert retries.begins(1, "red") and failed(refused, 0.0)
