"""What somebody has of what is kept about them: a copy of all of it, and its end for good."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.backup.database import foreign_keys
from bot.backup.forgetting import forget, gone
from bot.consistency.rows import look
from bot.errors import DiskError, ForbiddenError, LimitError, NotFoundError, StoreError
from bot.games.model import Game, GameKind, GameState
from bot.model import Person, PictureCheck
from bot.privacy.exporting import KEPT_S, Exports
from bot.privacy.forgetting import Forgetting
from bot.privacy.gathering import BESIDE, OWNED, pages_about, pages_of_steers, told_steers
from bot.rights import Actor
from bot.store import Store, forgetting, game_entries, games, people
from bot.store import dream_states as dream_rows
from bot.store.forgetting import _ERASED
from bot.store.migrate import BUSY_TIMEOUT_MS, backup_path, shipped, statements
from bot.upgrade_copies import UpgradeCopies
from bot.zips import packed_member
from generation.protocol import Attachment, Steer, Steered
from tests.bot.drawer import ANN, BOB, Services, finished, png, request, services, until

SECRET = "a lighthouse in Ann's own words"


@dataclass
class Private:
    parts: Services
    exports: Exports
    forgetting: Forgetting


@asynccontextmanager
async def private(folder: Path, **options: Any) -> AsyncIterator[Private]:
    async with services(folder) as parts:
        options = {"reserve_bytes": 0} | options
        exports = Exports(parts.store, parts.library, folder / "exports", **options)
        await exports.start()
        forgetting = Forgetting(parts.store, parts.dreams, parts.parties, parts.games, again_s=0.01)
        forgetting.on_asked(exports.forgotten)
        forgetting.on_asked(parts.moderation.forgotten)
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


async def test_what_is_older_than_any_date_of_a_zip_is_in_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a battery for its clock starts in 1970, and may be there yet."""
    async with private(tmp_path) as there:
        image = (await there.parts.dreams.get(own := await dream(there.parts))).image
        assert image is not None
        os.utime(there.parts.library.path(image.sha256), (60, 60))
        assert f"pictures/{own}.png" in contents((await there.exports.make(ANN)).path)
        long_ago = time.gmtime(60)
        monkeypatch.setattr("bot.zips.time.localtime", lambda *_: long_ago)
        assert packed_member("README.txt").date_time[0] == 1980


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
        assert not [
            one
            for one in contents((await there.exports.make(BOB)).path)
            if one.startswith("pictures/")
        ]
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


async def test_a_copy_goes_by_itself_and_one_a_person_lies_there(tmp_path: Path) -> None:
    now = [0.0]
    async with private(tmp_path, clock=lambda: now[0], purge_s=0.01) as there:
        first = await there.exports.make(ANN)
        second = await there.exports.make(ANN, pictures=False)
        assert second.path.exists() and not first.path.exists()
        handed_over = await there.exports.make(BOB)
        await there.exports.remove(handed_over)
        await there.exports.remove(handed_over)
        assert not handed_over.path.exists()
        now[0] = KEPT_S
        await until(lambda: not second.path.exists())


async def test_all_copies_together_and_the_disk_are_not_filled(tmp_path: Path) -> None:
    async with private(tmp_path, total_bytes=1) as there:
        await there.exports.make(ANN)
        with pytest.raises(LimitError, match="no room"):
            await there.exports.make(BOB)
        await there.exports.make(BOB, pictures=False)
    async with private(tmp_path, reserve_bytes=2**62) as there:
        await dream(there.parts)
        with pytest.raises(DiskError, match="almost full"):
            await there.exports.make(ANN)
        await until(lambda: not list((tmp_path / "exports").iterdir()))


async def test_a_copy_that_is_being_made_goes_when_its_person_is_forgotten(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        await dream(there.parts)
        at_work = asyncio.Event()
        read = there.parts.store.read

        async def slow(sql: str, parameters: Any = ()) -> Any:
            if "FROM favourite" in sql:
                at_work.set()
                await asyncio.sleep(0)
                there.exports.forgotten(ANN.id)
            return await read(sql, parameters)

        there.parts.store.read = slow  # type: ignore[method-assign]
        with pytest.raises(NotFoundError, match="forgotten"):
            await there.exports.make(ANN)
        assert at_work.is_set()
        await until(lambda: not list((tmp_path / "exports").iterdir()))


async def test_pages_have_each_row_once_whatever_is_deleted_meanwhile(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        store = there.parts.store
        dreams = [await dream(there.parts, f"{number}", BOB) for number in range(5)]
        await there.parts.moderation.like(dreams, ANN)
        found = []
        async for page in pages_about(store, "favourite", ANN.id, page=2):
            found += [row["dream_id"] for row in page]
            async with store.write() as connection:  # what was told already is not to count
                await connection.execute("DELETE FROM favourite WHERE dream_id = ?", (found[0],))
        assert sorted(found) == sorted(dreams)


async def test_films_behind_a_cover_are_their_authors(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        library, store = there.parts.library, there.parts.store
        made = {check: await dream(there.parts) for check in (None, *PictureCheck)}
        del made[PictureCheck.OFF]
        film = await library.keep_file(
            Attachment(name="film.webp", media_type="image/webp", data=b"a film")
        )
        async with store.write() as connection:
            for check, dream_id in made.items():
                await dream_rows.add_files(connection, dream_id, [film])
                if check is not None:
                    await connection.execute(
                        "INSERT INTO picture_check (dream_id, setting, verdict, original_sha256, "
                        "checked_ms) SELECT id, ?, 'flagged', image_sha256, 1 FROM dream "
                        "WHERE id = ?",
                        (check, dream_id),
                    )
        found = contents((await there.exports.make(ANN)).path)
        films = {
            check for check, dream_id in made.items() if f"files/{dream_id}-film.webp" in found
        }
        assert films == {None, PictureCheck.SPOILER, PictureCheck.BLUR}


async def test_what_the_check_found_of_ones_pictures_is_in_the_copy(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        made = {person: await dream(there.parts, "a cat", person) for person in (ANN, BOB)}
        async with there.parts.store.write() as connection:
            for dream_id in made.values():
                await connection.execute(
                    "INSERT INTO picture_check (dream_id, setting, verdict, nsfw, decision, "
                    "decided_by, checked_ms) VALUES (?, 'blur', 'flagged', 0.75, 'released', ?, 1)",
                    (dream_id, BOB.id),
                )
        found = contents((await there.exports.make(ANN)).path)
        [check] = json.loads(found["data/picture_check.json"])
        assert (check["dream_id"], check["nsfw"]) == (made[ANN], 0.75)
        assert check["decided_by"] == "somebody else"
        async with there.parts.store.write() as connection:
            await connection.execute("UPDATE dream SET person_id = ?", (ANN.id,))
        pages = pages_about(there.parts.store, "picture_check", ANN.id, page=1)
        assert [row["dream_id"] async for page in pages for row in page] == sorted(made.values())


async def test_what_one_steered_others_dreams_to_is_in_the_copy(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        s = there.parts
        (own,) = await s.dreams.ask(request("a cat"))
        (others,) = await s.dreams.ask(request("Bob's goat", person=BOB))
        steers = []
        for dream_id, person, words, step in (
            (own.id, ANN, "a lynx", 5),
            (others.id, BOB, "Bob's kid", 5),
            (others.id, ANN, SECRET, 5),
            (others.id, BOB, "Bob's ram", 9),
            (others.id, ANN, "a lamp", 11),
        ):
            await s.begin(dream_id, step)
            await s.dreams.steer(dream_id, Actor(person, at_machine=True), words, 10)
            steers.append(Steer(step, words, 10))
            await s.dreams.on_message(Steered(dream_id, steers[-1]))
        job = await s.job(others.id)
        recipe = msgspec.structs.replace(job.recipe, steers=tuple(steers[1:]))
        await s.dreams.on_message(finished(msgspec.structs.replace(job, recipe=recipe)))
        await s.dreams.wait(others.id)
        found = contents((await there.exports.make(ANN)).path)
        told = json.loads(found["data/steer.json"])
        assert [(row["dream_id"], row["step"], row["prompt"]) for row in told] == [
            (others.id, 5, SECRET),
            (others.id, 11, "a lamp"),
        ]
        assert b"Bob's" not in b"".join(found.values())
        async for page in pages_of_steers(s.store, ANN.id, page=1):
            assert len(page) == 1 and told_steers(page) == told[:1]
            told = told[1:]
        assert not told
        # The picture, and what made it, is Bob's: it stays as it is.
        await there.forgetting.forget(ANN)
        await there.forgetting.settled()
        assert (await s.dreams.get(others.id)).recipe.steers == recipe.steers


# --- the end ------------------------------------------------------------------------------------


def everything(folder: Path) -> bytes:
    """Return the database file and every file beside it, as they are on the disk."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# What is kept of who is forgotten, and what goes as each dream, entry and game is deleted.
STAYS = {
    "person",  # without a name
    "party_member",  # not named
    "party_association",  # without words
    "party_finale",  # which dreams were drawn larger
    "game",
    "blocked_person",
    "moderation_entry",
    "stream_event",
    "forgotten_person",
}
DELETED_ONE_BY_ONE = {"dream", "portrait", "game_entry"}


def test_each_table_that_names_people_is_erased_or_said_to_stay() -> None:
    erased = {sql.split(" FROM ")[1].split()[0] for sql in _ERASED if sql.startswith("DELETE")}
    assert not erased & (STAYS | DELETED_ONE_BY_ONE)
    assert erased | STAYS | DELETED_ONE_BY_ONE == OWNED.keys()


def a_game(game_id: str, theme_id: int, state: GameState) -> Game:
    return Game(
        id=game_id,
        theme_id=theme_id,
        kind=GameKind.DRAW,
        host=BOB,
        state=state,
        prompt="a hare",
        dream_id=None,
        image=None,
        choices=(),
        seed=1,
        machine=False,
        guild_id=None,
        channel_id=None,
        parent_id=None,
        carded=False,
        age_restricted=False,
        published=True,
        host_knows=False,
        perceptor="",
        ends_ms=2**60,
        created_ms=1,
        ended_ms=None if state is GameState.OPEN else 2,
    )


async def test_how_often_the_forgotten_tried_goes_once_the_game_is_over(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        store, theme = there.parts.store, await there.parts.themes.get("open")
        async with store.write() as connection:
            for person in (ANN, BOB):
                await people.upsert(connection, person, 1)
            for game_id, state in (("over", "over"), ("open", "open"), ("off", "open")):
                await games.insert(connection, a_game(game_id, theme.id, GameState(state)), [])
                for person in (ANN, BOB):
                    await game_entries.count_try(connection, game_id, person.id)
        await there.forgetting.forget(ANN)
        await there.forgetting.settled()

        async def tried(person: Person) -> set[str]:
            found = await store.read(
                "SELECT game_id FROM game_try WHERE person_id = ?", (person.id,)
            )
            return {row["game_id"] for row in found}

        assert await tried(ANN) == {"open", "off"}
        async with store.write() as connection:
            await games.end(connection, "open", GameState.OVER, 2)
            await games.bury(connection, "off", BOB.id, 2)
        assert await tried(ANN) == set()
        assert await tried(BOB) == {"over", "open", "off"}


async def test_copies_of_before_upgrades_go_when_somebody_is_forgotten_and_when_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with private(tmp_path) as there:
        store = there.parts.store
        await dream(there.parts)
        old, new = backup_path(store.path, 3), backup_path(store.path, 4)
        copies = UpgradeCopies(store, good_start_s=0.0)
        for path, days in ((old, 8), (new, 6)):
            path.write_text(SECRET)
            at_s = time.time() - days * 24 * 3600
            os.utime(path, (at_s, at_s))
        copies.start()
        await until(lambda: not old.exists())
        await copies.stop()
        assert new.exists()
        unlink = Path.unlink
        refused = 0

        def refuse(path: Path, missing_ok: bool = False) -> None:
            nonlocal refused
            if path == new and not refused:
                refused += 1
                raise PermissionError(path)
            unlink(path, missing_ok)

        monkeypatch.setattr(Path, "unlink", refuse)
        await there.forgetting.forget(ANN)
        await there.forgetting.settled()
        assert refused and not new.exists()
        assert not await forgetting.undone(store)


async def test_what_cannot_be_deleted_is_tried_again_and_not_called_done(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        parts = there.parts
        own, second = await dream(parts), await dream(parts)
        delete: Callable[..., Any] = parts.dreams.delete
        undone: Callable[..., Any] = forgetting.undone
        seen: list[bool] = []

        async def refuse(dream_id: str, actor: Actor) -> None:
            if dream_id == own and len(seen) < 2:
                seen.append(bool(await undone(parts.store)))
                raise (ForbiddenError("no"), RuntimeError("a bug"))[len(seen) - 1]
            await delete(dream_id, actor)

        troubles: list[Exception] = [RuntimeError("a bug"), StoreError("not now")]

        async def trouble(store: Store) -> Any:
            if troubles:
                raise troubles.pop()
            return await undone(store)

        parts.dreams.delete = refuse  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(forgetting, "undone", trouble)
            await there.forgetting.forget(ANN)
            await there.forgetting.settled()
        assert seen == [True, True] and not troubles
        for dream_id in (own, second):
            assert (await parts.dreams.get(dream_id)).deleted_ms is not None
        assert not await undone(parts.store)


async def test_who_is_blocked_is_called_by_no_name_once_forgotten(tmp_path: Path) -> None:
    async with private(tmp_path) as there:
        service = there.parts.moderation
        await service.block(7, ANN, Actor(BOB, guild_id=7, moderates=True))
        for person in (ANN, BOB):
            await there.forgetting.forget(person)
            await there.forgetting.settled()
        (block,) = service.blocked(7)
        assert block.person == Person(ANN.id, forgetting.NOBODY)
        assert block.by == Person(BOB.id, forgetting.NOBODY)


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
            if left == 0:  # as a stop ends it
                task = asyncio.current_task()
                assert task is not None and task.cancel()
                await asyncio.sleep(0)
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


@pytest.mark.parametrize("ahead_s", [600, 365 * 24 * 3600])
async def test_what_was_done_while_the_clock_was_ahead_is_forgotten_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    real = time.time_ns
    backup = tmp_path / "backup.db"
    async with private(tmp_path / "data") as there:
        with monkeypatch.context() as wrong:
            wrong.setattr(time, "time_ns", lambda: real() + ahead_s * 10**9)
            own, others = await live_a_little(there.parts)
        with (
            closing(sqlite3.connect(there.parts.store.path)) as source,
            closing(sqlite3.connect(backup)) as copy,
        ):
            source.backup(copy)
        await there.forgetting.forget(ANN)
        await there.forgetting.settled()
        await assert_forgotten(there.parts, own, others)
        assert SECRET.encode() not in b"".join(
            contents((await there.exports.make(ANN)).path).values()
        )
        newer = await asyncio.to_thread(gone, there.parts.store.path)
        since = newer.without(await asyncio.to_thread(gone, backup, in_use=False))
    assert SECRET.encode() not in everything(tmp_path / "data")
    await forget(backup, since)
    assert SECRET.encode() not in backup.read_bytes()
    store = await Store.open(backup)
    assert not await store.read("SELECT 1 FROM favourite WHERE person_id = ?", (ANN.id,))
    await store.close()
    after = await asyncio.to_thread(gone, backup, in_use=False)
    assert after.people == newer.people


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
