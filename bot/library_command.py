"""`dreamstream library`: where the pictures lie, and moving them elsewhere."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial

from bot.config import Config
from bot.data_folder import lock_folder
from bot.library_move import Moved, move, read_journal
from bot.library_place import FOLDER, open_blobs, placed

_SHOWN = 20


async def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what the command line asks for; return the exit status.

    Raises:
        ConfigError: a bot is at work on the folder, or a store cannot be used.
        InvalidRequestError: there is no such place to move to.
        DiskError: not all could be moved; the same again goes on from there.
    """
    return await asyncio.to_thread(_move if arguments.what == "move" else _where, arguments, config)


def _where(_: argparse.Namespace, config: Config) -> int:
    root = config.storage.data_dir / "library"
    where = placed(root)
    print(f"The pictures are in {root if where == FOLDER else where}.")
    if (journal := read_journal(root)) is not None:
        print(
            f"A move to {journal.target} was cut off. Go on: dreamstream library move "
            f"{journal.target}"
        )
        return 1
    if where != (config.library.store or FOLDER):
        print(_to_set(where))
        return 1
    return 0


def _move(arguments: argparse.Namespace, config: Config) -> int:
    data_dir = config.storage.data_dir
    root, target = data_dir / "library", arguments.to.rstrip("/")
    lock = lock_folder(data_dir)
    try:
        root.mkdir(exist_ok=True)
        opener = partial(open_blobs, library=config.library, root=root, alone=False)
        moved = move(root, target, opener)
    finally:
        lock.release()
    _say(moved, config)
    return 1 if moved.left else 0


def _say(moved: Moved, config: Config) -> None:
    place = moved.source if moved.undone else moved.target
    if moved.source == moved.target:
        print(f"The pictures are in {place} already.")
    elif moved.undone:
        print(f"The pictures are in {place}, as before. What was copied is removed again.")
    else:
        print(f"The pictures are in {place} now: {moved.files} files.")
    for key in moved.left[:_SHOWN]:
        print(f"Not moved, since its bytes are not what its name says: {key}")
    if len(moved.left) > _SHOWN:
        print(f"… and {len(moved.left) - _SHOWN} more.")
    if place != (config.library.store or FOLDER):
        print(_to_set(place))


def _to_set(where: str) -> str:
    value = "" if where == FOLDER else where
    return f'Before the bot is started: set library.store = "{value}" in config.toml.'
