"""A database of any earlier version, with rows in all its tables, becomes one of this version."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.consistency import rows
from bot.model import DreamState
from bot.store import (
    Store,
    deliveries,
    dream_states,
    dreams,
    events,
    games,
    migrate,
    parties,
    themes,
)
from tests.bot import old_rows

NEWEST = len(migrate.shipped())


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of each version: ``1.db`` to the newest."""
    folder = tmp_path_factory.mktemp("old")
    path = folder / "growing.db"
    for version in range(1, NEWEST + 1):
        migrate.upgrade(path, migrate.shipped()[:version])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(old_rows.OLD_ROWS.get(version, ""))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(path, folder / f"{version}.db")
    return folder


def counts(path: Path) -> dict[str, int]:
    """Return how many rows each table has."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in tables
        }


def schema(path: Path) -> set[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql <> ''"))


def test_every_table_has_had_rows_in_it(old: Path) -> None:
    empty = {table for table, count in counts(old / f"{NEWEST}.db").items() if not count}
    assert not empty, f"Put a row into tests/bot/old_rows.py, as that migration has it: {empty}"


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
async def test_it_is_upgraded_whole(old: Path, tmp_path: Path, version: int) -> None:
    path = tmp_path / "dreamstream.db"
    shutil.copyfile(old / f"{version}.db", path)
    before = counts(path)
    store = await Store.open(path)
    try:
        assert {theme.slug for theme in await themes.listing(store)} == {"open", "party"}
        done = await dreams.by_id(store, old_rows.DONE)
        assert done is not None and done.image is not None and done.published
        assert [dream.id for dream in await dreams.unfinished(store)] == [old_rows.WAITING]
        assert [event.id for event in await events.after(store, 0, 99)] == list(range(1, 10))
        if version >= 2:
            [card] = await deliveries.open_rows(store)
            assert card.dream_ids == (old_rows.WAITING,)
        if version >= 10:
            [party] = await parties.open_ones(store)
            assert party.host.id == old_rows.ANN
        if version >= 19:
            [game] = await games.open_ones(store)
            assert game.prompt == "a fox"
    finally:
        await store.close()
    after = counts(path)
    assert {table: after[table] for table in before} == before
    assert schema(path) == schema(old / f"{NEWEST}.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        faults = [*rows.damage(connection), *rows.look(connection)]
        assert [fault.text for fault in faults] == []
    if version < NEWEST:
        assert counts(migrate.backup_path(path, version)) == before


async def test_what_an_old_database_held_can_be_ended_and_deleted(
    old: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dreamstream.db"
    shutil.copyfile(old / "4.db", path)
    store = await Store.open(path)
    async with store.write() as connection:
        assert await dream_states.to_ended(
            connection, old_rows.WAITING, DreamState.CANCELLED, "", 3
        )
    assert await store.read("SELECT 1 FROM pending_steer") == []
    await store.close()


def test_pictures_that_the_former_starter_clip_saw_are_looked_at_again(
    old: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dreamstream.db"
    shutil.copyfile(old / "33.db", path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO dream_vector (dream_id, perceptor, vector)"
            " SELECT dream_id, 'starter-clip', vector FROM dream_vector"
        )
    migrate.upgrade(path, migrate.shipped())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT perceptor FROM dream_vector").fetchall() == [("clip",)]
