"""The figures that can be read off at any moment.

What stands in memory is noted when somebody asks; what takes the disk or the database is looked at
now and then, on the side (`Surveyor`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from prometheus_client import Gauge

from bot.backup.schedule import newest_ms
from bot.drawing import Drawer
from bot.dreams import Dreams
from bot.free_space import free_bytes
from bot.ids import now_ms
from bot.model import DreamState
from bot.monitoring.health import Readiness
from bot.monitoring.metrics import LANES, REGISTRY, expect, lane_of
from bot.monitoring.steps import STEPS
from bot.side_tasks import SideTasks
from bot.store import Store, games, parties, retention

SURVEY_S = 60.0

BUILD = Gauge("dreamstream_build_info", "1, by version.", ["version"], registry=REGISTRY)
READY = Gauge("dreamstream_ready", "Whether a part is ready.", ["part"], registry=REGISTRY)
TAKING = Gauge(
    "dreamstream_taking_dreams", "Whether new dreams are taken at present.", registry=REGISTRY
)
UNFINISHED = Gauge(
    "dreamstream_dreams_unfinished",
    "Dreams that wait or are being drawn.",
    ["state", "lane"],
    registry=REGISTRY,
)
SCHEDULER_UP = Gauge(
    "dreamstream_scheduler_up", "Whether a scheduler process is ready.", registry=REGISTRY
)
CARDS = Gauge(
    "dreamstream_cards_unsettled",
    "Cards in Discord that do not show their dreams' ends yet.",
    registry=REGISTRY,
)
GUILDS = Gauge("dreamstream_discord_guilds", "Servers the bot is in.", registry=REGISTRY)
SHARDS = Gauge(
    "dreamstream_discord_shards", "Shards, by whether they are connected.", ["state"],
    registry=REGISTRY,
)  # fmt: skip
LATENCY_S = Gauge(
    "dreamstream_discord_latency_seconds",
    "Between a heartbeat and its answer, of each connected shard.",
    ["shard"],
    registry=REGISTRY,
)
PAGES = Gauge(
    "dreamstream_wall_connections", "Pages of the wall kept up to date.", registry=REGISTRY
)
VISITORS = Gauge(
    "dreamstream_wall_addresses", "Addresses that those pages are open from.", registry=REGISTRY
)
LINKS = Gauge(
    "dreamstream_wall_open_connections", "All connections to the wall.", registry=REGISTRY
)
IN_LINE = Gauge(
    "dreamstream_wall_waiting_requests",
    "Requests of the wall that wait for their address's turn.",
    registry=REGISTRY,
)
PARTIES = Gauge("dreamstream_parties_open", "Parties that go on.", registry=REGISTRY)
GAMES = Gauge("dreamstream_games_open", "Rounds of games that go on.", registry=REGISTRY)
LIBRARY_BYTES = Gauge(
    "dreamstream_library_bytes", "What kept pictures and films take.", registry=REGISTRY
)
FREE_BYTES = Gauge(
    "dreamstream_disk_free_bytes", "Room left on the data folder's disk.", registry=REGISTRY
)
BACKUP_AGE_S = Gauge(
    "dreamstream_backup_age_seconds",
    "Since the newest backup; NaN where there is none or none are made.",
    registry=REGISTRY,
)
BACKUP_EVERY_S = Gauge(
    "dreamstream_backup_every_seconds",
    "How often the bot makes a backup; 0 where it makes none.",
    registry=REGISTRY,
)


@dataclass(frozen=True)
class ShardStanding:
    """A shard: whether it is connected, and then between a heartbeat and its answer, in seconds."""

    id: int
    connected: bool
    latency_s: float


@dataclass(frozen=True)
class DiscordStanding:
    """How it stands with Discord. `trouble` is a sentence, empty where the bot is there."""

    trouble: str
    guilds: int = 0
    unsettled: int = 0
    shards: Sequence[ShardStanding] = ()


@dataclass(frozen=True)
class WallStanding:
    """How many pages are kept up to date, and from how many addresses.

    Then how many connections there are, those included, and how many requests wait for their turn.
    """

    connections: int = 0
    addresses: int = 0
    open_connections: int = 0
    waiting_requests: int = 0


def note(
    dreams: Dreams,
    drawer: Drawer,
    readiness: Readiness,
    discord: DiscordStanding | None,
    wall: WallStanding,
) -> None:
    """Note all that stands in memory. For the event loop: a millisecond for a thousand dreams."""
    for part, ready in readiness.parts.items():
        READY.labels(part).set(ready)
    TAKING.set(dreams.refusing is None)
    counts = Counter((dream.state, lane_of(dream)) for dream in dreams.standing())
    for state in (DreamState.WAITING, DreamState.DRAWING):
        for lane in LANES:
            UNFINISHED.labels(state.value, lane).set(counts[state, lane])
    SCHEDULER_UP.set(drawer.up)
    engines = [engine.name for engine in drawer.engines]
    expect(engines)
    STEPS.expect(engines)
    PAGES.set(wall.connections)
    VISITORS.set(wall.addresses)
    LINKS.set(wall.open_connections)
    IN_LINE.set(wall.waiting_requests)
    if discord is not None:
        CARDS.set(discord.unsettled)
        GUILDS.set(discord.guilds)
        connected = [shard for shard in discord.shards if shard.connected]
        SHARDS.labels("connected").set(len(connected))
        SHARDS.labels("lost").set(len(discord.shards) - len(connected))
        LATENCY_S.clear()
        for shard in connected:
            LATENCY_S.labels(str(shard.id)).set(shard.latency_s)


def note_version() -> None:
    """Note which version this is."""
    BUILD.labels(metadata.version("dreamstream")).set(1)


class Surveyor:
    """Looks at the database and the disk every `survey_s` seconds, from `start` to `stop`."""

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        backups: Path,
        *,
        backup_every_s: float,
        survey_s: float = SURVEY_S,
    ) -> None:
        self._store = store
        self._data_dir = data_dir
        self._backups = backups
        self._backup_every_s = backup_every_s
        self._survey_s = survey_s
        self._tasks = SideTasks()

    def start(self) -> None:
        """Begin to look."""
        trouble = "Some figures could not be had"
        self._tasks.every(self._survey_s, self.look, trouble, name="figures")

    async def stop(self) -> None:
        """Look no more."""
        await self._tasks.stop()

    async def look(self) -> None:
        """Look once.

        Raises:
            StoreError: the database cannot be read.
            OSError: the disk cannot be looked at.
        """
        PARTIES.set(len(await parties.open_ones(self._store)))
        GAMES.set(len(await games.open_ones(self._store)))
        LIBRARY_BYTES.set(await retention.total_bytes(self._store))
        FREE_BYTES.set(await asyncio.to_thread(free_bytes, self._data_dir))
        BACKUP_EVERY_S.set(self._backup_every_s)
        made_ms = None
        if self._backup_every_s > 0:
            made_ms = await asyncio.to_thread(newest_ms, self._backups)
        BACKUP_AGE_S.set(float("nan") if made_ms is None else (now_ms() - made_ms) / 1000)
