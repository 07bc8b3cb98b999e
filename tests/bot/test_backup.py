"""Backups: whole or known not to be, made while dreams end; put back byte for byte, less what was
deleted since."""

from __future__ import annotations

import argparse
import asyncio
import errno
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.backup import command, database, making, model, schedule
from bot.backup.making import Made, make
from bot.backup.model import (
    BackupError,
    Entry,
    copy_verified,
    read_manifest,
    whole_backups,
)
from bot.backup.one_file import make_file
from bot.backup.restoring import restore
from bot.backup.verifying import Verifier
from bot.checkpoints import CHECKPOINTS, Checkpoints
from bot.config import Config
from bot.data_folder import RESTORING, RESTORING_FROM, lock_folder
from bot.errors import ConfigError, DiskError
from bot.games.model import Entry as GameEntry
from bot.library import Library, described
from bot.model import Dream, DreamState, EventKind, File, PictureCheck
from bot.retention import Retention, RetentionRules
from bot.rights import Actor
from bot.store import Store, game_entries, games, images
from bot.store.migrate import shipped, upgrade
from generation.protocol import Attachment
from tests.bot.drawer import ANN, Services, finished, png, request, services, until
from tests.bot.test_picture_checks import Checked
from tests.bot.test_portraits import portray
from tests.bot.test_theme_pictures import pictures_of
from tests.program import environment

COLOURS = ("red", "green", "blue", "orange", "purple", "teal")


async def draw(s: Services, colour: str = "red", prompt: str = "a secret fox") -> Dream:
    (dream,) = await s.dreams.ask(request(prompt))
    await s.draw(dream.id, colour)
    return await s.dreams.wait(dream.id)


def sha_of(dream: Dream) -> str:
    assert dream.image is not None
    return dream.image.sha256


def contents(data: Path) -> dict[str, bytes]:
    """Return what must come back byte for byte: the pictures and the files."""
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for folder in ("images", "files")
        for path in (data / "library" / folder).rglob("*")
        if path.is_file()
    }


def dump(database: Path) -> list[str]:
    """Return all of a database as SQL."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def faults(root: Path) -> list[str]:
    return [fault for one in whole_backups(root) for fault in Verifier(root).judge(one).faults]


async def test_what_is_put_back_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    data, root, other = tmp_path / "data", tmp_path / "backups", tmp_path / "other"
    async with services(data) as s:
        first = await draw(s)
        await draw(s, "blue", "a bird")
        (filmed,) = await s.dreams.ask(request("a film", film=True))
        job = await s.begin(filmed.id)
        film = Attachment(name="film.mp4", media_type="video/mp4", data=b"moving pictures")
        message = msgspec.structs.replace(finished(job, "green"), attachments=(film,))
        await s.dreams.on_message(message)
        await s.dreams.wait(filmed.id)
        (waiting,) = await s.dreams.ask(request("not drawn yet"))
        made = await make(data, root)
        assert (made.new_files, made.manifest.missing) == (4, ())
        assert faults(root) == []
    then, rows = contents(data), dump(data / "dreamstream.db")
    done = await restore(root, other)
    assert (done.forgotten, done.replaced, done.notes) == (0, None, ())
    assert contents(other) == then
    assert (other / "dreamstream.db").read_bytes() == (made.path / "dreamstream.db").read_bytes()
    assert dump(other / "dreamstream.db") == rows
    async with services(other) as s:
        assert await s.library.read(sha_of(first))
        assert (await s.job(waiting.id)).recipe == waiting.recipe, "what was accepted is drawn"


async def test_only_what_is_new_is_copied(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        assert (await make(data, root)).new_files == 1
        assert (await make(data, root)).new_files == 0
        await draw(s, "blue")
        again = await make(data, root, keep=2)
    assert again.new_files == 1
    assert [len(read_manifest(one).files) for one in whole_backups(root)] == [1, 2]
    assert faults(root) == []
    assert root.stat().st_mode & 0o007 == 0, "another user may read it"


async def test_what_is_pruned_takes_its_files_along(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        gone, kept = await draw(s), await draw(s, "blue")
        await make(data, root)
        await s.dreams.delete(gone.id, Actor(ANN))
        await make(data, root, keep=1)
    names = [path.stem for path in (root / "pool").rglob("*") if path.is_file()]
    assert names == [sha_of(kept)]
    assert faults(root) == []


async def test_a_backup_made_while_dreams_end_and_go_is_whole(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        stop, slowest_s = asyncio.Event(), 0.0

        async def live() -> None:
            nonlocal slowest_s
            count = 0
            while not stop.is_set():
                begun = time.monotonic()
                dream = await draw(s, f"#{count * 7919 % 0xFFFFFF:06x}", f"dream {count}")
                if count % 3 == 0:
                    await s.dreams.delete(dream.id, Actor(ANN))
                slowest_s = max(slowest_s, time.monotonic() - begun)
                count += 1

        task = asyncio.create_task(live())
        made = [await make(data, root) for _ in range(5)]
        stop.set()
        await task
    assert faults(root) == []
    assert [one.manifest.missing for one in made] == [()] * 5
    assert made[-1].manifest.database_bytes > 0
    assert slowest_s < 5, "nobody waits for a backup"
    done = await restore(root, tmp_path / "other")
    assert contents(tmp_path / "other").keys() == {
        f"library/{one.path}" for one in done.manifest.files
    }


@asynccontextmanager
async def between_copies(
    data: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.Task[Made]]:
    """Make a backup, and hold it where the database is copied and no file is, for as long."""
    copied, go_on = asyncio.Event(), asyncio.Event()
    real, loop = database.named, asyncio.get_running_loop()

    def named(path: Path) -> tuple[Entry, ...]:
        if not copied.is_set():
            loop.call_soon_threadsafe(copied.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(20)
        return real(path)

    monkeypatch.setattr(database, "named", named)
    task = asyncio.create_task(make(data, root))
    await copied.wait()
    yield task
    go_on.set()
    await task


async def test_what_is_deleted_during_a_backup_is_in_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        gone, kept = await draw(s, "red", "a secret fox"), await draw(s, "blue", "a bird")
        async with between_copies(data, root, monkeypatch) as task:
            await s.dreams.delete(gone.id, Actor(ANN))
        made = await task
    assert [one.sha256 for one in made.manifest.files] == [sha_of(kept)]
    assert made.manifest.missing == ()
    assert faults(root) == []
    assert b"a secret fox" not in (made.path / "dreamstream.db").read_bytes()


@pytest.mark.parametrize("tries", [1, 3])
async def test_a_themes_picture_that_is_replaced_during_a_backup_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    monkeypatch.setattr(making, "_TRIES", tries)
    async with services(data) as s:
        pictures, lost = pictures_of(s), await draw(s)
        s.library.path(sha_of(lost)).unlink()
        await pictures.take_in("open", png(40, 30, "blue"))
        async with between_copies(data, root, monkeypatch) as task:
            await pictures.take_in("open", png(40, 30, "green"))
        made = await task
    assert [Path(one).stem for one in made.manifest.missing] == [sha_of(lost)], "this one is"
    assert faults(root) == []
    await restore(root, tmp_path / "other")
    async with services(tmp_path / "other") as s:
        there = (await s.themes.get("open")).picture_sha256
    assert [one.sha256 for one in made.manifest.files] == ([] if there is None else [there])
    assert (there is None) == (tries == 1), "the new one, or none where they never stop"


async def test_what_is_uncovered_during_a_backup_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        checked = Checked(s, PictureCheck.BLUR)
        checked.eyes.broken = True
        dream = await checked.dream()
        assert dream.behind is not None
        gone = await checked.dream()
        checked.eyes.broken = False
        async with between_copies(data, root, monkeypatch) as task:
            assert await checked.reviews.look_again() == 2
            await s.dreams.delete(gone.id, Actor(ANN))
        made = await task
    assert made.manifest.missing == () and made.new_files == len(made.manifest.files) == 1
    assert faults(root) == []
    await restore(root, tmp_path / "other")
    async with services(tmp_path / "other") as s:
        back = await s.dreams.get(dream.id)
        assert back.image == dream.behind and back.behind is None
        assert await s.library.read(sha_of(back))
        assert (await s.dreams.get(gone.id)).deleted_ms is not None


async def test_a_better_entry_of_a_game_during_a_backup_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    game, entry = "g" * 16, "e" * 16

    async def enter(colour: str, score: float) -> str:
        sha256, content = await s.library.keep_upload(png(40, 30, colour))
        image = described(sha256, content)
        async with s.store.write() as connection:
            await images.insert(connection, image, 1)
            made = GameEntry(
                id=entry,
                game_id=game,
                person=ANN,
                text="",
                choice=None,
                image=image,
                dream_id=None,
                score=score,
                writing=False,
                published=True,
                hearts=0,
                at_ms=1,
            )
            await game_entries.put(connection, made)
        await s.library.let_go(sha256, named=True)
        await s.dreams.remove_files()
        return sha256

    async with services(data) as s:
        dream = await draw(s)
        async with s.store.write() as connection:
            await connection.execute(
                "INSERT INTO game VALUES (?, 1, 'draw', ?, 'open', 'a secret', NULL, 1, 0, NULL, "
                "NULL, NULL, 0, 1, 1, '', 9999999999999, 1, NULL, 0)",
                (game, ANN.id),
            )
        await enter("blue", 0.3)
        async with between_copies(data, root, monkeypatch) as task:
            better = await enter("green", 0.5)
        made = await task
    assert made.manifest.missing == ()
    assert {one.sha256 for one in made.manifest.files} == {sha_of(dream), better}
    assert faults(root) == []


async def test_deletions_win_over_a_backup(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        gone, kept = await draw(s, "red", "a secret fox"), await draw(s, "blue", "a bird")
        (late,) = await s.dreams.ask(request("a secret cat"))
        old = await make(data, root)
        await s.dreams.delete(gone.id, Actor(ANN))
        await s.dreams.delete(late.id, Actor(ANN))
    # Known to what is replaced, and then to a later backup alone.
    for target, knows in ((data, "replaced"), (tmp_path / "other", "later")):
        if knows == "later":
            await make(data, root)
        done = await restore(old.path, target, replace=target == data)
        assert done.forgotten == 2
        assert contents(target).keys() == {f"library/images/{sha_of(kept)[:2]}/{sha_of(kept)}.png"}
        assert b"a secret" not in (target / "dreamstream.db").read_bytes()
        assert [*target.glob("dreamstream.db.before-*")] == []
        async with services(target) as s:
            tombstone = await s.dreams.get(late.id)
            assert (tombstone.state, tombstone.prompt) == (DreamState.CANCELLED, "")
            log = [e.kind for e in await s.feed.replay(theme_id=None, after=0) if e.dream_id]
            assert log.count(EventKind.DELETED) == 2
            assert (await s.dreams.get(kept.id)).prompt == "a bird"
            rows = await s.store.read("SELECT count(*) FROM doomed_file")
            assert rows[0][0] == 0
    assert done.replaced is None


async def test_what_was_taken_back_is_not_shown_again(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        dream = await draw(s)
        old = await make(data, root)
        async with s.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0")
            await connection.execute("UPDATE person SET publishes = 0")
    await restore(old.path, data, replace=True)
    async with services(data) as s:
        assert not (await s.dreams.get(dream.id)).published
        assert [row[0] for row in await s.store.read("SELECT publishes FROM person")] == [0]


async def test_what_went_to_make_room_comes_back(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        dream = await draw(s)
        await make(data, root)
        async with s.store.write() as connection:
            await connection.execute("UPDATE dream SET ended_ms = 1")
        kept = Checkpoints(s.library.root / CHECKPOINTS)
        retention = Retention(s.store, s.library, kept, RetentionRules(keep_days=1))
        assert [count async for count in retention.turns()] == [1]
        assert contents(data) == {}
    assert (await restore(root, data, replace=True)).forgotten == 0
    async with services(data) as s:
        assert (await s.dreams.get(dream.id)).deleted_ms is None
        assert await s.library.read(sha_of(dream))


async def test_what_was_drawn_of_a_portrait_stays_gone_with_it(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        kept = await portray(s)
        (statue,) = await s.dreams.ask(request("a statue", parent_id=kept.dream.id))
        await s.draw(statue.id, "blue")
        await s.dreams.wait(statue.id)
        other = await draw(s, "green")
        await make(data, root)
        async with s.store.write() as connection:
            await connection.execute("UPDATE dream SET ended_ms = 1")
        checkpoints = Checkpoints(s.library.root / CHECKPOINTS)
        retention = Retention(s.store, s.library, checkpoints, RetentionRules(keep_days=1))
        assert [count async for count in retention.turns()] == [2]
        await s.portraits.revoke(kept.dream.id, ANN)
    assert (await restore(root, data, replace=True)).forgotten == 2
    async with services(data) as s:
        assert [one.id for one in await s.dreams.recent(None)] == [other.id]
        assert contents(data).keys() == {f"library/images/{sha_of(other)[:2]}/{sha_of(other)}.png"}


async def test_an_entry_comes_back_with_its_picture_that_went_to_make_room(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        dream = await draw(s)
        game, entry = "g" * 16, "e" * 16
        async with s.store.write() as connection:
            await connection.execute(
                "INSERT INTO game VALUES (?, 1, 'draw', ?, 'over', 'a secret', NULL, 1, 0, "
                "NULL, NULL, NULL, 0, 1, 1, '', 1, 1, 1, 0)",
                (game, ANN.id),
            )
            await connection.execute(
                "INSERT INTO game_entry VALUES (?, ?, ?, '', NULL, NULL, ?, 5, 0, 1, 1, "
                "NULL, NULL)",
                (entry, game, ANN.id, dream.id),
            )
        await make(data, root)
        async with s.store.write() as connection:
            await connection.execute("UPDATE dream SET ended_ms = 1")
        checkpoints = Checkpoints(s.library.root / CHECKPOINTS)
        retention = Retention(s.store, s.library, checkpoints, RetentionRules(keep_days=1))
        assert [count async for count in retention.turns()] == [1]
    assert (await restore(root, data, replace=True)).forgotten == 0
    async with services(data) as s:
        [row] = await s.store.read("SELECT * FROM game_entry")
        assert (row["score"], row["withdrawn_ms"]) == (5.0, None)


async def test_what_was_taken_back_from_a_game_stays_so(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    ids = [f"{number:016d}" for number in range(3)]
    async with services(data) as s:
        dream = await draw(s)
        async with s.store.write() as connection:
            for game in ids[:2]:
                await connection.execute(
                    "INSERT INTO game VALUES (?, 1, 'draw', ?, 'over', 'a secret', NULL, 1, 0, "
                    "NULL, NULL, NULL, 0, 1, 1, '', 1, 1, 1, 0)",
                    (game, ANN.id),
                )
            await connection.execute(
                "INSERT INTO game_entry VALUES (?, ?, ?, 'a secret', NULL, NULL, NULL, 5, 0, 1, 1, "
                "NULL, NULL)",
                (ids[2], ids[0], ANN.id),
            )
        await make(data, root)
        async with s.store.write() as connection:
            await game_entries.withdraw(connection, ids[2], ANN.id, 2)
            await games.bury(connection, ids[1], ANN.id, 2)
    await restore(root, data, replace=True)
    async with services(data) as s:
        [entry] = await s.store.read("SELECT * FROM game_entry")
        assert (entry["text"], entry["withdrawn_ms"]) == ("", 2)
        found = await s.store.read("SELECT state, prompt FROM game ORDER BY id")
        assert [tuple(row) for row in found] == [("over", "a secret"), ("called_off", "")]
        assert (await s.dreams.get(dream.id)).prompt == "a secret fox"


async def test_a_folder_that_is_not_empty_is_replaced_only_when_told(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        await make(data, root)
        with pytest.raises(BackupError, match=r"is not empty.*--into.*--replace"):
            await restore(root, data)
        later = await draw(s, "blue", "drawn later")
    before = contents(data)
    done = await restore(root, data, replace=True)
    assert done.replaced is not None
    assert contents(data).keys() < before.keys()
    assert contents(done.replaced).keys() == before.keys(), "what was there is kept aside"
    with closing(sqlite3.connect(done.replaced / "dreamstream.db")) as connection:
        assert connection.execute("SELECT 1 FROM dream WHERE id = ?", (later.id,)).fetchone()


async def test_a_database_with_a_damaged_schema_is_replaced(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        dream = await draw(s)
        await make(data, root)
    live = data / "dreamstream.db"
    whole = live.read_bytes()
    # SQLite quotes it in its error, which the driver then cannot read.
    live.write_bytes(whole.replace(b"CREATE TABLE theme", b"CREATE \xffABLE theme"))
    assert live.read_bytes() != whole
    done = await restore(root, data, replace=True)
    assert [note for note in done.notes if "cannot be read" in note]
    lock_folder(data).release()
    async with services(data) as s:
        assert await s.library.read(sha_of(dream))


async def test_nothing_is_put_back_beside_a_running_bot(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data):
        await make(data, root)
    lock = lock_folder(data)
    try:
        with pytest.raises(ConfigError, match="another Dreamstream is at work"):
            await restore(root, data, replace=True)
    finally:
        lock.release()


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "database", "row", "manifest", "no db"])
async def test_harm_is_found_and_nothing_is_touched(tmp_path: Path, harm: str) -> None:
    data, root, other = tmp_path / "data", tmp_path / "backups", tmp_path / "other"
    async with services(data) as s:
        dream = await draw(s)
        made = await make(data, root)
    picture = next(path for path in (root / "pool").rglob("*.png"))
    kept = made.path / "dreamstream.db"
    if harm in ("flip", "database"):
        path = picture if harm == "flip" else kept
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif harm == "cut":
        picture.write_bytes(picture.read_bytes()[:-1])
    elif harm == "remove":
        picture.unlink()
    elif harm == "row":  # the manifest leaves out what the database names
        manifest = msgspec.structs.replace(read_manifest(made.path), files=())
        (made.path / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    elif harm == "manifest":
        (made.path / "manifest.json").write_bytes(b'{"format": 1, "product"')
    else:
        kept.unlink()
    (fault,) = faults(root)
    named = {"database": kept, "no db": kept, "manifest": made.path / "manifest.json"}
    assert (
        sha_of(dream) if harm in ("flip", "cut", "remove", "row") else str(named[harm])
    ) in fault
    with pytest.raises(BackupError, match=r"is not whole, and nothing was changed"):
        await restore(root, other)
    assert not (other / "dreamstream.db").exists()
    assert not (other / RESTORING).exists()


async def test_one_damaged_copy_does_not_take_the_rest_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, root, other = tmp_path / "data", tmp_path / "backups", tmp_path / "other"
    async with services(data) as s:
        damaged = sha_of(await draw(s))
        await draw(s, "blue")
        await make(data, root)
        copy = root / "pool" / "images" / damaged[:2] / f"{damaged}.png"
        whole = copy.read_bytes()
        copy.write_bytes(b"?" * len(whole))
        assert (await make(data, root)).new_files == 0
    then = contents(data)
    assert len(faults(root)) == 2, "backups share it, also with those to come"
    with pytest.raises(BackupError, match="say --leave-out-damaged, and all the rest is put back"):
        await restore(root, other)
    done = await restore(root, other, leave_out=True)
    assert done.left_out == (f"images/{damaged[:2]}/{damaged}.png",)
    assert contents(other).items() < then.items() and len(contents(other)) == 1
    done = await restore(root, data, replace=True)
    assert (done.left_out, contents(data)) == ((), then), "what is replaced had it whole"

    config = Config.model_validate({"storage": {"data_dir": str(data)}})
    for into, status, says, says_not in (
        (tmp_path / "third", 1, "but for one file; all the rest is proved", "every byte"),
        (data, 0, "every byte of it proved", "Left out"),
    ):
        asked = argparse.Namespace(
            source=root, into=into, replace=True, take_store=False, leave_out_damaged=True
        )
        assert await command.run_restore(asked, config) == status
        said = capsys.readouterr().out
        assert says in said and says_not not in said

    async def verified(*, mend: bool) -> tuple[int, str]:
        asked = argparse.Namespace(verify=root, mend=mend, into=None)
        return await command.run_backup(asked, config), capsys.readouterr().out

    status, said = await verified(mend=False)
    assert status == 1 and "With --mend" in said
    library = data / "library" / "images" / damaged[:2] / f"{damaged}.png"
    library.rename(tmp_path / "away")
    assert (await verified(mend=True))[0] == 1, "nothing has it whole"
    (tmp_path / "away").rename(library)
    status, said = await verified(mend=True)
    assert status == 0 and "is copied anew from the library" in said
    assert (faults(root), copy.read_bytes()) == ([], whole)


async def test_only_a_lost_file_that_would_be_put_back_is_missed(tmp_path: Path) -> None:
    data, root, other = tmp_path / "data", tmp_path / "backups", tmp_path / "other"
    async with services(data) as s:
        gone, kept = await draw(s), await draw(s, "blue")
        twin = await draw(s, "blue", "a bird of the same feathers")
        old = await make(data, root)
        for dream in (gone, twin):
            await s.dreams.delete(dream.id, Actor(ANN))
        await make(data, root)
    then = contents(data)

    def lose(dream: Dream) -> Path:
        path = root / "pool" / "images" / sha_of(dream)[:2] / f"{sha_of(dream)}.png"
        path.unlink()
        return path

    of_gone = lose(gone)
    done = await restore(old.path, other)
    assert (done.forgotten, done.left_out, contents(other)) == (2, (), then)
    of_kept = lose(kept)
    for target in (tmp_path / "third", data):
        if target == data:
            (data / "library" / of_kept.relative_to(root / "pool")).unlink()
        rows = dump(data / "dreamstream.db")
        with pytest.raises(BackupError, match="say --leave-out-damaged") as refused:
            await restore(old.path, target, replace=True)
        assert str(of_kept) in str(refused.value) and str(of_gone) not in str(refused.value)
        assert not [*target.glob(".restoring*")] and not [*target.glob("replaced-*")]
        assert dump(data / "dreamstream.db") == rows
        lock_folder(target).release()
    done = await restore(old.path, data, replace=True, leave_out=True)
    assert done.left_out == (of_kept.relative_to(root / "pool").as_posix(),)


async def test_a_picture_that_the_library_lost_is_named_and_the_rest_backed_up(
    tmp_path: Path,
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        lost, torn, well = await draw(s), await draw(s, "blue"), await draw(s, "green")
        s.library.path(sha_of(lost)).unlink()
        s.library.path(sha_of(torn)).write_bytes(b"nothing like it")
        made = await make(data, root)
    assert {Path(path).stem for path in made.manifest.missing} == {sha_of(lost), sha_of(torn)}
    assert [one.sha256 for one in made.manifest.files] == [sha_of(well)]
    assert faults(root) == []
    await restore(root, tmp_path / "other")
    assert len(contents(tmp_path / "other")) == 1


async def test_what_was_deleted_since_is_not_missed_where_the_library_had_lost_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        gone, lost = await draw(s), await draw(s, "blue")
        for dream in (gone, lost):
            s.library.path(sha_of(dream)).unlink()
        made = await make(data, root)
        assert {Path(path).stem for path in made.manifest.missing} == {sha_of(gone), sha_of(lost)}
        await s.dreams.delete(gone.id, Actor(ANN))
    asked = argparse.Namespace(
        source=root, into=None, replace=True, take_store=False, leave_out_damaged=False
    )
    config = Config.model_validate({"storage": {"data_dir": str(data)}})
    assert await command.run_restore(asked, config) == 0
    said = capsys.readouterr().out
    assert "Not in the backup, for the library had not got it: images/" in said
    assert sha_of(lost) in said and sha_of(gone) not in said


async def test_a_picture_that_cannot_be_read_is_named_and_the_rest_backed_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        unreadable, well = await draw(s), await draw(s, "blue")
        path = s.library.path(sha_of(unreadable))
        path.unlink()
        path.mkdir()  # reading it is refused, whoever runs this
        made = await make(data, root)
        path.rmdir()
    assert [Path(one).stem for one in made.manifest.missing] == [sha_of(unreadable)]
    assert [one.sha256 for one in made.manifest.files] == [sha_of(well)]
    assert f"Is a directory: '{path}'" in caplog.text
    assert faults(root) == []


async def test_a_newer_backup_is_refused(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data):
        made = await make(data, root)
    manifest = read_manifest(made.path)
    for newer in (
        msgspec.structs.replace(manifest, schema=len(shipped()) + 1, product="9.0"),
        msgspec.structs.replace(manifest, format=model.FORMAT + 1),
    ):
        (made.path / "manifest.json").write_bytes(msgspec.json.encode(newer))
        with pytest.raises(BackupError, match="newer version of Dreamstream"):
            await restore(root, tmp_path / "other")


@pytest.mark.parametrize("version", [1, 4, 8, len(shipped()) - 1])
async def test_a_backup_of_an_older_version_is_taken_and_put_back(
    tmp_path: Path, version: int
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    data.mkdir()
    upgrade(data / "dreamstream.db", shipped()[:version])
    made = await make(data, root)
    assert made.manifest.schema == version
    assert faults(root) == []
    await restore(root, tmp_path / "other")
    store = await Store.open(tmp_path / "other" / "dreamstream.db")
    await store.close()


async def test_a_full_disk_leaves_the_backups_before_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        await make(data, root)
        await draw(s, "blue")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
            with pytest.raises(DiskError, match=r"0 MiB left, and this backup needs"):
                await make(data, root)
        for name in ("copy_verified", "write_atomic"):
            with monkeypatch.context() as patch:
                patch.setattr(making, name, full)
                with pytest.raises(DiskError, match=r"is full: this backup was not finished"):
                    await make(data, root)
            assert len(whole_backups(root)) == 1
            assert not [*(root / "backups").glob(".part-*")]
        assert faults(root) == []
        assert len((await make(data, root)).manifest.files) == 2


async def test_a_restore_onto_a_full_disk_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        await make(data, root)
    then = contents(data)

    def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bot.backup.restoring.copy_verified", full)
        with pytest.raises(DiskError, match="is full: the restore was not finished"):
            await restore(root, data, replace=True)
    assert contents(data) == then, "nothing is touched before all is there"
    with pytest.raises(ConfigError, match="cut off"):
        lock_folder(data)
    await restore(root, data, replace=True)
    lock_folder(data).release()
    assert contents(data) == then


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from bot.backup import making, one_file, restoring
name, at, (data, root, target) = sys.argv[1], int(sys.argv[2]), map(Path, sys.argv[3:6])
count = 0
def dying(work):
    def step(*args, **more):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*args, **more)
    return step
for holder in (making, one_file, restoring, Path):
    if hasattr(holder, name):
        setattr(holder, name, dying(getattr(holder, name)))
if str(target) == "-":
    asyncio.run(making.make(data, root))
elif target.suffix == ".tar":
    asyncio.run(one_file.make_file(data, target))
else:
    asyncio.run(restoring.restore(root, target, replace=True))
"""


def killed(step: str, at: int, *paths: object) -> None:
    """Run a backup, or a restore, that is killed as it takes a step for the `at`th time."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, step, str(at), *map(str, paths)],
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("step", "at"), [("copy_verified", 2), ("write_atomic", 1), ("rename", 1)])
async def test_a_backup_that_is_killed_counts_for_nothing(
    tmp_path: Path, step: str, at: int
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        for colour in COLOURS[:2]:
            await draw(s, colour)
    killed(step, at, data, root, "-")
    assert whole_backups(root) == []
    with pytest.raises(BackupError, match="no finished backup"):
        await restore(root, tmp_path / "other")
    made = await make(data, root)
    assert len(made.manifest.files) == 2
    assert faults(root) == []
    assert not [*root.rglob(".part-*")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
async def test_a_restore_that_is_killed_is_known_and_can_be_done_again(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        gone = await draw(s)
        await draw(s, "blue")
        await make(data, root)
        await s.dreams.delete(gone.id, Actor(ANN))
    # Before anything is touched: as the database is copied, and as it is to forget what is gone.
    for step in ("sync_file", "forget"):
        killed(step, 1, data, root, data)
        assert (data / RESTORING_FROM / "dreamstream.db").is_file()
        lock_folder(data).release()
        assert {path.name for path in data.glob(".*")} == {".lock"}
    # In the midst of copying; then before each of the renames that swap the old for the new.
    for step, at in (("copy_verified", 1), *(("rename", at) for at in range(1, 6))):
        target = tmp_path / f"target-{step}-{at}"
        shutil.copytree(data, target)
        killed(step, at, data, root, target)
        with pytest.raises(ConfigError, match=r"a restore .* was cut off"):
            lock_folder(target)
        await restore(root, target, replace=True)
        lock_folder(target).release()
        async with services(target) as s:
            assert (await s.dreams.get(gone.id)).deleted_ms is not None, "deletions win, also here"
        assert len(contents(target)) == 1


async def test_a_restore_that_was_cut_off_is_known_also_while_it_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        await make(data, root)
    then = contents(data)
    left = data / RESTORING / "library" / "images"
    left.mkdir(parents=True)
    (data / RESTORING / "dreamstream.db").write_bytes(b"?")
    known: list[bool] = []

    def seen(work: Any) -> Any:
        def step(*args: Any, **more: Any) -> None:
            work(*args, **more)
            known.append((data / RESTORING).is_dir())

        return step

    with monkeypatch.context() as patch:
        for name in ("mkdir", "rmdir", "unlink"):
            patch.setattr(os, name, seen(getattr(os, name)))
        patch.setattr("bot.backup.restoring._swap", lambda *_: None)
        await restore(root, data, replace=True)
    assert known and all(known)
    await restore(root, data, replace=True)
    assert contents(data) == then


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
async def test_what_was_taken_back_before_a_crash_stays_so_whatever_kills_the_restore(
    tmp_path: Path,
) -> None:
    data, root, crashed = tmp_path / "data", tmp_path / "backups", tmp_path / "crashed"
    async with services(data) as s:
        await draw(s)
        await make(data, root)
        async with s.store.write() as connection:
            await connection.execute("UPDATE person SET publishes = 0")
        await asyncio.to_thread(shutil.copytree, data, crashed)  # it is in the journal alone
    assert (crashed / "dreamstream.db-wal").stat().st_size
    killed("rename", 3, "-", root, crashed)
    await restore(root, crashed, replace=True)
    async with services(crashed) as s:
        assert [row["publishes"] for row in await s.store.read("SELECT * FROM person")] == [0]


async def test_one_file_holds_a_backup_too(tmp_path: Path) -> None:
    data, archive = tmp_path / "data", tmp_path / "all.tar"
    async with services(data) as s:
        await draw(s)
        await make_file(data, archive)
    left = await asyncio.to_thread(lambda: {path.name for path in tmp_path.iterdir()})
    assert left == {"data", "all.tar"}
    await restore(archive, tmp_path / "other")
    assert contents(tmp_path / "other") == contents(data)
    assert not [*(tmp_path / "other").glob(".restoring*")]
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(BackupError, match=r"is not a whole backup|no finished backup"):
        await restore(archive, tmp_path / "third")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
async def test_one_file_that_is_killed_leaves_no_copy_of_everything(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "tars"
    folder.mkdir()
    async with services(data) as s:
        await draw(s)
    killed("_pack", 1, data, "-", folder / "monday.tar")
    (left,) = folder.iterdir()
    assert [*(left / "pool").rglob("*.png")]
    with making.lock_backups(left):
        await make_file(data, folder / "tuesday.tar")
    assert left.is_dir(), "one that is at work is left alone"
    with making.lock_backups(left), pytest.raises(BackupError, match="is being made at this"):
        await make_file(data, folder / "monday.tar")
    await make_file(data, folder / "wednesday.tar")
    assert {path.name for path in folder.iterdir()} == {"tuesday.tar", "wednesday.tar"}


async def test_what_earlier_versions_left_of_a_backup_into_one_file_goes(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "tars"
    earlier, others = folder / f".part-{'0a' * 8}", folder / f".part-{'1b' * 8}"
    async with services(data):
        await make(data, earlier)
        others.mkdir()
        (others / "dreamstream.db").write_bytes(b"of a backup that is being made")
        with making.lock_backups(earlier):
            await make_file(data, folder / "monday.tar")
        assert earlier.is_dir(), "one that is at work is left alone"
        await make_file(data, folder / "tuesday.tar")
    left = {path.name for path in folder.iterdir()}
    assert left == {"monday.tar", "tuesday.tar", others.name}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
async def test_what_was_unpacked_goes_where_it_was_not_put_back(tmp_path: Path) -> None:
    data, archive, other = tmp_path / "data", tmp_path / "all.tar", tmp_path / "other"
    async with services(data) as s:
        await draw(s)
    await make_file(data, archive)
    killed("prove", 1, "-", archive, other)
    assert [*(other / ".restoring-from").rglob("*.png")]
    lock_folder(other).release()
    assert {path.name for path in other.iterdir()} == {".lock"}


async def test_bundles_are_made_anew_of_what_is_put_back(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    party = "0000000000000000"
    async with services(data):
        folder = data / "library" / "bundles" / party
        folder.mkdir(parents=True)
        (folder / "bundle.json").write_bytes(b"{}")
        await make(data, root)
    await restore(root, tmp_path / "other")
    assert (tmp_path / "other" / "library" / "bundles" / party / "wanted").exists()


async def test_what_failed_is_made_again_while_its_error_is_still_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async with services(data) as s:
        await draw(s)
        with monkeypatch.context() as patch, pytest.raises(DiskError) as error:
            patch.setattr(making, "write_atomic", broken)
            await make(data, root)
        await make(data, root)
        # Its traceback holds every frame, and so the lock, which nothing but `make` has let go.
        assert error.value.__traceback__
    assert faults(root) == []


async def test_two_backups_at_once_do_not_meet(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data):
        with (held := making.lock_backups(root)), pytest.raises(BackupError, match="at this mome"):
            await make(data, root)
        making.lock_backups(root).close()
        assert held is not None, "it is let go by being left, not by being forgotten"
        with pytest.raises(BackupError, match="nothing to back up"):
            await make(tmp_path / "empty", root)


async def test_the_bot_makes_backups_by_itself(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"

    def scheduled(every_hours: float) -> schedule.BackupSchedule:
        return schedule.BackupSchedule(
            data, root, every_hours=every_hours, keep=2, look_s=0.01, retry_s=0.01
        )

    async def runs(every_hours: float, backups: int) -> None:
        made = scheduled(every_hours)
        made.start()
        try:
            async with asyncio.timeout(20):
                while len(whole_backups(root)) < backups:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        finally:
            await made.stop()

    async with services(data):
        await runs(0, 0)
        assert not root.exists(), "off unless it is wanted"
        await runs(1, 1)
        assert len(whole_backups(root)) == 1, "not before the hour is over"
        made, seen = scheduled(0.00001), set(whole_backups(root))
        made.start()
        try:
            async with asyncio.timeout(20):
                while len(seen) < 6:
                    seen |= set(whole_backups(root))
                    await asyncio.sleep(0.005)
        finally:
            await made.stop()
        # Stopped between the two, it has made one more and not removed the oldest yet.
        kept = whole_backups(root)
        assert 2 <= len(kept) <= 3 and kept[-1] >= max(seen), "the newest two are kept"
    assert faults(root) == []


async def test_backups_that_nobody_asks_for_leave_room_on_the_data_folders_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, root = tmp_path / "data", tmp_path / "not" / "there" / "yet"
    assert schedule.on_one_disk(tmp_path, root)
    assert not schedule.on_one_disk(tmp_path, Path("/proc/backups"))
    made = schedule.BackupSchedule(
        data, root, every_hours=1, keep=2, leave_bytes=10**18, look_s=0.01, retry_s=0.01
    )
    async with services(data):
        made.start()
        try:
            await until(lambda: "are to stay free. Free some space" in caplog.text)
            assert whole_backups(root) == []
            monkeypatch.setattr(schedule, "on_one_disk", lambda *_: False)
            await until(lambda: len(whole_backups(root)) == 1)
        finally:
            await made.stop()
    assert not [*(root / "backups").glob(".part-*")]


async def test_backups_are_made_also_after_a_mistake_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    tried: list[Path] = []

    async def broken(data_dir: Path, folder: Path, **options: Any) -> Made:
        tried.append(folder)
        if len(tried) == 1:
            raise RuntimeError("a bug")
        return await make(data_dir, folder, **options)

    monkeypatch.setattr(schedule, "make", broken)
    async with services(data):
        made = schedule.BackupSchedule(data, root, every_hours=1, keep=2, look_s=0.01, retry_s=0.01)
        made.start()
        try:
            await until(lambda: len(whole_backups(root)) == 1)
        finally:
            await made.stop()
    assert len(tried) == 2 and faults(root) == []


async def test_a_backup_that_cannot_be_read_keeps_no_others_from_being_made(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        first, blue = await make(data, root), await draw(s, "blue")
        torn = await make(data, root)
        (torn.path / "manifest.json").write_bytes(b"torn")
        assert schedule.newest_ms(root) == first.manifest.made_ms
        await s.dreams.delete(blue.id, Actor(ANN))
        last = await make(data, root, keep=2)
        assert whole_backups(root) == [torn.path, last.path]
        assert len([*(root / "pool").rglob("*.png")]) == 2, "what it names is not known"
        await make(data, root, keep=1)
        assert len([*(root / "pool").rglob("*.png")]) == 1
    assert faults(root) == []


async def test_when_the_newest_was_made_is_asked_without_looking_at_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked every minute, and there may be a hundred thousand files."""
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        made = await make(data, root)

    def looked(_: Entry) -> bool:
        raise AssertionError

    monkeypatch.setattr(Entry, "is_named_by_content", property(looked))
    assert schedule.newest_ms(root) == made.manifest.made_ms
    path = made.path / "manifest.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert schedule.newest_ms(root) is None, "one that was cut off counts for nothing"


async def test_a_backup_of_the_future_neither_counts_nor_goes(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "backups"
    async with services(data) as s:
        await draw(s)
        made = await make(data, root)
        later_ms = made.manifest.made_ms + 10 * schedule.HOUR_MS
        future = made.path.with_name(model.name_at(later_ms))
        manifest = msgspec.structs.replace(made.manifest, made_ms=later_ms)
        made.path.rename(future)
        (future / "manifest.json").write_bytes(msgspec.json.encode(manifest))
        assert schedule.newest_ms(root) is None
        for _ in range(2):
            last = await make(data, root, keep=1)
            assert whole_backups(root) == [last.path, future]
        assert schedule.newest_ms(root) == last.manifest.made_ms
    assert faults(root) == []


def test_files_lie_in_a_backup_as_in_the_library(tmp_path: Path) -> None:
    sha256, library = hashlib.sha256(b"").hexdigest(), Library(tmp_path)
    film = File(name="film.mp4", media_type="video/mp4", sha256=sha256, size_bytes=0)
    for entry, path in (
        (model.picture(sha256, 0), library.path(sha256)),
        (model.other_file(sha256, 0), library.file_path(film)),
    ):
        assert (tmp_path / entry.path, entry.sha256) == (path, sha256)
    library.close()


def test_a_copy_of_what_is_not_what_its_name_says_is_not_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "a" / "target"
    source.write_bytes(png())
    assert not copy_verified(source, target, hashlib.sha256(b"").hexdigest())
    assert [*target.parent.iterdir()] == []
    assert copy_verified(source, target, model.digest(source))
    assert target.read_bytes() == source.read_bytes()
