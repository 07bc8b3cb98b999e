"""Keeps watch over the whole: health, figures, the event loop's lag, and systemd's watchdog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import ProcessCollector

from bot import systemd
from bot.drawing import Drawer
from bot.dreams import Dreams
from bot.library import Library
from bot.monitoring import gauges, health
from bot.monitoring.gauges import DiscordStanding, Surveyor, WallStanding
from bot.monitoring.health import Check, Health, Readiness
from bot.monitoring.listener import Listener
from bot.monitoring.metrics import LOOP_LAG_S, REGISTRY
from bot.side_tasks import SideTasks
from bot.store import Store

TICK_S = 0.5


@dataclass(frozen=True)
class Watched:
    """What is watched. `discord` is None where there is no token."""

    store: Store
    library: Library
    dreams: Dreams
    drawer: Drawer
    drawing_pid: Callable[[], int | None]
    wall: Callable[[], WallStanding]
    discord: Callable[[], DiscordStanding] | None


class Monitoring:
    """From `start` to `stop`. `health` may be asked in between by others as well."""

    def __init__(
        self, watched: Watched, surveyor: Surveyor, address: tuple[str, int] | None
    ) -> None:
        self._watched = watched
        self._surveyor = surveyor
        self.health = Health(_checks(watched))
        self.listener = None if address is None else Listener(*address, self.look)
        self._tasks = SideTasks()
        self._processes: list[ProcessCollector] = []

    async def start(self) -> None:
        """Begin to watch, and to tell.

        Raises:
            ConfigError: its address cannot be had.
        """
        if self.listener is not None:
            await self.listener.start()
            gauges.note_version()
            pid = self._watched.drawing_pid
            self._processes = [
                ProcessCollector(registry=REGISTRY),
                # No process has the id 0: then there are no figures of it.
                ProcessCollector("dreamstream_scheduler", lambda: pid() or 0, registry=REGISTRY),
            ]
            self._surveyor.start()
        trouble = "It is not seen whether the event loop turns"
        self._tasks.keep(self._tick, trouble, name="tick", longest_s=TICK_S)

    async def stop(self) -> None:
        """Watch no more."""
        await self._tasks.stop()
        await self._surveyor.stop()
        if self.listener is not None:
            await self.listener.stop()
        for collector in self._processes:
            REGISTRY.unregister(collector)
        self._processes = []

    async def look(self) -> Readiness:
        """Look at everything, and note the figures that stand in memory."""
        readiness = await self.health.readiness()
        watched = self._watched
        discord = None if watched.discord is None else watched.discord()
        gauges.note(watched.dreams, watched.drawer, readiness, discord, watched.wall())
        return readiness

    async def _tick(self) -> None:
        """Measure the event loop, and tell systemd that it turns."""
        loop = asyncio.get_running_loop()
        watchdog_s = systemd.watchdog_s()
        told = -1e9
        while True:
            asked = loop.time()
            await asyncio.sleep(TICK_S)
            now = loop.time()
            LOOP_LAG_S.observe(max(0.0, now - asked - TICK_S))
            if watchdog_s is not None and now - told >= watchdog_s / 4:
                systemd.tell("WATCHDOG=1")
                told = now


def _checks(watched: Watched) -> dict[str, Check]:
    checks = {
        "database": health.database(watched.store),
        "library": health.library(watched.library),
        "drawing": health.drawing(watched.drawer),
        "dreams": health.said(lambda: watched.dreams.refusing or ""),
    }
    discord = watched.discord
    if discord is not None:
        checks["discord"] = health.said(lambda: discord().trouble)
    return checks
