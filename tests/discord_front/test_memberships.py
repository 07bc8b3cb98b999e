"""What members of a server may see at the wall, by what a simulated Discord says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import discord

from bot.delivery.memberships import FRESH_S, RETRY_S, STALE_S, DiscordMembers
from bot.membership import Memberships, Place
from bot.model import Visibility
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
        assert await members.private_themes(f"discord:{there.ann.id}") == []
