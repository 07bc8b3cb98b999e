"""ZIP files whose members may be of any date: a ZIP can tell none before 1980 and none after 2107.

A machine without a battery for its clock starts in 1970, and what it keeps then is as old.
"""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

_FROM, _UNTIL = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 59)


def begin_zip(path: Path) -> zipfile.ZipFile:
    """Begin a ZIP; what is added is stored as it is, unless it is said how to pack it. Blocks.

    Raises:
        OSError: it cannot be written.
    """
    return zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, strict_timestamps=False)


def packed_member(name: str) -> zipfile.ZipInfo:
    """Return what a member that is written now begins with; it is to be packed."""
    year, month, day, hour, minute, second = time.localtime()[:6]
    now = (year, month, day, hour, minute, second)
    info = zipfile.ZipInfo(name, min(max(now, _FROM), _UNTIL))
    info.compress_type = zipfile.ZIP_DEFLATED
    return info
