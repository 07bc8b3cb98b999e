"""``/portrait``: a picture of what a person says about themselves, if they agree."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import portrait_forms, portraits
from bot.delivery.interactions import Interaction, acknowledged
from cogs.places import CONTEXTS, INSTALLS


class PortraitCog(commands.Cog):
    """Portraits; what is decided about one is on the message that shows it."""

    portrait = app_commands.Group(
        name="portrait",
        description="A picture of what you say about yourself",
        allowed_installs=INSTALLS,
        allowed_contexts=CONTEXTS,
    )

    @portrait.command(name="draw", description="Say what you are like, and have it drawn")
    async def draw(self, interaction: Interaction) -> None:
        """Show the form; nothing is kept before its person agrees."""
        await portrait_forms.ask_for_words(interaction)

    @portrait.command(name="mine", description="Your portraits, and taking them back")
    async def mine(self, interaction: Interaction) -> None:
        """Show the asker's portraits, each with a button that deletes it."""
        async with acknowledged(interaction):
            await portraits.show_mine(interaction)

    @portrait.command(name="invite", description="Ask somebody whether they want a portrait")
    @app_commands.describe(person="Who; only they can say the words, and agree")
    async def invite(self, interaction: Interaction, person: discord.User) -> None:
        """Ask somebody in the channel, without calling them."""
        await portraits.invite(interaction, person)


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(PortraitCog())
