"""``/game``: draw it, say it, guess it, in a channel."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import game_acts
from bot.delivery.interactions import Interaction, acknowledged
from bot.games.rules import MAX_CHOICES, MAX_PROMPT, MIN_CHOICES, USUAL_CHOICES

Minutes = app_commands.Range[float, 0.5, 1440.0]


@app_commands.guild_only()
@app_commands.allowed_installs(guilds=True, users=False)
class GameCog(commands.GroupCog, group_name="game", group_description="Games with pictures"):
    """Opening games and entering; what else players do is on the game's card."""

    @app_commands.command(name="draw", description="All draw the same, and CLIP says how well")
    @app_commands.describe(
        prompt="What is to be drawn, in plain words",
        minutes="How long the game lasts",
        machine="Whether the machine plays too",
    )
    async def draw(
        self,
        interaction: Interaction,
        prompt: app_commands.Range[str, 1, MAX_PROMPT],
        minutes: Minutes = 10.0,
        machine: bool = True,
    ) -> None:
        """Open a game of drawing."""
        async with acknowledged(interaction):
            await game_acts.draw(interaction, prompt, minutes=minutes, machine=machine)

    @app_commands.command(name="say", description="Who finds the best words for a picture")
    @app_commands.describe(
        dream="Which picture: its id or a link to it; left out, one by chance",
        minutes="How long the game lasts",
        machine="Whether the machine plays too",
    )
    async def say(
        self,
        interaction: Interaction,
        dream: str | None = None,
        minutes: Minutes = 5.0,
        machine: bool = True,
    ) -> None:
        """Open a game of saying."""
        async with acknowledged(interaction):
            await game_acts.put_into_words(interaction, dream, minutes=minutes, machine=machine)

    @app_commands.command(name="guess", description="Which prompt was a picture drawn from?")
    @app_commands.describe(
        dream="Which picture: its id or a link to it; left out, one by chance",
        choices="How many prompts there are to choose from",
        minutes="How long the game lasts",
        machine="Whether the machine plays too",
    )
    async def guess(
        self,
        interaction: Interaction,
        dream: str | None = None,
        choices: app_commands.Range[int, MIN_CHOICES, MAX_CHOICES] = USUAL_CHOICES,
        minutes: Minutes = 2.0,
        machine: bool = True,
    ) -> None:
        """Open a game of guessing."""
        async with acknowledged(interaction):
            await game_acts.guess(
                interaction, dream, choices=choices, minutes=minutes, machine=machine
            )

    @app_commands.command(name="enter", description="Enter a picture in this channel's game")
    @app_commands.describe(picture="What you have drawn: PNG, JPEG or WebP")
    async def enter(self, interaction: Interaction, picture: discord.Attachment) -> None:
        """Enter a picture."""
        async with acknowledged(interaction):
            await game_acts.enter(interaction, picture)

    @app_commands.command(name="withdraw", description="Take an entry in this game away")
    @app_commands.describe(person="Whose; yours if nobody is named")
    async def withdraw(self, interaction: Interaction, person: discord.User | None = None) -> None:
        """Take an entry away."""
        async with acknowledged(interaction):
            await game_acts.withdraw_here(interaction, person)

    @app_commands.command(name="end", description="End this channel's game now")
    async def end(self, interaction: Interaction) -> None:
        """End the game."""
        async with acknowledged(interaction):
            await game_acts.end(interaction, (await game_acts.game_here(interaction)).id)

    @app_commands.command(
        name="call-off", description="Take this channel's game away, with all that was entered"
    )
    async def call_off(self, interaction: Interaction) -> None:
        """Call the game off."""
        async with acknowledged(interaction):
            await game_acts.call_off(interaction)


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(GameCog())
