"""Orders for `shim.c`: at which change of a file something is to fail, and how; what time it is.

It is compiled where there is a C compiler; where there is none, or no ``LD_PRELOAD``, there are no
such faults (`MISSING` says so).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
KILL, POWER_CUT, STOP, KILL_AFTER = -1, -2, -3, -4
"""What can be ordered beside an errno: SIGKILL; that, and the loss of all that was not synced;
SIGSTOP; SIGKILL once a sync is done, before anybody learns of it (other changes just go on).
"""
_FIELDS = struct.Struct("<QQQQqqqq")  # as `struct control` has them
_COUNT, _FROM, _HITS, _CLOCK, _ORDER, _LASTS = 0, 8, 24, 32, 40, 48
FOR_EVER = 2**63

MISSING = ""
if not sys.platform.startswith("linux"):
    MISSING = "LD_PRELOAD is Linux's"
elif shutil.which("cc") is None:
    MISSING = "there is no C compiler (cc), with which the shim is made"


@cache
def library() -> Path:
    """Compile the shim, once; return the library that is to be preloaded."""
    folder = Path(tempfile.gettempdir()) / f"dreamstream-faults-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} is somebody else's"
    target = folder / f"{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not target.exists():
        made = target.with_name(f"{target.name}.{os.getpid()}")
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(made), str(SOURCE), "-ldl"]
        subprocess.run([*command, "-lpthread"], check=True)
        made.replace(target)
    return target


class Faults:
    """The disk below a folder and the clock, as the processes with this `environment` have them."""

    def __init__(self, root: Path) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="faults-")  # noqa: SIM115 - `close` does
        self._file.truncate(mmap.PAGESIZE)
        self._page = mmap.mmap(self._file.fileno(), mmap.PAGESIZE)
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAULTS_CONTROL": self._file.name,
            "FAULTS_ROOT": str(root.resolve()),
        }

    def close(self) -> None:
        """Give no more orders."""
        self._page.close()
        self._file.close()

    @property
    def count(self) -> int:
        """How many changes of files there have been."""
        return self._read("<Q", _COUNT)

    @property
    def hits(self) -> int:
        """How many of them failed."""
        return self._read("<Q", _HITS)

    def begin(self) -> None:
        """Count from 0, with all well."""
        self._page[: _FIELDS.size] = bytes(_FIELDS.size)

    def order(self, how: int, first: int, times: int = FOR_EVER, *, lasts_s: float = 0.0) -> None:
        """Have the changes from the `first` on fail, so many `times`: with an errno, or as named.

        The first change is number 0, counted since `begin`. With `lasts_s` all is well again so
        many seconds after the first that failed.
        """
        self.heal()
        until = min(first + times, FOR_EVER)
        self._write("<q", _ORDER, how)
        self._page[_LASTS : _LASTS + 16] = struct.pack("<qq", int(lasts_s * 1e9), 0)
        self._page[_FROM : _FROM + 16] = struct.pack("<QQ", first, until)

    def next(self, how: int, *, after: int = 0, lasts_s: float = 0.0) -> None:
        """Do as `order` does, from now on or `after` so many changes."""
        self.order(how, self.count + after, lasts_s=lasts_s)

    def heal(self) -> None:
        """Have all changes succeed again."""
        self._page[_FROM : _FROM + 16] = bytes(16)

    def set_clock(self, seconds: float) -> None:
        """Let the wall clock be so much ahead of what it is, or behind."""
        self._write("<q", _CLOCK, int(seconds * 1e9))

    def _read(self, form: str, at: int) -> int:
        (value,) = struct.unpack_from(form, self._page, at)
        return int(value)

    def _write(self, form: str, at: int, value: int) -> None:
        struct.pack_into(form, self._page, at, value)
