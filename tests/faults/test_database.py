"""A database that is locked, damaged or torn, and damaged pictures: they are said clearly."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import bot.store
from bot.consistency.model import Folder
from bot.consistency.proving import mend, prove
from bot.errors import DreamstreamError, StoreError
from bot.library import Library
from bot.model import DreamState
from bot.store.migrate import upgrade
from generation.protocol import Attachment
from tests.bot.drawer import finished, request, services, until
from tests.faults.proof import Seen, wrong_with
from tests.faults.scenario import evening

PAGES = 12


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder after an evening."""
    folder = tmp_path_factory.mktemp("database") / "data"
    said: list[tuple[str, str]] = []
    asyncio.run(evening(folder, lambda word, about: said.append((word, about))))
    assert "mistake" not in dict(said)
    assert wrong_with(folder, Seen()) == []
    return folder


@pytest.fixture
def data(lived_in: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(lived_in, tmp_path / "data"))


async def test_dreams_end_once_another_program_lets_go_of_the_database(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.store, "BUSY_TIMEOUT_MS", 30)
    async with services(data, disk_delay_s=0.01) as s:
        (dream, other) = await s.dreams.ask(request(count=2))
        job = await s.begin(dream.id)
        with closing(sqlite3.connect(data / "dreamstream.db", isolation_level=None)) as program:
            program.execute("BEGIN IMMEDIATE")
            await s.dreams.on_message(finished(job))
            await until(lambda: s.dreams.refusing is not None)
            with pytest.raises(DreamstreamError, match="no new dreams are taken"):
                await s.dreams.ask(request())
            await asyncio.sleep(0.3)
            assert not (await s.dreams.get(dream.id)).state.final
            program.execute("ROLLBACK")
        assert (await s.dreams.wait(dream.id)).state is DreamState.DONE
        await until(lambda: s.dreams.refusing is None)
        await s.draw(other.id)
        assert (await s.dreams.wait(other.id)).state is DreamState.DONE
    assert wrong_with(data, Seen()) == []


def test_a_damaged_page_is_named_wherever_it_is(data: Path) -> None:
    database = data / "dreamstream.db"
    content = database.read_bytes()
    size = int.from_bytes(content[16:18], "big")
    pages = range(1, len(content) // size)
    for page in random.Random(7).sample(pages, PAGES):
        damaged = bytearray(content)
        damaged[page * size : (page + 1) * size] = b"\xff" * size
        database.write_bytes(damaged)
        named = ""
        try:
            named = " ".join(fault.text for fault in prove(Folder(data, alone=True)).faults)
        except StoreError as error:
            named = str(error)
        assert "damaged" in named or "cannot be read" in named, f"page {page}: {named}"
        assert "Put a backup" in named or "restore" in named or "damaged" in named
        try:  # it starts, or says why not
            asyncio.run(evening(data, lambda word, about: None, asking=False))
        except DreamstreamError as error:
            assert "backup" in str(error), f"page {page}: {error}"
        finally:
            for left in data.glob("dreamstream.db*"):
                left.unlink()


@pytest.mark.parametrize("part", [0.0, 0.31, 0.62, 0.93, 0.999])
def test_a_torn_journal_costs_its_end_alone(tmp_path: Path, part: float) -> None:
    data = tmp_path / "data"
    asyncio.run(leave_a_journal(data, tmp_path / "left"))
    journal = tmp_path / "left" / "dreamstream.db-wal"
    content = journal.read_bytes()
    assert len(content) > 100_000
    journal.write_bytes(content[: int(len(content) * part)])
    told: list[tuple[str, str]] = []
    asyncio.run(evening(tmp_path / "left", lambda *said: told.append(said), asking=False))
    assert "mistake" not in dict(told)
    folder = Folder(tmp_path / "left", alone=True)
    mended: list[str] = []
    assert mend(folder, lambda fault, how: mended.append(fault.kind)).faults == []
    # Pictures of which the database knows nothing any more are put aside, and nothing else is.
    assert set(mended) <= {"stray"}
    assert wrong_with(tmp_path / "left", Seen()) == []


async def test_a_first_start_that_broke_off_in_a_transaction_is_taken_back(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.db", tmp_path / "torn" / "dreamstream.db"
    torn.parent.mkdir()
    assert upgrade(whole) == 0
    with closing(sqlite3.connect(whole, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # as it is until the first script runs
        connection.execute("PRAGMA cache_size = 2")  # so that half of it is in the file already
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE half AS SELECT name, sql FROM sqlite_master")
        connection.execute("INSERT INTO half SELECT a.name, b.sql FROM half AS a, half AS b")
        for path in (whole, whole.with_name("whole.db-journal")):
            shutil.copyfile(path, torn.with_name(path.name.replace("whole", "dreamstream")))
        connection.execute("ROLLBACK")
    with pytest.raises(StoreError, match=r"middle of a change.*Start the bot once"):
        prove(Folder(torn.parent, alone=True))
    store = await bot.store.Store.open(torn)
    assert not await store.read("SELECT 1 FROM sqlite_master WHERE name = 'half'")
    await store.close()
    assert prove(Folder(torn.parent, alone=True)).faults == []


async def leave_a_journal(data: Path, left: Path) -> None:
    """Live on in a folder, and copy it as a kill in the middle would leave it."""
    async with services(data) as s:
        for _ in range(4):
            (dream,) = await s.dreams.ask(request())
            await s.draw(dream.id)
            await s.dreams.wait(dream.id)
        await asyncio.to_thread(shutil.copytree, data, left)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, empty, flip])
async def test_a_damaged_picture_is_named_and_whole_again_once_it_is_drawn_again(
    data: Path, harm: Callable[[Path], None]
) -> None:
    async with services(data) as s:
        (dream,) = await s.dreams.ask(request(seed=5))
        job = await s.begin(dream.id)
        film = Attachment(name="film.mp4", media_type="video/mp4", data=b"a film")
        await s.dreams.on_message(finished(job))
        done = await s.dreams.wait(dream.id)
        assert done.image is not None
        path = s.library.path(done.image.sha256)
        kept = await s.library.keep_file(film)
        await s.library.let_go(kept.sha256, named=False)
        harm(path)
    (fault,) = prove(Folder(data, alone=True)).faults
    assert fault.kind == "file"
    assert done.image.sha256 in fault.text
    assert "Draw the dream again" in fault.cannot
    async with services(data) as s:
        again = await s.dreams.redo(dream.id, dream.person, same_seed=True)
        await s.dreams.on_message(finished(await s.begin(again.id)))
        drawn = await s.dreams.wait(again.id)
        assert drawn.image == done.image
    assert wrong_with(data, Seen()) == []


async def test_a_damaged_film_that_comes_again_is_written_anew(tmp_path: Path) -> None:
    library = Library(tmp_path)
    film = Attachment(name="film.mp4", media_type="video/mp4", data=b"a film")
    kept = await library.keep_file(film)
    await library.let_go(kept.sha256, named=True)
    flip(library.file_path(kept))
    await library.let_go((await library.keep_file(film)).sha256, named=True)
    assert await library.read_file(kept) == b"a film"
    library.close()
