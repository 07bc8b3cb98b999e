"""`dreamstream retention`: what would go to make room; or let it go at once."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from bot.config import Config
from bot.configured import checkpoints, retention_rules
from bot.data_folder import lock_folder
from bot.errors import NotFoundError
from bot.library import Library
from bot.library_place import opened
from bot.retention import Retention
from bot.store import Store

_SHOWN = 20


async def run(arguments: argparse.Namespace, config: Config) -> int:
    """Say what would go, or let it go; return the exit status.

    Raises:
        NotFoundError: there is nothing yet.
        ConfigError: a bot is at work on the folder; it does this by itself.
        DiskError, StoreError: the database cannot be used.
    """
    data_dir = config.storage.data_dir
    if not await asyncio.to_thread((data_dir / "dreamstream.db").exists):
        raise NotFoundError("There is nothing to look at yet: nothing has been run here.")
    if not retention_rules(config).any:
        print("Everything is kept: neither storage.keep_days nor storage.keep_gib is set.")
        return 0
    if arguments.dry_run:
        async with _opened(config, alone=False) as retention:
            await _say_what_would_go(retention)
        return 0
    lock = await asyncio.to_thread(lock_folder, data_dir)
    try:
        async with _opened(config) as retention:
            gone = 0
            async for count in retention.turns():
                gone += count
        print(f"{_dreams(gone)} went.")
        return 0
    finally:
        lock.release()


@asynccontextmanager
async def _opened(config: Config, *, alone: bool = True) -> AsyncIterator[Retention]:
    data_dir = config.storage.data_dir
    store = await Store.open(data_dir / "dreamstream.db")
    root = data_dir / "library"
    try:
        with opened(config.library, root, alone=alone) as blobs:
            library = Library(root, blobs=blobs)
            try:
                kept = checkpoints(config, library)
                yield Retention(store, library, kept, retention_rules(config))
            finally:
                library.close()
    finally:
        await store.close()


async def _say_what_would_go(retention: Retention) -> None:
    count = size = 0
    async for one, _ in retention.due():
        count, size = count + 1, size + one.bytes
        if count <= _SHOWN:
            day = datetime.fromtimestamp(one.created_ms / 1000, UTC).date()
            print(f"{one.dream_id}  {day}  {one.bytes / 1024**2:.1f} MiB")
    if count > _SHOWN:
        print(f"… and {count - _SHOWN} more.")
    print(
        f"{_dreams(count)} would go, and {size / 1024**2:.1f} MiB with them. Nothing was changed."
    )


def _dreams(count: int) -> str:
    return "1 dream" if count == 1 else f"{count} dreams"
