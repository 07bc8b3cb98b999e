"""Start everything in order, keep it running, and stop it in the opposite order.

The order matters at both ends: the data folder is locked before the database opens, the dreams
are read before the scheduler process starts (it is told of them at once), and the fronts open
last, the wall and then Discord, when there is something to show; at the end the fronts close
first, so that nobody is promised anything any more, and the scheduler process hands over its last
checkpoints before the database closes.
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
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from bot import systemd
from bot.audit import Audit
from bot.autopilot import PILOT, Autopilot
from bot.backup.schedule import BackupSchedule
from bot.channels import Channels
from bot.checking.classifier import Classifier
from bot.checking.reviews import Reviews
from bot.checking.second import SecondOpinion
from bot.checking.service import PictureChecks
from bot.checkpoints import CHECKPOINTS, Checkpoints
from bot.config import TOKEN_VARIABLE, Config, host_and_port, read_client_secret
from bot.data_folder import lock_folder
from bot.discord_oauth import DiscordOAuth
from bot.dreams import FIRST_UP_S, Dreams
from bot.errors import ConfigError
from bot.feed import Feed
from bot.free_space import GIB, MIB, FreeSpace
from bot.games.model import MACHINE
from bot.games.service import Games
from bot.gate import Gate
from bot.library import Library
from bot.library_place import open_library
from bot.limits import Limits
from bot.looker import Looker
from bot.membership import Memberships
from bot.model import PictureCheck
from bot.moderation import Moderation
from bot.monitoring.gauges import DiscordStanding, Surveyor, WallStanding
from bot.monitoring.health import Health
from bot.monitoring.service import Monitoring, Watched
from bot.offspring import Offspring
from bot.origins import Origins
from bot.parties.model import PartyLimits
from bot.parties.service import Parties
from bot.portraits import Portraits
from bot.privacy.exporting import Exports
from bot.privacy.forgetting import Forgetting
from bot.publish.service import Publishing
from bot.retention import Retention, RetentionRules
from bot.scheduler_client import SchedulerCommand
from bot.search import Search
from bot.seeing import Seeing
from bot.sessions import Sessions
from bot.settings import Settings
from bot.signed_links import SignedLinks
from bot.store import Store
from bot.subject import Subjects
from bot.supervisor import Supervisor
from bot.theme_pictures import ThemePictures
from bot.themes import Themes
from bot.upgrade_copies import UpgradeCopies
from bot.uploads import UploadLimits
from bot.wall import Wall, WallSettings
from bot.wall.server_rules import ServerRules
from bot.wall.sign_in import CALLBACK, SigningIn
from bot.watching import Watching

if TYPE_CHECKING:
    from bot.client import Client, DiscordFront  # slow to load, and not needed without a token

log = logging.getLogger(__name__)

DRAIN_S = 10.0
UNATTENDED = (PILOT.id, MACHINE.id)  # ask by themselves, and read no answers
PEOPLE_PER_ADDRESS = 4  # whose share of waiting dreams one address may have at the wall
MODELS_VARIABLE = "DREAMSTREAM_MODELS"
STOPPING = "Stopping: dreams that are forming are kept and go on next time."
NO_FRONT = (
    "Nobody could ask for anything: the wall is off (wall.mode) and there is no Discord token. "
    f"Turn the wall on, or put a bot token into {TOKEN_VARIABLE}."
)
NO_SIGN_IN = (
    "wall.sign_in: nobody can be signed in without a bot, which knows who may read what. Put its "
    f"token into {TOKEN_VARIABLE}, or set wall.sign_in.enabled = false."
)
NO_TOKEN = f"No Discord token: only the wall runs. To join Discord, set {TOKEN_VARIABLE}."


@dataclass(frozen=True)
class Services:
    """What both fronts work with."""

    store: Store
    library: Library
    feed: Feed
    themes: Themes
    dreams: Dreams
    supervisor: Supervisor
    offspring: Offspring
    seeing: Seeing
    looker: Looker
    search: Search
    settings: Settings
    moderation: Moderation
    gate: Gate
    parties: Parties
    portraits: Portraits
    publishing: Publishing
    games: Games
    reviews: Reviews
    exports: Exports
    forgetting: Forgetting
    links: SignedLinks


@dataclass
class Fronts:
    """The fronts there are at present."""

    wall: Wall | None = None
    discord: DiscordFront | None = None


@asynccontextmanager
async def services(
    config: Config, data_dir: Path, *, first_up_s: float = FIRST_UP_S
) -> AsyncIterator[Services]:
    """Open the data folder and start the scheduler process; close both in the end.

    An ask waits up to `first_up_s` for that process to come up for the first time.

    Raises:
        ConfigError: another Dreamstream is at work on the folder.
        DiskError: the folder cannot be made or written.
        StoreError: its database cannot be used.
    """
    async with AsyncExitStack() as stack:
        lock = await asyncio.to_thread(lock_folder, data_dir)
        stack.callback(lock.release)
        store = await Store.open(data_dir / "dreamstream.db")
        stack.push_async_callback(store.close)
        space = free_space(config, data_dir)
        await space.start()
        stack.push_async_callback(space.stop)
        root = data_dir / "library"
        blobs = await asyncio.to_thread(open_library, config.library, root)
        stack.push_async_callback(asyncio.to_thread, blobs.close)
        library = Library(root, upload_limits(config), space=space, blobs=blobs)
        stack.callback(library.close)
        feed = Feed(store)
        themes = Themes(store)
        await themes.ensure_default()
        supervisor = Supervisor(scheduler_command(config))
        dreams = Dreams(
            store,
            library,
            feed,
            themes,
            supervisor,
            limits(config),
            first_up_s=first_up_s,
            checkpoints=checkpoints(config, library),
        )
        settings = Settings(store)
        await settings.start()
        classifier = Classifier()
        stack.push_async_callback(classifier.stop)
        checks = PictureChecks(
            library, settings, classifier, PictureCheck(config.safety.picture_check)
        )
        dreams.check_pictures(checks)
        await dreams.start()
        stack.push_async_callback(dreams.stop)
        reviews = Reviews(store, library, dreams, checks)
        reviews.start()
        stack.push_async_callback(reviews.stop)
        await supervisor.start(dreams)
        stack.push_async_callback(supervisor.stop, DRAIN_S)
        seeing = Seeing(supervisor, library)
        stack.push_async_callback(seeing.close)
        if config.safety.second_check == "clip":
            second = SecondOpinion(seeing)
            stack.push_async_callback(second.close)
            checks.ask_too(second)
        subjects = Subjects(seeing, unattended=UNATTENDED)
        stack.push_async_callback(subjects.close)
        dreams.hold_subjects(subjects.hold)
        looker = Looker(store, library, feed, supervisor, seeing)
        stack.push_async_callback(looker.stop)
        reviews.on_change(looker.changed)
        search = Search(store, library, seeing, looker)
        dreams.trace_uploads(Origins(store, library, themes, seeing, looker))
        offspring = Offspring(dreams, supervisor, library)
        moderation = Moderation(store, dreams)
        await moderation.start()
        gate = Gate(settings, moderation)
        audit = Audit(store, config.safety.log_days)
        gate.on_refusal(audit.refused)
        checks.on_refusal(audit.refused)
        audit.start()
        stack.push_async_callback(audit.stop)
        parties = Parties(store, themes, dreams, offspring, gate, party_limits(config))
        await parties.start_keeping()
        portraits = Portraits(store, themes, dreams, gate, moderation)
        stack.push_async_callback(parties.stop)
        publishing = Publishing(parties, library, feed)
        await publishing.start()
        reviews.on_change(publishing.changed)
        stack.push_async_callback(publishing.stop)
        games = Games(store, library, feed, themes, dreams, seeing, gate, parties)
        games.check_pictures(checks)
        await games.start_keeping()
        stack.push_async_callback(games.stop)
        exports = Exports(store, library, data_dir / "exports")
        await exports.start()
        stack.push_async_callback(exports.stop)
        forgetting = Forgetting(store, dreams, parties, games)
        for watcher in (exports.forgotten, moderation.forgotten, audit.forgotten):
            forgetting.on_asked(watcher)
        await forgetting.start()
        stack.push_async_callback(forgetting.stop)
        links = await asyncio.to_thread(SignedLinks.open, data_dir)
        yield Services(
            store,
            library,
            feed,
            themes,
            dreams,
            supervisor,
            offspring,
            seeing,
            looker,
            search,
            settings,
            moderation,
            gate,
            parties,
            portraits,
            publishing,
            games,
            reviews,
            exports,
            forgetting,
            links,
        )


async def run(config: Config, token: str | None) -> int:
    """Run the product until it is told to stop; return the exit status.

    Raises:
        ConfigError: there is no front at all, or Discord does not accept the token.
    """
    if config.wall.mode == "off" and token is None:
        raise ConfigError([NO_FRONT])
    stop = asyncio.Event()
    fronts = Fronts()
    secret = await asyncio.to_thread(read_client_secret, config)
    if secret is not None and token is None:
        raise ConfigError([NO_SIGN_IN])
    if token is not None:  # slow to load; here, nobody waits for it yet
        await asyncio.to_thread(importlib.import_module, "bot.client")
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
    from bot.client import DiscordFront  # not needed without a token
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


def wall_url(config: Config) -> str:
    """Return the address at which everybody finds the wall, empty where there is none."""
    return "" if config.wall.mode == "off" else config.wall.public_url


def retention_rules(config: Config) -> RetentionRules:
    """Return what the settings want to be kept."""
    storage = config.storage
    return RetentionRules(
        keep_days=storage.keep_days,
        keep_bytes=int(storage.keep_gib * 1024**3),
        keep_favourites=storage.keep_favourites,
    )


def make_retention(config: Config, parts: Services) -> Retention:
    """Build what makes room as the settings ask for."""
    return Retention(
        parts.store, parts.library, checkpoints(config, parts.library), retention_rules(config)
    )


def free_space(config: Config, data_dir: Path) -> FreeSpace:
    """Build what watches the disk of the data folder."""
    storage = config.storage
    return FreeSpace(
        data_dir,
        warn_bytes=int(storage.warn_free_gib * GIB),
        least_bytes=storage.least_free_mib * MIB,
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


def wall_settings(config: Config) -> WallSettings:
    """Return the settings as the wall takes them."""
    return WallSettings(
        mode=config.wall.mode,
        host=config.wall.host,
        port=config.wall.port,
        title=config.wall.title,
        public_url=config.wall.public_url,
        guests_may_ask=config.wall.guests_may_ask,
        guests_may_batch=config.wall.guests_may_batch,
        trusted_proxies=tuple(ip_network(one) for one in config.wall.trusted_proxies),
        streams_per_address=config.wall.streams_per_address,
        requests_per_address=config.wall.requests_per_address,
        connections=config.wall.connections,
        dreams_per_address=PEOPLE_PER_ADDRESS * config.limits.waiting_per_person,
        background_per_address=PEOPLE_PER_ADDRESS * config.limits.background_per_person,
        pictures_per_batch=config.limits.pictures_per_batch,
        max_upload_bytes=(config.limits.upload_mib + 2) * 1024 * 1024,
    )


def limits(config: Config) -> Limits:
    """Return the settings' limits as the services take them."""
    return Limits(
        per_person=config.limits.waiting_per_person,
        everybody=config.limits.waiting_total,
        per_ask=config.limits.pictures_per_ask,
        prompt_length=config.limits.prompt_characters,
        background_per_person=config.limits.background_per_person,
        background_everybody=config.limits.background_total,
        background_per_ask=config.limits.pictures_per_batch,
    )


def party_limits(config: Config) -> PartyLimits:
    """Return the settings of parties as the service takes them."""
    parties = config.parties
    return PartyLimits(
        max_guests=parties.max_guests,
        weight=parties.weight,
        idle_hours=parties.idle_hours,
        words_per_minute=parties.words_per_minute,
        open_per_person=parties.open_per_person,
    )


def checkpoints(config: Config, library: Library) -> Checkpoints:
    """Return where dreams' checkpoints are kept, for as long as the settings say."""
    storage = config.storage
    return Checkpoints(
        library.root / CHECKPOINTS,
        kept_s=storage.checkpoint_days * 24 * 3600,
        kept_bytes=int(storage.checkpoint_gib * 1024**3),
    )


def upload_limits(config: Config) -> UploadLimits:
    """Return the settings' limits of what is uploaded."""
    return UploadLimits(
        max_bytes=config.limits.upload_mib * 1024 * 1024,
        max_pixels=config.limits.upload_megapixels * 1_000_000,
    )


def scheduler_command(config: Config) -> SchedulerCommand:
    """Return how to start the scheduler process as the settings want it."""
    scheduler = config.scheduler
    return SchedulerCommand(
        settings={
            "device": scheduler.device,
            "models_dir": str(models_dir(config)),
            "exact": scheduler.exact,
            "precision": scheduler.precision,
            "compile": scheduler.compile,
            "compiled_dir": str((config.storage.data_dir / "compiled").absolute()),
            "threads": scheduler.threads,
            "max_batch": scheduler.max_batch,
            "quantum_s": scheduler.quantum_s,
            "preview_s": scheduler.preview_interval_s,
            "checkpoint_s": scheduler.checkpoint_interval_s,
            "step_limit_s": scheduler.step_limit_s,
            "load_limit_s": scheduler.load_limit_s,
            "workers": scheduler.workers,
            "ray_address": scheduler.ray_address,
            "most_workers": scheduler.most_workers,
            "log_level": config.log.level.upper(),
        }
    )


def models_dir(config: Config) -> Path:
    """Return where further models' weights lie: as set, or as the environment has it."""
    named = os.environ.get(MODELS_VARIABLE)
    default = Path(named) if named else config.storage.data_dir / "models"
    return (config.scheduler.models_dir or default).absolute()


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
