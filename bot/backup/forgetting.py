"""What people took back after a backup was made, done again to the backup: deletions win.

A backup is older than what happened since. So before one is put back, and where something was
deleted while one was made, everything that a newer database knows to be gone or kept to itself is
gone or kept to itself there, too: deleted dreams, words at parties, entries in games, what people
said of being shown and named, and people who wanted to be forgotten. Only what takes away is done
again, never what gives back.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from bot.backup.database import columns, opened
from bot.ids import now_ms
from bot.model import RETIRED, DreamState, EventKind, Person
from bot.removal import RETENTION
from bot.store import (
    Store,
    events,
    forgetting,
    game_entries,
    games,
    images,
    people,
    themes,
    tombstones,
)
from bot.store import dream_states as rows
from bot.store.texts import readable

_NOBODY = "local:restore"
# Words at parties have numbers, which may be another's since: the rest tells which are meant.
_HIDDEN = "SELECT id, party_id, person_id, at_ms FROM party_association WHERE hidden"
_UNCREDITED = "SELECT party_id, person_id FROM party_member WHERE NOT credited"
_WITHDRAWN = """
    SELECT id, withdrawn_ms, coalesce(withdrawn_by, person_id) FROM game_entry
    WHERE withdrawn_ms IS NOT NULL
"""
_DELETED = """
    SELECT dream.id, deleted_ms, deleted_by, person.name FROM dream
    LEFT JOIN person ON person.id = deleted_by WHERE deleted_ms IS NOT NULL
"""
# With one of their dreams: a backup of an early version knows nobody's pseudonym.
_FORGOTTEN = """
    SELECT person_id, asked_ms, coalesce(
        (SELECT min(id) FROM dream WHERE dream.person_id = forgotten_person.person_id), ''
    ) FROM forgotten_person
"""
_ALL = 2**31
_OF_REVOKED = """
    SELECT portrait_line.dream_id FROM portrait_line
    JOIN portrait ON portrait.dream_id = portrait_id WHERE revoked_ms IS NOT NULL
"""


class Tombstone(msgspec.Struct, frozen=True):
    """A deleted dream: when, and by whom."""

    deleted_ms: int
    by: Person


class Gone(msgspec.Struct, frozen=True):
    """What a database knows to be gone, or not to be shown."""

    dreams: dict[str, Tombstone] = {}
    words: frozenset[tuple[int, str, str, int]] = frozenset()
    unpublished: frozenset[tuple[str]] = frozenset()
    silent: frozenset[tuple[str]] = frozenset()
    uncredited: frozenset[tuple[str, str]] = frozenset()
    withdrawn: frozenset[tuple[str, int, str]] = frozenset()
    called_off: frozenset[tuple[str]] = frozenset()
    people: frozenset[tuple[str, int, str]] = frozenset()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)

    def __or__(self, other: Gone) -> Gone:
        return Gone(*(getattr(self, one) | getattr(other, one) for one in self.__struct_fields__))

    def without(self, other: Gone) -> Gone:
        """Return what is gone here and was there."""
        dreams = {key: value for key, value in self.dreams.items() if key not in other.dreams}
        rest = (getattr(self, one) - getattr(other, one) for one in self.__struct_fields__[1:])
        return Gone(dreams, *rest)


def gone(path: Path, *, in_use: bool = True, retired: bool = False) -> Gone:
    """Return what a database knows to be gone; it may be of any version. Blocks.

    One that is not `in_use` may lie where nothing can be written. What went to make room nobody
    took back, so that a backup may bring it back: it is among the rest only with `retired`, or
    where the portrait that it was drawn of has been taken back.

    Raises:
        sqlite3.DatabaseError: it cannot be read.
    """
    with opened(path, in_use=in_use) as connection:
        connection.text_factory = readable
        connection.execute("BEGIN")

        def found(table: str, column: str, sql: str) -> frozenset[Any]:
            has = column in columns(connection, table)
            return frozenset(tuple(row) for row in connection.execute(sql)) if has else frozenset()

        dreams = found("dream", "deleted_ms", _DELETED)
        revoked = found("portrait_line", "portrait_id", _OF_REVOKED)
        withdrawn = found("game_entry", "withdrawn_ms", _WITHDRAWN)
        return Gone(
            {
                dream_id: Tombstone(at_ms, Person(by or _NOBODY, name or "Somebody"))
                for dream_id, at_ms, by, name in dreams
                if retired or by != RETENTION.id or (dream_id,) in revoked
            },
            found("party_association", "hidden", _HIDDEN),
            found("dream", "published", "SELECT id FROM dream WHERE NOT published"),
            found("person", "publishes", "SELECT id FROM person WHERE NOT publishes"),
            found("party_member", "credited", _UNCREDITED),
            frozenset(one for one in withdrawn if retired or one[2] != RETENTION.id),
            found("game", "state", "SELECT id FROM game WHERE state = 'called_off'"),
            found("forgotten_person", "asked_ms", _FORGOTTEN),
        )


async def forget(path: Path, taken: Gone, replaced: Collection[str] = ()) -> int:
    """Do to a database that nobody has open what was done to another; return how many dreams.

    Pictures that were `replaced`, by their SHA-256, stand for no theme any more.
    It is brought to this version first. Which files it names may be fewer after this.

    Raises:
        StoreError, DiskError: it cannot be opened or written.
    """
    store = await Store.open(path)
    try:
        async with store.write() as connection:
            # First, so that what has their new ids below is known to be theirs.
            forgotten = [
                (await _parted(connection, person_id, dream_id), asked_ms)
                for person_id, asked_ms, dream_id in sorted(taken.people)
            ]
            count = 0
            for dream_id, tombstone in taken.dreams.items():
                count += await _bury(connection, dream_id, tombstone)
            await _hush(connection, taken)
        for person_id, asked_ms in forgotten:
            count += await _forget(store, person_id, asked_ms)
        async with store.write() as connection:
            for sha256 in sorted(replaced):
                await themes.forget_picture(connection, sha256)
                await images.forget_unnamed(connection, sha256)
        async with store.write() as connection:
            for kind, sha256 in await tombstones.doomed(store):
                # Its files are not taken along, so that there is nothing left to be removed.
                if await tombstones.is_named(connection, kind, sha256):
                    await tombstones.spare(connection, kind, sha256)
                else:
                    await tombstones.forget(connection, kind, sha256)
        await store.scrub()
    finally:
        await store.close()
        for before in path.parent.glob(f"{path.name}.before-*"):
            before.unlink()  # has the words, and what it was copied from is still there
    return count


async def _parted(connection: aiosqlite.Connection, person_id: str, dream_id: str) -> str:
    """Part somebody there who was parted from their id elsewhere; return the id they have now."""
    if not person_id.startswith(people.PARTED):
        return person_id
    pseudonym = person_id.removeprefix(people.PARTED)
    known = await people.with_pseudonym(connection, pseudonym)
    if known is None:
        found = await connection.execute_fetchall(
            "SELECT person_id FROM dream WHERE id = ?", (dream_id,)
        )
        known = next((row["person_id"] for row in found), None)
    return person_id if known is None else await people.part(connection, known, pseudonym)


async def _forget(store: Store, person_id: str, asked_ms: int) -> int:
    """Forget somebody who is known there, as `bot.privacy` does; return how many dreams went."""
    if await store.read_one("SELECT 1 FROM person WHERE id = ?", (person_id,)) is None:
        return 0
    async with store.write() as connection:
        await forgetting.ask_there(connection, person_id, asked_ms)
    dreams = await forgetting.dreams(store, person_id, asked_ms, _ALL)
    entries = await forgetting.entries(store, person_id, asked_ms, _ALL)
    by = Tombstone(asked_ms, Person(person_id, forgetting.NOBODY))
    async with store.write() as connection:
        for entry_id in entries:
            await game_entries.withdraw(connection, entry_id, person_id, asked_ms)
        count = sum([await _bury(connection, dream_id, by) for dream_id in dreams])
        await forgetting.erase(connection, person_id, asked_ms)
        await forgetting.done(connection, person_id, asked_ms, now_ms())
    return count


async def _bury(connection: aiosqlite.Connection, dream_id: str, tombstone: Tombstone) -> bool:
    found = await connection.execute_fetchall(
        "SELECT theme_id, state FROM dream WHERE id = ? AND deleted_ms IS NULL", (dream_id,)
    )
    for row in found:
        await people.upsert(connection, tombstone.by, tombstone.deleted_ms)
        append = functools.partial(
            events.append, connection, dream_id=dream_id, person_id=tombstone.by.id
        )
        theme_id, at_ms = row["theme_id"], tombstone.deleted_ms
        if await rows.to_ended(connection, dream_id, DreamState.CANCELLED, "", at_ms):
            await append(EventKind.CANCELLED, theme_id, at_ms)
        buried = await tombstones.bury(connection, dream_id, tombstone.by.id, at_ms)
        if buried:
            retired = {RETIRED: True} if tombstone.by == RETENTION else None
            await append(EventKind.DELETED, theme_id, at_ms, payload=retired)
        return buried
    return False


async def _hush(connection: aiosqlite.Connection, taken: Gone) -> None:
    await connection.executemany(
        "UPDATE party_association SET hidden = 1, words = '', folded = '' "
        "WHERE id = ? AND party_id = ? AND person_id = ? AND at_ms = ? AND hidden = 0",
        sorted(taken.words),
    )
    await rows.keep_to_place(connection, [one for (one,) in sorted(taken.unpublished)])
    await connection.executemany(
        "UPDATE person SET publishes = 0 WHERE id = ?", sorted(taken.silent)
    )
    await connection.executemany(
        "UPDATE party_member SET credited = 0 WHERE party_id = ? AND person_id = ?",
        sorted(taken.uncredited),
    )
    for entry_id, at_ms, by in sorted(taken.withdrawn):
        await game_entries.withdraw(connection, entry_id, by, at_ms)
    for (game_id,) in sorted(taken.called_off):
        await games.bury(connection, game_id, _NOBODY, now_ms())
