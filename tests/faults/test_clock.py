"""A clock that is wrong for a while, ahead or behind, and right again: it does no lasting harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import discord
import pytest

import bot.acceptance
import bot.endings
import bot.ids
import bot.store.dreams
import bot.store.game_entries
from bot import retention, trusted_time
from bot.channels import Channels
from bot.checkpoints import Checkpoints
from bot.delivery import sender
from bot.delivery.discord_time import DiscordTime
from bot.digest import Digests
from bot.ids import EARLIEST_MS, IdMaker, time_of
from bot.model import DreamState
from bot.retention import Retention, RetentionRules
from bot.settings import DigestPlace
from bot.store import digests, dreams, game_entries
from bot.trusted_time import DAY_MS
from tests.bot.drawer import ANN, Services, request, services, until
from tests.discord_front.world import world

NOW_MS = EARLIEST_MS + 400 * DAY_MS
HOUR_MS = 3600 * 1000
CHANNEL, GUILD = 70, 7


class Clock:
    """What time it is, for all that asks `bot.ids.now_ms`."""

    def __init__(self) -> None:
        self.ms = NOW_MS
        self._began_s = time.monotonic()

    def __call__(self) -> int:
        return self.ms + int((time.monotonic() - self._began_s) * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (
        bot.ids,
        bot.acceptance,
        bot.endings,
        bot.store.dreams,
        bot.store.game_entries,
        retention,
        trusted_time,
    ):
        monkeypatch.setattr(module, "now_ms", made)
    return made


def test_ids_are_of_their_time_again_once_the_clock_is_right(clock: Clock) -> None:
    maker = IdMaker()
    made = [maker.next()]
    clock.ms += 3 * HOUR_MS
    made.append(maker.next())
    clock.ms -= 3 * HOUR_MS  # a little: in order is what counts
    made.append(maker.next())
    assert made == sorted(made)
    clock.ms += 300 * DAY_MS
    ahead = maker.next()
    clock.ms -= 300 * DAY_MS
    assert abs(time_of(maker.next()) - clock()) < HOUR_MS
    assert abs(time_of(IdMaker(ahead).next()) - clock()) < HOUR_MS
    newest = maker.next()
    clock.ms = 5  # it has lost the time: what was there before is right
    assert maker.next() > newest


async def taken(s: Services, clock: Clock) -> int:
    """Return how many dreams count as those of the last hour."""
    async with s.store.write() as connection:
        _, _, hour = await dreams.places_taken(
            connection, ANN.id, GUILD, CHANNEL, clock() - HOUR_MS
        )
    return hour


async def ask(s: Services) -> str:
    (dream,) = await s.dreams.ask(request(guild_id=GUILD, channel_id=CHANNEL))
    await s.draw(dream.id)
    assert (await s.dreams.wait(dream.id)).state is DreamState.DONE
    return dream.id


@pytest.mark.parametrize("ahead_ms", [5 * HOUR_MS, 300 * DAY_MS])
async def test_an_hours_limit_is_an_hours_after_the_clock_was_ahead(
    tmp_path: Path, clock: Clock, ahead_ms: int
) -> None:
    async with services(tmp_path) as s:
        clock.ms += ahead_ms
        for _ in range(3):
            await ask(s)
        assert await taken(s, clock) == 3
        clock.ms -= ahead_ms
        assert await taken(s, clock) == 0
        await ask(s)
        assert await taken(s, clock) == 1
        clock.ms += 2 * HOUR_MS
        assert await taken(s, clock) == 0


async def test_what_the_machine_drew_in_games_counts_for_an_hour_after_the_clock_was_ahead(
    tmp_path: Path, clock: Clock
) -> None:
    async with services(tmp_path) as s:
        theme = await s.themes.get("open")

        async def play(game_id: str) -> None:
            """Have the machine draw in a game that Ann opened."""
            dream_id, at_ms = await ask(s), clock()
            async with s.store.write() as connection:
                await connection.execute(
                    "INSERT INTO game (id, theme_id, kind, host_id, state, prompt, seed, machine, "
                    "guild_id, channel_id, age_restricted, published, host_knows, perceptor, "
                    "ends_ms, created_ms, ended_ms) VALUES "
                    "(?, ?, 'draw', ?, 'over', '', 1, 1, ?, ?, 0, 1, 1, '', ?, ?, ?)",
                    (game_id, theme.id, ANN.id, GUILD, CHANNEL, at_ms, at_ms, at_ms),
                )
                await connection.execute(
                    "INSERT INTO game_entry (id, game_id, person_id, text, dream_id, writing, "
                    "published, at_ms) VALUES (?, ?, ?, '', ?, 0, 1, ?)",
                    (game_id, game_id, ANN.id, dream_id, at_ms),
                )

        async def drawn() -> int:
            async with s.store.write() as connection:
                _, hour = await game_entries.drawn_for(connection, ANN.id, GUILD, clock() - HOUR_MS)
            return hour

        ids = IdMaker()
        clock.ms += 300 * DAY_MS
        await play(ids.next())
        assert await drawn() == 1
        clock.ms -= 300 * DAY_MS
        assert await drawn() == 0
        await play(ids.next())
        assert await drawn() == 1
        clock.ms += 2 * HOUR_MS
        assert await drawn() == 0


async def test_a_day_that_is_not_yet_keeps_no_later_digest_away(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        place = DigestPlace(guild_id=GUILD, channel_id=CHANNEL, hour=20, zone="UTC")
        monkeypatch.setattr(s.settings, "digests", lambda: [place])
        made = Digests(s.store, s.settings, Channels(s.store, s.themes), clock=clock)

        async def parent_of(place: DigestPlace) -> int | None:
            return None

        today = datetime.fromtimestamp(NOW_MS / 1000, UTC).date()
        clock.ms = _evening(today)
        await made.order_due(parent_of)
        clock.ms = _evening(today + timedelta(days=200))
        await made.order_due(parent_of)
        for days in (1, 2):
            clock.ms = _evening(today + timedelta(days=days))
            await made.order_due(parent_of)
        found = await s.store.read("SELECT day, since_ms, until_ms FROM digest ORDER BY id")
        days_had = [date.fromisoformat(row["day"]) - today for row in found]
        assert [day.days for day in days_had] == [0, 200, 1, 2]
        assert found[2]["since_ms"] == found[0]["until_ms"]
        assert found[3]["since_ms"] == found[2]["until_ms"]
        assert await digests.newest_until(s.store, CHANNEL, clock()) == found[3]["until_ms"]


def _evening(day: date) -> int:
    at = datetime(day.year, day.month, day.day, 20, 5, tzinfo=UTC)
    return int(at.timestamp() * 1000)


@pytest.fixture
def kept_for() -> RetentionRules:
    return RetentionRules(keep_days=30)


async def test_a_clock_that_is_ahead_lets_nothing_go_at_once(
    tmp_path: Path, clock: Clock, kept_for: RetentionRules
) -> None:
    async with services(tmp_path) as s:
        checkpoints = Checkpoints(tmp_path / "library" / "checkpoints")
        made = Retention(s.store, s.library, checkpoints, kept_for)
        dream_id = await ask(s)
        assert await made.is_sure_of_the_time()
        clock.ms += 3 * DAY_MS  # it was off for a long weekend
        assert await made.is_sure_of_the_time()
        clock.ms += 365 * DAY_MS
        assert [one.dream_id async for one, _ in made.due()] == [dream_id]
        assert not await made.is_sure_of_the_time()
        again = Retention(s.store, s.library, checkpoints, kept_for)  # a start changes nothing
        assert not await again.is_sure_of_the_time()
        clock.ms -= 365 * DAY_MS
        assert not await again.is_sure_of_the_time()
        for _ in range(25):
            clock.ms += HOUR_MS
            sure = await again.is_sure_of_the_time()
        assert sure
        assert [one async for one in made.due()] == []


async def test_what_is_really_old_goes_a_day_later(
    tmp_path: Path, clock: Clock, kept_for: RetentionRules
) -> None:
    async with services(tmp_path) as s:
        checkpoints = Checkpoints(tmp_path / "library" / "checkpoints")
        made = Retention(s.store, s.library, checkpoints, kept_for, look_s=0.01, pause_s=0.0)
        dream_id = await ask(s)
        assert await made.is_sure_of_the_time()
        clock.ms += 100 * DAY_MS
        made.start()
        await s.store.read("SELECT 1")
        assert not await made.is_sure_of_the_time()
        assert (await s.dreams.get(dream_id)).deleted_ms is None
        clock.ms += DAY_MS + HOUR_MS
        async with asyncio.timeout(60):
            while (await s.dreams.get(dream_id)).deleted_ms is None:
                await s.store.read("SELECT 1")
        await made.stop()


@pytest.mark.parametrize("wrong_ms", [-NOW_MS, -DAY_MS, 300 * DAY_MS])
async def test_a_message_is_found_again_though_its_row_is_dated_wrongly(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, wrong_ms: int
) -> None:
    monkeypatch.setattr(sender, "now_ms", clock)
    posted = SimpleNamespace(id=discord.utils.time_snowflake(_at(clock())), author=_ME)

    async def history(**wanted: Any) -> AsyncIterator[Any]:
        assert wanted["after"].id >= 0  # else Discord refuses
        if posted.id > wanted["after"].id:
            yield posted

    channel: Any = SimpleNamespace(id=CHANNEL, history=history)
    client: Any = SimpleNamespace(user=_ME)
    found = await sender.earlier_message(client, channel, clock() + wrong_ms, lambda _: True)
    assert found == posted.id


_ME = SimpleNamespace(id=1)


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def test_no_message_is_older_than_what_went_by_since_discord_dated_it() -> None:
    here_s = 1000.0
    there = DiscordTime(lambda: here_s)
    made_ms = EARLIEST_MS + DAY_MS  # whatever the clock of this machine says
    old = sender.snowflake_at(made_ms)
    assert there.least_age_s(old) < 0  # nobody knows
    there.saw(_message(made_ms))
    assert there.least_age_s(old) == 0
    here_s += 3600
    assert there.least_age_s(old) == 3600
    there.saw(_message(made_ms, edited_ms=made_ms + 2 * HOUR_MS))
    assert there.least_age_s(old) == 7200
    there.saw(_message(made_ms - HOUR_MS))  # found again: it says nothing new
    assert there.least_age_s(old) == 7200


def _message(made_ms: int, edited_ms: int | None = None) -> Any:
    edited = None if edited_ms is None else _at(edited_ms)
    return SimpleNamespace(created_at=_at(made_ms), edited_at=edited)


async def test_a_card_is_one_message_also_where_the_clock_is_months_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.pace.FORMING_S", 0.02)
    monkeypatch.setattr("bot.delivery.pace.WINDOW_S", 0.05)
    async with world(tmp_path) as there:
        dream_id, card = await there.ask()
        assert time.time() - card.created_at.timestamp() > 30 * 24 * 3600  # simcord's is the past
        await there.parts.begin(dream_id, step=50)
        await there.shows(0, "step 50")
        await there.parts.draw(dream_id)
        await until(lambda: not there.client.delivery.unsettled)
        [shown] = there.cards()
        assert shown.id == card.id
        assert there.posts() == 1
