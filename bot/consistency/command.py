"""`dreamstream doctor --deep`: prove that nothing was lost, and mend what can be mended."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from bot.backup.model import POOL
from bot.blobs import UnreachableError
from bot.config import Config
from bot.consistency.model import Fault, Folder, Proof
from bot.consistency.proving import mend, prove
from bot.data_folder import lock_folder
from bot.errors import ConfigError, DiskError, NotFoundError
from bot.library_place import opened

_SHOWN = 20  # of each kind


async def run(config: Config, *, mending: bool, backups: Path | None) -> int:
    """Look at everything that was ever accepted; return 1 where anything is wrong and stays so.

    Raises:
        NotFoundError: there is nothing yet.
        ConfigError: it is to be mended, and a bot is at work on it.
        StoreError: the database cannot be read, or is of another version.
        DiskError: something cannot be written.
    """
    return await asyncio.to_thread(_run, config, mending, backups or config.backup.folder)


def _run(config: Config, mending: bool, backups: Path) -> int:
    data_dir = config.storage.data_dir
    if not (data_dir / "dreamstream.db").exists():
        raise NotFoundError("There is nothing to look at yet: nothing has been run here.")
    with ExitStack() as stack:
        try:
            stack.callback(lock_folder(data_dir).release)
            alone = True
        except ConfigError as error:
            if mending:
                raise ConfigError([*error.mistakes, "--mend needs the folder alone."]) from error
            alone = False
        blobs = stack.enter_context(opened(config.library, data_dir / "library", alone=alone))
        folder = Folder(data_dir, alone, backups if (backups / POOL).is_dir() else None, blobs)
        try:
            proof = mend(folder, _say_mended) if mending else prove(folder)
        except UnreachableError as error:
            raise DiskError(f"{blobs.where}: {error.strerror}. So nothing is proved.") from error
    _say(proof, alone=alone, mending=mending)
    return 1 if proof.faults else 0


def _say_mended(fault: Fault, said: str) -> None:
    print(f"mended  {fault.text} {said}", flush=True)


def _say(proof: Proof, *, alone: bool, mending: bool) -> None:
    shown: Counter[str] = Counter()
    for fault in proof.faults:
        shown[fault.kind] += 1
        if shown[fault.kind] <= _SHOWN:
            print(f"   BAD  {fault.text} {_what_to_do(fault, mending)}".rstrip())
    for kind, count in shown.items():
        if count > _SHOWN:
            print(f"   BAD  … and {count - _SHOWN} more of that kind ({kind}).")
    over = "they are drawn on at the next start" if alone else "the bot is at work on them"
    print(
        f"Looked at {proof.dreams} dreams, {proof.pictures} whole pictures and {proof.files} other "
        f"files. {proof.unfinished} dreams are not over: {over}."
    )
    if not proof.faults:
        print("Every dream has one state and one end, and its picture is there, whole.")
    elif not mending and any(fault.mend for fault in proof.faults):
        print("“dreamstream doctor --deep --mend” mends what can be mended. Back up first.")


def _what_to_do(fault: Fault, mending: bool) -> str:
    if fault.mend is None:
        return fault.cannot
    return "It could not be mended." if mending else "(can be mended)"
