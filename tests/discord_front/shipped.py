"""The shipped program, as a process of its own, led to a Discord on loopback."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from tests.discord_front.forking import Fork, Nursery
from tests.discord_front.looks import text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import CHANNEL, Json
from tests.program import PATIENCE_S, environment

TOKEN = "MTAwMDAwMDAwMDAwMDAwMDAwMQ.Gloop.back-and-forth"  # the form of one, of nobody
# The process that looks at pictures is one more to start: `chaos` has it.
SETTINGS = """
[wall]
port = 0
[scheduler]
preview_interval_s = 0.1
[safety]
picture_check = "off"
"""


@cache
def _nursery() -> Nursery:
    return Nursery("tests.discord_front.redirected", environment())


class Bot:
    """`dreamstream run` on a folder, led to a loopback Discord.

    It edits a card `edit_gap_s` apart, None for the 3 s of what is shipped: a picture is there
    sooner. What a channel takes is as it is shipped.
    """

    def __init__(
        self,
        folder: Path,
        discord: Discord,
        settings: str = SETTINGS,
        *,
        edit_gap_s: float | None = 0.3,
    ) -> None:
        self.folder = folder
        self.edit_gap_s = edit_gap_s
        self.discord = discord
        (folder / "config.toml").write_text(settings, encoding="utf-8")
        self.log = folder / "log.txt"
        self.process: asyncio.subprocess.Process | Fork | None = None

    async def start(self, token: str = TOKEN, **environ: str) -> None:
        """Start it, with more in its environment."""
        self.discord.gateway.identified_s.clear()  # no test waits those 5 s out
        gap = {} if self.edit_gap_s is None else {"LOOPBACK_EDIT_GAP_S": str(self.edit_gap_s)}
        self.log.touch()
        self.process = await _nursery().start(
            "run",
            folder=self.folder,
            environ=environment()
            | {"LOOPBACK_DISCORD": self.discord.address, "DREAMSTREAM_DISCORD_TOKEN": token}
            | gap
            | environ,
            log=self.log,
        )

    async def joined(self, **environ: str) -> None:
        """Start it and wait until it is there and has told its commands."""
        gateway = self.discord.gateway
        wanted = len(gateway.identifies) + gateway.shards
        await self.start(**environ)
        assert self.process is not None
        there = asyncio.create_task(
            self.discord.until(lambda: len(gateway.identifies) >= wanted, "the bot")
        )
        gone = asyncio.create_task(self.process.wait())
        await asyncio.wait({there, gone}, return_when=asyncio.FIRST_COMPLETED)
        assert self.process.returncode is None, self.said()
        gone.cancel()
        await there

    async def ended(self) -> int:
        """Return its exit status once it has ended."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    async def stop(self) -> int:
        """Ask it to end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def said(self) -> str:
        """Return what it has written."""
        return self.log.read_text(encoding="utf-8")

    def lag_s(self, since_s: float) -> float:
        """Return the longest that its event loop kept others waiting, in processor time.

        `since_s` is a time of this machine's monotonic clock, which all its processes share.
        """
        slowest = self.slowest_round(since_s)
        return 0.0 if slowest is None else float(slowest["cpu_s"])

    def slowest_round(self, since_s: float) -> Json | None:
        """Return the round of its event loop that `lag_s` tells of, with what was done in it."""
        rounds = json.loads((self.folder / "lag.json").read_text(encoding="utf-8"))
        late = [one for one in rounds if one["at_s"] > since_s]
        return max(late, key=lambda one: float(one["cpu_s"]), default=None)


@asynccontextmanager
async def loopback(**settings: Any) -> AsyncIterator[Discord]:
    """Give a Discord that in the end has found nothing wrong with what it was asked."""
    made = Discord(TOKEN, **settings)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
    mistakes = made.mistakes_made()
    assert not mistakes, "\n".join(mistakes)


async def finished(discord: Discord, number: int = 0, place: int = CHANNEL) -> Json:
    """Wait until a card shows its picture for good; return it."""

    def shown() -> Json | None:
        cards = discord.cards(place)
        return cards[number] if len(cards) > number and is_final(cards[number]) else None

    card: Json = await discord.until(shown, "the final card")
    return card


async def accepted(discord: Discord, **options: Any) -> str:
    """Ask for a dream until it is taken; return what is said then.

    The bot lets an ask wait for the drawing process, but not for as long as a busy machine takes to
    load torch.
    """
    async with asyncio.timeout(PATIENCE_S):
        while True:
            said: str = await discord.answer(await discord.slash("dream", **options))
            if "still starting" not in said:
                return said


def is_final(card: Json) -> bool:
    """Say whether a card shows a finished dream: only then is its seed told."""
    return "seed" in text_of(card)


async def fetched(url: str | None) -> bytes:
    """Return what is at an address."""
    assert url is not None
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()
