"""Making more of pictures: drawing around one, and making one of two."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery.asking import permit
from bot.delivery.finding import find_dream
from bot.delivery.forms import tell_coming
from bot.delivery.interactions import Interaction, acknowledged, actor_of, front_of
from bot.outpainting import Side
from bot.sentences import say
from cogs import choosing
from cogs.places import everywhere

SIDES = [
    app_commands.Choice(name=name, value=side.value)
    for name, side in (
        ("On all sides", Side.ALL),
        ("Left and right", Side.SIDES),
        ("Left", Side.LEFT),
        ("Right", Side.RIGHT),
        ("Above", Side.UP),
        ("Below", Side.DOWN),
    )
]
_PERCENT = 100


class PaintingCog(commands.Cog):
    """What is made of the pictures themselves."""

    @everywhere
    @app_commands.command(name="extend", description="Draw more of a picture around it")
    @app_commands.describe(
        dream="Which: its id, or a link to it or to its message",
        side="Where more is drawn; without it, on all sides",
        percent="By how much of its width and height",
        text="What the larger picture shows; without them, its own words",
    )
    @app_commands.choices(side=SIDES)
    @app_commands.autocomplete(dream=choosing.offer_pictures)
    @app_commands.rename(text="words")
    async def extend(
        self,
        interaction: Interaction,
        dream: str,
        side: str = Side.ALL.value,
        percent: app_commands.Range[int, 10, 200] = 50,
        text: app_commands.Range[str, 1, 4000] | None = None,
    ) -> None:
        """Ask for a larger picture that holds a dream's."""
        async with acknowledged(interaction):
            found = await find_dream(interaction, dream)
            also = await permit(interaction, prompt=text or found.prompt)
            await front_of(interaction).offspring.extend(
                found.id,
                actor_of(interaction),
                Side(side),
                percent / _PERCENT,
                prompt=text,
                channel_id=interaction.channel_id,
                also=also,
            )
            await tell_coming(interaction, say("More of it is drawn."))

    @everywhere
    @app_commands.command(name="blend", description="Make one picture of two")
    @app_commands.describe(
        first="One: its id, or a link to it or to its message",
        second="The other, of the same stream",
        share="How much of the second, in percent",
        text="What it shows; without them, the words of both",
        strength="How much is drawn anew, 0 to 1",
    )
    @app_commands.autocomplete(first=choosing.offer_pictures, second=choosing.offer_pictures)
    @app_commands.rename(text="words")
    async def blend(
        self,
        interaction: Interaction,
        first: str,
        second: str,
        share: app_commands.Range[int, 0, 100] = 50,
        text: app_commands.Range[str, 1, 4000] | None = None,
        strength: app_commands.Range[float, 0.0, 1.0] | None = None,
    ) -> None:
        """Ask for a picture that comes of two dreams'."""
        async with acknowledged(interaction):
            one = await find_dream(interaction, first)
            other = await find_dream(interaction, second)
            words = text or f"{one.prompt} | {other.prompt}"
            also = await permit(interaction, prompt=words)
            await front_of(interaction).offspring.blend(
                one.id,
                other.id,
                actor_of(interaction),
                weight=share / _PERCENT,
                prompt=text,
                strength=strength,
                channel_id=interaction.channel_id,
                also=also,
            )
            await tell_coming(interaction, say("One is made of both."))


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(PaintingCog())
