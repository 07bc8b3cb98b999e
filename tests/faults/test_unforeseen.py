"""Errors that nobody foresaw, at any moment of a dream: it has one end all the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bot.endings
from bot.endings import UNFORESEEN
from bot.handover import Handover
from bot.model import DreamState, EventKind
from bot.store import Store, dream_states, events
from generation.protocol import Failed
from tests.bot.drawer import finished, request, services
from tests.faults.proof import Seen, wrong_with


class Mistake:
    """Raises in place of a coroutine function, so many `times`, where `it` is called so."""

    def __init__(
        self, real: Callable[..., Any], times: int, it: Callable[..., bool] = lambda *_, **__: True
    ) -> None:
        self._real, self._it = real, it
        self.left = times

    async def __call__(self, *given: Any, **named: Any) -> Any:
        if self.left and self._it(*given, **named):
            self.left -= 1
            raise RuntimeError("nobody foresaw this")
        return await self._real(*given, **named)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot.endings, "FIRST_PAUSE_S", 0.01)


async def test_an_end_is_written_once_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mistake = Mistake(dream_states.to_ended, 3)
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id)
        monkeypatch.setattr(dream_states, "to_ended", mistake)
        await s.dreams.on_message(Failed(job_id=dream.id, reason="Its engine has no colours."))
        ended = await s.dreams.wait(dream.id)
        assert (ended.state, ended.reason) == (DreamState.FAILED, UNFORESEEN)
        assert not mistake.left
        assert await ends(s.store) == [EventKind.FAILED]
    assert "nobody foresaw this" in caplog.text
    assert wrong_with(tmp_path, Seen({dream.id})) == []


async def test_words_that_cannot_be_written_keep_no_dream_from_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "bot")  # xdist cannot send the words of the log either
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id)
        # Half a surrogate pair, as of a file name that was no UTF-8: SQLite takes none.
        await s.dreams.on_message(Failed(job_id=dream.id, reason="No file \udc80."))
        ended = await s.dreams.wait(dream.id)
        assert (ended.state, ended.reason) == (DreamState.FAILED, UNFORESEEN)


async def test_a_picture_whose_end_cannot_be_written_at_first_is_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake = Mistake(Handover.saved, 1)  # what the end waits for; so does the next submit
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)

        async def saved(*given: Any) -> None:
            await mistake(*given)

        monkeypatch.setattr(Handover, "saved", saved)
        s.drawer.jobs.clear()
        await s.dreams.on_message(finished(job))
        await s.draw(dream.id)
        assert (await s.dreams.wait(dream.id)).state is DreamState.DONE
        assert not mistake.left
    assert wrong_with(tmp_path, Seen({dream.id}, [dream.id])) == []


async def test_one_dream_that_cannot_be_handed_over_holds_up_none_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        bad, good = await s.dreams.ask(request(count=2))
        await s.begin(bad.id)
        await s.begin(good.id)
        await s.down()
        mistake = Mistake(Handover.submit, 10**6, lambda _, active: active.dream.id == bad.id)

        async def submit(*given: Any) -> None:
            await mistake(*given)

        monkeypatch.setattr(Handover, "submit", submit)
        s.drawer.submitted.clear()
        await s.up()
        await s.draw(good.id)
        assert (await s.dreams.wait(good.id)).state is DreamState.DONE
        ended = await s.dreams.wait(bad.id)
        assert (ended.state, ended.reason) == (DreamState.FAILED, UNFORESEEN)
        assert [job.id for job in s.drawer.submitted] == [good.id]
    assert wrong_with(tmp_path, Seen({bad.id, good.id}, [good.id])) == []


async def ends(store: Store) -> list[EventKind]:
    """Return what the stream says of ends."""
    kinds = (EventKind.DONE, EventKind.FAILED, EventKind.CANCELLED)
    return [event.kind for event in await events.after(store, 0, 100) if event.kind in kinds]
