"""``/party``: evenings around one topic, held in a channel or in a thread."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery import party_acts, party_choices
from bot.delivery.interactions import Interaction, acknowledged
from bot.model import Visibility
from bot.parties.model import Role, Stage
from bot.parties.service import MAX_GUESTS, MAX_MINUTES, STAGE_MINUTES
from bot.themes import MAX_TOPIC

_VISIBILITIES = [
    app_commands.Choice(name="Anybody at the wall", value=Visibility.PUBLIC.value),
    app_commands.Choice(name="Who has the link", value=Visibility.LINK.value),
    app_commands.Choice(name="Nobody at the wall", value=Visibility.PRIVATE.value),
]
_STAGES = [
    app_commands.Choice(name=name, value=stage.value)
    for name, stage in (
        ("Gather", Stage.GATHER),
        ("Sketch", Stage.SKETCH),
        ("Elaborate", Stage.ELABORATE),
        ("Choose", Stage.CHOOSE),
        ("Finale", Stage.FINALE),
        ("Published", Stage.PUBLISHED),
    )
]
_ROLES = [
    app_commands.Choice(name=name, value=role.value)
    for name, role in (
        ("facilitator", Role.FACILITATOR),
        ("prompt master", Role.PROMPT_MASTER),
        ("art expert", Role.ART_EXPERT),
        ("guest", Role.GUEST),
    )
]


@app_commands.guild_only()
@app_commands.allowed_installs(guilds=True, users=False)
class PartyCog(
    commands.GroupCog, group_name="party", group_description="An evening around a topic"
):
    """Opening parties and leading them; what members do is on the party's card."""

    @app_commands.command(name="start", description="Open a party here, or in a thread")
    @app_commands.describe(
        topic="What it is about, in a word or two",
        minutes="How long a stage is meant to last; 0 for no timer",
        guests="How many may come",
        visibility="Who may see its stream",
        thread="Hold it in a thread of its own",
    )
    @app_commands.choices(visibility=_VISIBILITIES)
    async def start(
        self,
        interaction: Interaction,
        topic: app_commands.Range[str, 1, MAX_TOPIC],
        minutes: app_commands.Range[int, 0, MAX_MINUTES] = STAGE_MINUTES,
        guests: app_commands.Range[int, 1, MAX_GUESTS] | None = None,
        visibility: str = Visibility.LINK.value,
        thread: bool = False,
    ) -> None:
        """Open a party; its card appears in the channel."""
        async with acknowledged(interaction):
            await party_acts.start(
                interaction,
                topic,
                minutes=minutes,
                guests=guests,
                visibility=_VISIBLE.get(visibility, Visibility.LINK),
                thread=thread,
            )

    @app_commands.command(name="show", description="Show this channel's party, with its buttons")
    async def show(self, interaction: Interaction) -> None:
        """Show the party's card to the asker, as it is now."""
        async with acknowledged(interaction):
            await party_acts.show(interaction)

    @app_commands.command(name="stage", description="Move the party to a stage")
    @app_commands.describe(stage="Where it is to be")
    @app_commands.choices(stage=_STAGES)
    async def stage(self, interaction: Interaction, stage: str) -> None:
        """Move the party on, or back."""
        async with acknowledged(interaction):
            party = await party_acts.party_here(interaction)
            await party_acts.move(interaction, party, party_acts.stage_of(stage))

    @app_commands.command(name="timer", description="Set how long stages last")
    @app_commands.describe(minutes="How long a stage is meant to last; 0 for no timer")
    async def timer(
        self, interaction: Interaction, minutes: app_commands.Range[int, 0, MAX_MINUTES]
    ) -> None:
        """Set the timer, from now on."""
        async with acknowledged(interaction):
            await party_acts.set_timer(interaction, minutes)

    @app_commands.command(name="role", description="Give somebody at the party a role")
    @app_commands.rename(given="role")
    @app_commands.describe(person="Who", given="What they are to be")
    @app_commands.choices(given=_ROLES)
    async def role(self, interaction: Interaction, person: discord.User, given: str) -> None:
        """Give a role."""
        async with acknowledged(interaction):
            party = await party_acts.party_here(interaction)
            role = party_acts.role_of(given)
            await party_acts.give_role(interaction, party, f"discord:{person.id}", role)

    @app_commands.command(name="hand-over", description="Make somebody else the party's host")
    @app_commands.describe(person="Who")
    async def hand_over(self, interaction: Interaction, person: discord.User) -> None:
        """Make somebody else the host."""
        async with acknowledged(interaction):
            party = await party_acts.party_here(interaction)
            await party_acts.give_role(interaction, party, f"discord:{person.id}", Role.HOST)

    @app_commands.command(name="standing", description="How the party's pictures stand by votes")
    async def standing(self, interaction: Interaction) -> None:
        """Show how the pictures stand."""
        async with acknowledged(interaction):
            party = await party_acts.party_here(interaction)
            await party_choices.show_standing(interaction, party)

    @app_commands.command(
        name="publish", description="Have a bundle made of the party, for anyone to open"
    )
    async def publish(self, interaction: Interaction) -> None:
        """Move the party to its last stage, in which its record goes out."""
        async with acknowledged(interaction):
            party = await party_acts.party_here(interaction)
            await party_acts.publish(interaction, party)

    @app_commands.command(name="leave", description="Leave this channel's party")
    async def leave(self, interaction: Interaction) -> None:
        """Leave; a host hands over by it."""
        async with acknowledged(interaction):
            await party_acts.leave(interaction)

    @app_commands.command(name="end", description="End this channel's party")
    async def end(self, interaction: Interaction) -> None:
        """End the party."""
        async with acknowledged(interaction):
            await party_acts.end(interaction, await party_acts.party_here(interaction))


_VISIBLE = {one.value: one for one in Visibility}


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(PartyCog())
