"""What members of a server may see at the wall, by what a simulated Discord says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import discord
import pytest

from bot.channels import Channels
from bot.delivery import memberships
from bot.delivery.memberships import (
    FRESH_S,
    MOST_THREADS,
    RETRY_S,
    STALE_S,
    DiscordMembers,
)
from bot.membership import (
    MOST_GUILDS,
    AskedTooMuchError,
    Memberships,
    Place,
    UnreachedError,
)
from bot.model import Person, Visibility
from tests.bot.drawer import request, services, until
from tests.discord_front.world import World, world


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def fetched(there: World) -> int:
    """Return how often Discord was asked for a member."""
    return sum("/members/" in one.path and one.method == "GET" for one in there.env.http_requests)


async def test_who_may_read_a_channel_sees_its_theme_for_as_long_as_that_is_so(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        looker = DiscordMembers(lambda: there.client, clock=clock)
        members = Memberships(there.parts.store, looker)
        guild = there.env.guild
        theme = await there.parts.themes.create("hidden", "Hidden", visibility=Visibility.PRIVATE)
        insiders = guild.create_role("insiders")
        hidden: dict[Any, Any] = {
            guild.default_role: discord.PermissionOverwrite(view_channel=False),
            insiders: discord.PermissionOverwrite(view_channel=True, manage_messages=True),
        }
        closed = guild.create_text_channel("closed", overwrites=hidden)
        cara = guild.add_member(there.env.create_user("cara"), roles=[insiders])
        stranger = there.env.create_user("stranger")
        channels = there.client.front.channels
        await channels.bind(closed.id, guild.id, theme.slug)

        def of(who: Any) -> str:
            return f"discord:{who.id}"

        # The channel is not for everybody, and the server not for a stranger.
        assert await members.places(of(there.ann), theme.id) == []
        assert await members.places(of(stranger), theme.id) == []
        assert await members.places("guest:ann", theme.id) == []
        (place,) = await members.places(of(cara), theme.id)
        assert place.guild_id == guild.id and place.channel_id == closed.id
        assert insiders.id in place.role_ids and place.asks and place.moderates
        assert await members.private_themes(of(cara)) == [theme.id]
        assert await members.private_themes(of(there.ann)) == []

        # A minute long Discord is asked nothing more; one that is hers no more opens nothing then.
        before = fetched(there)
        await members.places(of(cara), theme.id)
        assert fetched(there) == before
        guild.remove_member(cara)
        clock.now_s += FRESH_S
        assert await members.places(of(cara), theme.id) == []
        assert fetched(there) == before + 1

        # In another channel it shows at once; and where it is taken off, no more.
        await channels.bind(there.channel.id, guild.id, theme.slug)
        (place,) = await members.places(of(there.ann), theme.id)
        assert place == Place(
            guild_id=guild.id,
            channel_id=there.channel.id,
            role_ids=frozenset({guild.id}),
            asks=True,
            moderates=False,
        )
        await channels.unbind(there.channel.id)
        assert await members.places(of(there.ann), theme.id) == []

        # A channel itself is hers to read whether or not a theme is on it.
        assert await members.place(of(there.ann), guild.id, there.channel.id) == place
        for who, channel in ((cara, there.channel), (there.ann, closed)):
            assert await members.place(of(who), guild.id, channel.id) is None
        assert await members.place("guest:ann", guild.id, there.channel.id) is None


async def test_while_discord_says_nothing_what_it_said_holds_for_a_while(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        looker = DiscordMembers(lambda: there.client, clock=clock)
        members = Memberships(there.parts.store, looker)
        theme = await there.parts.themes.create("hidden", "Hidden", visibility=Visibility.PRIVATE)
        await there.client.front.channels.bind(there.channel.id, there.env.guild.id, theme.slug)
        ann, bob = f"discord:{there.ann.id}", f"discord:{there.bob.id}"
        assert await members.places(ann, theme.id)
        there.env.inject_error("GET", "/guilds/*/members/*", status=403, times=100)
        assert not await members.places(bob, theme.id)  # nothing is known of him
        clock.now_s += FRESH_S
        assert await members.places(ann, theme.id)
        before = fetched(there)
        assert await members.places(ann, theme.id)
        assert fetched(there) == before  # it is not asked again at once
        clock.now_s += RETRY_S
        await members.places(ann, theme.id)
        assert fetched(there) > before
        clock.now_s += STALE_S
        assert not await members.places(ann, theme.id)


async def test_without_discord_nobody_is_a_member(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        members = Memberships(there.parts.store, DiscordMembers(lambda: None))
        theme = await there.parts.themes.create("hidden", "Hidden", visibility=Visibility.PRIVATE)
        await there.client.front.channels.bind(there.channel.id, there.env.guild.id, theme.slug)
        assert await members.places(f"discord:{there.ann.id}", theme.id) == []
        here = there.env.guild.id, there.channel.id
        assert await members.place(f"discord:{there.ann.id}", *here) is None
        assert await members.private_themes(f"discord:{there.ann.id}") == []


async def test_right_after_a_start_it_is_waited_for_that_the_bot_comes_into_discord(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        come: list[discord.Client] = []
        looker = DiscordMembers(lambda: come[-1] if come else None, start_s=30)
        members = Memberships(there.parts.store, looker)
        theme = await there.parts.themes.create("hidden", "Hidden", visibility=Visibility.PRIVATE)
        await there.client.front.channels.bind(there.channel.id, there.env.guild.id, theme.slug)
        ann = f"discord:{there.ann.id}"
        missing: list[int] = []
        looks = asyncio.create_task(
            members.private_themes(ann, unreached=lambda _: missing.append(1))
        )
        await asyncio.sleep(0.2)
        assert not looks.done()
        come.append(there.client)
        assert await looks == [theme.id] and not missing
        late = Memberships(there.parts.store, DiscordMembers(lambda: None))
        assert await late.private_themes(ann, unreached=lambda _: missing.append(2)) == []
        assert missing == [2]


async def test_where_nothing_is_known_a_failure_is_remembered_too(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        clock = Clock()
        looker = DiscordMembers(lambda: there.client, clock=clock)
        members = Memberships(there.parts.store, looker)
        theme = await there.parts.themes.create("hidden", "Hidden", visibility=Visibility.PRIVATE)
        await there.client.front.channels.bind(there.channel.id, there.env.guild.id, theme.slug)
        ann = f"discord:{there.ann.id}"
        there.env.inject_error("GET", "/guilds/*/members/*", status=403, times=1)
        before = fetched(there)
        looks = await asyncio.gather(*(members.places(ann, theme.id) for _ in range(8)))
        assert looks == [[]] * 8
        assert await members.places(ann, theme.id) == []
        assert fetched(there) == before + 1
        clock.now_s += RETRY_S
        assert await members.places(ann, theme.id)
        assert fetched(there) == before + 2


async def test_a_thread_that_cannot_be_fetched_is_not_asked_for_each_time(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        clock, guild = Clock(), there.env.guild
        looker = DiscordMembers(lambda: there.client, clock=clock)
        gone = [there.channel.id + 1000 + nth for nth in range(MOST_THREADS + 5)]
        there.env.inject_error("GET", "/channels/*", status=400, times=2 * MOST_THREADS)

        def asked() -> int:
            return sum(
                f"/channels/{one}" in request.path
                for one in gone
                for request in there.env.http_requests
            )

        async def found() -> list[int]:
            with pytest.raises(UnreachedError) as unsaid:
                await looker.places(guild.id, there.ann.id, [there.channel.id, *gone])
            return [place.channel_id for place in unsaid.value.places]

        looks = await asyncio.gather(*(found() for _ in range(4)))
        assert looks == [[there.channel.id]] * 4
        assert await found() == [there.channel.id]
        assert asked() == MOST_THREADS


async def test_that_nothing_is_said_of_a_thread_is_told_who_may_read_it(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        clock, guild = Clock(), there.env.guild
        looker = DiscordMembers(lambda: there.client, clock=clock)
        members = Memberships(there.parts.store, looker)
        theme = await there.parts.themes.create("slept", "Slept", visibility=Visibility.PRIVATE)
        channel = there.client.get_channel(there.channel.id)
        assert isinstance(channel, discord.TextChannel)
        thread = await channel.create_thread(name="n", type=discord.ChannelType.public_thread)
        await there.client.front.channels.bind(thread.id, guild.id, theme.slug)
        await there.client.front.channels.bind(there.channel.id, guild.id, theme.slug)
        there.env.backend.edit_channel(thread.id, {}, thread_metadata={"archived": True})
        await until(lambda: channel.guild.get_thread(thread.id) is None)
        ann, missing = f"discord:{there.ann.id}", list[int]()

        async def read() -> list[int]:
            places = await members.places(
                ann, theme.id, unreached=lambda _: missing.append(thread.id)
            )
            return [place.channel_id for place in places]

        there.env.inject_error("GET", f"/channels/{thread.id}", status=400, times=1)
        assert await read() == [there.channel.id], "what is known holds"
        assert missing == [thread.id]
        clock.now_s += RETRY_S
        assert {*await read()} == {there.channel.id, thread.id} and missing == [thread.id]


async def test_the_oldest_answer_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memberships, "MOST", 1)
    async with world(tmp_path) as there:
        looker = DiscordMembers(lambda: there.client, clock=Clock())

        async def look(who: Any) -> int:
            before = fetched(there)
            await looker.places(there.env.guild.id, who.id, [there.channel.id])
            return fetched(there) - before

        assert [await look(who) for who in (there.ann, there.bob, there.bob)] == [1, 1, 0]
        assert await look(there.ann) == 1


class Guilds:
    """A client in any number of servers, each with one channel of its number, that all may read."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.known: dict[int, Any] = {}
        self.hold: asyncio.Event | None = None

    def is_ready(self) -> bool:
        return True

    def get_guild(self, guild_id: int) -> Any:
        if guild_id not in self.known:
            guild = SimpleNamespace(id=guild_id, unavailable=False)
            channel = SimpleNamespace(
                id=guild_id, permissions_for=lambda _: discord.Permissions.all(), nsfw=False
            )

            async def fetch_member(user_id: int) -> Any:
                self.asked.append((guild_id, user_id))
                if self.hold is not None:
                    await self.hold.wait()
                return SimpleNamespace(guild=guild, roles=[], pending=False)

            guild.fetch_member = fetch_member
            guild.get_channel_or_thread = lambda _: channel
            self.known[guild_id] = guild
        return self.known[guild_id]


async def test_for_one_person_discord_is_asked_so_much_and_for_others_as_before() -> None:
    there, clock = Guilds(), Clock()
    looker = DiscordMembers(lambda: there, clock=clock)  # type: ignore[arg-type, return-value]
    ann, bob, most = 1, 2, memberships.ASKED_AT_ONCE

    async def look(user_id: int, guild_ids: range) -> int:
        """Return how many of these are told of."""
        told = 0
        for guild_id in guild_ids:
            try:
                (place,) = await looker.places(guild_id, user_id, [guild_id])
            except AskedTooMuchError:
                continue
            told += place.guild_id == guild_id
        return told

    assert await look(ann, range(1, 1000)) == most == len(there.asked)
    # She sees what is known of her; and he is told all that he asks for.
    assert await look(ann, range(1, most + 1)) == most == len(there.asked)
    assert await look(bob, range(1, most + 1)) == most
    clock.now_s += 5.0
    assert await look(ann, range(most + 1, 1000)) == 5 * memberships.ASKED_A_SECOND
    # As often as a page that stays open asks of the costliest theme, it is asked for good.
    for _ in range(10):
        clock.now_s += FRESH_S
        assert await look(bob, range(1, 2 * MOST_GUILDS + 1)) == 2 * MOST_GUILDS


async def test_who_has_asked_too_much_gains_no_time_in_what_they_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memberships, "ASKED_A_SECOND", 0.001)
    monkeypatch.setattr(memberships, "ASKED_AT_ONCE", 2)
    there, clock = Guilds(), Clock()
    looker = DiscordMembers(lambda: there, clock=clock)  # type: ignore[arg-type, return-value]
    for guild_id in (1, 2):
        assert await looker.places(guild_id, 5, [guild_id])
    clock.now_s += FRESH_S - 1
    assert await looker.places(1, 5, [1])
    clock.now_s += 1
    for _ in range(3):
        with pytest.raises(AskedTooMuchError):
            await looker.places(1, 5, [1])
    assert len(there.asked) == 2


async def test_what_many_pages_ask_for_at_once_counts_once() -> None:
    there = Guilds()
    looker = DiscordMembers(lambda: there, clock=Clock())  # type: ignore[arg-type, return-value]
    there.hold = asyncio.Event()
    looks = [asyncio.create_task(looker.places(1, 5, [1])) for _ in range(500)]
    await until(lambda: there.asked)
    there.hold.set()
    assert all(await asyncio.gather(*looks)) and len(there.asked) == 1
    for guild_id in range(2, memberships.ASKED_AT_ONCE + 1):
        assert await looker.places(guild_id, 5, [guild_id])
    with pytest.raises(AskedTooMuchError):
        await looker.places(0, 5, [0])


async def test_threads_that_sleep_count_for_who_looks_and_the_other_channels_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memberships, "ASKED_AT_ONCE", 5)
    async with world(tmp_path) as there:
        guild = there.env.guild
        looker = DiscordMembers(lambda: there.client, clock=Clock())
        sleeping = [there.channel.id + 1000 + nth for nth in range(MOST_THREADS)]

        def asked() -> int:
            paths = [request.path for request in there.env.http_requests]
            return sum(path.endswith(f"/channels/{one}") for one in sleeping for path in paths)

        with pytest.raises(AskedTooMuchError) as limit:
            await looker.places(guild.id, there.ann.id, [there.channel.id, *sleeping])
        assert [place.channel_id for place in limit.value.places] == [there.channel.id]
        assert asked() == 5 - 1, "one was for her"


class Everywhere:
    """Says that everybody is in every server, and remembers of which it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def places(self, guild_id: int, user_id: int, channel_ids: Sequence[int]) -> list[Place]:
        self.asked.append(guild_id)
        return [Place(guild_id=guild_id, channel_id=one) for one in channel_ids]


async def test_of_a_theme_in_many_servers_only_some_are_asked(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await parts.up()
        theme = await parts.themes.create("wide", "Wide")
        channels = Channels(parts.store, parts.themes)
        for guild_id in range(1, MOST_GUILDS + 11):
            await channels.bind(1000 + guild_id, guild_id, theme.slug)
        ann = Person("discord:5", "Ann")
        last = MOST_GUILDS + 10
        await parts.dreams.ask(request("a fox", person=ann, guild_id=last, channel_id=1))
        looker = Everywhere()
        found = await Memberships(parts.store, looker).places(ann.id, theme.id)
        assert [place.guild_id for place in found] == looker.asked == [*range(1, MOST_GUILDS), last]
