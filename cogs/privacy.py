"""``/privacy``: what anybody decides about what is kept of them."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import privacy_acts
from bot.delivery.interactions import Interaction, acknowledged, front_of, person_of, tell
from bot.sentences import say
from cogs.places import CONTEXTS, INSTALLS


class PrivacyCog(commands.Cog):
    """What anybody decides for themselves."""

    privacy = app_commands.Group(
        name="privacy",
        description="What is kept about you, and who sees it",
        allowed_installs=INSTALLS,
        allowed_contexts=CONTEXTS,
    )

    @privacy.command(name="wall", description="Whether your dreams are on the wall")
    @app_commands.describe(publish="Whether those you ask for from now on are shown there")
    async def wall(self, interaction: Interaction, publish: bool | None = None) -> None:
        """Change whether a person's dreams are published, or tell."""
        async with acknowledged(interaction):
            moderation, person = front_of(interaction).moderation, person_of(interaction)
            if publish is not None:
                await moderation.set_publishes(person, publish)
            if await moderation.publishes(person):
                text = say("What you ask for is shown on the wall, with your name.")
                await tell(interaction, text)
            else:
                await tell(
                    interaction,
                    say(
                        "What you ask for from now on stays where you ask for it. It is not on the "
                        "wall. What was there before stays; you can delete it."
                    ),
                )

    @privacy.command(name="export", description="Have a copy of all that is kept about you")
    async def export(self, interaction: Interaction) -> None:
        """Hand over a copy."""
        await privacy_acts.export(interaction)

    @privacy.command(name="forget", description="Have everything about you deleted, for good")
    async def forget(self, interaction: Interaction) -> None:
        """Ask once more; the form does it."""
        await privacy_acts.ask_whether_to_forget(interaction)


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(PrivacyCog())
