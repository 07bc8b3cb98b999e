"""The data folder is one process's at a time, and no half restored one is ever taken for whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from bot.errors import ConfigError, DiskError

RESTORING = ".restoring"
"""The folder in which a backup is put back; there for as long as that is not finished."""
RESTORING_FROM = f"{RESTORING}-from"
"""What a backup is put back from, made before anything is touched: its TAR unpacked, and a copy of
its database."""

PRIVATE = 0o750
"""The mode of a folder of what people typed: nothing in it is for other users of the machine."""


def lock_folder(data_dir: Path, *, restoring: bool = False) -> FileLock:
    """Make the data folder this process's alone, until the lock is released. May block.

    Only who is `restoring` it may have one whose restore was cut off.

    Raises:
        ConfigError: another Dreamstream is at work on it, or a restore into it was cut off.
        DiskError: it cannot be made or written.
    """
    try:
        data_dir.mkdir(PRIVATE, parents=True, exist_ok=True)
        # By default a lock is released only in the thread that took it.
        lock = FileLock(data_dir / ".lock", timeout=0, thread_local=False)
        lock.acquire()
    except Timeout:
        raise ConfigError(
            [
                f"storage.data_dir: another Dreamstream is at work on {data_dir}. Stop it, or give "
                "this one a folder of its own."
            ]
        ) from None
    except OSError as error:
        raise DiskError(
            f"storage.data_dir: {data_dir} cannot be written ({error.strerror}). Make it writable, "
            "or name another folder."
        ) from error
    if not restoring and (data_dir / RESTORING).exists():
        lock.release()
        raise ConfigError(
            [
                f"storage.data_dir: a restore into {data_dir} was cut off. Do the same "
                "“dreamstream restore” again, with --replace; it begins anew."
            ]
        )
    if not restoring:  # by one that was cut off before it began to put anything back
        shutil.rmtree(data_dir / RESTORING_FROM, ignore_errors=True)
    return lock
