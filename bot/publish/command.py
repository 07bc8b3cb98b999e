"""`dreamstream publish`: a bundle of a party or of a stream's days, wherever it is wanted.

It only looks, so it works beside a running bot.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

from bot.config import Config
from bot.configured import scheduler_command
from bot.dreams import Dreams
from bot.errors import DiskError, InvalidRequestError, NotFoundError
from bot.feed import Feed
from bot.gate import Gate
from bot.ids import is_id
from bot.library import Library
from bot.library_place import opened
from bot.moderation import Moderation
from bot.offspring import Offspring
from bot.parties.service import Parties
from bot.publish.building import bundle
from bot.publish.model import Story
from bot.publish.story import of_days, of_party
from bot.settings import Settings
from bot.store import Store
from bot.supervisor import Supervisor
from bot.themes import Themes

_NOTHING_RUN = "There is nothing to publish yet: nothing has been run here."
_NOT_SHOWN = "There is nothing to publish: none of these pictures may be shown elsewhere."
_NO_PICTURES = "There is nothing to publish: no picture was finished there at that time."


async def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what the command line asks for; return the exit status.

    Raises:
        RequestError: it cannot be done; the sentence says why.
        DiskError: the folder cannot be written.
    """
    data_dir = config.storage.data_dir
    if not (data_dir / "dreamstream.db").exists():
        raise NotFoundError(_NOTHING_RUN)
    root = data_dir / "library"
    with opened(config.library, root, alone=False) as blobs:
        library = Library(root, blobs=blobs)
        try:
            story = await _story(arguments, config, library)
            into = arguments.into.absolute()
            made = await asyncio.to_thread(bundle, story, library, into, whole=arguments.zip)
        except DiskError as error:
            sentence = f"--into: nothing was written into {arguments.into}. {error}"
            raise DiskError(sentence) from error
        finally:
            library.close()
    left_out = f" ({made.left_out} were missing or damaged)" if made.left_out else ""
    print(f"{made.index}: {made.pictures} pictures{left_out}")
    if made.film is None:
        print("It has no film: that needs two pictures, and FFmpeg (the package `av`).")
    return 0


async def _story(arguments: argparse.Namespace, config: Config, library: Library) -> Story:
    async with _opened(config, library) as (store, themes, parties):
        if arguments.what == "party":
            named = arguments.name.strip()
            party = await (parties.get if is_id(named.lower()) else parties.by_code)(named.lower())
            story = of_party(await parties.record(party))
            nothing = _NOT_SHOWN
        else:
            theme = await themes.get(arguments.name.strip().lower())
            story = await of_days(store, theme, *_days(arguments))
            nothing = _NO_PICTURES
    if not story.entries:
        raise InvalidRequestError(arguments.what, nothing)
    return story


@asynccontextmanager
async def _opened(config: Config, library: Library) -> AsyncIterator[tuple[Store, Themes, Parties]]:
    """Give what reads a party's record. None of it is started: nothing is drawn or changed."""
    store = await Store.open(config.storage.data_dir / "dreamstream.db")
    try:
        themes, drawer = Themes(store), Supervisor(scheduler_command(config))
        dreams = Dreams(store, library, Feed(store), themes, drawer)
        gate = Gate(Settings(store), Moderation(store, dreams))
        yield (
            store,
            themes,
            Parties(store, themes, dreams, Offspring(dreams, drawer, library), gate),
        )
    finally:
        await store.close()


def _days(arguments: argparse.Namespace) -> tuple[date | None, date | None]:
    """Return the first and the last day.

    Raises:
        InvalidRequestError: they are no days, or go back in time.
    """
    if arguments.day is not None:
        if arguments.since is not None or arguments.until is not None:
            raise InvalidRequestError("day", "Say either --day, or --since and --until.")
        day = _day("--day", arguments.day)
        return day, day
    since = _day("--since", arguments.since) if arguments.since is not None else None
    until = _day("--until", arguments.until) if arguments.until is not None else None
    if since is not None and until is not None and until < since:
        raise InvalidRequestError("until", "--until is a day before --since. Swap them.")
    return since, until


def _day(option: str, typed: str) -> date:
    try:
        return date.fromisoformat(typed.strip())
    except ValueError:
        raise InvalidRequestError(
            option, f"{option}: write the day like 2026-11-21 (year, month, day)."
        ) from None
