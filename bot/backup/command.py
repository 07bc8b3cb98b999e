"""`dreamstream backup` and `dreamstream restore`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from bot.backup.making import Made, make
from bot.backup.mending import mend
from bot.backup.model import BackupError, whole_backups
from bot.backup.one_file import make_file
from bot.backup.restoring import restore
from bot.backup.verifying import Verifier
from bot.blobs import Blobs
from bot.config import Config
from bot.library_place import opened, store_of


async def run_backup(arguments: argparse.Namespace, config: Config) -> int:
    """Make a backup, or prove those there are; return the exit status.

    Raises:
        BackupError, DiskError: it cannot be done; the sentence says why.
    """
    data_dir = config.storage.data_dir
    if arguments.verify is not None:
        if arguments.into is not None:
            raise BackupError("Say either where to back up to, or --verify and what to prove.")
        if not arguments.mend:
            return await asyncio.to_thread(_verify, arguments.verify)
        with opened(config.library, data_dir / "library", alone=False) as blobs:
            return await asyncio.to_thread(_verify, arguments.verify, blobs)
    if arguments.mend:
        raise BackupError("--mend goes with --verify and the folder of backups.")
    into: Path = arguments.into or config.backup.folder
    if arguments.keep < 0:
        raise BackupError("--keep: say how many backups to keep: 1 or more, or 0 for all.")
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


def _verify(root: Path, blobs: Blobs | None = None) -> int:
    """Prove every backup; take from `blobs` what the pool has not got whole."""
    backups = whole_backups(root)
    if not backups:
        raise BackupError(f"There is no finished backup in {root}.")
    verifier = Verifier(root)
    verdicts = {backup: verifier.judge(backup) for backup in backups}
    damaged = sorted({entry for one in verdicts.values() for entry, _ in one.files})
    mended = mend(root, damaged, blobs) if blobs is not None and damaged else set()
    for entry in sorted(mended):
        print(f"mended  {entry.path} is copied anew from the library.")
    bad = False
    for backup, verdict in verdicts.items():
        faults = [*verdict.own, *(fault for entry, fault in verdict.files if entry not in mended)]
        bad = bad or bool(faults)
        print(f"{backup.name}: {'whole' if not faults else 'NOT WHOLE'}", flush=True)
        for fault in faults:
            print(f"  {fault}", flush=True)
    if damaged and blobs is None:
        print("With --mend, what is damaged is copied anew where the library has it whole.")
    return 1 if bad else 0


async def run_restore(arguments: argparse.Namespace, config: Config) -> int:
    """Put a backup back; return the exit status: 1 where something of it had to be left out.

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
            leave_out=arguments.leave_out_damaged,
        )
    if not done.left_out:
        print(f"{data_dir}: as it was in {done.backup}, every byte of it proved.")
    else:
        some = "one file" if len(done.left_out) == 1 else f"{len(done.left_out)} files"
        print(f"{data_dir}: as it was in {done.backup} but for {some}; all the rest is proved.")
    for path in done.left_out:
        print(f"Left out, for no whole copy of it is left: {path}")
    if done.forgotten:
        some = "dream that was" if done.forgotten == 1 else "dreams that were"
        print(f"{done.forgotten} {some} deleted since then stayed deleted.")
    for missing in done.missing:
        print(f"Not in the backup, for the library had not got it: {missing}")
    if done.replaced is not None:
        print(f"What was there is in {done.replaced}; remove it when all is well.")
    for note in done.notes:
        print(note)
    return 1 if done.left_out else 0
