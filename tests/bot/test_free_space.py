"""The disk is watched: a warning first, then a refusal, before anything fails."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from bot.errors import DiskError
from bot.free_space import GIB, MIB, FreeSpace, Level, free_bytes
from bot.library import Library
from tests.bot.drawer import ANN, finished, png, request, services


class Disk:
    """So much is left."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.broken = False

    def free(self, _: Path) -> int:
        if self.broken:
            raise OSError("gone")
        return self.left


def watch(folder: Path, disk: Disk, look_s: float = 60.0) -> FreeSpace:
    return FreeSpace(
        folder, warn_bytes=2 * GIB, least_bytes=200 * MIB, look_s=look_s, free=disk.free
    )


async def test_a_warning_comes_before_the_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bot.free_space")
    disk = Disk(3 * GIB)
    space = watch(tmp_path, disk)
    said = []
    for left in (3 * GIB, GIB, GIB - 1, 199 * MIB, 201 * MIB, 230 * MIB, 2 * GIB, 3 * GIB):
        disk.left = left
        level = await space.look()
        said.append((level, len(caplog.records)))
        if level is Level.NONE:
            with pytest.raises(DiskError, match=r"\d+ MiB are left, and 200 MiB are kept .* Free"):
                space.check()
        else:
            space.check()
    assert said == [
        (Level.ENOUGH, 0),
        (Level.LITTLE, 1),
        (Level.LITTLE, 1),  # said once
        (Level.NONE, 2),
        (Level.NONE, 2),  # not to and fro
        (Level.LITTLE, 3),
        (Level.LITTLE, 3),
        (Level.ENOUGH, 4),
    ]
    assert [record.levelname for record in caplog.records] == [
        "WARNING",
        "ERROR",
        "WARNING",
        "INFO",
    ]
    assert "keep_days" in caplog.records[0].getMessage()


async def test_it_looks_by_itself_and_bears_a_disk_that_does_not_answer(tmp_path: Path) -> None:
    disk = Disk(3 * GIB)
    space = watch(tmp_path, disk, look_s=0.01)
    await space.start()
    disk.left = MIB
    async with asyncio.timeout(20):
        while space.refusing is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    disk.broken = True
    assert await space.look() is Level.NONE, "what was known holds"
    await space.stop()
    assert free_bytes(tmp_path) > 0


async def test_nothing_new_is_taken_and_what_is_under_way_ends(tmp_path: Path) -> None:
    disk = Disk(3 * GIB)
    space = watch(tmp_path, disk)
    library = Library(tmp_path / "library", space=space)
    async with services(tmp_path, library=library) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        disk.left = 100 * MIB
        await space.look()
        assert s.dreams.refusing is not None
        with pytest.raises(DiskError, match="almost full: 100 MiB are left"):
            await s.dreams.ask(request())
        with pytest.raises(DiskError, match="almost full"):
            await s.dreams.redo(dream.id, ANN, same_seed=True)
        with pytest.raises(DiskError, match="almost full"):
            await s.library.keep_upload(png())
        await s.dreams.on_message(finished(job))
        assert (await s.dreams.wait(dream.id)).image is not None, "it has its room"
        disk.left = 3 * GIB
        await space.look()
        assert s.library.refusing is None
        await s.dreams.ask(request())
