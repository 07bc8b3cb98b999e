"""Moving a library to a store and back, cut off anywhere; and what else reads it there."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from bot import library_move, library_place
from bot.backup import making, restoring
from bot.backup.model import BackupError
from bot.blob_cache import BlobCache
from bot.blobs import Blobs, FolderBlobs, UnreachableError, file_key, picture_key
from bot.config import Config, LibraryPlace, Storage
from bot.consistency.model import Folder
from bot.consistency.proving import mend, prove
from bot.data_folder import RESTORING
from bot.errors import ConfigError, DiskError, InvalidRequestError
from bot.files import TEMPORARY_PREFIX
from bot.library import Library
from bot.library_command import run
from bot.library_move import Phase, move, read_journal
from bot.library_place import (
    FOLDER,
    check_place,
    library_id,
    note_place,
    open_library,
    opened,
    placed,
    read_id,
)
from bot.object_blobs import ObjectBlobs, Objects
from tests.bot.drawer import request, services

S3 = "s3://tests/dreams"
CONTENT = [letter.encode() * 20 for letter in "abc"]


class Cut(Exception):
    """The process dies here."""


class Bucket:
    """A store in memory, and a folder; `cut` dies before or after one change of either."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: Objects = MemoryStore()
        self.changes = 0
        self.cut_at: int | None = None
        self.after = False

    def open(self, where: str) -> Blobs:
        blobs: Blobs = FolderBlobs(self.root)
        if where != FOLDER:
            cache = BlobCache(self.root / "cache", 10**6)
            blobs = ObjectBlobs(self.store, cache, where, rest_s=0, copies_new=False)
        for name in ("put", "delete"):
            setattr(blobs, name, self.cutting(getattr(blobs, name)))
        return blobs

    def cutting(self, real: Callable[..., None]) -> Callable[..., None]:
        def change(*given: Any) -> None:
            cut = self.changes == self.cut_at
            self.changes += 1
            if cut and not self.after:
                raise Cut
            real(*given)
            if cut:
                raise Cut

        return change

    def at(self, where: str) -> dict[str, bytes]:
        blobs = self.open(where)
        return {
            one.key: blobs.raw(one.key)
            for place in ("images", "files")
            for one in blobs.list(place)
        }


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "library")


def filled(bucket: Bucket) -> dict[str, bytes]:
    content = {}
    for number, data in enumerate(CONTENT):
        name = (picture_key if number % 2 else file_key)(hashlib.sha256(data).hexdigest())
        FolderBlobs(bucket.root).put(name, data)
        content[name] = data
    return content


def test_a_library_moves_to_a_store_and_back(bucket: Bucket) -> None:
    content = filled(bucket)
    moved = move(bucket.root, S3, bucket.open)
    assert (moved.files, moved.left) == (len(content), [])
    assert (bucket.at(S3), bucket.at(FOLDER)) == (content, {})
    assert placed(bucket.root) == S3
    assert move(bucket.root, S3, bucket.open).files == 0
    move(bucket.root, FOLDER, bucket.open)
    assert (bucket.at(S3), bucket.at(FOLDER)) == ({}, content)
    assert placed(bucket.root) == FOLDER
    with pytest.raises(InvalidRequestError, match="s3://bucket/prefix"):
        move(bucket.root, "/somewhere", bucket.open)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("back", [False, True])
def test_a_move_may_be_cut_off_at_any_change_and_goes_on(
    bucket: Bucket, after: bool, back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.library_move._AT_ONCE", 1)
    for name in ("note_place", "_write_journal", "_end_journal"):
        monkeypatch.setattr(library_move, name, bucket.cutting(getattr(library_move, name)))
    content = filled(bucket)
    bucket.after = after
    for cut_at in range(2 * len(content) + 4):
        bucket.changes, bucket.cut_at = 0, cut_at
        with pytest.raises(Cut):
            move(bucket.root, S3, bucket.open)
        bucket.cut_at = None
        assert bucket.at(placed(bucket.root)) == content, "the truth is whole at any time"
        journal = read_journal(bucket.root)
        for store in ("", S3) if journal is not None else ():
            with pytest.raises(ConfigError, match="was cut off"):
                check_place(bucket.root, store, alone=True)
            with pytest.raises(ConfigError, match="Finish it first"):
                move(bucket.root, "s3://elsewhere", bucket.open)
        if back and journal is not None and journal.phase is Phase.COPYING:
            assert move(bucket.root, FOLDER, bucket.open).undone
        else:
            move(bucket.root, S3, bucket.open)
            assert (bucket.at(S3), bucket.at(FOLDER)) == (content, {})
            move(bucket.root, FOLDER, bucket.open)
        assert (bucket.at(S3), bucket.at(FOLDER)) == ({}, content)
        assert placed(bucket.root) == FOLDER
        assert read_journal(bucket.root) is None


def test_what_is_damaged_stays_where_it_is_and_is_told_of(bucket: Bucket) -> None:
    content = filled(bucket)
    torn = next(iter(content))
    (bucket.root / torn).write_bytes(b"torn")
    note = bucket.root / "images/notes.txt"
    note.parent.mkdir(exist_ok=True)
    note.write_bytes(b"mine")
    note.with_name(f"{TEMPORARY_PREFIX}1").write_bytes(b"half")  # of a process that was killed
    moved = move(bucket.root, S3, bucket.open)
    assert sorted(moved.left) == sorted([torn, "images/notes.txt"])
    del content[torn]
    assert bucket.at(S3) == content


def rotten(bucket: Bucket, key: str, data: bytes) -> None:
    """Leave a damaged file in the folder, in the very size, as a move that was over leaves it."""
    path = bucket.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * len(data))


def test_what_the_target_has_in_the_same_size_is_proved_before_the_source_goes(
    bucket: Bucket,
) -> None:
    content = filled(bucket)
    move(bucket.root, S3, bucket.open)
    first, second, *_ = content
    rotten(bucket, first, content[first])
    moved = move(bucket.root, FOLDER, bucket.open)
    assert (bucket.at(S3), bucket.at(FOLDER), moved.left) == ({}, content, [])
    # And what is whole in neither place goes from neither, also where the removing was cut off.
    for key in (first, second):
        rotten(bucket, key, content[key])
    bucket.store.put(first, b"x" * len(content[first]), use_multipart=False)
    bucket.store.put(second, content[second], use_multipart=False)
    bucket.changes, bucket.cut_at = 0, 1  # the third is copied, then one is removed
    with pytest.raises(Cut):
        move(bucket.root, S3, bucket.open)
    bucket.cut_at = None
    journal = read_journal(bucket.root)
    assert journal is not None and journal.phase is Phase.REMOVING
    assert move(bucket.root, S3, bucket.open).left == [first]
    assert bucket.at(S3) == {**content, first: b"x" * len(content[first])}
    assert set(bucket.at(FOLDER)) == {first}


def test_a_move_that_is_undone_takes_nothing_good_away(bucket: Bucket) -> None:
    content = filled(bucket)
    first, *_, last = content
    bucket.store.put(first, content[first], use_multipart=False)
    rotten(bucket, first, content[first])
    bucket.changes, bucket.cut_at = 0, 0
    with pytest.raises(Cut):
        move(bucket.root, S3, bucket.open)
    bucket.cut_at = None
    rotten(bucket, last, content[last])
    bucket.store.put(last, b"as bad", use_multipart=False)
    undone = move(bucket.root, FOLDER, bucket.open)
    assert undone.undone and undone.left == [last]
    assert bucket.at(FOLDER) == {**content, last: b"x" * len(content[last])}
    assert set(bucket.at(S3)) == {last}


def test_no_copies_stay_where_nothing_lies_in_a_store_any_more(bucket: Bucket) -> None:
    content = filled(bucket)
    move(bucket.root, S3, bucket.open)
    cache = BlobCache(bucket.root / "cache", 10**6)
    key, data = next(iter(content.items()))
    cache.keep(key, data)
    check_place(bucket.root, S3, alone=True)
    assert cache.find(key) is not None
    move(bucket.root, FOLDER, bucket.open)
    assert not (bucket.root / "cache").exists()
    BlobCache(bucket.root / "cache", 10**6).keep(key, data)  # left by a move of an earlier version
    check_place(bucket.root, "", alone=False)
    assert (bucket.root / "cache" / key).exists(), "somebody else may be at work"
    check_place(bucket.root, "", alone=True)
    assert not (bucket.root / "cache").exists()


def test_copies_on_another_disk_go_and_the_link_to_it_stays(bucket: Bucket, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "images").mkdir(parents=True)
    (disk / "images" / "copy").write_bytes(b"a copy")
    (disk / "notes.txt").write_bytes(b"somebody's")
    bucket.root.mkdir()
    (bucket.root / "cache").symlink_to(disk)
    check_place(bucket.root, "", alone=True)
    assert (bucket.root / "cache").is_symlink()
    assert [one.name for one in disk.iterdir()] == ["notes.txt"]


def test_pictures_that_lie_elsewhere_are_not_taken_for_lost(bucket: Bucket) -> None:
    root = bucket.root
    check_place(root, S3, alone=True)  # nothing is there yet
    note_place(root, S3)
    check_place(root, S3, alone=True)
    with pytest.raises(ConfigError, match=r'Set it to "s3://tests/dreams", or .*move folder'):
        check_place(root, "", alone=True)
    note_place(root, FOLDER)
    filled(bucket)
    with pytest.raises(ConfigError, match=r'Set it to "", or .*library move s3://tests/dreams'):
        check_place(root, S3, alone=True)
    (root / "store").write_bytes(b"\xff")
    with pytest.raises(DiskError, match="cannot be read"):
        placed(root)


def test_a_store_is_one_librarys_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket, other = Bucket(tmp_path / "library"), Bucket(tmp_path / "other")
    place = LibraryPlace(store=S3)
    monkeypatch.setattr(library_place, "open_objects", lambda *_: bucket.store)
    for alone, noted in ((False, FOLDER), (True, S3), (True, S3), (False, S3)):
        with opened(place, bucket.root, alone=alone) as blobs:
            assert (blobs.where, placed(bucket.root)) == (S3, noted)
    with pytest.raises(ConfigError, match="the pictures of another Dreamstream"):
        open_library(place, other.root)
    assert placed(other.root) == FOLDER, "what is another's is noted as nobody's place"
    open_library(LibraryPlace(store=""), other.root).close()
    other.store = bucket.store
    filled(other)
    with pytest.raises(ConfigError, match="the pictures of another Dreamstream"):
        move(other.root, S3, other.open)
    assert read_journal(other.root) is None, "nothing was begun"
    move(bucket.root, FOLDER, bucket.open)
    move(other.root, S3, other.open)  # nobody's any more
    monkeypatch.setattr(library_place, "open_objects", lambda *_: Silent())
    open_library(place, other.root).close()  # whose it is cannot be said: it was ours
    assert "does not answer" in caplog.text


@pytest.mark.parametrize("target", [FOLDER, "s3://tests/mine"])
def test_nothing_is_taken_from_a_store_that_is_anothers(tmp_path: Path, target: str) -> None:
    theirs, ours = Bucket(tmp_path / "theirs"), Bucket(tmp_path / "ours")
    content = filled(theirs)
    move(theirs.root, S3, theirs.open)
    own = read_id(theirs.root)
    mine = MemoryStore()

    def open_ours(where: str) -> Blobs:
        ours.store = theirs.store if where == S3 else mine
        return ours.open(where)

    note_place(ours.root, S3)  # as an earlier version left it
    for begun in (False, True):
        if begun:  # by an earlier version as well
            library_move._write_journal(ours.root, library_move.Journal(S3, target, Phase.COPYING))
        with pytest.raises(ConfigError, match=r"nothing is taken from it.* remove .*/store; if"):
            move(ours.root, target, open_ours)
        assert (theirs.at(S3), theirs.open(S3).claim(None)) == (content, own)
        assert ours.at(FOLDER) == {}
        assert [one for page in mine.list() for one in page] == []
        assert (read_journal(ours.root) is not None) is begun
    assert move(ours.root, S3, open_ours).undone
    assert (theirs.at(S3), theirs.open(S3).claim(None)) == (content, own)
    assert read_journal(ours.root) is None
    (ours.root / "store").unlink()  # as it was told
    check_place(ours.root, target if target != FOLDER else "", alone=True)


@pytest.mark.parametrize("back", [False, True])
def test_a_place_that_was_left_may_be_anothers_by_the_time_the_move_ends(
    bucket: Bucket, back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = filled(bucket)
    if not back:
        move(bucket.root, S3, bucket.open)
    else:
        bucket.changes, bucket.cut_at = 0, 1
        with pytest.raises(Cut):
            move(bucket.root, S3, bucket.open)
        bucket.cut_at = None

    def cut(_: Path) -> None:
        raise Cut

    with monkeypatch.context() as patched, pytest.raises(Cut):
        patched.setattr(library_move, "_end_journal", cut)
        move(bucket.root, FOLDER, bucket.open)
    key = next(iter(content))
    theirs = bucket.open(S3)
    assert theirs.claim("theirs") == "theirs"
    theirs.put(key, content[key])  # the same picture, by chance
    assert move(bucket.root, FOLDER, bucket.open).undone is back
    assert read_journal(bucket.root) is None
    assert (bucket.at(FOLDER), placed(bucket.root)) == (content, FOLDER)
    assert (bucket.at(S3), theirs.claim(None)) == ({key: content[key]}, "theirs")


class Silent:
    """A store that does not answer."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise TimeoutError

        return fail


# --- what else reads a library that lies in a store ---------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """Give a data folder with two dreams, whose library is in a store."""
    bucket = Bucket(tmp_path / "data" / "library")

    async def live() -> None:
        blobs = bucket.open(S3)
        library = Library(bucket.root, blobs=blobs)
        async with services(tmp_path / "data", library=library) as s:
            for seed in (1, 2):
                (dream,) = await s.dreams.ask(request(seed=seed))
                await s.draw(dream.id)
                await s.dreams.wait(dream.id)
        library.close()

    asyncio.run(live())
    note_place(bucket.root, S3)
    data = tmp_path / "data"
    STORES[data] = bucket
    yield data
    del STORES[data]


STORES: dict[Path, Bucket] = {}


def test_a_backup_has_what_lies_in_the_store_and_a_restore_puts_it_there(
    data: Path, tmp_path: Path
) -> None:
    bucket, root = STORES[data], tmp_path / "backups"
    there = bucket.at(S3)
    shutil.rmtree(bucket.root / "cache", ignore_errors=True)
    made = asyncio.run(making.make(data, root, blobs=bucket.open(S3)))
    assert {one.path for one in made.manifest.files} == set(there)
    assert made.manifest.missing == ()
    lost, torn = there
    bucket.open(S3).delete(lost)
    bucket.store.put(torn, b"x" * len(there[torn]), use_multipart=False)
    done = asyncio.run(restoring.restore(root, data, replace=True, store=bucket.open(S3)))
    assert done.replaced is not None
    assert bucket.at(S3) == there, "what was damaged, in the same size, is whole again as well"
    assert placed(data / "library") == S3
    assert read_id(data / "library") == bucket.open(S3).claim(None), "a new one, and it is claimed"
    assert bucket.at(FOLDER) == {}


def test_nobody_takes_pictures_for_lost_that_lie_in_another_store_of_that_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, place = STORES[data], LibraryPlace(store=S3)
    monkeypatch.setattr(library_place, "open_objects", lambda *_: bucket.store)
    own, bucket.store = bucket.store, MemoryStore()
    with opened(place, data / "library", alone=False) as blobs:
        with pytest.raises(DiskError, match="has no pictures, though"):
            asyncio.run(making.make(data, tmp_path / "backups", blobs=blobs))
        with pytest.raises(UnreachableError, match="has no pictures, though"):
            prove(Folder(data, True, None, blobs))
    with pytest.raises(DiskError, match="has no pictures, though"):
        move(bucket.root, FOLDER, bucket.open)
    assert (read_journal(bucket.root), placed(bucket.root)) == (None, S3), "nothing was begun"
    bucket.store = own
    with opened(place, data / "library", alone=False) as blobs:
        assert prove(Folder(data, True, None, blobs)).faults == []


def test_a_restore_leaves_the_store_of_another_folder_alone(data: Path, tmp_path: Path) -> None:
    bucket, root, trial = STORES[data], tmp_path / "backups", tmp_path / "trial"
    asyncio.run(making.make(data, root, blobs=bucket.open(S3)))
    own = library_id(data / "library")
    assert bucket.open(S3).claim(own) == own
    deleted, *_ = there = bucket.at(S3)
    bucket.open(S3).delete(deleted)

    def restore(into: Path, **given: Any) -> str | None:
        store = bucket.open(S3)
        asyncio.run(restoring.restore(root, into, replace=True, store=store, **given))
        return read_id(into / "library")

    with pytest.raises(BackupError, match=r"another Dreamstream .* say --take-store"):
        restore(trial)
    assert deleted not in bucket.at(S3), "deleted means deleted"
    assert list(trial.iterdir()) == [trial / ".lock"], "nothing was begun"
    with pytest.raises(ConfigError, match="the pictures of another Dreamstream"):
        library_place.claim(bucket.open(S3), None, read_id(trial / "library"))
    assert restore(data) == own, "its own is put back as it was"
    # Cut off while it was swapped in: the folder's own id is aside, with what is replaced.
    shutil.move(data / "library", data / "replaced-2026" / "library")
    assert restore(data) == own
    shutil.rmtree(data)
    with pytest.raises(BackupError, match="If its data folder is lost"):
        restore(data)
    assert restore(data, take_store=True) == own
    assert bucket.at(S3) == there


def test_a_store_stays_a_restores_own_wherever_the_next_one_is_cut_off(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, root, fresh = STORES[data], tmp_path / "backups", tmp_path / "fresh"
    asyncio.run(making.make(data, root, blobs=bucket.open(S3)))
    there, bucket.store = bucket.at(S3), MemoryStore()

    def restore(into: Path) -> None:
        asyncio.run(restoring.restore(root, into, replace=True, store=bucket.open(S3)))

    bucket.changes, bucket.cut_at = 0, 0
    with pytest.raises(Cut):
        restore(fresh)
    bucket.cut_at = None
    own = bucket.open(S3).claim(None)
    assert own is not None, "it was claimed, and nothing but what was cut off knows by whom"

    def dies(folder: Path, cut_at: int) -> bool:
        """Restore into a folder, and change nothing more on the disk from a change on."""
        changes = 0

        def dying(real: Callable[..., None]) -> Callable[..., None]:
            def change(*given: Any, **more: Any) -> None:
                nonlocal changes
                changes += 1
                if changes > cut_at:
                    raise Cut
                real(*given, **more)

            return change

        with monkeypatch.context() as patch:
            for name in ("mkdir", "rename", "replace", "rmdir", "unlink"):
                patch.setattr(os, name, dying(getattr(os, name)))
            try:
                restore(folder)
            except Cut:
                return True
        return False

    cut_at, cut = 0, True
    while cut:
        folder = tmp_path / f"fresh-{cut_at}"
        shutil.copytree(fresh, folder)
        cut = dies(folder, cut_at)
        restore(folder)  # else it would be refused a store that is another's
        assert read_id(folder / "library") == own == bucket.open(S3).claim(None)
        assert not (folder / RESTORING).exists()
        cut_at += 1
    assert cut_at > 15, "there were not even as many changes as there are files"
    assert bucket.at(S3) == there


def test_a_restore_waits_for_a_store_that_does_not_answer(data: Path, tmp_path: Path) -> None:
    root, silent = tmp_path / "backups", ObjectBlobs(Silent(), BlobCache(tmp_path / "n", 10), S3)
    asyncio.run(making.make(data, root, blobs=STORES[data].open(S3)))
    with pytest.raises(DiskError, match=r"does not answer\. Nothing was changed"):
        asyncio.run(restoring.restore(root, data, replace=True, store=silent))
    assert not (data / ".restoring").exists()


def test_a_backup_waits_for_a_store_that_does_not_answer(data: Path, tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "none", 10**6)
    silent = ObjectBlobs(Silent(), cache, S3)
    with pytest.raises(DiskError, match="does not answer"):
        asyncio.run(making.make(data, tmp_path / "backups", blobs=silent))
    assert list((tmp_path / "backups" / "backups").glob("*")) == []


def test_doctor_proves_and_mends_what_lies_in_the_store(data: Path, tmp_path: Path) -> None:
    bucket, backups = STORES[data], tmp_path / "backups"
    folder = Folder(data, True, backups, bucket.open(S3))
    assert prove(folder).faults == []
    asyncio.run(making.make(data, backups, blobs=bucket.open(S3)))
    first, second = bucket.at(S3)
    bucket.store.put(first, b"torn", use_multipart=False)
    bucket.store.delete(second)
    bucket.store.put("images/notes.txt", b"mine", use_multipart=False)
    stray = file_key(hashlib.sha256(b"stray").hexdigest())
    bucket.open(S3).put(stray, b"stray")
    faults = {(fault.kind, fault.text.partition(" ")[2]) for fault in prove(folder).faults}
    assert faults == {
        ("file", "is damaged: its bytes are not what its name says."),
        ("file", "is missing."),
        ("stray", "is named by nothing."),
    }
    assert mend(folder, lambda fault, said: None).faults == []
    assert sorted(bucket.at(S3)) == sorted([first, second])
    assert (data / "put-aside" / "images/notes.txt").read_bytes() == b"mine"
    assert (data / "put-aside" / stray).read_bytes() == b"stray"


def test_the_command_moves_and_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = Bucket(tmp_path / "library")
    content = filled(bucket)
    monkeypatch.setattr(library_place, "open_objects", lambda *_: bucket.store)
    config = Config(storage=Storage.model_construct(data_dir=tmp_path))

    def call(**given: str) -> int:
        return asyncio.run(run(argparse.Namespace(**given), config))

    assert call(what="where") == 0
    assert call(what="move", to=f"{S3}/") == 0
    said = capsys.readouterr().out
    assert f"The pictures are in {S3} now: {len(content)} files." in said
    assert f'set library.store = "{S3}"' in said
    assert call(what="where") == 1, "the settings have not followed yet"
    config = Config(
        storage=Storage.model_construct(data_dir=tmp_path), library=LibraryPlace(store=S3)
    )
    assert call(what="where") == 0
    assert bucket.at(S3) == content
