"""What can be done with the picture on a message, by the message's own menu."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import sources
from bot.delivery.interactions import Interaction
from bot.delivery.sources import Use
from cogs.places import CONTEXTS, INSTALLS


async def dream_from(interaction: Interaction, message: discord.Message) -> None:
    """Ask for words, and dream from the picture."""
    await sources.use(interaction, Use.DREAM, message)


async def describe(interaction: Interaction, message: discord.Message) -> None:
    """Tell which words CLIP finds nearest to the picture."""
    await sources.use(interaction, Use.DESCRIBE, message)


async def upscale(interaction: Interaction, message: discord.Message) -> None:
    """Make the picture larger."""
    await sources.use(interaction, Use.UPSCALE, message)


async def score(interaction: Interaction, message: discord.Message) -> None:
    """Ask for a text, and tell how near the picture is to it."""
    await sources.use(interaction, Use.SCORE, message)


class PicturesCog(commands.Cog):
    """The menus of messages."""

    def __init__(self, bot: Client) -> None:
        self._tree = bot.tree
        self._menus = [
            app_commands.ContextMenu(
                name=name,
                callback=callback,
                allowed_installs=INSTALLS,
                allowed_contexts=CONTEXTS,
            )
            for name, callback in (
                ("Dream from this picture", dream_from),
                ("What would CLIP call this?", describe),
                ("Upscale", upscale),
                ("Score against a text", score),
            )
        ]

    async def cog_load(self) -> None:
        """Add the menus."""
        for menu in self._menus:
            self._tree.add_command(menu)

    async def cog_unload(self) -> None:
        """Take them away."""
        for menu in self._menus:
            self._tree.remove_command(menu.name, type=menu.type)


async def setup(bot: Client) -> None:
    """Add the menus to a client that loads them by this module's name."""
    await bot.add_cog(PicturesCog(bot))
