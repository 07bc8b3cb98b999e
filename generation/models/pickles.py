"""A pickle that a stranger made, read in memory that its own length bounds.

C's unpickler makes room before it reads: for as many remembered objects, and for as long a
bytearray, as five bytes of the file ask for, which may be more than the machine has. So the
pickle is looked through first, where nothing is made of it.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Any, cast

MOST_GROWTH = 16
"""How many times a file's size its content may be; torch packs nothing, and weights hardly pack."""


class BoundedUnpickler(pickle.Unpickler):
    """Reads a pickle from a seekable file, of which it refuses what asks for too much."""

    def __init__(self, file: IO[bytes], **options: Any) -> None:
        super().__init__(file, **options)
        self._file = file

    def load(self) -> Any:
        """Return what was pickled.

        Raises:
            pickle.UnpicklingError: it is none, or asks for more than as long a one can need.
            Exception: others that a damaged pickle may raise.
        """
        check(self._file)
        return super().load()


def check(file: IO[bytes]) -> None:
    """Refuse a pickle that would be given more memory than its length can need.

    The file is left where it was.

    Raises:
        pickle.UnpicklingError: it is so, or is none at all.
    """
    begin = file.tell()
    length = file.seek(0, 2) - begin
    file.seek(begin)
    try:
        for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", _Rest(file, length))):
            if opcode.name in ("LONG_BINPUT", "PUT", "FRAME") and int(argument or 0) > length:
                raise pickle.UnpicklingError(f"{opcode.name} of {argument} in {length} bytes")
    except (ValueError, OverflowError) as error:
        raise pickle.UnpicklingError("not a pickle, or not all of one") from error
    finally:
        file.seek(begin)


class _Rest:
    """What is left of a file; no more is asked of it, since a file makes room before it reads."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file, self._left = file, length

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise pickle.UnpicklingError(f"{size} bytes where {self._left} are left")
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


def check_zip(path: Path) -> None:
    """Refuse a ZIP whose parts would become many times what the file is; others are let through.

    Raises:
        zipfile.BadZipFile: it is so, or its list of parts is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as parts:
        whole = sum(part.file_size for part in parts.infolist())
    if whole > MOST_GROWTH * path.stat().st_size:
        raise zipfile.BadZipFile(f"{whole} bytes in {path.stat().st_size}")
