"""A disk that cannot be read for a moment: no dream is given up that could still be drawn."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bot.model import DreamState
from tests.bot.drawer import png, request, services, until


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("times", [2, 100])
async def test_a_start_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, times: int
) -> None:
    real = Path.read_bytes
    failed = 0

    def read_bytes(path: Path) -> bytes:
        nonlocal failed
        if path.suffix == ".png" and failed < times:
            failed += 1
            raise OSError(number, os.strerror(number))
        return real(path)

    async with services(tmp_path, up=False) as s:
        await s.up()
        s.drawer.up = False
        (other,) = await s.dreams.ask(request())
        (dream,) = await s.dreams.ask(request(init=png(), strength=0.5))
        monkeypatch.setattr(Path, "read_bytes", read_bytes)
        await s.up()
        await s.job(other.id)  # which starts from nothing
        if times > 10:
            ended = await s.dreams.wait(dream.id)
            assert ended.state is DreamState.FAILED
            assert ended.reason == "The picture that this dream starts from cannot be read."
            return
        await until(lambda: failed == times)
        monkeypatch.undo()
        await s.draw(dream.id)
        assert (await s.dreams.wait(dream.id)).state is DreamState.DONE
