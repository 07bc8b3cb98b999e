"""How a shard takes in what Discord sends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import discord.shard

from bot import shards


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
