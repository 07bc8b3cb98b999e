"""All that is done to the program while people ask: to its processes, disk, clock and Discord."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from tests.discord_front.loopback import Discord
from tests.discord_front.traffic import Slow
from tests.faults import shim
from tests.faults.program import FaultyBot

Trouble = Callable[[], Awaitable[None]]
_MESSAGES = r"/channels/\d+/messages"
_NOT_CALLBACKS = r"(?!/interactions/).*"
_POST_S = 5.0
_OFTEN = {
    "kill_bot": 3.0,
    "kill_drawer": 3.0,
    "kill_checker": 0.5,
    "freeze_bot": 1.0,
    "freeze_drawer": 1.0,
    "hang_drawer": 0.5,
    "stop": 1.0,
    "kill_at_a_post": 2.0,
    "lock": 1.0,
    "fail_discord": 2.0,
    "slow_discord": 1.0,
    "cut": 1.0,
    "out": 0.5,
}
_OFTEN_WITH_SHIM = {
    "kill_at_a_write": 4.0,
    "full": 2.0,
    "read_only": 1.0,
    "broken": 1.0,
    "clock_ahead": 1.0,
    "clock_behind": 1.0,
}


@dataclass
class Troubles:
    """Each public coroutine is one; `wrong` says what came of them that must not."""

    bot: FaultyBot
    discord: Discord
    chance: random.Random
    had: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    frozen: bool = False

    def one_after_the_other(self, named: Sequence[str] = ()) -> Iterator[Trouble]:
        """Yield those named; or without end all, each once and then by how often they come."""
        often = _OFTEN | (_OFTEN_WITH_SHIM if self.bot.faults is not None else {})
        first = [*named] or self.chance.sample([*often], len(often))
        while True:
            for name in first:
                self.had[name] += 1
                trouble: Trouble = getattr(self, name)
                yield trouble
            if named:
                return
            first = self.chance.choices([*often], [*often.values()])

    async def kill_bot(self) -> None:
        """End the bot as the kernel does."""
        await self.bot.kill()

    async def stop(self) -> None:
        """Ask the bot to end."""
        if await self.bot.stop() != 0:
            self.wrong.append("asked to end, it did not exit with 0")

    async def kill_drawer(self) -> None:
        """End the drawing process."""
        self._signal_drawer(signal.SIGKILL)

    async def kill_checker(self) -> None:
        """End the process that checks pictures."""
        pid = self.bot.checker()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    async def freeze_bot(self) -> None:
        """Stop the bot for some seconds."""
        self.bot.signal(signal.SIGSTOP)
        self.frozen = True
        await asyncio.sleep(self.chance.uniform(0.5, 4.0))
        self.frozen = False
        self.bot.signal(signal.SIGCONT)

    async def freeze_drawer(self) -> None:
        """Stop the drawing process for a moment."""
        pid = self._signal_drawer(signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.5, 2.0))
        if pid is not None and pid == self.bot.drawer():
            os.kill(pid, signal.SIGCONT)

    async def hang_drawer(self) -> None:
        """Stop the drawing process for good."""
        self._signal_drawer(signal.SIGSTOP)

    async def kill_at_a_post(self) -> None:
        """End the bot when Discord has a message that the database does not know of."""
        before = len(self.discord.rest.messages)
        coming = self.discord.until(lambda: len(self.discord.rest.messages) > before, "a post")
        with suppress(TimeoutError):
            await asyncio.wait_for(coming, _POST_S)  # wakes before the bot has its answer
        await self.bot.kill()

    async def kill_at_a_write(self) -> None:
        """End the bot at a change of a file: before it is done, or right after it has lasted."""
        assert self.bot.faults is not None
        how = self.chance.choice((shim.KILL, shim.KILL_AFTER))
        self.bot.faults.next(how, after=self.chance.randrange(300))
        assert self.bot.process is not None
        try:
            await asyncio.wait_for(self.bot.process.wait(), 10.0)
        except TimeoutError:
            self.bot.faults.heal()

    async def full(self) -> None:
        """Have no room on the disk for a while."""
        await self._disk(errno.ENOSPC)

    async def read_only(self) -> None:
        """Have the disk take nothing for a while."""
        await self._disk(errno.EROFS)

    async def broken(self) -> None:
        """Have the disk fail for a moment."""
        await self._disk(errno.EIO)

    async def _disk(self, number: int) -> None:
        assert self.bot.faults is not None
        self.bot.faults.next(number, after=self.chance.randrange(50))
        await asyncio.sleep(self.chance.uniform(0.3, 2.5))
        self.bot.faults.heal()

    async def clock_ahead(self) -> None:
        """Have the clock be minutes or days ahead for a while."""
        await self._clock(1.0)

    async def clock_behind(self) -> None:
        """Have the clock be behind, perhaps by decades, for a while."""
        await self._clock(-1.0)

    async def _clock(self, sign: float) -> None:
        assert self.bot.faults is not None
        days = self.chance.choice((0.001, 0.05, 1.0, 30.0, 10_000.0 if sign < 0 else 400.0))
        self.bot.faults.set_clock(sign * days * 24 * 3600)
        await asyncio.sleep(self.chance.uniform(0.5, 3.0))
        self.bot.faults.set_clock(0.0)

    async def lock(self) -> None:
        """Have another program hold the database for longer than is waited for."""
        path = self.bot.data / "dreamstream.db"
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return
            await asyncio.sleep(self.chance.uniform(0.5, 3.0))
            other.execute("ROLLBACK")

    async def fail_discord(self) -> None:
        """Have Discord fail, before or after it has done what it was asked."""
        self.discord.fail("POST", _MESSAGES, 502, after=self.chance.random() < 0.5)
        self.discord.fail("PATCH", _MESSAGES + r"/\d+", 500, after=self.chance.random() < 0.5)

    async def slow_discord(self) -> None:
        """Have Discord take seconds for everything but what has to be acknowledged, or for ever."""
        self.discord.slow = Slow(_NOT_CALLBACKS, 3.0, 10.0, 0.15, self.chance)
        await asyncio.sleep(self.chance.uniform(8.0, 15.0))
        self.discord.slow = None

    async def cut(self) -> None:
        """Break the connection to Discord's gateway."""
        await self.discord.gateway.cut(0)

    async def out(self) -> None:
        """Have no Discord for some seconds."""
        await self.discord.out(self.chance.uniform(0.5, 4.0))

    def _signal_drawer(self, number: int) -> int | None:
        pid = self.bot.drawer()
        if pid is not None:
            os.kill(pid, number)
        return pid
