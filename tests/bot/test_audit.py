"""Every decision is in its server's log for as long as that is kept, without anybody's words."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.audit import DAY_MS, LEAST_DAYS, RULES, Audit, Why
from bot.errors import RequestError
from bot.gate import Asker
from bot.ids import now_ms
from bot.model import Act, ModerationEntry
from bot.rights import Actor
from bot.store import forgetting, moderation, people
from tests.bot.drawer import ANN, BOB, Services, services, until

GUILD, CHANNEL = 7, 8
MODERATOR = Actor(BOB, guild_id=GUILD, moderates=True)
ASKER = Asker(ANN, guild_id=GUILD, channel_id=CHANNEL)


@dataclass
class Audited:
    parts: Services
    audit: Audit

    async def log(self) -> list[ModerationEntry]:
        await self.audit.write()
        return await self.parts.moderation.log(GUILD)

    def refused(self, **asked: object) -> None:
        with pytest.raises(RequestError):
            self.parts.gate.check(ASKER, **asked)  # type: ignore[arg-type]


@pytest.fixture
async def audited(tmp_path: Path) -> AsyncIterator[Audited]:
    async with services(tmp_path) as parts:
        audit = Audit(parts.store, 90, same_s=0.0)
        parts.gate.on_refusal(audit.refused)
        yield Audited(parts, audit)


async def test_a_mistake_of_ours_is_not_the_end_of_the_log(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, mistakes = audited.audit.write, [ValueError("a mistake of ours")]

    async def mistaken() -> None:
        if mistakes:
            raise mistakes.pop()
        await write()

    monkeypatch.setattr(audited.audit, "write", mistaken)
    audited.audit.start()
    audited.refused(prompt="nude")
    await until(lambda: not mistakes)
    audited.refused(prompt="nude")
    async with asyncio.timeout(10):
        while not await audited.parts.moderation.log(GUILD):  # noqa: ASYNC110 (it is a row)
            await asyncio.sleep(0.01)
    assert "not in the log yet" in caplog.text
    await audited.audit.stop()


async def test_each_refusal_says_why_and_never_in_which_words(audited: Audited) -> None:
    settings, gate = audited.parts.settings, audited.parts.gate
    await settings.change_guild(GUILD, BOB, blocked_words=("turnip",), max_count=2)
    audited.refused(prompt="a purple turnip")
    audited.refused(prompt="nude")
    audited.refused(prompt="a hare", count=3)
    with pytest.raises(RequestError):
        gate.check_waiting(Asker(ANN, guild_id=GUILD, channel_id=CHANNEL), own=201, background=True)
    await settings.change_channel(GUILD, CHANNEL, BOB, allowed_role_ids=(1,))
    audited.refused(prompt="a hare")
    await settings.change_channel(GUILD, CHANNEL, BOB, allowed_role_ids=None, dreaming=False)
    audited.refused(prompt="a hare")
    await audited.parts.moderation.block(GUILD, ANN, MODERATOR)
    audited.refused(prompt="a hare")
    entries = [one for one in await audited.log() if one.act is Act.REFUSED]
    assert {(one.by, one.person, one.channel_id) for one in entries} == {(RULES, ANN, CHANNEL)}
    found = {one.detail["why"]: one.detail.get("times", 1) for one in entries}
    assert found == {
        Why.BLOCKED_WORD: 1,
        Why.ADULT_WORD: 1,
        Why.LIMIT: 2,
        Why.ROLE: 1,
        Why.CLOSED: 1,
        Why.BLOCKED: 1,
    }
    rows = await audited.parts.store.read("SELECT detail FROM moderation_entry")
    assert not [row for row in rows if "turnip" in row["detail"] or "nude" in row["detail"]]


async def test_who_tries_over_and_over_makes_one_entry_that_says_how_often(
    audited: Audited,
) -> None:
    audit = Audit(audited.parts.store, 90, same_s=60.0)
    for _ in range(500):
        audit.refused(ANN, GUILD, CHANNEL, Why.LIMIT)
    await audit.write()
    for _ in range(30):
        audit.refused(ANN, GUILD, CHANNEL, Why.LIMIT)
    await audit.write()
    (entry,) = await audited.parts.moderation.log(GUILD)
    assert entry.detail == {"why": "limit", "times": 500}
    audit.start()
    await audit.stop()
    newer, _ = await audited.parts.moderation.log(GUILD)
    assert newer.detail["times"] == 30
    audit.refused(ANN, None, None, Why.LIMIT)  # in private no server has a log
    await audit.stop()
    assert len(await audited.parts.moderation.log(GUILD)) == 2


async def test_the_log_is_found_by_kind_and_person_and_only_in_its_server(
    audited: Audited,
) -> None:
    service = audited.parts.moderation
    await service.block(GUILD, ANN, MODERATOR)
    await service.unblock(GUILD, ANN, MODERATOR)
    audited.audit.refused(BOB, GUILD, CHANNEL, Why.LIMIT)
    await audited.log()
    assert [one.act for one in await service.log(GUILD, act=Act.BLOCKED)] == [Act.BLOCKED]
    assert len(await service.log(GUILD, person_id=ANN.id)) == 2
    assert len(await service.log(GUILD, person_id=BOB.id)) == 3
    assert await service.log(GUILD + 1) == []


async def test_entries_go_when_they_are_old_and_never_before(audited: Audited) -> None:
    store, now = audited.parts.store, now_ms()
    async with store.write() as connection:
        await people.upsert(connection, ANN, now)
        for days in (400, 100, 91, 89, 31, 29, 0):
            await moderation.append(connection, Act.DELETED, GUILD, ANN, now - days * DAY_MS)
    assert await audited.audit.forget_old() == 3
    assert len(await audited.log()) == 4
    # Not even by a mistake of ours do the newest go, nor is anything changed.
    for sql in ("DELETE FROM moderation_entry", "UPDATE moderation_entry SET at_ms = 0"):
        with pytest.raises(sqlite3.DatabaseError):
            async with store.write() as connection:
                await connection.execute(sql)
    assert await Audit(store, 0).forget_old() == 0
    assert await Audit(store, 1).forget_old() == 2, f"{LEAST_DAYS} days stay at least"


async def test_a_clock_that_is_ahead_empties_no_log(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, now = audited.parts.store, now_ms()
    async with store.write() as connection:
        await people.upsert(connection, ANN, now)
        await moderation.append(connection, Act.DELETED, GUILD, ANN, now - 80 * DAY_MS)
    assert await audited.audit.forget_old() == 0
    monkeypatch.setattr("bot.audit.now_ms", lambda: now + 365 * DAY_MS)
    monkeypatch.setattr("bot.trusted_time.now_ms", lambda: now + 365 * DAY_MS)
    assert await audited.audit.forget_old() == 0
    monkeypatch.setattr("bot.trusted_time.now_ms", lambda: now + 366 * DAY_MS)  # it stays so
    assert await audited.audit.forget_old() == 1


async def test_what_is_written_late_brings_no_name_back(audited: Audited) -> None:
    audited.audit.refused(ANN, GUILD, CHANNEL, Why.LIMIT)
    audited.audit.refused(BOB, GUILD, CHANNEL, Why.LIMIT)
    store = audited.parts.store
    async with store.write() as connection:
        await people.upsert(connection, ANN, now_ms())
        await forgetting.erase(connection, ANN.id, now_ms())
    entries = await audited.log()
    names = {one.person.id: one.person.name for one in entries if one.person is not None}
    assert names == {ANN.id: forgetting.NOBODY, BOB.id: BOB.name}
    audited.audit.refused(ANN, GUILD, CHANNEL, Why.ROLE)
    audited.audit.forgotten(ANN.id)
    assert ANN.name not in repr(vars(audited.audit))
    assert len(await audited.log()) == len(entries) + 1


async def test_it_writes_by_itself(audited: Audited) -> None:
    audited.audit.start()
    audited.audit.refused(ANN, GUILD, CHANNEL, Why.ROLE)
    committed = asyncio.Event()
    audited.parts.store.on_commit(committed.set)
    async with asyncio.timeout(10):
        await committed.wait()
    await audited.audit.stop()
    assert len(await audited.parts.moderation.log(GUILD)) == 1
