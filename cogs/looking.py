"""Looking at dreams: the queue, one dream, its recipe, and what a stream has to show."""

from __future__ import annotations

import io

import discord
from discord import app_commands
from discord.ext import commands

from bot import recipes
from bot.client import Client
from bot.delivery import galleries, searching, signing, words
from bot.delivery.finding import find_dream
from bot.delivery.galleries import Kind
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    front_of,
    person_of,
    tell,
    theme_of,
    told,
)
from bot.delivery.looking import show
from bot.model import Dream
from bot.rights import may_see
from bot.sentences import say
from bot.signed_links import MOST_HOURS
from cogs.places import CONTEXTS, INSTALLS, everywhere

USUAL_HOURS = 24
_MAX_LISTED = 15
_MAX_SHOWN_RECIPE = 1800


class LookingCog(commands.Cog):
    """Showing what there is."""

    stream = app_commands.Group(
        name="stream",
        description="What has been drawn here",
        allowed_installs=INSTALLS,
        allowed_contexts=CONTEXTS,
    )

    @everywhere
    @app_commands.command(name="queue", description="What is being drawn, and what waits")
    async def queue(self, interaction: Interaction) -> None:
        """List the unfinished dreams of this channel's theme."""
        async with acknowledged(interaction):
            front, theme = front_of(interaction), await theme_of(interaction)
            person_id, channel_id = person_of(interaction).id, interaction.channel_id
            dreams = [
                dream
                for dream in await front.dreams.unfinished(theme.id)
                if dream.person.id == person_id or may_see(dream, theme, theme, channel_id)
            ]
            lines = [_line(dream, interaction) for dream in dreams[:_MAX_LISTED]]
            if len(dreams) > _MAX_LISTED:
                more = say("… and {count} more.", count=len(dreams) - _MAX_LISTED)
                lines.append(told(interaction, more))
            await tell(interaction, "\n".join(lines) or say("Nothing is being drawn here."))

    @everywhere
    @app_commands.command(name="show", description="Show a dream")
    @app_commands.describe(dream="Its id, or a link to it or to its message")
    async def show(self, interaction: Interaction, dream: str) -> None:
        """Show a dream to the asker, with its picture and its buttons."""
        async with acknowledged(interaction):
            await show(interaction, (await find_dream(interaction, dream)).id)

    @everywhere
    @app_commands.command(name="recipe", description="How a dream was drawn, to the letter")
    @app_commands.describe(dream="Its id, or a link to it or to its message")
    async def recipe(self, interaction: Interaction, dream: str) -> None:
        """Tell all that decides a picture."""
        async with acknowledged(interaction):
            found = await find_dream(interaction, dream)
            text = recipes.parameters(found.recipe)
            if len(text) <= _MAX_SHOWN_RECIPE and "```" not in text:
                await tell(interaction, f"```\n{text}\n```")
            else:
                file = discord.File(io.BytesIO(text.encode()), f"recipe-{found.id}.txt")
                await tell(interaction, say("The recipe is long:"), attachments=[file])

    @stream.command(name="latest", description="The newest pictures of this channel's stream")
    async def latest(self, interaction: Interaction) -> None:
        """Show the newest pictures."""
        async with acknowledged(interaction):
            await galleries.show(interaction, Kind.LATEST)

    @stream.command(name="best", description="The pictures here that most people like")
    async def best(self, interaction: Interaction) -> None:
        """Show the pictures with the most hearts."""
        async with acknowledged(interaction):
            await galleries.show(interaction, Kind.BEST)

    @stream.command(name="mine", description="Your own pictures, the newest first")
    async def mine(self, interaction: Interaction) -> None:
        """Show the asker's pictures, of all streams."""
        async with acknowledged(interaction):
            await galleries.show(interaction, Kind.MINE)

    @stream.command(name="search", description="Find pictures in this channel's stream")
    @app_commands.rename(text="words")
    @app_commands.describe(
        text="What they should show",
        picture="A picture that they should be like",
        like="A dream that they should be like: its id, or a link to it or to its message",
    )
    async def search(
        self,
        interaction: Interaction,
        text: app_commands.Range[str, 1, 1000] | None = None,
        picture: discord.Attachment | None = None,
        like: str | None = None,
    ) -> None:
        """Show the pictures that come nearest to words, to a picture or to a dream."""
        async with acknowledged(interaction):
            await searching.show(interaction, text, picture, like)

    @stream.command(name="link", description="Where this stream is on the wall")
    @app_commands.describe(
        hours="Give a link that shows it, private or not, for so many hours",
        dream="Only one dream of it: its id, or a link to it or to its message",
        end="End all links that were given before their time",
    )
    async def link(
        self,
        interaction: Interaction,
        hours: app_commands.Range[int, 1, MOST_HOURS] | None = None,
        dream: str | None = None,
        end: bool = False,
    ) -> None:
        """Tell the address of the stream's page; give a link that expires, or end those."""
        async with acknowledged(interaction):
            if end:
                await signing.withdraw(interaction, dream)
                return
            if hours is not None or dream is not None:
                await signing.give(interaction, hours or USUAL_HOURS, dream)
                return
            theme = await theme_of(interaction)
            url = front_of(interaction).page_of(theme)
            title = words.plain(theme.title, 80)
            if url is None:
                text = "**{theme}** has no page that you could open from here."
                await tell(interaction, say(text, theme=title))
            else:
                await tell(interaction, say("**{theme}** is at <{url}>", theme=title, url=url))


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(LookingCog())


def _line(dream: Dream, interaction: Interaction) -> str:
    standing = words.standing(dream, front_of(interaction).dreams.live(dream.id))
    name = words.plain(dream.person.name, 30)
    return f"**{words.plain(dream.prompt, 60)}** · {name} · {standing}"
