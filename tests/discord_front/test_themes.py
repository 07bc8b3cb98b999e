"""Themes hang on channels, chosen by those who manage them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import discord

from tests.discord_front.world import World, world


def host_of(there: World) -> Any:
    """Return a member who may manage channels."""
    guild = there.env.guild
    role = guild.create_role("Hosts", permissions=discord.Permissions(manage_channels=True))
    return guild.add_member(there.env.create_user("host"), roles=[role])


async def test_a_channels_theme_shapes_what_is_asked_there(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        result = await host.slash(there.channel, "theme show")
        assert "Open canvas" in result.response.content
        result = await host.slash(
            there.channel,
            "theme new",
            name="castles",
            title="Misty *castles*",
            template="a castle of {prompt}",
            colour="#102030",
        )
        assert r"Misty \*castles\*" in result.response.content
        dream_id, card = await there.ask(prompt="glass")
        assert (await there.parts.job(dream_id)).recipe.prompt == "a castle of glass"
        assert card.components[0].accent_colour == discord.Colour(0x102030)  # type: ignore[union-attr]
        other = there.env.guild.create_text_channel("other")
        offered = await host.autocomplete(other, "theme use", "theme", "cast")
        assert [choice["value"] for choice in offered] == ["castles"]
        await host.slash(other, "theme use", theme="castles")
        assert (await there.client.front.channels.theme_of(other.id)).slug == "castles"
        result = await host.slash(other, "theme off")
        assert "Open canvas" in result.response.content
        result = await host.slash(there.channel, "theme new", name="castles", title="Again")
        assert "already" in result.response.content
        result = await host.slash(there.channel, "theme use", theme="absent")
        assert "no stream" in result.response.content


async def test_a_private_theme_is_not_hung_elsewhere(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await there.parts.themes.create("secret", "Secret", visibility="private")
        result = await host.slash(there.channel, "theme use", theme="secret")
        assert "no such stream" in result.response.content
        assert await host.autocomplete(there.channel, "theme use", "theme", "sec") == []


async def test_who_does_not_manage_the_channel_may_not_choose(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        # A server's settings may let others use the command.
        known = {one.name: one for one in await there.client.tree.fetch_commands()}
        there.env.guild.set_command_permissions(known["theme"], {there.ann: True})
        result = await there.ann.slash(there.channel, "theme off")
        assert "Only who may manage" in result.response.content
