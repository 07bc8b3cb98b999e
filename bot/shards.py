"""Keep each shard in Discord: come back soon, and resume whatever can be resumed.

Left to itself, discord.py waits longer and longer between attempts (more than a minute in an
outage of 90 s) and keeps all other shards waiting meanwhile; and it begins a new session after
one attempt has failed, which loses what people did in between. And it takes in all that has arrived
in one round of the loop, which a crowd's presses keep busy for a tenth of a second. `SteadyShard`
takes the place of its `Shard`, for which the library has no other hook.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import discord
from discord.gateway import DiscordWebSocket, ReconnectWebSocket
from discord.shard import EventItem, EventType, Shard

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.25
MAX_DELAY_S = 2.0
CONNECT_S = 15.0
IDENTIFY_S = 5.0
SILENCE_S = 5.0
_ATTEMPTS_AT_ONE_ADDRESS = 4


class Socket(DiscordWebSocket):
    """A connection that lets the loop go round after each event.

    Forty people who press at once arrive in one piece. What all their interactions begin with
    would otherwise be done in a single round, in which nothing else is read or answered.
    """

    async def poll_event(self) -> None:
        """Take the next event, and leave the next round to what it has begun."""
        await super().poll_event()
        await asyncio.sleep(0)


class SteadyShard(Shard):
    """A shard that comes back by itself, in a task of its own."""

    _joining: asyncio.Task[None] | None = None

    def launch(self) -> None:
        """Read what comes, and miss what does not: a beat unanswered means a dead connection."""
        beat = self.ws._keep_alive
        if beat is not None and beat.interval is not None:
            beat.heartbeat_timeout = self.ws._max_heartbeat_timeout = beat.interval + SILENCE_S
        super().launch()

    async def close(self) -> None:
        """Leave for good."""
        if self._joining is not None:
            self._joining.cancel()
        await super().close()

    async def reidentify(self, exc: ReconnectWebSocket) -> None:
        """Come back, in the same session where `exc` says that it goes on."""
        self._dispatch("disconnect")
        self._dispatch("shard_disconnect", self.id)
        self._join(resume=exc.resume)

    async def reconnect(self) -> None:
        """Come back in a new session."""
        self._join(resume=False)

    async def _handle_disconnect(self, e: Exception) -> None:
        """Take a connection's end: what is for good ends the client, all else is tried again."""
        closed = isinstance(e, discord.ConnectionClosed)
        if not self._reconnect or (closed and e.code != 1000):  # type: ignore[attr-defined]
            await super()._handle_disconnect(e)
        elif not self._client.is_closed():
            with suppress(Exception):  # it is broken; only its heartbeat has to stop
                await asyncio.wait_for(self.ws.close(code=4000), SILENCE_S)
            again = ReconnectWebSocket(self.id, resume=not closed)
            self._queue_put(EventItem(EventType.resume, self, again))

    def _join(self, *, resume: bool) -> None:
        self._cancel_task()
        if self._joining is not None:
            self._joining.cancel()
        self._joining = asyncio.create_task(self._come_back(resume), name=f"shard-{self.id}")

    async def _come_back(self, resume: bool) -> None:
        failures = 0
        while not self._client.is_closed():
            try:
                self.ws = await self._connected(resume, failures)
            except ReconnectWebSocket as error:
                resume = resume and error.resume
            except discord.ConnectionClosed as error:
                if error.code != 1000:
                    await super()._handle_disconnect(error)
                    return
                resume = False
            except self._handled_exceptions as error:
                if failures == 0:
                    log.warning("Shard %s has lost Discord (%s); trying again", self.id, error)
            except Exception as error:  # a mistake of ours: the client begins anew
                self._queue_put(EventItem(EventType.terminate, self, error))
                return
            else:
                self.launch()
                return
            delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** min(failures, 10))
            failures += 1
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))

    async def _connected(self, resume: bool, failures: int) -> DiscordWebSocket:
        """Return a new connection that has resumed the session, or begun one."""
        old = self.ws
        if not resume or old.session_id is None:
            made = Socket.from_client(self._client, shard_id=self.id)
        else:
            # The address that the session gave may be gone; any of Discord's can resume it.
            elsewhere = failures % _ATTEMPTS_AT_ONE_ADDRESS == _ATTEMPTS_AT_ONE_ADDRESS - 1
            made = Socket.from_client(
                self._client,
                resume=True,
                gateway=None if elsewhere else old.gateway,
                shard_id=self.id,
                session=old.session_id,
                sequence=old.sequence,
            )
        waiting_s = 0.0 if resume else IDENTIFY_S * (self._client.shard_count or 1)
        return await asyncio.wait_for(made, CONNECT_S + waiting_s)


class IdentifyPace:
    """Keeps new sessions apart as Discord demands, and waits no longer than that.

    Of the shards whose numbers are the same modulo `at_once` (what Discord calls
    `max_concurrency`, which is larger than 1 for very large bots) one may begin in `IDENTIFY_S`.

    Source: https://docs.discord.com/developers/events/gateway#sharding-max-concurrency
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self.at_once = 1
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._last_s: dict[int, float] = {}

    async def wait(self, shard_id: int) -> None:
        """Return when a shard's session may be begun."""
        key = shard_id % max(1, self.at_once)
        async with self._turns[key]:
            free_s = self._last_s.get(key, float("-inf")) + IDENTIFY_S
            await self._sleep(max(0.0, free_s - self._clock()))
            self._last_s[key] = self._clock()


def install() -> None:
    """Have every client of this process use `SteadyShard` and `Socket`."""
    module: Any = discord.shard
    module.Shard, module.DiscordWebSocket = SteadyShard, Socket
