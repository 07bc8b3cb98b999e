"""Where parties' bundles lie, and what is noted beside them. Everything here blocks.

Each lies in ``<party>/<version>/``; ``<party>/bundle.json`` names the version that counts and is
replaced at once: a bundle is whole or not there. A file ``wanted`` beside it says that one was
asked for, also to the next start.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from bot.files import disk_sentences, write_atomic
from bot.ids import is_id
from bot.publish.model import Bundle, Told

_NOTE, _WANTED = "bundle.json", "wanted"
_VERSION = re.compile("[0-9a-f]{16}")


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a bundle beside it."""

    version: str
    title: str
    pictures: int
    left_out: int
    made_ms: int
    told: Told


class Shelf:
    """The folder of all bundles."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, party_id: str, version: str) -> Path:
        """Return where a version of a party's bundle is to lie."""
        return self._root / party_id / version

    def want(self, party_id: str) -> None:
        """Note that a bundle was asked for.

        Raises:
            DiskError: it cannot be noted.
        """
        write_atomic(self._root / party_id / _WANTED, b"")

    def done_with(self, party_id: str) -> None:
        """Note that none is to be made any more.

        Raises:
            DiskError: it cannot be noted.
        """
        with disk_sentences(self._root):
            (self._root / party_id / _WANTED).unlink(missing_ok=True)

    def keep(self, party_id: str, version: str, made: Bundle) -> None:
        """Have a bundle that is whole be the one that counts.

        Raises:
            DiskError: it cannot be noted.
        """
        note = _Note(
            version=version,
            title=made.title,
            pictures=made.pictures,
            left_out=made.left_out,
            made_ms=made.made_ms,
            told=made.told,
        )
        write_atomic(self._root / party_id / _NOTE, msgspec.json.encode(note))

    def clear(self, party_id: str, version: str) -> None:
        """Remove what is in a party's folder but for one version; with none, its note too."""
        folder = self._root / party_id
        if not version:
            (folder / _NOTE).unlink(missing_ok=True)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and path.name != version:
                shutil.rmtree(path, ignore_errors=True)

    def read(self) -> tuple[dict[str, Bundle], list[str]]:
        """Return the bundles that are whole, and the parties whose bundle was asked for.

        What is left of others is removed.
        """
        kept: dict[str, Bundle] = {}
        wanted = []
        for folder in sorted(self._root.iterdir()) if self._root.is_dir() else ():
            if not is_id(folder.name):
                continue
            found = _bundle_in(folder)
            if found is not None:
                kept[folder.name] = found
            if (folder / _WANTED).exists():
                wanted.append(folder.name)
            self.clear(folder.name, "" if found is None else found.folder.name)
        return kept, wanted


def _bundle_in(folder: Path) -> Bundle | None:
    try:
        note = msgspec.json.decode((folder / _NOTE).read_bytes(), type=_Note)
    except (OSError, msgspec.MsgspecError):
        return None
    made = Bundle(
        folder=folder / note.version,
        title=note.title,
        pictures=note.pictures,
        left_out=note.left_out,
        made_ms=note.made_ms,
        told=note.told,
    )
    return made if _VERSION.fullmatch(note.version) and made.index.is_file() else None
