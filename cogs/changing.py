"""Changing what was asked for: ending it, steering it, drawing it again."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import words
from bot.delivery.asking import permit, steer_here
from bot.delivery.finding import find_dream
from bot.delivery.forms import draw_like, tell_coming
from bot.delivery.interactions import Interaction, acknowledged, actor_of, front_of, tell
from bot.dream_changes import usual_glide
from bot.errors import NotFoundError
from bot.model import Dream, Relation
from bot.sentences import say
from bot.sizes import parse_size
from cogs import choosing
from cogs.places import everywhere


class ChangingCog(commands.Cog):
    """What people do about dreams that there are."""

    @everywhere
    @app_commands.command(name="cancel", description="End a dream of yours")
    @app_commands.describe(dream="Which; without it, the one you asked for last")
    @app_commands.autocomplete(dream=choosing.offer_own)
    async def cancel(self, interaction: Interaction, dream: str | None = None) -> None:
        """End a dream that is not finished."""
        async with acknowledged(interaction):
            found = await _named_or_last(interaction, dream)
            await front_of(interaction).dreams.cancel(found.id, actor_of(interaction))
            prompt = words.plain(found.prompt, 200)
            await tell(interaction, say("Cancelled: {prompt}", prompt=prompt))

    @everywhere
    @app_commands.command(name="steer", description="Turn a dream to other words while it forms")
    @app_commands.describe(
        text="What it is to become",
        dream="Which; without it, the one you asked for last",
        glide="Over how many steps it goes there",
    )
    @app_commands.autocomplete(dream=choosing.offer_own)
    @app_commands.rename(text="words")
    async def steer(
        self,
        interaction: Interaction,
        text: app_commands.Range[str, 1, 4000],
        dream: str | None = None,
        glide: app_commands.Range[int, 0] | None = None,
    ) -> None:
        """Let an unfinished dream glide to another prompt."""
        async with acknowledged(interaction):
            found = await _named_or_last(interaction, dream)
            steps = usual_glide(found.recipe) if glide is None else glide
            await steer_here(interaction, found, text, steps)
            text = say("From its next step on it glides there, over {count} steps.", count=steps)
            at_once = say("At its next step it turns there at once.")
            await tell(interaction, text if steps > 1 else at_once)

    @everywhere
    @app_commands.command(name="redo", description="Draw a dream once more")
    @app_commands.describe(
        dream="Its id, or a link to it or to its message",
        same_seed="Whether with the same seed; else with another",
        size="Pixels, such as 256 or 384x256; without it, as it was",
        steps="How many steps it takes; without it, as many as it took",
    )
    async def redo(
        self,
        interaction: Interaction,
        dream: str,
        same_seed: bool = False,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
    ) -> None:
        """Ask for a dream again, as it was or with a few things changed."""
        async with acknowledged(interaction):
            width, height = parse_size(size)
            found = await find_dream(interaction, dream)
            if (width, height, steps) == (None, None, None):
                also = await permit(interaction, prompt=found.prompt)
                await front_of(interaction).offspring.reroll(
                    found.id,
                    actor_of(interaction),
                    same_seed=same_seed,
                    channel_id=interaction.channel_id,
                    also=also,
                )
            else:
                changes = {"width": width, "height": height, "steps": steps}
                seed = {"seed": found.recipe.seed} if same_seed else {}
                await draw_like(
                    interaction,
                    [found],
                    found.prompt,
                    Relation.REROLL,
                    **{name: value for name, value in changes.items() if value is not None},
                    **seed,
                )
            again = say("Once more.") if same_seed else say("Once more, with another seed.")
            await tell_coming(interaction, again)


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(ChangingCog())


async def _named_or_last(interaction: Interaction, dream: str | None) -> Dream:
    """Return the dream that was named, else the asker's newest that is not over."""
    if dream is not None:
        return await find_dream(interaction, dream)
    dreams = front_of(interaction).dreams
    person_id = actor_of(interaction).person.id
    own = [one for one in await dreams.unfinished(None) if one.person.id == person_id]
    if not own:
        raise NotFoundError("You have no dream that waits or forms.")
    return own[-1]
