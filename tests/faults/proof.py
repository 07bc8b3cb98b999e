"""What must hold of a data folder after everything that may have happened to it.

Two proofs that know nothing of each other: what was seen while it happened, held against the
database; and the product's own (`bot.consistency`), which must find nothing, without mending.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bot.consistency.model import Folder
from bot.consistency.proving import prove

FINAL = ("done", "failed", "cancelled")


@dataclass
class Seen:
    """What somebody was told: which dreams were accepted, done (each time it was told), deleted."""

    accepted: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)


def wrong_with(data_dir: Path, seen: Seen) -> list[str]:
    """Return all that is wrong with a data folder at which nobody is at work any more."""
    wrong = [fault.text for fault in prove(Folder(data_dir, alone=True)).faults]
    with closing(sqlite3.connect(data_dir / "dreamstream.db")) as connection:
        wrong += _wrong_with_rows(connection, data_dir / "library", seen)
    return wrong


def _wrong_with_rows(connection: sqlite3.Connection, library: Path, seen: Seen) -> Iterator[str]:
    connection.row_factory = sqlite3.Row
    dreams = {row["id"]: row for row in connection.execute("SELECT * FROM dream")}
    events: dict[str, Counter[str]] = {}
    for row in connection.execute("SELECT dream_id, kind FROM stream_event"):
        events.setdefault(row["dream_id"], Counter())[row["kind"]] += 1
    for lost in sorted((seen.accepted | set(seen.done) | seen.deleted) - dreams.keys()):
        yield f"{lost} was told to somebody, and is not there"
    for dream_id, times in Counter(seen.done).items():
        if times > 1:
            yield f"{dream_id} was told to be done {times} times"
    for dream_id, dream in dreams.items():
        counted = events.get(dream_id, Counter())
        ends = sum(counted[kind] for kind in FINAL)
        if dream["state"] not in FINAL or ends != 1 or counted[dream["state"]] != 1:
            yield f"{dream_id} is {dream['state']}, and the stream says {dict(counted)}"
        if counted["asked"] != 1:
            yield f"{dream_id} was asked for {counted['asked']} times, the stream says"
        if dream_id in seen.done and dream["state"] != "done":
            yield f"{dream_id} was told to be done, and is {dream['state']}"
        if dream_id in seen.deleted and dream["deleted_ms"] is None:
            yield f"{dream_id} was told to be deleted, and is there"
        if dream["state"] == "done" and dream["deleted_ms"] is None:
            yield from _wrong_with_picture(dream, library)
    if connection.execute("SELECT count(*) FROM doomed_file").fetchone()[0]:
        yield "files that are to be removed are still there"
    if left := [*(library / "held").glob("*")]:
        yield f"{len(left)} pictures are still held"


def _wrong_with_picture(dream: sqlite3.Row, library: Path) -> Iterator[str]:
    sha256 = dream["image_sha256"]
    if sha256 is None:
        yield f"{dream['id']} is done, and has no picture"
        return
    path = library / "images" / sha256[:2] / f"{sha256}.png"
    if not path.exists():
        yield f"{dream['id']} is done, and its picture is not there"
    elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        yield f"{dream['id']} is done, and its picture is damaged"
