"""What somebody has of what is kept about them: a copy of all of it, and its end for good."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.backup.database import foreign_keys
from bot.backup.forgetting import forget, gone
from bot.consistency.rows import look
from bot.errors import LimitError, NotFoundError
from bot.model import Person
from bot.privacy.exporting import Exports
from bot.privacy.forgetting import Forgetting
from bot.privacy.gathering import BESIDE, OWNED
from bot.rights import Actor
from bot.store import Store, forgetting
from bot.store.migrate import BUSY_TIMEOUT_MS, shipped, statements
from tests.bot.drawer import ANN, BOB, Services, png, request, services

SECRET = "a lighthouse in Ann's own words"


@dataclass
class Private:
    parts: Services
    exports: Exports
    forgetting: Forgetting


@asynccontextmanager
async def private(folder: Path, **options: Any) -> AsyncIterator[Private]:
    async with services(folder) as parts:
        exports = Exports(parts.store, parts.library, folder / "exports", **options)
        await exports.start()
        forgetting = Forgetting(parts.store, parts.dreams, parts.parties, parts.games, again_s=0.01)
        forgetting.on_asked(exports.forgotten)
        await forgetting.start()
        try:
            yield Private(parts, exports, forgetting)
        finally:
            await forgetting.stop()
            await exports.stop()


async def dream(parts: Services, prompt: str = SECRET, person: Person = ANN) -> str:
    (made,) = await parts.dreams.ask(request(prompt, person=person, guild_id=7, channel_id=8))
    await parts.draw(made.id)
    await parts.dreams.wait(made.id)
    return made.id


async def live_a_little(parts: Services) -> tuple[str, str]:
    """Have Ann do something of each kind; return a dream of hers and one of Bob's."""
    own, others = await dream(parts), await dream(parts, "Bob's goat", BOB)
    await parts.moderation.favourite(others, ANN)
    await parts.moderation.favourite(own, BOB)
    await parts.moderation.block(7, ANN, Actor(BOB, guild_id=7, moderates=True), reason="loud")
    theme = await parts.themes.get("open")
    party = await parts.parties.start("the sea", Actor(BOB), theme=theme)
    await parts.parties.join(party, Actor(ANN), code=party.code)
    await parts.parties.associate(party, Actor(ANN), SECRET)
    await parts.dreams.ask(request(SECRET, init=png()))  # one that is not over
    return own, others


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as made:
        assert made.testzip() is None
        return {name: made.read(name) for name in made.namelist()}


# --- a copy -------------------------------------------------------------------------------------


async def test_a_copy_has_all_that_is_ones_own_and_nothing_of_anybody_else(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        own, others = await live_a_little(there.parts)
        made = await there.exports.make(ANN)
        found = contents(made.path)
        data = {name: json.loads(text) for name, text in found.items() if name.endswith(".json")}
        assert {row["prompt"] for row in data["data/dream.json"]} == {SECRET}
        assert [row["dream_id"] for row in data["data/favourite.json"]] == [others]
        assert [row["words"] for row in data["data/party_association.json"]] == [SECRET]
        (block,) = data["data/blocked_person.json"]
        assert (block["reason"], block["blocked_by"]) == ("loud", "somebody else")
        assert data["data/moderation_entry.json"]
        image = (await there.parts.dreams.get(own)).image
        assert image is not None
        assert found[f"pictures/{own}.png"] == await there.parts.library.read(image.sha256)
        assert [name for name in found if name.startswith("uploads/")]
        assert not [name for name in found if others in name]
        whole = b"".join(found.values())
        assert b"goat" not in whole and BOB.id.encode() not in whole
        assert there.exports.find(made.token) == made


def test_no_table_that_names_people_is_forgotten() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        for migration in shipped():
            for statement in statements(migration.sql):
                connection.execute(statement)
        naming = {
            (child, column)
            for child, column, parent, _ in foreign_keys(connection)
            if parent == "person"
        }
    known = OWNED | BESIDE
    others = {("dream", "deleted_by"), ("blocked_person", "blocked_by")}
    assert {(one, column) for one, column in naming if column not in known.get(one, ())} <= others


async def test_a_copy_is_there_for_a_while_and_not_made_over_and_over(tmp_path: Path) -> None:
    now = [0.0]
    async with private(tmp_path, clock=lambda: now[0]) as there:
        await dream(there.parts)
        made = await there.exports.make(ANN)
        with pytest.raises(LimitError, match="just now"):
            await there.exports.make(ANN)
        assert not [one for one in contents((await there.exports.make(BOB)).path) if "pict" in one]
        for name in ("", "x" * 32, f"../exports/{made.token}"):
            with pytest.raises(NotFoundError):
                there.exports.find(name)
        now[0] = 24 * 3600.0
        with pytest.raises(NotFoundError):
            there.exports.find(made.token)
        await there.exports.make(ANN)
        assert not made.path.exists()
    assert not list((tmp_path / "exports").iterdir())


async def test_what_a_copy_has_no_room_for_is_named_in_it(tmp_path: Path) -> None:
    async with private(tmp_path, max_bytes=10) as there:
        own = await dream(there.parts)
        found = contents((await there.exports.make(ANN)).path)
        assert f"pictures/{own}.png" in found["README.txt"].decode()
        assert not [name for name in found if name.startswith("pictures/")]


# --- the end ------------------------------------------------------------------------------------


def everything(folder: Path) -> bytes:
    """Return the database file and every file beside it, as they are on the disk."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def assert_forgotten(parts: Services, own: str, others: str) -> None:
    assert (await parts.dreams.get(own)).deleted_ms is not None
    assert (await parts.dreams.get(others)).deleted_ms is None
    assert not await parts.moderation.liked(ANN)
    assert (await parts.moderation.favourites([others]))[others] == 0
    (row,) = await parts.store.read("SELECT * FROM person WHERE id = ?", (ANN.id,))
    assert (row["name"], row["publishes"]) == (forgetting.NOBODY, 0)
    for table in ("party_vote", "party_saying", "game_heart", "pending_steer"):
        sql = f"SELECT 1 FROM {table} WHERE person_id = ?"
        assert not await parts.store.read(sql, (ANN.id,)), table
    assert parts.moderation.block_of(7, ANN.id) is not None
    assert not await forgetting.undone(parts.store)
    with closing(sqlite3.connect(parts.store.path)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        assert [fault.text for fault in look(connection)] == []


async def test_who_is_forgotten_has_left_nothing_but_tombstones(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        own, others = await live_a_little(there.parts)
        made = await there.exports.make(ANN)
        await there.forgetting.forget(ANN)
        await there.forgetting.settled()
        await assert_forgotten(there.parts, own, others)
        assert not made.path.exists()
        found = contents((await there.exports.make(ANN, pictures=False)).path)
        assert SECRET.encode() not in b"".join(found.values())
        # Who comes back is kept again, and called by their name.
        again = await dream(there.parts, "a hare")
        assert (await there.parts.dreams.get(again)).person == ANN
    assert SECRET.encode() not in everything(tmp_path)


@pytest.mark.parametrize("deletions", [0, 1, 2])
async def test_a_death_in_the_middle_is_finished_at_the_next_start(
    tmp_path: Path, deletions: int
) -> None:
    async with private(tmp_path) as there:
        own, others = await live_a_little(there.parts)
        second = await dream(there.parts)
        left = deletions
        delete: Callable[..., Any] = there.parts.dreams.delete

        async def die(dream_id: str, actor: Actor) -> None:
            nonlocal left
            if left == 0:
                raise asyncio.CancelledError
            left -= 1
            await delete(dream_id, actor)

        there.parts.dreams.delete = die  # type: ignore[method-assign]
        await there.forgetting.forget(ANN)
        await there.forgetting.settled()
        assert await forgetting.undone(there.parts.store)
    async with private(tmp_path) as there:
        await there.forgetting.settled()
        await assert_forgotten(there.parts, own, others)
        assert (await there.parts.dreams.get(second)).deleted_ms is not None
    assert SECRET.encode() not in everything(tmp_path)


async def test_a_backup_that_is_put_back_forgets_again(tmp_path: Path) -> None:
    async with private(tmp_path / "data") as there:
        own, others = await live_a_little(there.parts)
        backup = tmp_path / "backup.db"
        with (
            closing(sqlite3.connect(there.parts.store.path)) as source,
            closing(sqlite3.connect(backup)) as copy,
        ):
            source.backup(copy)
        await there.forgetting.forget(ANN)
        await there.forgetting.settled()
        newer = await asyncio.to_thread(gone, there.parts.store.path)
        since = newer.without(await asyncio.to_thread(gone, backup, in_use=False))
    assert since.people
    await forget(backup, since)
    store = await Store.open(backup)
    assert not await forgetting.dreams(store, ANN.id, 2**60, 9)
    assert not await store.read("SELECT 1 FROM favourite WHERE person_id = ?", (ANN.id,))
    (row,) = await store.read("SELECT name FROM person WHERE id = ?", (ANN.id,))
    assert row["name"] == forgetting.NOBODY
    (kept,) = await store.read("SELECT deleted_ms FROM dream WHERE id = ?", (others,))
    assert kept["deleted_ms"] is None
    await store.close()
    assert SECRET.encode() not in backup.read_bytes()
    after = await asyncio.to_thread(gone, backup, in_use=False)
    assert own in after.dreams and after.people == newer.people
