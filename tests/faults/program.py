"""The whole program on a folder, with a disk and a clock that take orders (`shim`)."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.discord_front.loopback import Discord
from tests.discord_front.shipped import TOKEN, Bot
from tests.faults import shim
from tests.program import environment


class FaultyBot(Bot):
    """The program, with the disk and the clock of a shim; `faults` is None where there is none."""

    def __init__(self, folder: Path, discord: Discord, settings: str) -> None:
        super().__init__(folder, discord, settings)
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        self.faults = None if shim.MISSING else shim.Faults(self.data)

    async def start(self, token: str = TOKEN, **environ: str) -> None:
        """Start it, with more in its environment."""
        self.discord.gateway.identified_s.clear()
        faulty = self.faults.environment if self.faults is not None else {}
        own = {"LOOPBACK_DISCORD": self.discord.address, "DREAMSTREAM_DISCORD_TOKEN": token}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.child", "run", cwd=self.folder,
                env=environment() | own | faulty | environ, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def is_up(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send the bot process a signal, if it is there."""
        if self.process is not None and self.is_up:
            self.process.send_signal(number)

    def drawer(self) -> int | None:
        """Return the pid of the process that draws, None while there is none."""
        return self._child("generation")

    def checker(self) -> int | None:
        """Return the pid of the process that checks pictures, None while there is none."""
        return self._child("bot.checking.worker")

    def _child(self, module: str) -> int | None:
        assert self.process is not None
        mine = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            for pid in mine.read_text(encoding="ascii").split():
                if module in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0"):
                    return int(pid)
        except OSError:  # one of them has just ended
            pass
        return None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the database; nothing while it cannot be read."""
        uri = f"{(self.data / 'dreamstream.db').resolve().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
                return connection.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []
