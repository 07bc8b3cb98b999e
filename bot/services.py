"""What both fronts work with, started in order and stopped in the opposite order.

The order matters at both ends: the data folder is locked before the database opens, and the dreams
are read before the scheduler process starts (it is told of them at once); at the end that process
hands over its last checkpoints before the database closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.audit import Audit
from bot.autopilot import PILOT
from bot.checking.classifier import Classifier
from bot.checking.reviews import Reviews
from bot.checking.second import SecondOpinion
from bot.checking.service import PictureChecks
from bot.config import Config
from bot.configured import (
    checkpoints,
    free_space,
    limits,
    party_limits,
    scheduler_command,
    upload_limits,
)
from bot.data_folder import lock_folder
from bot.dreams import FIRST_UP_S, Dreams
from bot.feed import Feed
from bot.games.model import MACHINE
from bot.games.service import Games
from bot.gate import Gate
from bot.library import Library
from bot.library_place import open_library
from bot.looker import Looker
from bot.model import PictureCheck
from bot.moderation import Moderation
from bot.offspring import Offspring
from bot.origins import Origins
from bot.parties.service import Parties
from bot.portraits import Portraits
from bot.privacy.exporting import Exports
from bot.privacy.forgetting import Forgetting
from bot.publish.service import Publishing
from bot.search import Search
from bot.seeing import Seeing
from bot.settings import Settings
from bot.signed_links import SignedLinks
from bot.store import Store
from bot.subject import Subjects
from bot.supervisor import Supervisor
from bot.themes import Themes

DRAIN_S = 10.0
UNATTENDED = (PILOT.id, MACHINE.id)  # ask by themselves, and read no answers


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
        reviews.on_change(games.changed)
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
