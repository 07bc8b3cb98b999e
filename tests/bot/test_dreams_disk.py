"""A disk that is full or read-only: nothing is lost, and everybody is told."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest

import bot.endings
from bot.errors import DiskError
from bot.library import Library
from bot.model import Dream, DreamState
from bot.recipes import read_recipe
from bot.rights import Actor
from generation.protocol import Checkpoint, Steer, Steered
from tests.bot.drawer import ANN, Services, finished, png, request, services, until


class Disk:
    """Lets writes of pictures fail until it is `well`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
        self.well = True
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            if not self.well and threading.current_thread().name.startswith("library"):
                raise OSError(number, os.strerror(number))
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", write)


async def noticed(s: Services, dream: Dream) -> str:
    await until(lambda: (live := s.dreams.live(dream.id)) is not None and live.notice)
    live = s.dreams.live(dream.id)
    assert live is not None
    return live.notice


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "The disk is full"), (errno.EROFS, "may not be written")],
)
async def test_a_finished_picture_waits_for_the_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    words: str,
) -> None:
    disk = Disk(monkeypatch, number)
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        disk.well = False
        await s.dreams.on_message(finished(job))
        notice = await noticed(s, dream)
        assert notice.startswith("Drawn, but not kept yet.")
        assert words in notice
        # The folder's name is for whoever reads the log, not for whoever watches.
        assert str(tmp_path) not in notice
        assert str(tmp_path) in caplog.text
        assert not (await s.dreams.get(dream.id)).state.final
        with pytest.raises(DiskError, match=words) as caught:
            await s.dreams.ask(request())
        assert "no new dreams are taken" in str(caught.value)
        assert str(caught.value).startswith(s.dreams.refusing or "nothing")
        await asyncio.sleep(0.2)  # a few probes fail
        assert not (await s.dreams.get(dream.id)).state.final
        disk.well = True
        done = await s.dreams.wait(dream.id)
        assert done.image is not None
        assert read_recipe(s.library.path(done.image.sha256).read_bytes()) == job.recipe
        assert s.dreams.refusing is None
        await s.dreams.ask(request())


async def test_a_bot_killed_while_the_disk_is_full_draws_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        await s.dreams.on_message(Checkpoint(dream.id, 50, b"fifty"))
        await until(lambda: list((tmp_path / "library" / "checkpoints").glob("*.checkpoint")))
        disk.well = False
        await s.dreams.on_message(finished(job))
        await noticed(s, dream)
    disk.well = True
    async with services(tmp_path) as s:
        assert (await s.job(dream.id)).checkpoint == b"fifty"
        await s.draw(dream.id)
        assert (await s.dreams.wait(dream.id)).state is DreamState.DONE


async def test_pictures_beyond_what_memory_takes_are_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.endings, "MAX_HELD_BYTES", len(png(128, 128)) * 2)
    disk = Disk(monkeypatch)
    async with services(tmp_path) as s:
        made = await s.dreams.ask(request(count=4))
        jobs = [await s.begin(dream.id) for dream in made]
        disk.well = False
        for job in jobs:
            await s.dreams.on_message(finished(job))
        for dream in made:
            await noticed(s, dream)
        disk.well = True
        await until(lambda: len(s.drawer.submitted) > 4)
        again = {job.id for job in s.drawer.submitted[4:]}
        for dream_id in again:
            await s.draw(dream_id)
        ended = [await s.dreams.wait(dream.id) for dream in made]
        assert {dream.state for dream in ended} == {DreamState.DONE}


async def test_a_dream_may_be_cancelled_while_it_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        disk.well = False
        await s.dreams.on_message(finished(job))
        await noticed(s, dream)
        await s.dreams.cancel(dream.id, Actor(ANN))
        disk.well = True
        await asyncio.sleep(0.3)
        assert (await s.dreams.wait(dream.id)).state is DreamState.CANCELLED


async def test_checkpoints_that_cannot_be_kept_lose_only_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id)
        await s.dreams.on_message(Checkpoint(dream.id, 10, b"ten"))
        await until(lambda: list((tmp_path / "library" / "checkpoints").glob("*.checkpoint")))
        disk.well = False
        await s.dreams.on_message(Checkpoint(dream.id, 20, b"twenty"))
        with pytest.raises(DiskError):
            async with asyncio.timeout(20):
                while True:
                    await s.dreams.ask(request(person=ANN))
                    await asyncio.sleep(0.01)
        await s.down(dream.id)
        await s.up()
        assert (await s.job(dream.id)).checkpoint == b"ten"


class FullDatabase:
    """Lets transactions fail as SQLite does when the disk is full."""

    def __init__(self, s: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        real = s.store._writer.commit

        async def commit() -> None:
            if self.full:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            await real()

        monkeypatch.setattr(s.store._writer, "commit", commit)


async def test_a_full_database_delays_every_kind_of_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        made = await s.dreams.ask(request(count=4))
        for dream in made:
            await s.begin(dream.id)
        database = FullDatabase(s, monkeypatch)
        database.full = True
        with pytest.raises(DiskError, match="database cannot be written"):
            await s.dreams.ask(request())
        await s.dreams.on_message(finished(s.drawer.jobs[made[0].id]))
        with pytest.raises(DiskError):
            await s.dreams.cancel(made[1].id, Actor(ANN))
        for _ in range(2):
            await s.down(made[2].id)
            await s.up()
        await asyncio.sleep(0.2)
        assert len(await s.dreams.unfinished(None)) == 4
        database.full = False
        assert (await s.dreams.wait(made[0].id)).state is DreamState.DONE
        assert (await s.dreams.wait(made[2].id)).state is DreamState.FAILED
        await s.dreams.cancel(made[1].id, Actor(ANN))
        await s.draw(made[3].id)
        assert (await s.dreams.wait(made[3].id)).state is DreamState.DONE


async def test_a_cancel_that_cannot_be_written_down_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        steered, drawn = await s.dreams.ask(request(count=2))
        await s.begin(steered.id)
        await s.dreams.steer(steered.id, Actor(ANN), "a wolf", 10)
        job = await s.begin(drawn.id)
        database = FullDatabase(s, monkeypatch)
        database.full = True
        cancelling = asyncio.create_task(s.dreams.cancel(drawn.id, Actor(ANN)))
        await asyncio.sleep(0)
        await s.dreams.on_message(finished(job))  # as the cancel is being written down
        for trying in (cancelling, s.dreams.cancel(steered.id, Actor(ANN))):
            with pytest.raises(DiskError):
                await trying
        database.full = False
        assert (await s.dreams.wait(drawn.id)).state is DreamState.DONE
        await asyncio.sleep(0.2)
        assert s.drawer.steers == [(steered.id, "a wolf", 10)], "it is told of it once"
        assert len(s.drawer.submitted) == 2
        await s.dreams.on_message(Steered(steered.id, Steer(5, "a wolf", 10)))
        assert [steer.prompt for steer in (await s.dreams.get(steered.id)).recipe.steers] == [
            "a wolf"
        ]


async def test_a_library_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with services(tmp_path, library=Library(tmp_path / "file")) as s:
        with pytest.raises(DiskError):
            await s.dreams.ask(request(init=png()))
