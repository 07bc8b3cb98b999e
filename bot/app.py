"""Run the product: its services (`bot.services`), what goes on beside them, and the fronts.

The fronts open last, the wall and then Discord, when there is something to show; at the end they
close first, so that nobody is promised anything any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot import logs, systemd
from bot.autopilot import Autopilot
from bot.backup.schedule import BackupSchedule
from bot.channels import Channels
from bot.config import Config, host_and_port
from bot.config_secrets import TOKEN_VARIABLE, check_fronts, read_client_secret
from bot.configured import checkpoints, retention_rules, wall_settings, wall_url
from bot.discord_oauth import DiscordOAuth
from bot.free_space import GIB
from bot.library import Library
from bot.membership import Memberships
from bot.monitoring.gauges import DiscordStanding, Surveyor, WallStanding
from bot.monitoring.health import Health
from bot.monitoring.service import Monitoring, Watched
from bot.retention import Retention
from bot.services import Services, services
from bot.sessions import Sessions
from bot.theme_pictures import ThemePictures
from bot.upgrade_copies import UpgradeCopies
from bot.wall import Wall
from bot.wall.server_rules import ServerRules
from bot.wall.sign_in import CALLBACK, SigningIn
from bot.watching import Watching

if TYPE_CHECKING:
    # Slow to load, and not needed without a token.
    from bot.client import Client
    from bot.discord_front import DiscordFront

log = logging.getLogger(__name__)

STOPPING = "Stopping: dreams that are forming are kept and go on next time."
NO_TOKEN = f"No Discord token: only the wall runs. To join Discord, set {TOKEN_VARIABLE}."


@dataclass
class Fronts:
    """The fronts there are at present."""

    wall: Wall | None = None
    discord: DiscordFront | None = None


async def run(config: Config, token: str | None) -> int:
    """Run the product until it is told to stop; return the exit status.

    Raises:
        ConfigError: there is no front at all, or Discord does not accept the token.
    """
    stop = asyncio.Event()
    fronts = Fronts()
    secret = await asyncio.to_thread(read_client_secret, config)
    logs.hide(secret)
    check_fronts(config, token, secret)
    if token is not None:  # slow to load; here, nobody waits for it yet
        await asyncio.to_thread(importlib.import_module, "bot.discord_front")
    with _signals(stop):
        async with (
            services(config, config.storage.data_dir) as parts,
            signing_in(config, parts, fronts, secret) as signing,
            monitored(config, parts, fronts, in_discord=token is not None) as health,
        ):
            await parts.looker.start()
            wall = fronts.wall = make_wall(config, parts, health, signing)
            autopilot = Autopilot(
                parts.store,
                parts.themes,
                parts.dreams,
                watchers=lambda: 0 if wall is None else wall.watchers,
            )
            _keep_for_good()
            if wall is None:
                log.info("the wall is off")
            else:
                url = await wall.start()
                print(f"The wall is at {url}", flush=True)
            backups = make_backups(config, parts.library)
            retention = make_retention(config, parts)
            copies = UpgradeCopies(parts.store)
            try:
                autopilot.start()
                backups.start()
                retention.start()
                copies.start()
                async with in_discord(parts, token, wall_url(config), fronts) as lost:

                    def on_lost(lost: asyncio.Future[str]) -> None:
                        print(lost.result(), file=sys.stderr, flush=True)
                        if wall is None:  # else people go on there
                            stop.set()

                    lost.add_done_callback(on_lost)
                    systemd.tell("READY=1")
                    await stop.wait()
                    systemd.tell("STOPPING=1")
                    print(STOPPING, flush=True)
                    return 1 if lost.done() and wall is None else 0
            finally:
                await copies.stop()
                await retention.stop()
                await backups.stop()
                await autopilot.stop()
                if wall is not None:
                    await wall.stop()


@asynccontextmanager
async def in_discord(
    parts: Services, token: str | None, wall_url: str = "", fronts: Fronts | None = None
) -> AsyncIterator[asyncio.Future[str]]:
    """Be in Discord, where there is a token; give what will be why it can be no more.

    `wall_url` is where everybody finds the wall, empty where they do not. Whoever watches finds the
    front among the `fronts`.

    Raises:
        ConfigError: Discord does not accept the token.
    """
    if token is None:
        print(NO_TOKEN, flush=True)
        yield asyncio.get_running_loop().create_future()
        return
    from bot.discord_front import DiscordFront  # not needed without a token
    from bot.front import Front

    front = Front(
        store=parts.store,
        library=parts.library,
        feed=parts.feed,
        themes=parts.themes,
        channels=Channels(parts.store, parts.themes),
        dreams=parts.dreams,
        drawer=parts.supervisor,
        offspring=parts.offspring,
        seeing=parts.seeing,
        search=parts.search,
        settings=parts.settings,
        moderation=parts.moderation,
        gate=parts.gate,
        parties=parts.parties,
        portraits=parts.portraits,
        publishing=parts.publishing,
        games=parts.games,
        reviews=parts.reviews,
        exports=parts.exports,
        forgetting=parts.forgetting,
        links=parts.links,
        wall_url=wall_url,
    )
    discord = DiscordFront(front, token)
    if fronts is not None:
        fronts.discord = discord
    await discord.start()
    try:
        yield discord.failed
    finally:
        await discord.stop()


@asynccontextmanager
async def monitored(
    config: Config, parts: Services, fronts: Fronts, *, in_discord: bool
) -> AsyncIterator[Health]:
    """Watch over everything, and tell who asks; give what says whether it is ready.

    Raises:
        ConfigError: the port for that cannot be had.
    """

    def wall() -> WallStanding:
        return WallStanding() if fronts.wall is None else fronts.wall.standing

    def discord() -> DiscordStanding:
        if fronts.discord is None:
            return DiscordStanding("Discord is not reached yet.")
        return fronts.discord.standing()

    watched = Watched(
        store=parts.store,
        library=parts.library,
        dreams=parts.dreams,
        drawer=parts.supervisor,
        drawing_pid=lambda: parts.supervisor.pid,
        wall=wall,
        discord=discord if in_discord else None,
    )
    surveyor = Surveyor(
        parts.store,
        config.storage.data_dir,
        config.backup.folder,
        backup_every_s=config.backup.every_hours * 3600,
    )
    monitoring = Monitoring(watched, surveyor, host_and_port(config.monitoring.listen))
    await monitoring.start()
    try:
        yield monitoring.health
    finally:
        await monitoring.stop()


def _keep_for_good() -> None:
    """Have the garbage collector no longer look at what was loaded, and stays.

    Else each full collection goes through tens of thousands of objects that never go away, and
    holds the event loop up for a tenth of a second.
    """
    gc.collect()
    gc.freeze()


def make_retention(config: Config, parts: Services) -> Retention:
    """Build what makes room as the settings ask for."""
    return Retention(
        parts.store, parts.library, checkpoints(config, parts.library), retention_rules(config)
    )


def make_backups(config: Config, library: Library) -> BackupSchedule:
    """Build what makes backups as often as the settings ask for."""
    return BackupSchedule(
        config.storage.data_dir,
        config.backup.folder,
        every_hours=config.backup.every_hours,
        keep=config.backup.keep,
        blobs=library.blobs,
        leave_bytes=int(config.storage.warn_free_gib * GIB),
    )


@asynccontextmanager
async def signing_in(
    config: Config, parts: Services, fronts: Fronts, secret: str | None
) -> AsyncIterator[SigningIn | None]:
    """Give what signs people in at the wall with Discord; None without a secret for that."""
    if secret is None:
        yield None
        return
    from bot.delivery.memberships import START_S, DiscordMembers  # loads discord.py

    def client() -> Client | None:
        return None if fronts.discord is None else fronts.discord.client

    def client_id() -> str | None:
        there = client()
        known = None if there is None else there.application_id
        return config.wall.sign_in.client_id or (None if known is None else str(known))

    oauth = DiscordOAuth(secret, config.wall.public_url + CALLBACK, client_id)
    guests_ask = wall_settings(config).guests_ask
    rules = ServerRules(parts.gate, parts.themes, guests_ask=guests_ask)
    parts.dreams.place(rules.place)
    try:
        yield SigningIn(
            oauth,
            Sessions(parts.store, days=config.wall.sign_in.days),
            Memberships(parts.store, DiscordMembers(client, start_s=START_S)),
            rules,
        )
    finally:
        await oauth.close()


def make_wall(
    config: Config,
    parts: Services,
    health: Health | None = None,
    signing: SigningIn | None = None,
) -> Wall | None:
    """Build the wall the settings ask for, or None where it is off."""
    if config.wall.mode == "off":
        return None
    return Wall(
        wall_settings(config),
        themes=parts.themes,
        dreams=parts.dreams,
        feed=parts.feed,
        library=parts.library,
        drawer=parts.supervisor,
        offspring=parts.offspring,
        search=parts.search,
        seeing=parts.seeing,
        parties=parts.parties,
        publishing=parts.publishing,
        watching=Watching(parts.store),
        favourites=parts.moderation,
        portraits=parts.portraits,
        games=parts.games,
        exports=parts.exports,
        reviews=parts.reviews,
        theme_pictures=ThemePictures(parts.store, parts.library, parts.themes, parts.dreams),
        health=health,
        links=parts.links,
        signing_in=signing,
    )


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM; at the second, leave at once."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)  # everything accepted is on disk already
        stop.set()

    handled = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows' event loop has none of this; there KeyboardInterrupt does.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, on_signal)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
