"""``/theme``: which theme hangs on a channel, for those who manage it."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import words
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    channel_of,
    front_of,
    person_of,
    tell,
    theme_of,
)
from bot.errors import ForbiddenError, NotFoundError
from bot.model import Theme, Visibility
from bot.text import shorten

_MAX_CHOICES = 25


@app_commands.guild_only()
@app_commands.allowed_installs(guilds=True, users=False)
@app_commands.default_permissions(manage_channels=True)
class ThemeCog(commands.GroupCog, group_name="theme", group_description="What a channel is about"):
    """Hanging themes on channels."""

    @app_commands.command(name="which", description="Which theme this channel carries")
    async def which(self, interaction: Interaction) -> None:
        """Tell of the channel's theme."""
        async with acknowledged(interaction):
            await tell(interaction, _told(await theme_of(interaction)))

    @app_commands.command(name="use", description="Hang a theme on this channel")
    @app_commands.describe(theme="Its short name")
    async def use(self, interaction: Interaction, theme: str) -> None:
        """Hang a theme that there is on the channel."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
            found = await front.themes.get(theme.strip().lower())
            if found.visibility is Visibility.PRIVATE:
                raise NotFoundError("There is no such stream here.")
            await front.channels.bind(channel_id, guild_id, found.slug)
            await tell(interaction, f"This channel now carries {_told(found)}")

    @use.autocomplete("theme")
    async def themes(
        self, interaction: Interaction, current: str
    ) -> list[app_commands.Choice[str]]:
        """Offer the themes that may be used anywhere."""
        typed = current.casefold()
        return [
            app_commands.Choice(
                name=shorten(f"{theme.title} ({theme.slug})", 100), value=theme.slug
            )
            for theme in await front_of(interaction).themes.list()
            if theme.visibility is not Visibility.PRIVATE
            and (typed in theme.slug or typed in theme.title.casefold())
        ][:_MAX_CHOICES]

    @app_commands.command(name="new", description="Make a theme and hang it on this channel")
    @app_commands.describe(
        name="Its short name, such as misty-castles",
        title="What it is called",
        topic="What it is about, in a sentence",
        template="Words around every prompt, with {prompt} where that goes",
        modifiers="Parts added to every prompt, such as “oil on canvas:0.5”",
        negative="What is not to be drawn",
        colour="Such as #7c6cff",
    )
    async def new(
        self,
        interaction: Interaction,
        name: str,
        title: str,
        topic: str = "",
        template: str = "{prompt}",
        modifiers: str = "",
        negative: str = "",
        colour: str = "#7c6cff",
    ) -> None:
        """Make a theme, with a stream of its own."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
            theme = await front.themes.create(
                name,
                title,
                person=person_of(interaction),
                topic=topic,
                template=template,
                modifiers=modifiers,
                negative=negative,
                colour=colour,
            )
            await front.channels.bind(channel_id, guild_id, theme.slug)
            await tell(interaction, f"This channel now carries {_told(theme)}")

    @app_commands.command(name="off", description="Take the theme off this channel")
    async def off(self, interaction: Interaction) -> None:
        """Leave the channel with the default theme."""
        async with acknowledged(interaction):
            _check_manages(interaction)
            had = await front_of(interaction).channels.unbind(channel_of(interaction)[1])
            now = _told(await theme_of(interaction))
            before = "" if had else "It carried none of its own. "
            await tell(interaction, f"{before}This channel has {now}")


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(ThemeCog())


def _told(theme: Theme) -> str:
    topic = f" {words.plain(theme.topic, 300)}" if theme.topic else ""
    return f"**{words.plain(theme.title, 80)}** (`{theme.slug}`).{topic}"


def _check_manages(interaction: Interaction) -> None:
    # The command's default permission can be changed in the server's settings; a theme steers
    # what everybody draws in the channel, so it is asked for here as well.
    if not interaction.permissions >= discord.Permissions(manage_channels=True):
        raise ForbiddenError("Only who may manage this channel chooses its theme.")
