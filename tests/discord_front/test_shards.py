"""How a shard takes in what Discord sends."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord.shard
import pytest

from bot import shards


class Time:
    """Time that passes only while somebody sleeps, for each by itself."""

    def __init__(self) -> None:
        self._own: ContextVar[float] = ContextVar("own", default=1000.0)

    def now_s(self) -> float:
        return self._own.get()

    async def sleep(self, delay_s: float) -> None:
        self._own.set(self.now_s() + delay_s)
        await asyncio.sleep(0)


@pytest.mark.parametrize("at_once", [1, 16])
async def test_sessions_are_begun_as_far_apart_as_discord_wants_them(at_once: int) -> None:
    time = Time()
    pace = shards.IdentifyPace(time.now_s, time.sleep)
    pace.at_once = at_once
    begun: dict[int, list[float]] = {}

    async def begin(shard_id: int) -> None:
        await pace.wait(shard_id)
        begun.setdefault(shard_id % at_once, []).append(time.now_s())

    await asyncio.gather(*(begin(shard_id) for shard_id in range(3 * 16)))
    in_each = 3 * 16 // at_once
    for times in begun.values():
        apart_s = [later - sooner for sooner, later in pairwise(times)]
        assert apart_s == [shards.IDENTIFY_S] * (in_each - 1)
    assert len(begun) == at_once
    assert {times[0] for times in begun.values()} == {1000.0}


class Crowded(shards.Socket):
    """A connection on which everything has arrived already."""

    def __init__(self) -> None:
        arrived: Any = SimpleNamespace(receive=self._receive)
        super().__init__(arrived, loop=asyncio.get_running_loop())
        self._max_heartbeat_timeout = 1.0
        self.taken = 0

    async def _receive(self, **_: float) -> Any:
        return SimpleNamespace(type=aiohttp.WSMsgType.TEXT, data="{}")

    async def received_message(self, msg: Any, /) -> None:
        self.taken += 1


async def test_what_arrives_together_is_taken_in_round_by_round() -> None:
    socket = Crowded()

    async def read() -> None:
        while True:
            await socket.poll_event()

    reading = asyncio.create_task(read())
    for rounds in range(1, 41):
        await asyncio.sleep(0)
        assert socket.taken <= rounds
    assert socket.taken >= 39
    reading.cancel()


def test_every_client_reads_so() -> None:
    shards.install()
    module: Any = discord.shard
    assert module.DiscordWebSocket is shards.Socket
