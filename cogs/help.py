"""``/help``: what there is, with pictures."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import guide
from bot.delivery.interactions import Interaction, acknowledged
from cogs.places import everywhere


class HelpCog(commands.Cog):
    """Telling what there is."""

    @everywhere
    @app_commands.command(name="help", description="What you can do here, with pictures")
    async def help(self, interaction: Interaction) -> None:
        """Show the first page."""
        async with acknowledged(interaction):
            await guide.show(interaction)


async def setup(bot: Client) -> None:
    """Add the command to a client that loads it by this module's name."""
    await bot.add_cog(HelpCog())
