"""The database: its versions, its guards, its transactions, and how its queries are answered."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bot.errors import DiskError, NewerDatabaseError, StoreError
from bot.ids import IdMaker
from bot.model import Dream, DreamState, EventKind, Image, Person, Theme
from bot.sentences import say
from bot.store import (
    Store,
    autopilot,
    deliveries,
    digests,
    dream_states,
    dreams,
    events,
    favourites,
    images,
    migrate,
    moderation,
    people,
    themes,
    tombstones,
    vectors,
    watching,
)
from generation.protocol import Recipe

PERSON = Person("guest:ann", "Ann")
RECIPE = Recipe(engine="clip", model="m", prompt="fox", width=64, height=64, steps=9, seed=1)
IMAGE = Image(sha256="0" * 64, width=64, height=64, size_bytes=10)
IDS = IdMaker()


@pytest.fixture(autouse=True)
def migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every database as a start makes it, and no copy."""
    monkeypatch.setattr("bot.store.upgrade", migrate.upgrade)


def a_dream(theme_id: int, dream_id: str = "", parent_id: str | None = None) -> Dream:
    dream_id = dream_id or IDS.next()
    return Dream(
        id=dream_id,
        ask_id=dream_id,
        theme_id=theme_id,
        person=PERSON,
        prompt="fox",
        recipe=RECIPE,
        state=DreamState.WAITING,
        parent_id=parent_id,
        created_ms=1,
    )


async def fill(store: Store, *made: Dream) -> Theme:
    async with store.write() as connection:
        theme = await themes.insert(
            connection, Theme(id=0, slug="open", title="Open", created_ms=1)
        )
        await people.upsert(connection, PERSON, 1)
        dream = a_dream(theme.id, "d" * 16)
        await dream_states.insert(connection, [dream, *made])
        await events.append(
            connection, EventKind.ASKED, theme.id, 1, dream_id=dream.id, person_id=PERSON.id
        )
    return theme


# --- versions ----------------------------------------------------------------------------------


def ladder(count: int) -> tuple[migrate.Migration, ...]:
    first = migrate.Migration(1, "001_a.sql", "CREATE TABLE t (a TEXT) STRICT;")
    rest = [
        migrate.Migration(
            number,
            f"{number:03d}_x.sql",
            f"ALTER TABLE t ADD COLUMN c{number} INTEGER NOT NULL DEFAULT {number};\n"
            f"INSERT INTO t (a) VALUES ('from {number}');",
        )
        for number in range(2, count + 1)
    ]
    return (first, *rest)


def rows_of(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("old", [1, 2, 3, 4])
def test_every_older_version_is_upgraded_and_copied_first(tmp_path: Path, old: int) -> None:
    path = tmp_path / "a.db"
    assert migrate.upgrade(path, ladder(old)) == 0
    before = rows_of(path, "SELECT * FROM t")
    assert migrate.upgrade(path, ladder(5)) == old
    assert rows_of(path, "SELECT count(*) FROM t") == [(4,)]
    assert rows_of(path, "PRAGMA user_version") == [(5,)]
    copy = migrate.backup_path(path, old)
    assert rows_of(copy, "SELECT * FROM t") == before
    assert rows_of(copy, "PRAGMA user_version") == [(old,)]
    assert migrate.upgrade(path, ladder(5)) == 5


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate.upgrade(path, ladder(1))
    broken = migrate.Migration(2, "002_b.sql", "CREATE TABLE u (a TEXT);\nNONSENSE;")
    with pytest.raises(StoreError):
        migrate.upgrade(path, (*ladder(1), broken))
    assert rows_of(path, "PRAGMA user_version") == [(1,)]
    assert rows_of(path, "SELECT name FROM sqlite_master WHERE name = 'u'") == []


def test_a_migration_may_not_leave_rows_that_point_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    dangling = (
        "CREATE TABLE a (id INTEGER PRIMARY KEY);\n"
        "CREATE TABLE b (a INTEGER REFERENCES a (id));\n"
        "INSERT INTO b VALUES (5);"
    )
    with pytest.raises(StoreError, match="points nowhere"):
        migrate.upgrade(path, (migrate.Migration(1, "001_x.sql", dangling),))
    assert rows_of(path, "PRAGMA user_version") == [(0,)]


def test_statements_are_split_where_they_end() -> None:
    script = migrate.shipped()[0].sql
    found = list(migrate.statements(script))
    assert "".join(found).strip() == script.strip()
    assert sum("CREATE TRIGGER" in statement for statement in found) == 4
    with pytest.raises(StoreError, match="unfinished"):
        list(migrate.statements("CREATE TABLE a (b TEXT)"))


async def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await (await Store.open(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(NewerDatabaseError, match="newer version of Dreamstream"):
        await Store.open(path)
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.parametrize("content", [b"not a database, but a text that is long enough" * 50])
async def test_a_damaged_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        await Store.open(path)
    assert path.read_bytes() == content


async def test_a_damaged_page_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await (await Store.open(path)).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    with pytest.raises(StoreError):
        await Store.open(path)


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        connection.commit()
    with pytest.raises(StoreError, match="another program"):
        await Store.open(path)
    assert rows_of(path, "SELECT name FROM sqlite_master") == [("theirs",)]


async def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        await Store.open(tmp_path / "file" / "a.db")


async def test_every_shipped_version_upgrades_with_its_rows(tmp_path: Path) -> None:
    shipped = migrate.shipped()
    for version in range(1, len(shipped)):
        path = tmp_path / f"{version}.db"
        migrate.upgrade(path, shipped[:version])
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("INSERT INTO theme (slug, title, created_ms) VALUES ('a', 'A', 1)")
            connection.commit()
        store = await Store.open(path)
        assert [theme.slug for theme in await themes.listing(store)] == ["a"]
        await store.close()


# --- guards ------------------------------------------------------------------------------------


async def test_the_stream_is_append_only(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = await Store.open(path)
    await fill(store)
    await store.close()
    before = rows_of(path, "SELECT * FROM stream_event")
    with closing(sqlite3.connect(path)) as connection:
        for sql in (
            "UPDATE stream_event SET at_ms = 5",
            "DELETE FROM stream_event",
            "INSERT OR REPLACE INTO stream_event (id, theme_id, kind, at_ms) "
            "SELECT id, theme_id, 'done', 9 FROM stream_event",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(sql)
    assert rows_of(path, "SELECT * FROM stream_event") == before


async def test_a_dream_ends_once(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    await fill(store)
    ident = "d" * 16
    async with store.write() as connection:
        await images.insert(connection, IMAGE, 1)
        done = {"gpu_s": 1.0, "score": None, "now_ms": 2}
        assert await dream_states.to_done(connection, ident, RECIPE, IMAGE, **done)  # type: ignore[arg-type]
        assert not await dream_states.to_done(connection, ident, RECIPE, IMAGE, **done)  # type: ignore[arg-type]
        assert not await dream_states.to_ended(connection, ident, DreamState.CANCELLED, "", 3)
        assert not await dream_states.to_drawing(connection, ident, 1, 3)
    with pytest.raises(sqlite3.IntegrityError, match="no more"):
        async with store.write() as connection:
            await connection.execute("UPDATE dream SET state = 'waiting'")
    found = await dreams.by_id(store, ident)
    assert found is not None
    assert (found.state, found.image, found.step) == (DreamState.DONE, IMAGE, RECIPE.steps)
    await store.close()


async def test_people_are_called_by_their_newest_name(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    await fill(store)
    async with store.write() as connection:
        await people.upsert(connection, Person(PERSON.id, "Anna"), 2)
    (event,) = await events.after(store, 0, 10)
    assert event.person == Person(PERSON.id, "Anna")
    await store.close()


# --- transactions ------------------------------------------------------------------------------


async def test_an_error_undoes_the_whole_transaction(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    with pytest.raises(ZeroDivisionError):
        async with store.write() as connection:
            await themes.insert(connection, Theme(id=0, slug="a", title="A"))
            raise ZeroDivisionError
    assert await themes.listing(store) == []
    await fill(store)
    assert len(await themes.listing(store)) == 1
    await store.close()


async def test_cancelled_writers_leave_all_or_nothing(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")

    async def write(number: int) -> None:
        async with store.write() as connection:
            await themes.insert(connection, Theme(id=0, slug=f"a{number}", title="A"))
            await themes.insert(connection, Theme(id=0, slug=f"b{number}", title="B"))

    for number in range(40):
        task = asyncio.create_task(write(number))
        for _ in range(number % 20):
            await asyncio.sleep(0)
        if number % 3:
            await asyncio.sleep(0.0002 * (number % 7))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await write(99)
    slugs = {theme.slug for theme in await themes.listing(store)}
    assert {slug[1:] for slug in slugs if slug[0] == "a"} == {
        slug[1:] for slug in slugs if slug[0] == "b"
    }
    assert "a99" in slugs
    await store.close()


async def test_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    async with store.write() as connection:
        await themes.insert(connection, Theme(id=0, slug="a", title="A"))
        assert await themes.listing(store) == []
    assert len(await themes.listing(store)) == 1
    with pytest.raises(DiskError, match="readonly"):
        await store.read("DELETE FROM theme")
    await store.close()


async def test_a_locked_database_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.BUSY_TIMEOUT_MS", 20)
    store = await Store.open(tmp_path / "a.db")
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            async with store.write():
                pass
    async with store.write():
        pass
    await store.close()


async def test_a_copy_taken_while_open_is_whole(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    await fill(store)
    await asyncio.to_thread(shutil.copytree, tmp_path, tmp_path / "copy")
    await store.close()
    again = await Store.open(tmp_path / "copy" / "a.db")
    assert len(await dreams.unfinished(again)) == 1
    await again.close()


# --- how queries are answered ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "parameters", "index"),
    [
        (dreams.BY_ID, ("a",), "PRIMARY KEY"),
        (dreams.BY_ASK, ("a",), "dream_by_ask"),
        (dreams.UNFINISHED, (), "dream_unfinished"),
        (dreams.UNFINISHED_IN_THEME, (1,), "dream_unfinished"),
        (dreams.FINISHED, ("a", 9), "PRIMARY KEY"),
        (dreams.FINISHED_IN_THEME, (1, "a", 9), "dream_finished"),
        (dreams.FAILED, ("a", "a", 1, 0, 9), "dream_by_person"),
        (dreams.CHILDREN, ("a", 9), "dream_by_parent"),
        (dreams.OF_IMAGE, ("a", 9), "dream_by_image"),
        (dreams.OF_SEED, (1, 9), "dream_by_seed"),
        (dreams.COUNT_UNFINISHED, ("a", 0), "dream_unfinished"),
        (events.AFTER, (1, 9), "PRIMARY KEY"),
        (events.AFTER_IN_THEME, (1, 1, 9), "stream_event_by_theme"),
        (events.MADE_BY, (1, "a"), "stream_event_of_theme"),
        (events.MADE_IN, (1, 1), "stream_event_of_theme"),
        (events.LAST_ID_IN_THEME, (1,), "stream_event_by_theme"),
        (dreams.PUBLISHED, ("a",), "dream_by_ask"),
        (tombstones.RESULT_OF, ("a",), "dream_by_image"),
        (tombstones.FILE_NAMED, ("a",), "dream_file_by_content"),
        (
            moderation.LATEST,
            {"guild_id": 1, "before": 9, "limit": 9, "act": None, "person_id": None},
            "moderation_entry_by_guild",
        ),
        (favourites.OF_PERSON, ("a", 9), "favourite_by_person"),
        (vectors.OLDER_UNSEEN, ("~", "a", 9), "PRIMARY KEY"),
        (vectors.PAGE, (0, "a", 9), "PRIMARY KEY"),
        (
            autopilot.SPENT,
            {"person_id": "a", "since": "a", "since_ms": 1, "now_ms": 2, "theme_id": 1},
            "dream_by_person",
        ),
        (autopilot.NEWEST, {"theme_id": 1, "end": "a", "now_ms": 2}, "dream_by_theme"),
        (autopilot.RECENT, (1, "a", 9), "dream_finished"),
        (autopilot.TRIED, (1, 9), "dream_by_theme"),
        (watching.EVERYTHING, ("a", 9), "PRIMARY KEY"),
        (watching.BETWEEN, (1, "a", "b", 9, 0), "dream_finished"),
        (watching.COUNT_BETWEEN, (1, "a", "b"), "dream_finished"),
        (watching.LAST_BEFORE, (1, "a"), "dream_finished"),
        (watching.FIRST_FROM, (1, "a"), "dream_finished"),
        (digests.SHOWING, ("a",), "digest_dream_by_dream"),
        (digests.OPEN, (), "digest_open"),
        (digests.DREAMS, (1,), "PRIMARY KEY"),
        (deliveries.SHOWN_BY.format(marks="?, ?"), (1, 2), "delivery_by_message"),
    ],
)
async def test_hot_queries_use_an_index(
    tmp_path: Path, sql: str, parameters: tuple[Any, ...], index: str
) -> None:
    store = await Store.open(tmp_path / "a.db")
    plan = [row["detail"] for row in await store.read(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    await store.close()
    outermost = next(line for line in plan if line.split()[1] != "person")
    assert index in outermost, plan
    assert not any(line.startswith("SCAN") and "USING" not in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


async def test_likes_are_counted_in_the_order_of_their_key(tmp_path: Path) -> None:
    """Of a hundred thousand likes each is gone through once, and each dream looked up once."""
    store = await Store.open(tmp_path / "a.db")
    best = {"theme_id": 1, "first": "a", "end": "b", "limit": 9, "offset": 0}
    for sql, parameters, first in (
        (autopilot.LIKED, (1, 9), "SCAN favourite"),
        (watching.BEST, best, "SEARCH favourite USING PRIMARY KEY (dream_id>? AND dream_id<?)"),
    ):
        values: Any = parameters
        plan = [row["detail"] for row in await store.read(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert [line for line in plan if "favourite" in line] == [first], plan
        assert "SEARCH dream USING PRIMARY KEY (id=?)" in plan
        assert not any("GROUP BY" in line for line in plan), plan
    await store.close()


async def test_limits_and_deletions_look_at_no_whole_table(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    limits = {
        "person_id": "a",
        "guild_id": 1,
        "channel_id": 2,
        "since": "0",
        "since_ms": 0,
        "now_ms": 1,
        "background": False,
    }
    for sql, parameters, indexes in (
        (
            dreams.PLACES_TAKEN,
            limits,
            [
                "dream_unfinished",
                "dream_unfinished_in_channel",
                "dream_by_person",
                "PRIMARY KEY",  # of picture_check
            ],
        ),
        (
            images.NAMED,
            {"sha256": "a"},
            [
                "dream_by_image",
                "dream_by_init",
                "dream_picture_by_image",
                "theme_by_picture",
                "game_entry_by_image",
                "picture_check_by_original",
            ],
        ),
    ):
        plan = [row["detail"] for row in await store.read(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        looks = [line for line in plan if line.startswith(("SEARCH", "SCAN dream"))]
        assert len(looks) == len(indexes)
        for line, index in zip(looks, indexes, strict=True):
            assert f"USING {index}" in line or f"INDEX {index}" in line, plan
    await store.close()


async def test_a_sentence_is_kept_as_the_string_that_it_is(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    theme = await fill(store)
    reason = say("The disk has {room} left.", room="nothing")
    async with store.write() as connection:
        await events.append(connection, EventKind.FAILED, theme.id, 1, payload={"reason": reason})
        with pytest.raises(TypeError, match="not to be kept"):
            await events.append(connection, EventKind.FAILED, theme.id, 1, payload={"a": store})
    *_, last = await events.after(store, 0, 9)
    await store.close()
    assert last.payload == {"reason": "The disk has nothing left."}


async def test_pages_go_backwards_without_gaps(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    theme = await fill(store)
    made = [a_dream(theme.id) for _ in range(25)]
    async with store.write() as connection:
        await dream_states.insert(connection, made)
        await images.insert(connection, IMAGE, 1)
        for dream in made:
            await dream_states.to_done(
                connection, dream.id, RECIPE, IMAGE, gpu_s=0.0, score=None, now_ms=1
            )
    for theme_id in (theme.id, None):
        found: list[str] = []
        while page := await dreams.finished(store, theme_id, found[-1] if found else None, 10):
            found += [dream.id for dream in page]
        assert found == [dream.id for dream in reversed(made)]
    await store.close()


async def test_ancestors_are_found_nearest_first(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    theme = await fill(store)
    line = [a_dream(theme.id)]
    for _ in range(5):
        line.append(a_dream(theme.id, parent_id=line[-1].id))
    async with store.write() as connection:
        await dream_states.insert(connection, line)
    found = await dreams.ancestors(store, line[-1].id)
    assert [dream.id for dream in found] == [dream.id for dream in reversed(line[:-1])]
    assert [dream.id for dream in await dreams.children(store, line[0].id)] == [line[1].id]
    await store.close()
