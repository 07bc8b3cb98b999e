"""Who was forgotten is parted from their id: what stays is there, and leads back to nobody."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiosqlite
import msgspec
import pytest

from bot.backup.database import foreign_keys
from bot.backup.forgetting import forget, gone
from bot.consistency.rows import look
from bot.errors import DiskError
from bot.ids import now_ms
from bot.model import EventKind, Person
from bot.privacy.exporting import Exports
from bot.privacy.forgetting import Forgetting
from bot.rights import Actor
from bot.sessions import Sessions
from bot.store import Store, events, people
from bot.store.forgetting import NOBODY, SINCE
from bot.store.migrate import shipped, statements
from tests.bot.drawer import BOB, Services, request, services

EVE = Person("discord:770077007700770077", "Eve with a name of her own")
GUILD, CHANNEL = 7, 8
MODERATOR = Actor(BOB, guild_id=GUILD, moderates=True)


@asynccontextmanager
async def privacy(parts: Services, part_after_s: float = 0.0) -> AsyncIterator[Forgetting]:
    """Forget people; who is forgotten is parted from their id as soon as that is asked for."""
    made = Forgetting(
        parts.store, parts.dreams, parts.parties, parts.games, part_after_s=part_after_s
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def dream(parts: Services, person: Person = EVE) -> str:
    (made,) = await parts.dreams.ask(request(person=person, guild_id=GUILD, channel_id=CHANNEL))
    await parts.draw(made.id)
    await parts.dreams.wait(made.id)
    return made.id


async def live(parts: Services) -> str:
    """Have Eve do something of each kind that leaves something behind; return a dream of hers."""
    own, others = await dream(parts), await dream(parts, BOB)
    await parts.moderation.favourite(others, EVE)
    await parts.moderation.delete(others, Actor(EVE, guild_id=GUILD, moderates=True))
    theme = await parts.themes.get("open")
    party = await parts.parties.start("the sea", Actor(EVE), theme=theme)
    await parts.parties.join(party, Actor(BOB), code=party.code)
    await parts.parties.associate(party, Actor(EVE), "a lighthouse")
    await parts.parties.leave(party, Actor(EVE))
    await parts.moderation.block(GUILD, EVE, MODERATOR)
    return own


async def forget_eve(forgetting: Forgetting) -> None:
    await forgetting.forget(EVE)
    await forgetting.settled()
    assert await forgetting.part() == 1
    assert await forgetting.part() == 0


def whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        assert [fault.text for fault in look(connection)] == []
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def naming_eve(folder: Path) -> list[Path]:
    """Return the files that have Eve's number or name in them."""
    said = (EVE.id.removeprefix("discord:").encode(), EVE.name.encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(one in path.read_bytes() for one in said)]


def test_all_that_names_people_is_known() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as new:
        new.row_factory = sqlite3.Row
        for migration in shipped():
            for statement in statements(migration.sql):
                new.execute(statement)
        found = {
            (child, column)
            for child, column, parent, target in foreign_keys(new)
            if (parent, target) == ("person", "id")
        }
    assert found | {("game_entry", "withdrawn_by")} == {*people.NAMING, *people.KEEPING}


async def test_nothing_that_stays_says_whose_it_was(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        own = await live(parts)
        await parts.moderation.unblock(GUILD, EVE, MODERATOR)
        before = await events.after(parts.store, 0, 99)
        await forget_eve(forgetting)
        tombstone = await parts.dreams.get(own)
        assert tombstone.deleted_ms is not None
        somebody = tombstone.person
        assert somebody.name == NOBODY and somebody.id.startswith(people.PARTED)
        # The stream is what it was, and of one and the same somebody.
        after = await events.after(parts.store, 0, 99)
        of_eve = [event.id for event in before if event.person and event.person.id == EVE.id]
        assert of_eve == [
            one.id for one in after[: len(before)] if one.person and one.person.id == somebody.id
        ]
        log = await parts.moderation.log(GUILD)
        assert {entry.person for entry in log if entry.person} >= {somebody}
        assert await parts.moderation.log(GUILD, person_id=somebody.id)
        assert not await parts.moderation.log(GUILD, person_id=EVE.id)
        # Who comes back is somebody else to the logs.
        again = await dream(parts)
        assert (await parts.dreams.get(again)).person == EVE
        assert EVE.id in {
            one.person.id for one in await events.after(parts.store, 0, 99) if one.person
        }
        await parts.dreams.delete(again, Actor(EVE))
        await forget_eve(forgetting)
        assert (await parts.dreams.get(again)).person.id != somebody.id
    whole(tmp_path / "dreamstream.db")
    assert not naming_eve(tmp_path)


async def test_a_direct_message_leads_to_nobody(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        for guild_id in (None, GUILD):
            (made,) = await parts.dreams.ask(
                request(person=EVE, guild_id=guild_id, channel_id=CHANNEL)
            )
            await parts.draw(made.id)
            await parts.dreams.wait(made.id)
        await forget_eve(forgetting)
        rows = await parts.store.read("SELECT guild_id, channel_id FROM dream ORDER BY id")
        assert [tuple(row) for row in rows] == [(None, None), (GUILD, CHANNEL)]


async def test_a_block_stays_with_the_id_and_leads_to_nothing_else(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        own = await live(parts)
        await forget_eve(forgetting)
        somebody = (await parts.dreams.get(own)).person
        rows = await parts.store.read("SELECT * FROM person WHERE id = ?", (EVE.id,))
        assert [(row["name"], row["publishes"]) for row in rows] == [(NOBODY, 0)]
        assert people.PARTED + rows[0]["pseudonym"] != somebody.id
        (gone_row,) = await parts.store.read("SELECT * FROM person WHERE id = ?", (somebody.id,))
        assert gone_row["first_seen_ms"] != rows[0]["first_seen_ms"]
        for event in await events.after(parts.store, 0, 99):
            assert event.person is None or event.person.id != EVE.id
    async with services(tmp_path) as parts:
        block = parts.moderation.block_of(GUILD, EVE.id)
        assert block is not None and block.person == Person(EVE.id, NOBODY)
    whole(tmp_path / "dreamstream.db")


async def test_who_is_blocked_within_the_hour_is_parted_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = now_ms()
    for module in ("bot.moderation", "bot.privacy.forgetting"):
        monkeypatch.setattr(f"{module}.now_ms", lambda: now)
    async with services(tmp_path) as parts, privacy(parts, part_after_s=3600.0) as forgetting:
        own = await dream(parts)
        forgetting.on_asked(parts.moderation.forgotten)
        now += 1000
        await forgetting.forget(EVE)
        # Before their name goes, and after: in Discord the moderator sees it all the while.
        block = await parts.moderation.block(9, EVE, Actor(BOB, guild_id=9, moderates=True))
        assert block.person.name == NOBODY
        await forgetting.settled()
        now += 1800_000
        block = await parts.moderation.block(GUILD, EVE, MODERATOR)
        assert block.person.name == NOBODY
        assert await forgetting.part() == 0
        now += 1801_000
        assert await forgetting.part() == 1
        somebody = (await parts.dreams.get(own)).person
        assert somebody.id.startswith(people.PARTED) and somebody.name == NOBODY
        assert {one.person for one in parts.moderation.blocked(GUILD)} == {Person(EVE.id, NOBODY)}
    whole(tmp_path / "dreamstream.db")
    assert not any(EVE.name.encode() in path.read_bytes() for path in naming_eve(tmp_path))


async def test_whom_an_earlier_versions_block_named_again_is_parted(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        own = await dream(parts)
        await forgetting.forget(EVE)
        await forgetting.settled()
        await asyncio.sleep(0.002)  # times have milliseconds
        await parts.moderation.block(GUILD, EVE, MODERATOR)
        async with parts.store.write() as connection:
            await people.upsert(connection, EVE, 1)
        assert await forgetting.part() == 1
        assert (await parts.dreams.get(own)).person.name == NOBODY
        names = await parts.store.read("SELECT DISTINCT name FROM person WHERE name <> 'Bob'")
        assert [row["name"] for row in names] == [NOBODY]


async def test_who_was_never_forgotten_is_blocked_under_their_present_name(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await dream(parts)
        renamed = Person(EVE.id, "Eva")
        assert (await parts.moderation.block(GUILD, renamed, MODERATOR)).person == renamed
        rows = await parts.store.read("SELECT name FROM person WHERE id = ?", (EVE.id,))
        assert [row["name"] for row in rows] == ["Eva"]


async def test_who_comes_back_within_the_hour_keeps_their_id(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, privacy(parts, part_after_s=3600.0) as patient:
        await dream(parts)
        await patient.forget(EVE)
        await patient.settled()
        assert await patient.part() == 0  # the limits of an hour still count what was asked for
        async with privacy(parts) as hasty:
            again = await dream(parts)
            assert await hasty.part() == 0
            assert (await parts.dreams.get(again)).person == EVE


@pytest.mark.parametrize("comes_back", [True, False])
async def test_who_was_forgotten_while_the_clock_was_ahead_is_parted_as_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    real, ahead_ns = time.time_ns, 365 * 24 * 3600 * 10**9
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        others = await dream(parts, BOB)
        with monkeypatch.context() as wrong:
            wrong.setattr(time, "time_ns", lambda: real() + ahead_ns)
            await dream(parts)
            await forgetting.forget(EVE)
            await forgetting.settled()
        async with privacy(parts, part_after_s=3600.0) as patient:
            assert await patient.part() == 0  # from here on the hour counts
        if comes_back:
            await asyncio.sleep(0.01)
            await parts.moderation.favourite(others, EVE)
        assert await forgetting.part() == (0 if comes_back else 1)
        assert (EVE.id in await ids_of_people(parts)) is comes_back


async def ids_of_people(parts: Services) -> set[str]:
    return {row["id"] for row in await parts.store.read("SELECT id FROM person")}


def test_all_that_says_since_when_somebody_is_back_is_looked_at() -> None:
    looked_at = {(table, column) for table, column, _ in SINCE}
    assert {*people.NAMING, *people.KEEPING} - looked_at == {
        # There only with something else of theirs, or done by others.
        *(("portrait", "person_id"), ("game_try", "person_id")),
        *(("blocked_person", "person_id"), ("forgotten_person", "person_id")),
        # What a moderator did to others, who has no more of their own by it.
        *(("dream", "deleted_by"), ("game_entry", "withdrawn_by")),
        ("picture_check", "decided_by"),
    }


@pytest.mark.parametrize("by", ["like", "new party", "old party", "sign in", "block"])
async def test_who_is_called_somebody_comes_back_as_others_do(tmp_path: Path, by: str) -> None:
    somebody = Person(EVE.id, NOBODY)
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        others, theme = await dream(parts, BOB), await parts.themes.get("open")
        old, new = [
            await parts.parties.start(topic, Actor(BOB), theme=theme) for topic in ("sea", "tide")
        ]
        await parts.parties.join(old, Actor(somebody), code=old.code)
        await parts.moderation.favourite(others, somebody)
        await forgetting.forget(somebody)
        await forgetting.settled()
        await asyncio.sleep(0.002)  # times have milliseconds
        match by:
            case "like":
                await parts.moderation.favourite(others, somebody)
            case "new party":
                await parts.parties.join(new, Actor(somebody), code=new.code)
            case "old party":
                await parts.parties.join(old, Actor(somebody), code=old.code)
            case "sign in":
                await Sessions(parts.store).begin(somebody)
            case "block":
                actor = Actor(somebody, guild_id=GUILD, moderates=True)
                await parts.moderation.block(GUILD, Person("discord:5", "Dan"), actor)
        assert await forgetting.part() == 0
        assert not await parts.store.read("SELECT 1 FROM person WHERE id LIKE 'gone:%'")


async def test_who_cannot_be_parted_keeps_nobody_else_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dan = Person("discord:880088008800880088", "Dan with a name of his own")
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        for person in (EVE, dan):
            await dream(parts, person)
            await forgetting.forget(person)
            await forgetting.settled()
        part, scrub = people.part, parts.store.scrub
        emptied = []

        async def no_eve(connection: aiosqlite.Connection, person_id: str) -> str:
            parted = await part(connection, person_id)
            if person_id == EVE.id:
                raise sqlite3.IntegrityError("a mistake of ours")
            return parted

        async def never() -> bool:
            emptied.append(False)
            return False

        monkeypatch.setattr(people, "part", no_eve)
        parts.store.scrub = never  # type: ignore[method-assign]
        assert await forgetting.part() == 1
        assert "cannot be parted" in caplog.text and emptied == [False]
        people_left = await parts.store.read("SELECT id FROM person")
        assert EVE.id in {row["id"] for row in people_left}
        assert dan.id not in {row["id"] for row in people_left}
        # What could not be emptied is so the next time, with nobody else to part.
        parts.store.scrub = scrub  # type: ignore[method-assign]
        assert await forgetting.part() == 0
        assert not (tmp_path / "dreamstream.db-wal").stat().st_size
        monkeypatch.undo()
        assert await forgetting.part() == 1
    assert not naming_eve(tmp_path)


async def test_what_was_parted_is_scrubbed_though_the_next_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as parts, privacy(parts) as forgetting:
        for person in (EVE, Person("discord:880088008800880088", "Dan")):
            await dream(parts, person)
            await forgetting.forget(person)
            await forgetting.settled()
        part = people.part

        async def only_eve(connection: aiosqlite.Connection, person_id: str) -> str:
            if person_id != EVE.id:
                raise DiskError("The disk is full.")
            return await part(connection, person_id)

        monkeypatch.setattr(people, "part", only_eve)
        with pytest.raises(DiskError):
            await forgetting.part()
        assert not naming_eve(tmp_path)


async def test_a_copy_has_what_the_logs_say_of_its_person_alone(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await live(parts)
        exports = Exports(parts.store, parts.library, tmp_path / "exports", reserve_bytes=0)
        made = await exports.make(EVE, pictures=False)
        data = exported(made.path)
        row = await parts.store.read_one("SELECT pseudonym FROM person WHERE id = ?", (EVE.id,))
        assert row is not None
        own = row["pseudonym"]
        assert {one["pseudonym"] for one in data["stream_event"]} == {own}
        assert {one["kind"] for one in data["stream_event"]} >= {EventKind.ASKED, EventKind.DELETED}
        acts = {
            (one["act"], one["by_pseudonym"], one["pseudonym"]) for one in data["moderation_entry"]
        }
        assert acts == {
            ("deleted", own, "somebody else"),
            ("blocked", "somebody else", own),
        }
        await exports.stop()


def exported(path: Path) -> dict[str, list[dict[str, object]]]:
    with zipfile.ZipFile(path) as made:
        return {
            Path(name).stem: msgspec.json.decode(made.read(name))
            for name in made.namelist()
            if name.endswith(".json")
        }


@pytest.mark.parametrize("early", [False, True])
async def test_a_backup_that_is_put_back_parts_again(tmp_path: Path, early: bool) -> None:
    async with services(tmp_path / "data") as parts, privacy(parts) as forgetting:
        own = await live(parts)
        await parts.moderation.unblock(GUILD, EVE, MODERATOR)
        backup = tmp_path / "backup.db"
        with (
            closing(sqlite3.connect(parts.store.path)) as source,
            closing(sqlite3.connect(backup)) as copy,
        ):
            source.backup(copy)
        await forget_eve(forgetting)
        newer = await asyncio.to_thread(gone, parts.store.path)
        since = newer.without(await asyncio.to_thread(gone, backup, in_use=False))
    if early:  # the backup is of a version without pseudonyms: it has got others since
        ((_, asked_ms, dream_id),) = since.people
        parted = frozenset({(people.PARTED + "f" * 32, asked_ms, dream_id)})
        since = msgspec.structs.replace(since, people=parted)
    await forget(backup, since)
    store = await Store.open(backup)
    (row,) = await store.read("SELECT person_id, deleted_ms FROM dream WHERE id = ?", (own,))
    assert row["person_id"].startswith(people.PARTED) and row["deleted_ms"] is not None
    assert not await store.read("SELECT 1 FROM favourite WHERE person_id = ?", (row["person_id"],))
    await store.close()
    whole(backup)
    assert EVE.id.encode() not in backup.read_bytes()
    assert EVE.name.encode() not in backup.read_bytes()
