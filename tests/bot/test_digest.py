"""The best of the day: when it is due, once for each local day, and which pictures are in it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.channels import Channels
from bot.digest import LATEST_MS, MOST, Digests, last_due, moment_ms, page_day
from bot.errors import InvalidRequestError
from bot.ids import now_ms
from bot.model import Dream, Person
from bot.rights import Actor
from bot.settings import DigestPlace
from bot.store import digests as rows
from bot.store.digests import DigestRow
from tests.bot.drawer import ANN, BOB, Services, request, services

GUILD, CHANNEL, OTHER, THREAD = 7, 70, 71, 700
HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
BERLIN = "Europe/Berlin"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Clock:
    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def __call__(self) -> int:
        return self.at_ms


def digests_of(s: Services, clock: Clock) -> Digests:
    return Digests(s.store, s.settings, Channels(s.store, s.themes), clock=clock)


async def no_thread(place: DigestPlace) -> int | None:
    return None


async def kept(s: Services, channel_id: int = CHANNEL) -> list[DigestRow]:
    sql = "SELECT id FROM digest WHERE channel_id = ? ORDER BY id"
    found = [await rows.by_id(s.store, row["id"]) for row in await s.store.read(sql, (channel_id,))]
    return [row for row in found if row is not None]


# --- when ---------------------------------------------------------------------------------------


def test_an_hour_that_is_left_out_comes_an_hour_later_and_one_that_comes_twice_counts_once() -> (
    None
):
    assert moment_ms(date(2026, 3, 29), 2, BERLIN) == at("2026-03-29T01:00")  # 3 by the clock
    assert moment_ms(date(2026, 3, 29), 3, BERLIN) == at("2026-03-29T01:00")
    assert moment_ms(date(2026, 10, 25), 2, BERLIN) == at("2026-10-25T00:00")  # and again at 1:00
    assert moment_ms(date(2026, 11, 21), 9, "America/New_York") == at("2026-11-21T14:00")
    assert moment_ms(date(2026, 11, 21), 9, "Nowhere/Atall") == at("2026-11-21T09:00")


@given(
    st.integers(0, 23),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    st.integers(at("2005-01-01"), at("2060-01-01")),
)
def test_at_any_time_the_last_that_was_due_is_the_last(hour: int, zone: str, at_ms: int) -> None:
    day = last_due(at_ms, hour, zone)
    assert moment_ms(day, hour, zone) <= at_ms < moment_ms(day + timedelta(days=1), hour, zone)


def test_a_zone_may_leave_a_day_out() -> None:
    # Samoa had no 30 December 2011.
    day, moments = date(2011, 12, 27), []
    while day < date(2012, 1, 3):
        moments.append(moment_ms(day, 9, "Pacific/Apia"))
        day += timedelta(days=1)
    assert moments == sorted(moments) and len(set(moments)) == len(moments) - 1


def test_the_walls_page_is_of_the_day_that_most_of_it_is_in() -> None:
    assert page_day(at("2026-11-20T09:00"), at("2026-11-21T09:00")) == date(2026, 11, 20)
    assert page_day(at("2026-11-20T20:00"), at("2026-11-21T20:00")) == date(2026, 11, 21)


@pytest.mark.parametrize(("first", "zone"), [("2100-03-26", BERLIN), ("2100-10-29", BERLIN)])
async def test_each_local_day_has_one_whoever_looks_and_however_often(
    tmp_path: Path, first: str, zone: str
) -> None:
    async with services(tmp_path, up=False) as s:
        await s.settings.change_guild(GUILD, BOB, time_zone=zone)
        await s.settings.change_channel(GUILD, CHANNEL, BOB, digest_hour=2)
        clock = Clock(at(f"{first}T00:00"))
        end_ms = clock.at_ms + 5 * DAY_MS
        lasting = digests_of(s, clock)
        while clock.at_ms < end_ms:
            await lasting.order_due(no_thread)
            await digests_of(s, clock).order_due(no_thread)  # another process, and a restart
            clock.at_ms += 20 * 60 * 1000
        found = await kept(s)
        days = [row.day for row in found]
        assert days == [days[0] + timedelta(days=number) for number in range(5)]
        for row, following in pairwise(found):
            assert row.until_ms == following.since_ms  # nothing is left out, or shown twice
        hours = {(row.until_ms - row.since_ms) // HOUR_MS for row in found}
        assert hours == ({23, 24} if "03" in first else {24, 25})


async def test_what_was_missed_is_caught_up_within_half_a_day(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        await s.settings.change_channel(GUILD, CHANNEL, BOB, digest_hour=9)
        clock = Clock(at("2100-01-05T09:00") + LATEST_MS)
        await digests_of(s, clock).order_due(no_thread)
        clock.at_ms = at("2100-01-06T09:00") + LATEST_MS + 1
        await digests_of(s, clock).order_due(no_thread)
        clock.at_ms = at("2100-01-07T08:59")
        await digests_of(s, clock).order_due(no_thread)
        assert [row.day for row in await kept(s)] == [date(2100, 1, 5)]
        clock.at_ms = at("2100-01-07T09:00")
        await digests_of(s, clock).order_due(no_thread)
        [_, row] = await kept(s)
        assert (row.day, row.since_ms) == (date(2100, 1, 7), at("2100-01-06T09:00"))


async def test_another_hour_neither_repeats_nor_leaves_out(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        clock = Clock(at("2100-01-05T09:30"))
        digests = digests_of(s, clock)

        async def look(hour: int, when: str) -> list[date]:
            await s.settings.change_channel(GUILD, CHANNEL, BOB, digest_hour=hour)
            clock.at_ms = at(when)
            await digests.order_due(no_thread)
            return [row.day for row in await kept(s)]

        days = [date(2100, 1, 5), date(2100, 1, 6)]
        assert await look(9, "2100-01-05T09:30") == days[:1]
        assert await look(15, "2100-01-05T15:30") == days[:1]  # that day has had its own
        assert await look(8, "2100-01-05T16:00") == days[:1]
        assert await look(15, "2100-01-06T15:30") == days
        [first, second] = await kept(s)
        assert (second.since_ms, second.until_ms) == (first.until_ms, at("2100-01-06T15:00"))
        await s.settings.change_channel(GUILD, CHANNEL, BOB, digest_hour=None)
        clock.at_ms = at("2100-01-08T15:30")
        await digests.order_due(no_thread)
        assert len(await kept(s)) == 2


async def test_an_hour_that_has_struck_when_it_is_set_begins_the_next_day(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        now = datetime.now(UTC)
        await s.settings.change_channel(GUILD, CHANNEL, BOB, digest_hour=now.hour)
        clock = Clock(now_ms() + 60_000)
        digests = digests_of(s, clock)
        await digests.order_due(no_thread)
        assert await kept(s) == []
        clock.at_ms += DAY_MS
        await digests.order_due(no_thread)
        assert len(await kept(s)) == 1


@pytest.mark.parametrize(
    ("where", "change", "sentence"),
    [
        ("guild", {"time_zone": "Europe/Nowhere"}, "no such time zone"),
        ("guild", {"time_zone": "../../etc/passwd"}, "no such time zone"),
        ("guild", {"time_zone": 5}, "no such time zone"),
        ("guild", {"digest_hour": 9}, "no setting called"),
        ("channel", {"digest_hour": 24}, "from 0 to 23"),
        ("channel", {"digest_hour": True}, "from 0 to 23"),
        ("channel", {"time_zone": "UTC"}, "no setting called"),
    ],
)
async def test_wrong_hours_and_zones_are_told(
    tmp_path: Path, where: str, change: dict[str, object], sentence: str
) -> None:
    async with services(tmp_path, up=False) as s:
        with pytest.raises(InvalidRequestError, match=sentence):
            if where == "guild":
                await s.settings.change_guild(GUILD, BOB, **change)
            else:
                await s.settings.change_channel(GUILD, CHANNEL, BOB, **change)
        await s.settings.change_guild(GUILD, BOB, time_zone=" europe/berlin ")
        assert s.settings.guild(GUILD).time_zone == BERLIN
        await s.settings.change_channel(GUILD, CHANNEL, BOB, digest_hour=0)
        assert s.settings.digests() == [DigestPlace(GUILD, CHANNEL, 0, BERLIN)]
        # It is the channel's alone, not its threads'.
        assert s.settings.channel(GUILD, THREAD).digest_hour is None
        assert s.settings.effective(GUILD, THREAD, CHANNEL).time_zone == BERLIN


# --- what ---------------------------------------------------------------------------------------


async def drawn(s: Services, liked_by: int, **changes: Any) -> Dream:
    """Return a picture that so many people like."""
    [dream] = await s.dreams.ask(request(**changes))
    await s.draw(dream.id)
    for number in range(liked_by):
        # At the wall and in Discord together.
        person = Person(f"{'guest' if number % 2 else 'discord'}:{number}", f"P{number}")
        await s.moderation.favourite(dream.id, person)
    return await s.dreams.wait(dream.id)


async def soon(s: Services, *channels: int) -> Clock:
    """Have channels' digests at an hour that comes; return the clock at that hour."""
    hour = (datetime.now(UTC) + timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    for channel_id in channels:
        await s.settings.change_channel(GUILD, channel_id, BOB, digest_hour=hour.hour)
    return Clock(int(hour.timestamp() * 1000))


async def shown(s: Services, channel_id: int) -> list[str]:
    [row] = await kept(s, channel_id)
    return await rows.dreams_of(s.store, row.id)


async def test_what_is_liked_most_goes_first_where_it_may_be_seen(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.themes.create("cats", "Cats", visibility="private")
        channels = Channels(s.store, s.themes)
        for channel_id in (CHANNEL, OTHER):
            await channels.bind(channel_id, GUILD, "cats")
        here: dict[str, Any] = {"theme": "cats", "guild_id": GUILD, "channel_id": CHANNEL}
        one = await drawn(s, 1, **here)
        three = await drawn(s, 3, **here)
        await drawn(s, 0, **here)
        elsewhere = await drawn(s, 5)  # in the open theme
        gone = await drawn(s, 9, **here)
        await s.dreams.delete(gone.id, Actor(ANN))
        await s.moderation.set_publishes(ANN, False)
        own = await drawn(s, 2, **here)
        clock = await soon(s, CHANNEL, OTHER, 72)
        ordered = await digests_of(s, clock).order_due(no_thread)
        assert len(ordered) == 3
        assert await shown(s, CHANNEL) == [three.id, own.id, one.id]
        assert await shown(s, OTHER) == [three.id, one.id]  # that one is kept to its channel
        assert await shown(s, 72) == [elsewhere.id]


async def test_nothing_is_posted_where_nothing_was_liked_and_nothing_late(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await drawn(s, 0)
        clock = await soon(s, CHANNEL)
        digests = digests_of(s, clock)
        assert await digests.order_due(no_thread) == []
        assert await rows.open_ids(s.store) == []
        await s.moderation.favourite(dream.id, ANN)
        clock.at_ms += HOUR_MS
        assert await digests.order_due(no_thread) == []
        assert await digests_of(s, clock).order_due(no_thread) == []
        clock.at_ms += DAY_MS
        assert await digests.order_due(no_thread) == []  # it is of another day


async def test_no_more_than_a_card_shows(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        for _ in range(MOST + 2):
            await drawn(s, 1)
        await digests_of(s, await soon(s, CHANNEL)).order_due(no_thread)
        assert len(await shown(s, CHANNEL)) == MOST


async def test_a_thread_has_its_channels_theme_and_what_is_gone_has_none(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.themes.create("cats", "Cats")
        await Channels(s.store, s.themes).bind(CHANNEL, GUILD, "cats")
        cat = await drawn(s, 1, theme="cats")

        async def parent_of(place: DigestPlace) -> int | None:
            if place.channel_id == OTHER:
                raise LookupError
            return CHANNEL

        await digests_of(s, await soon(s, THREAD, OTHER)).order_due(parent_of)
        assert await shown(s, THREAD) == [cat.id]
        assert await kept(s, OTHER) == []


async def test_what_goes_wrong_with_one_place_keeps_no_other_from_its_digest(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        dream = await drawn(s, 1)
        clock = await soon(s, CHANNEL, OTHER)
        places = [place.channel_id for place in s.settings.digests()]
        for bad, good in (places, reversed(places)):
            async with s.store.write() as connection:
                await connection.execute("DELETE FROM digest_dream")
                await connection.execute("DELETE FROM digest")

            async def parent_of(place: DigestPlace, bad: int = bad) -> int | None:
                if place.channel_id == bad:
                    raise RuntimeError("a mistake")
                return None

            digests = digests_of(s, clock)
            with pytest.raises(RuntimeError, match="a mistake"):
                await digests.order_due(parent_of)
            assert await shown(s, good) == [dream.id] and await kept(s, bad) == []
            assert len(await digests.order_due(no_thread)) == 1  # it was still due
            assert await shown(s, bad) == [dream.id]
