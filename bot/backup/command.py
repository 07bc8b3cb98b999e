"""`dreamstream backup` and `dreamstream restore`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from bot.backup.making import Made, make, make_file
from bot.backup.model import BackupError, whole_backups
from bot.backup.restoring import restore
from bot.backup.verifying import Verifier
from bot.config import Config
from bot.library_place import opened, store_of


async def run_backup(arguments: argparse.Namespace, config: Config) -> int:
    """Make a backup, or prove those there are; return the exit status.

    Raises:
        BackupError, DiskError: it cannot be done; the sentence says why.
    """
    if arguments.verify is not None:
        if arguments.into is not None:
            raise BackupError("Say either where to back up to, or --verify and what to prove.")
        return await asyncio.to_thread(_verify, arguments.verify)
    into: Path = arguments.into or config.backup.folder
    if arguments.keep < 0:
        raise BackupError("--keep: say how many backups to keep: 1 or more, or 0 for all.")
    data_dir = config.storage.data_dir
    with opened(config.library, data_dir / "library", alone=False) as blobs:
        if into.suffix == ".tar":
            return _say(await make_file(data_dir, into, blobs=blobs), into)
        made = await make(data_dir, into, keep=arguments.keep, blobs=blobs)
        return _say(made, made.path)


def _say(made: Made, path: Path) -> int:
    print(
        f"{path}: {len(made.manifest.files)} files, {made.new_files} of them new "
        f"({made.new_bytes / 1024**2:.1f} MiB), and the database "
        f"({made.manifest.database_bytes / 1024**2:.1f} MiB)."
    )
    for missing in made.manifest.missing:
        print(f"Not in it, since the library has not got it whole: {missing}")
    if made.manifest.missing:
        print("“dreamstream doctor --deep” says more, and mends what can be mended.")
    return 1 if made.manifest.missing else 0


def _verify(root: Path) -> int:
    backups = whole_backups(root)
    if not backups:
        raise BackupError(f"There is no finished backup in {root}.")
    verifier, bad = Verifier(root), False
    for backup in backups:
        faults = verifier.faults(backup)
        bad = bad or bool(faults)
        print(f"{backup.name}: {'whole' if not faults else 'NOT WHOLE'}", flush=True)
        for fault in faults:
            print(f"  {fault}", flush=True)
    return 1 if bad else 0


async def run_restore(arguments: argparse.Namespace, config: Config) -> int:
    """Put a backup back; return the exit status.

    Raises:
        BackupError, ConfigError, DiskError: it cannot be done; the sentence says why.
    """
    data_dir: Path = arguments.into or config.storage.data_dir
    with store_of(config.library, data_dir / "library") as store:
        done = await restore(
            arguments.source,
            data_dir,
            replace=arguments.replace,
            store=store,
            take_store=arguments.take_store,
        )
    print(f"{data_dir}: as it was in {done.backup}, every byte of it proved.")
    if done.forgotten:
        some = "dream that was" if done.forgotten == 1 else "dreams that were"
        print(f"{done.forgotten} {some} deleted since then stayed deleted.")
    for missing in done.manifest.missing:
        print(f"Not in the backup, for the library had not got it: {missing}")
    if done.replaced is not None:
        print(f"What was there is in {done.replaced}; remove it when all is well.")
    for note in done.notes:
        print(note)
    return 0
