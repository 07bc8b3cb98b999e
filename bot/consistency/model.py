"""What is found to be wrong, and what was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bot.blobs import Blobs, FolderBlobs

FIRST, THEN, LAST = range(3)
"""When something is mended: what others are mended from, the rows, and what nothing names."""


@dataclass(frozen=True)
class Fault:
    """Something that does not hold: of which `kind`, and about what.

    `mend` does what can be done about it, and says in a sentence what it did; None where nothing
    can, and then `cannot` says what a person may do.
    """

    kind: str
    about: str
    text: str
    mend: Callable[[], str] | None = None
    cannot: str = ""
    order: int = THEN


@dataclass
class Proof:
    """What was looked at, and what is wrong with it."""

    dreams: int = 0
    unfinished: int = 0
    pictures: int = 0
    files: int = 0
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Folder:
    """A data folder, and the backups from which lost files may be had.

    Where it is not `alone`, a bot is at work on it: then what may just be under way is no fault.
    """

    data_dir: Path
    alone: bool
    backups: Path | None = None
    store: Blobs | None = None

    @property
    def blobs(self) -> Blobs:
        """Where pictures and files lie: in the `store`, or in the library's folder."""
        return self.store or FolderBlobs(self.library)

    @property
    def database(self) -> Path:
        """Where the database is."""
        return self.data_dir / "dreamstream.db"

    @property
    def library(self) -> Path:
        """Where the pictures are."""
        return self.data_dir / "library"

    @property
    def aside(self) -> Path:
        """Where files that nothing names are put, out of the way."""
        return self.data_dir / "put-aside"
