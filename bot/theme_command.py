"""`dreamstream themes`: themes as files, on a machine whose bot may be running or not.

What only looks works beside a running bot. What changes something does not: that bot would not
learn of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.config import Config
from bot.data_folder import lock_folder
from bot.errors import ConfigError, DiskError, InvalidRequestError, NotFoundError, RequestError
from bot.model import Theme
from bot.store import Store
from bot.theme_files import MAX_BYTES, ThemeFile, file_name, read, shipped, shipped_one, write
from bot.themes import Themes

_DATABASE = "dreamstream.db"


async def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what the command line asks for; return the exit status.

    Raises:
        RequestError: it cannot be done; the sentence says why.
        ConfigError: something is to be changed while a bot is at work on the folder.
        DiskError: the file cannot be written.
    """
    data_dir = config.storage.data_dir
    if arguments.what == "list":
        return await _list(data_dir)
    if arguments.what == "export":
        return await _export(data_dir, arguments.name, arguments.out)
    if arguments.what == "remove":
        return await _remove(data_dir, arguments.names)
    if arguments.what == "add":
        names = shipped() if "all" in arguments.names else arguments.names
        files = [shipped_one(name) for name in names]
        return await _take(data_dir, files, replace=False, keep="all" in arguments.names)
    files = [await asyncio.to_thread(_read, path) for path in arguments.files]
    return await _take(data_dir, files, replace=arguments.replace)


async def _list(data_dir: Path) -> int:
    known: list[Theme] = []
    if (data_dir / _DATABASE).exists():
        async with _themes(data_dir) as themes:
            known = await themes.list()
    for theme in known:
        print(f"{theme.slug:24} {theme.title} ({'retired' if theme.retired else theme.visibility})")
    there = {theme.slug for theme in known if not theme.retired}
    further = [one for one in shipped().values() if one.slug not in there]
    if further:
        print("\nTo be added with: dreamstream themes add NAME")
    for one in further:
        print(f"{one.slug:24} {one.title}")
    return 0


async def _export(data_dir: Path, name: str, out: Path | None) -> int:
    if not (data_dir / _DATABASE).exists():
        raise NotFoundError("There are no themes yet: nothing has been run here.")
    async with _themes(data_dir) as themes:
        theme = await themes.get(name.strip().lower())
    data = write(theme)
    if out == Path("-"):
        sys.stdout.write(data.decode())
        return 0
    out = out or Path(file_name(theme))
    try:
        await asyncio.to_thread(out.write_bytes, data)
    except OSError as error:
        raise DiskError(f"--out: {out} cannot be written ({error.strerror}).") from error
    print(f"{out}: {theme.title}")
    return 0


async def _take(
    data_dir: Path, files: list[ThemeFile], *, replace: bool, keep: bool = False
) -> int:
    """Make themes of files; `keep` leaves those of that name that there are as they are."""
    async with _locked(data_dir, "use /theme import or the wall's page of themes") as themes:
        await themes.ensure_default()
        known = {theme.slug for theme in await themes.list() if not theme.retired}
        for one in files:
            if one.slug in known and keep:
                print(f"{one.slug}: is there already")
            elif one.slug in known and replace:
                await themes.change(one.slug, title=one.title, **one.details)
                print(f"{one.slug}: changed")
            else:
                await themes.take_up(one.slug, one.title, **one.details)
                print(f"{one.slug}: added")
    return 0


async def _remove(data_dir: Path, names: list[str]) -> int:
    """End themes for good. Their streams stay, for who has the links."""
    async with _locked(data_dir, "use /theme remove") as themes:
        for theme in [await themes.get(name.strip().lower()) for name in names]:
            await themes.retire(theme.slug)
            print(f"{theme.slug}: retired; its stream stays at /s/{theme.slug}")
    return 0


@asynccontextmanager
async def _locked(data_dir: Path, instead: str) -> AsyncIterator[Themes]:
    """Give the themes of a folder that no bot is at work on.

    Raises:
        ConfigError: one is; the sentence says what can be done `instead`.
    """
    try:
        lock = await asyncio.to_thread(lock_folder, data_dir)
    except ConfigError as error:
        raise ConfigError([f"{error} While it runs, {instead}."]) from None
    try:
        async with _themes(data_dir) as themes:
            yield themes
    finally:
        lock.release()


@asynccontextmanager
async def _themes(data_dir: Path) -> AsyncIterator[Themes]:
    store = await Store.open(data_dir / _DATABASE)
    try:
        yield Themes(store)
    finally:
        await store.close()


def _read(path: Path) -> ThemeFile:
    try:
        with path.open("rb") as file:
            return read(file.read(MAX_BYTES + 1), path.name)
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror}).") from error
    except InvalidRequestError as error:
        raise InvalidRequestError(error.field, f"{path}: {error}") from error
