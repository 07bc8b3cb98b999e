"""`doctor --deep`: what is lost or wrong is found and named; what can be mended is, for good."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bot.backup import database
from bot.backup.forgetting import gone
from bot.backup.making import make
from bot.backup.model import BackupError
from bot.config import Config
from bot.consistency import command, proving
from bot.consistency.model import Folder, Proof
from bot.consistency.proving import mend, prove
from bot.data_folder import lock_folder
from bot.errors import ConfigError, NewerDatabaseError, NotFoundError, StoreError
from bot.ids import now_ms, time_of
from bot.model import Dream, DreamState, Person
from bot.rights import Actor
from bot.store import deliveries
from bot.store.check import check_file
from bot.store.migrate import shipped, upgrade
from generation.protocol import Attachment
from tests.bot.drawer import ANN, BOB, Services, finished, png, request, services

CHANNEL, GUILD = 70, 7


async def draw(s: Services, colour: str, **more: object) -> Dream:
    (dream,) = await s.dreams.ask(request(f"a {colour} fox", **more))
    job = await s.begin(dream.id)
    film = Attachment(name="film.mp4", media_type="video/mp4", data=colour.encode())
    await s.dreams.on_message(msgspec.structs.replace(finished(job, colour), attachments=(film,)))
    return await s.dreams.wait(dream.id)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small library with a bit of everything, and its backup."""
    folder = tmp_path_factory.mktemp("made")
    asyncio.run(make_library(folder))
    return folder


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Folder:
    """A copy of it, with nobody at work on it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Folder(tmp_path / "data", alone=True)


async def make_library(folder: Path) -> None:
    data = folder / "data"
    async with services(data) as s:
        red = await draw(s, "red", init=png(colour="blue"), strength=0.5)
        green = await draw(s, "green")
        deleted = await draw(s, "orange")
        await s.moderation.favourite(red.id, BOB)
        cancelled, failed, _ = [
            (await s.dreams.ask(request(f"dream {index}")))[0] for index in range(3)
        ]
        await s.dreams.cancel(cancelled.id, Actor(ANN))
        active = s.dreams._unfinished.get(failed.id)
        assert active is not None
        s.dreams._unfinished.end(active, DreamState.FAILED, "It could not be drawn.")
        await s.dreams.wait(failed.id)
        await s.dreams.delete(deleted.id, Actor(ANN))
        async with s.store.write() as connection:
            await deliveries.order(connection, [red, green], GUILD, CHANNEL, 1)
            await connection.execute(
                "UPDATE delivery SET state = 'settled', message_id = 5, sends = 1"
            )
    await make(data, folder / "backups")


def change(folder: Folder, *statements: str) -> None:
    """Write what the product never would: without guards, and without keys being checked."""
    with closing(sqlite3.connect(folder.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for name, sql in connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
            statements += (sql,)
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")


def kinds(proof: Proof) -> set[str]:
    return {fault.kind for fault in proof.faults}


def path_of(folder: Folder, which: str) -> Path:
    return next((folder.library / which).rglob("*.*" if which != "files" else "[0-9a-f]*/*"))


def damage(which: str) -> Callable[[Folder], None]:
    def flip(folder: Folder) -> None:
        path = path_of(folder, which)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)

    return flip


def pipe(which: str) -> Callable[[Folder], None]:
    """Put a pipe in a file's place, from which nothing ever comes."""

    def put_there(folder: Folder) -> None:
        path = path_of(folder, which)
        path.unlink()
        os.mkfifo(path)

    return put_there


def lose(which: str) -> Callable[[Folder], None]:
    return lambda folder: path_of(folder, which).unlink()


def put(name: str, content: bytes = b"?") -> Callable[[Folder], None]:
    def write(folder: Folder) -> None:
        path = folder.library / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return write


def run(*statements: str) -> Callable[[Folder], None]:
    return lambda folder: change(folder, *statements)


DONE = "(SELECT min(id) FROM dream WHERE state = 'done' AND deleted_ms IS NULL)"
GONE = "(SELECT id FROM dream WHERE deleted_ms IS NOT NULL)"
AGAIN = """
    INSERT INTO stream_event (theme_id, kind, dream_id, pseudonym, at_ms, payload)
    SELECT theme_id, '{kind}', dream_id, pseudonym, at_ms, payload FROM stream_event
    WHERE kind = '{of}' AND dream_id = {dream}
"""
DECIDED = """
    INSERT INTO moderation_entry (guild_id, act, by_pseudonym, at_ms)
    SELECT 7, 'settings', pseudonym, {at_ms} FROM person WHERE id = 'guest:ann'
"""
STRAY = "images/ab/" + "ab" * 32 + ".png"

MENDABLE: dict[str, tuple[str, Callable[[Folder], None]]] = {
    "asked-never": (
        "asked-never",
        run(f"DELETE FROM stream_event WHERE kind = 'asked' AND dream_id = {DONE}"),
    ),
    "end-lost": (
        "ended-never",
        run(f"DELETE FROM stream_event WHERE kind = 'done' AND dream_id = {DONE}"),
    ),
    "failure-lost": ("ended-never", run("DELETE FROM stream_event WHERE kind = 'failed'")),
    "row-behind": (
        "over-unknown",
        run(f"UPDATE dream SET state = 'drawing', image_sha256 = NULL WHERE id = {DONE}"),
    ),
    "row-half-behind": (
        "over-unknown",
        run(f"UPDATE dream SET state = 'drawing', ended_ms = NULL WHERE id = {DONE}"),
    ),
    "cancel-behind": (
        "over-unknown",
        run("UPDATE dream SET state = 'waiting' WHERE state = 'cancelled'"),
    ),
    "no-time": ("ended-when", run(f"UPDATE dream SET ended_ms = NULL WHERE id = {DONE}")),
    "impossible-time": (
        "impossible-time",
        run(f"UPDATE dream SET created_ms = 1 << 62, ended_ms = -(1 << 62) WHERE id = {DONE}"),
    ),
    "impossible-deletion": (
        "impossible-time",
        run(
            "UPDATE dream SET deleted_ms = 1 << 62 WHERE deleted_ms > 0",
            "DELETE FROM stream_event WHERE kind = 'deleted'",
        ),
    ),
    "early": ("ended-early", run("UPDATE dream SET ended_ms = 1 WHERE state = 'waiting'")),
    "no-picture": (
        "picture-none",
        run(f"UPDATE dream SET image_sha256 = NULL WHERE id = {DONE}"),
    ),
    "a-picture-too-many": (
        "picture-without-end",
        run(
            "UPDATE dream SET image_sha256 = (SELECT min(sha256) FROM image) "
            "WHERE state = 'cancelled'"
        ),
    ),
    "deleted-quietly": ("deleted-never", run("DELETE FROM stream_event WHERE kind = 'deleted'")),
    "deleted-words": ("tombstone", run("UPDATE dream SET prompt = 'x' WHERE deleted_ms > 0")),
    "deleted-liked": (
        "tombstone-favourite",
        run(f"INSERT INTO favourite VALUES ({GONE}, 'guest:bob', 1)"),
    ),
    "deleted-seen": (
        "tombstone-dream_vector",
        run(
            f"INSERT INTO dream_vector (dream_id, perceptor, vector) VALUES ({GONE}, 'p', x'0000')"
        ),
    ),
    "steer-left": (
        "steer-left",
        run(
            "INSERT INTO pending_steer (dream_id, person_id, prompt, glide_steps, asked_ms) "
            f"VALUES ({DONE}, 'guest:ann', 'x', 1, 1)"
        ),
    ),
    "card-without": ("delivery-without", run("DELETE FROM delivery_dream WHERE position = 0")),
    "card-early": (
        "delivery-early",
        run(
            "UPDATE delivery_dream SET dream_id = (SELECT id FROM dream WHERE state = 'waiting') "
            "WHERE position = 1"
        ),
    ),
    "card-unsent": ("delivery-unsent", run("UPDATE delivery SET message_id = NULL")),
    "person-lost": ("reference", run("DELETE FROM person WHERE id = 'guest:ann'")),
    "parent-lost": (
        "reference",
        run(f"UPDATE dream SET parent_id = '0000000000000000' WHERE id = {DONE}"),
    ),
    "like-of-none": (
        "reference",
        run("INSERT INTO favourite VALUES ('0000000000000000', 'guest:bob', 1)"),
    ),
    "image-row-lost": (
        "image-row",
        run(f"DELETE FROM image WHERE sha256 = (SELECT image_sha256 FROM dream WHERE id = {DONE})"),
    ),
    "image-row-wrong": ("image-row", run("UPDATE image SET width = width + 1")),
    "image-row-alone": (
        "image-row",
        run(f"INSERT INTO image VALUES ('{'cd' * 32}', 1, 1, 1, 1)"),
    ),
    "file-row-wrong": ("file-row", run("UPDATE dream_file SET size_bytes = 99")),
    "other-start": (
        "start",
        run(
            f"UPDATE dream SET init_sha256 = (SELECT image_sha256 FROM dream WHERE id = {DONE}) "
            "WHERE state = 'failed'"
        ),
    ),
    "guard-lost": ("schema", lambda folder: _drop(folder, "TRIGGER dream_ends_once")),
    "index-lost": ("schema", lambda folder: _drop(folder, "INDEX dream_by_ask")),
    "thumbnail": ("thumbnail", damage("thumbnails")),
    "stray-picture": ("stray", put(STRAY)),
    "stray-thumbnail": ("stray", put("thumbnails/192/ab/" + "ab" * 32 + ".webp")),
    "stray-file": ("stray", put("files/ab/" + "ab" * 32)),
    "stray-name": ("stray", put("images/ab/notes.txt")),
    "text": (
        "text",
        run(
            "UPDATE person SET name = CAST(x'41ff42' AS TEXT) WHERE id = 'guest:ann'",
            "UPDATE theme SET title = CAST(x'c3' AS TEXT)",
            f"UPDATE dream SET prompt = CAST(x'61f062' AS TEXT) WHERE id = {DONE}",
            "UPDATE dream SET recipe = "
            f"CAST(replace(CAST(recipe AS BLOB), 'fox', x'66ff78') AS TEXT) WHERE id = {DONE}",
        ),
    ),
    "half": ("half", put("images/ab/.part-0011")),
    "checkpoint": ("stray", put("checkpoints/kept/0000000000000000.checkpoint")),
}
FROM_BACKUP: dict[str, tuple[str, Callable[[Folder], None]]] = {
    "picture-lost": ("file", lose("images")),
    "picture-torn": ("file", damage("images")),
    "film-lost": ("file", lose("files")),
    "film-torn": ("file", damage("files")),
}
if hasattr(os, "mkfifo"):  # Windows has none
    MENDABLE["thumbnail-pipe"] = ("thumbnail", pipe("thumbnails"))
    FROM_BACKUP["picture-pipe"] = ("file", pipe("images"))
    FROM_BACKUP["film-pipe"] = ("file", pipe("files"))
FOR_GOOD: dict[str, tuple[str, Callable[[Folder], None]]] = {
    "asked-twice": ("asked-twice", run(AGAIN.format(kind="asked", of="asked", dream=DONE))),
    "ended-twice": ("ended-twice", run(AGAIN.format(kind="done", of="done", dream=DONE))),
    "ended-otherwise": (
        "ended-otherwise",
        run(f"UPDATE stream_event SET kind = 'failed' WHERE kind = 'done' AND dream_id = {DONE}"),
    ),
    "deleted-not": (
        "deleted-not",
        run(AGAIN.format(kind="deleted", of="asked", dream=DONE)),
    ),
    "picture-unknown": (
        "picture-lost",
        run(
            f"UPDATE dream SET image_sha256 = NULL WHERE id = {DONE}",
            f"UPDATE stream_event SET payload = '{{}}' WHERE dream_id = {DONE} AND kind = 'done'",
        ),
    ),
    "recipe": ("recipe", run(f"UPDATE dream SET recipe = '{{}}' WHERE id = {DONE}")),
    "text-of-an-event": (
        "text",
        run("UPDATE stream_event SET payload = CAST(x'7b22ff223a317d' AS TEXT) WHERE id = 1"),
    ),
    "kind": ("event-kind", run(AGAIN.format(kind="sung", of="asked", dream=DONE))),
    "event-before-1970": (
        "event-time",
        run("UPDATE stream_event SET at_ms = -1 WHERE kind = 'cancelled'"),
    ),
    "event-after-9999": (
        "event-time",
        run("UPDATE stream_event SET at_ms = 253402300800000 WHERE kind = 'cancelled'"),
    ),
    "decision-before-1970": ("decision-time", run(DECIDED.format(at_ms=-1))),
    "decision-after-9999": ("decision-time", run(DECIDED.format(at_ms=253402300800000))),
    "twice-on-a-channel": (
        "delivery-twice",
        run(
            "INSERT INTO delivery (dream_id, guild_id, channel_id, message_id, created_ms, "
            f"changed_ms) VALUES ((SELECT max(dream_id) FROM delivery_dream), {GUILD}, {CHANNEL}, "
            "6, 1, 1)",
            "INSERT INTO delivery_dream SELECT id, dream_id, 0 FROM delivery WHERE message_id = 6",
        ),
    ),
}
ALL = MENDABLE | FROM_BACKUP | FOR_GOOD


def _drop(folder: Folder, what: str) -> None:
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.execute(f"DROP {what}")


def settings(data_dir: Path) -> Config:
    return Config.model_validate({"storage": {"data_dir": str(data_dir)}})


def mended(folder: Folder) -> tuple[Proof, list[str]]:
    said: list[str] = []
    left = mend(folder, lambda fault, text: said.append(f"{fault.text} {text}"))
    return left, said


def backed_up(folder: Folder) -> Folder:
    return Folder(folder.data_dir, alone=True, backups=folder.data_dir.parent / "backups")


def test_what_the_product_leaves_is_well(library: Folder) -> None:
    proof = prove(library)
    assert [fault.text for fault in proof.faults] == []
    assert (proof.dreams, proof.unfinished, proof.pictures, proof.files) == (6, 1, 3, 2)
    assert mended(library) == (proof, [])


@pytest.mark.parametrize("harm", ALL)
def test_harm_is_found_named_and_mended_where_it_can_be(library: Folder, harm: str) -> None:
    kind, do = ALL[harm]
    do(library)
    found = prove(library)
    assert kind in kinds(found)
    for fault in found.faults:
        assert fault.text.endswith(".")
        assert fault.mend is not None or fault.cannot.endswith((".", ")"))
    if harm in FROM_BACKUP:
        left, _ = mended(library)
        assert kinds(left) == {kind}
        left, said = mended(backed_up(library))
        assert "taken from the backup" in said[0]
    else:
        left, _ = mended(library)
    assert kinds(left) == ({kind} if harm in FOR_GOOD else set())


@pytest.mark.parametrize("seed", range(6))
def test_any_harm_at_once_is_found_and_mended_as_far_as_it_goes(library: Folder, seed: int) -> None:
    chance = random.Random(seed)
    # Two that mend the same thing from each other leave nothing to mend from.
    # And a pipe cannot be harmed any further.
    without = ("end-lost", "image-row-lost", "thumbnail-pipe", "picture-pipe", "film-pipe")
    pool = [name for name in MENDABLE | FROM_BACKUP if name not in without]
    harms = chance.sample(pool, 7)
    for harm in harms:
        ALL[harm][1](library)
    found = prove(library)
    assert found.faults
    folder = backed_up(library)
    left, _ = mended(folder)
    assert [fault.text for fault in left.faults if fault.mend is not None] == [], harms
    again = prove(folder)
    assert {fault.text for fault in again.faults} == {fault.text for fault in left.faults}


async def test_what_is_mended_is_what_the_product_reads(library: Folder) -> None:
    for harm in ("row-behind", "asked-never", "person-lost", "picture-lost"):
        ALL[harm][1](library)
    left, _ = mended(backed_up(library))
    assert left.faults == []
    async with services(library.data_dir) as s:
        (first, second) = await s.dreams.recent(None)
        for dream in (first, second):
            assert dream.image is not None
            assert await s.library.read(dream.image.sha256)
        assert {dream.person for dream in (first, second)} == {Person(ANN.id, "Somebody")}


async def test_a_text_that_is_damaged_keeps_nothing_else_from_being_read(library: Folder) -> None:
    ALL["text"][1](library)
    async with services(library.data_dir) as s:
        found = await s.dreams.recent(None)
        assert [dream.prompt for dream in found] == ["a green fox", "a\ufffdb"]
        assert {dream.person.name for dream in found} == {"A\ufffdB"}
    _, said = mended(library)
    assert len(said) == 4
    with closing(sqlite3.connect(library.database)) as connection:
        assert connection.execute("SELECT title FROM theme").fetchone() == ("\ufffd",)


def test_the_first_and_the_last_time_that_can_be_are_no_fault(library: Folder) -> None:
    change(
        library,
        *(DECIDED.format(at_ms=at_ms) for at_ms in (0, 253402300799999)),
        "UPDATE stream_event SET at_ms = 0 WHERE kind = 'cancelled'",
        "UPDATE stream_event SET at_ms = 253402300799999 WHERE kind = 'failed'",
    )
    assert [fault.text for fault in prove(library).faults] == []


@pytest.mark.parametrize("stream", ["lost", "impossible"])
def test_no_time_that_cannot_be_gets_into_the_stream_or_out_of_it(
    library: Folder, stream: str
) -> None:
    of_it = f"WHERE dream_id = {DONE} AND kind IN ('asked', 'done')"
    change(
        library,
        f"DELETE FROM stream_event {of_it}"
        if stream == "lost"
        else f"UPDATE stream_event SET at_ms = 1 << 62 {of_it}",
        f"UPDATE dream SET created_ms = 1 << 62, ended_ms = -(1 << 62) WHERE id = {DONE}",
    )
    left, said = mended(library)
    assert kinds(left) == (set() if stream == "lost" else {"event-time"}) and said
    with closing(sqlite3.connect(library.database)) as connection:
        (row,) = connection.execute(f"SELECT id, created_ms, ended_ms FROM dream WHERE id = {DONE}")
        at_ms = {one for (one,) in connection.execute(f"SELECT at_ms FROM stream_event {of_it}")}
    asked_ms = time_of(row[0])
    assert row[1] == asked_ms <= row[2] <= now_ms()
    assert at_ms == {asked_ms if stream == "lost" else 1 << 62}


@pytest.mark.parametrize("stream", ["lost", "impossible", "whole"])
def test_what_was_deleted_stays_so_also_at_a_time_that_can_be(library: Folder, stream: str) -> None:
    of_it = "WHERE kind = 'deleted'"
    with closing(sqlite3.connect(library.database)) as connection:
        ((id_, ended_ms),) = connection.execute(
            "SELECT id, ended_ms FROM dream WHERE deleted_ms IS NOT NULL"
        )
        ((deleted_ms,),) = connection.execute(f"SELECT at_ms FROM stream_event {of_it}")
    change(
        library,
        {
            "lost": f"DELETE FROM stream_event {of_it}",
            "impossible": f"UPDATE stream_event SET at_ms = -1 {of_it}",
            "whole": "SELECT 1",
        }[stream],
        "UPDATE dream SET deleted_ms = 1 << 62 WHERE deleted_ms IS NOT NULL",
    )
    left, _ = mended(library)
    assert kinds(left) == ({"event-time"} if stream == "impossible" else set())
    wanted = deleted_ms if stream == "whole" else ended_ms
    with closing(sqlite3.connect(library.database)) as connection:
        found = connection.execute("SELECT id, deleted_ms FROM dream WHERE deleted_ms IS NOT NULL")
        assert found.fetchall() == [(id_, wanted)]
        ((at_ms,),) = connection.execute(f"SELECT at_ms FROM stream_event {of_it}")
    assert at_ms == (-1 if stream == "impossible" else wanted)


def test_a_text_of_a_row_whose_key_is_damaged_too_is_not_said_to_be_mended(
    library: Folder,
) -> None:
    change(
        library,
        "INSERT INTO person (id, name, first_seen_ms) "
        "VALUES (CAST(x'67ff' AS TEXT), CAST(x'41ff' AS TEXT), 1)",
    )
    left, said = mended(library)
    assert [one for one in said if "person.name" in one or "person (name" in one] == []
    assert [fault.about for fault in left.faults if fault.kind == "text"] == [
        "person.id g\ufffd",
        "person.name g\ufffd",
    ]
    assert all(fault.mend is None and fault.cannot for fault in left.faults)


def test_what_nothing_names_is_put_aside_and_not_lost(library: Folder) -> None:
    put(STRAY, b"perhaps somebody's")(library)
    mended(library)
    assert (library.aside / STRAY).read_bytes() == b"perhaps somebody's"


async def test_a_running_bot_is_looked_at_and_not_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path / "data")
    with pytest.raises(NotFoundError, match="nothing has been run"):
        await command.run(config, mending=False, backups=None)
    async with services(config.storage.data_dir) as s:
        await draw(s, "red")
        lock = lock_folder(config.storage.data_dir)
        put("images/ab/.part-0011")(Folder(config.storage.data_dir, alone=False))
        assert await command.run(config, mending=False, backups=None) == 0, "it is being written"
        assert "the bot is at work" in capsys.readouterr().out
        with pytest.raises(ConfigError, match="--mend needs the folder alone"):
            await command.run(config, mending=True, backups=None)
        lock.release()


async def test_the_command_says_what_it_found_and_did(
    library: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(library.data_dir)
    backups = library.data_dir.parent / "backups"
    ALL["picture-lost"][1](library)
    ALL["asked-twice"][1](library)
    assert await command.run(config, mending=False, backups=None) == 1
    out = capsys.readouterr().out
    assert ".png is missing. No backup has it." in out
    assert "asked for more than once" in out
    assert await command.run(config, mending=True, backups=backups) == 1
    out = capsys.readouterr().out
    assert "is missing. It is taken from the backup." in out
    assert "BAD  Dream" in out and ".png" not in out.split("BAD", 1)[1]


@pytest.mark.parametrize("do", [prove, mended], ids=["prove", "mend"])
def test_a_database_that_another_process_has_is_not_called_unreadable(
    library: Folder, monkeypatch: pytest.MonkeyPatch, do: Callable[[Folder], object]
) -> None:
    monkeypatch.setattr(proving, "BUSY_TIMEOUT_MS", 1)
    with closing(sqlite3.connect(library.database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"Another process has .* end what else has it open"):
            do(library)
        other.execute("COMMIT")


def test_a_damaged_database_and_one_of_another_version_are_named(tmp_path: Path) -> None:
    upgrade(tmp_path / "dreamstream.db", shipped()[:3])
    folder = Folder(tmp_path, alone=True)
    with pytest.raises(StoreError, match="older version"):
        prove(folder)
    folder.database.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="dreamstream restore"):
        prove(folder)
    folder.database.unlink()
    upgrade(folder.database)
    whole = folder.database.read_bytes()
    # So that SQLite quotes what is no text, in an error that the driver then cannot read.
    folder.database.write_bytes(whole.replace(b"CREATE TABLE theme", b"CREATE \xffABLE theme"))
    for damaged, error in (
        (lambda: prove(folder), StoreError),
        (lambda: check_file(folder.database), StoreError),
        (lambda: upgrade(folder.database), StoreError),
        (lambda: database.check(folder.database), BackupError),
        (lambda: database.copy(folder.database, tmp_path / "copy", lambda: False), BackupError),
        (lambda: gone(folder.database), sqlite3.DatabaseError),
    ):
        with pytest.raises(error, match="\ufffdABLE"):
            damaged()
    database.take_in_journal(folder.database)  # that cannot be: it is left as it is
    folder.database.unlink()
    with pytest.raises(StoreError, match=r"need not be damaged: check that it .* may be read"):
        prove(folder)
    folder.database.write_bytes(whole)
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.execute(f"PRAGMA user_version = {len(shipped()) + 1}")
    with pytest.raises(NewerDatabaseError):
        prove(folder)
