"""``/moderate``: what moderators do about people, dreams and pictures."""

from __future__ import annotations

import discord
import msgspec
from discord import app_commands
from discord.ext import commands

from bot.checking.model import Decision
from bot.client import Client
from bot.delivery import audit_log, words
from bot.delivery.finding import find_dream
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    channel_of,
    front_of,
    moderator_of,
    tell,
    told,
)
from bot.delivery.uncovering import show_behind
from bot.ids import now_ms
from bot.model import Block, Person
from bot.sentences import say

_HOUR_MS = 3600 * 1000
_MAX_LISTED = 20
_LOOK = "look"
_PICTURES = [
    app_commands.Choice(name="Look at it", value=_LOOK),
    app_commands.Choice(name="Show it to everybody", value=Decision.RELEASED.value),
    app_commands.Choice(name="Leave it covered", value=Decision.CONFIRMED.value),
]


@app_commands.guild_only()
@app_commands.allowed_installs(guilds=True, users=False)
@app_commands.default_permissions(manage_messages=True)
class ModerateCog(
    commands.GroupCog, group_name="moderate", group_description="Keep order among the dreams here"
):
    """What moderators do."""

    @app_commands.command(name="block", description="Let somebody ask for no more dreams here")
    @app_commands.describe(
        person="Who",
        hours="For how many hours; without it, until they are unblocked",
        reason="Why; they are told",
    )
    async def block(
        self,
        interaction: Interaction,
        person: discord.User,
        hours: app_commands.Range[int, 1, 87600] | None = None,
        reason: app_commands.Range[str, 1, 300] = "",
    ) -> None:
        """Block a person in this server."""
        async with acknowledged(interaction):
            actor = moderator_of(interaction)
            until_ms = None if hours is None else now_ms() + hours * _HOUR_MS
            guild_id, _ = channel_of(interaction)
            block = await front_of(interaction).moderation.block(
                guild_id, _person(person), actor, reason=reason, until_ms=until_ms
            )
            # By the name they were found by here, also where none of theirs is kept.
            block = msgspec.structs.replace(block, person=_person(person))
            await tell(interaction, say("Blocked: {who}", who=_told(interaction, block)))

    @app_commands.command(name="unblock", description="Let somebody ask for dreams here again")
    @app_commands.describe(person="Who")
    async def unblock(self, interaction: Interaction, person: discord.User) -> None:
        """Unblock a person in this server."""
        async with acknowledged(interaction):
            actor = moderator_of(interaction)
            guild_id, _ = channel_of(interaction)
            moderation = front_of(interaction).moderation
            was = await moderation.unblock(guild_id, _person(person), actor)
            name = words.plain(person.display_name, 40)
            freed = say("{name} may ask again.", name=name)
            await tell(interaction, freed if was else say("{name} was not blocked.", name=name))

    @app_commands.command(name="blocked", description="Who may ask for no dreams here")
    async def blocked(self, interaction: Interaction) -> None:
        """List who is blocked in this server."""
        async with acknowledged(interaction):
            moderator_of(interaction)
            guild_id, _ = channel_of(interaction)
            blocks = front_of(interaction).moderation.blocked(guild_id)
            lines = [_told(interaction, block) for block in blocks[:_MAX_LISTED]]
            if len(blocks) > _MAX_LISTED:
                more = say("… and {count} more.", count=len(blocks) - _MAX_LISTED)
                lines.append(told(interaction, more))
            await tell(interaction, "\n".join(lines) or say("Nobody is blocked."))

    @app_commands.command(name="delete", description="Take a dream away, for good and everywhere")
    @app_commands.describe(dream="Its id, or a link to it or to its message")
    async def delete(self, interaction: Interaction, dream: str) -> None:
        """Delete a dream that was asked for in this server."""
        async with acknowledged(interaction):
            found = await find_dream(interaction, dream)
            await front_of(interaction).moderation.delete(found.id, actor_of(interaction))
            await tell(interaction, say("Deleted: its words and pictures are gone."))

    @app_commands.command(
        name="picture", description="Look at a covered picture, show it, or leave it covered"
    )
    @app_commands.describe(
        dream="Its id, or a link to it or to its message", what="What is to be done"
    )
    @app_commands.choices(what=_PICTURES)
    async def picture(self, interaction: Interaction, dream: str, what: str) -> None:
        """Decide on a picture that the check has covered."""
        async with acknowledged(interaction):
            actor = moderator_of(interaction)
            found, reviews = await find_dream(interaction, dream), front_of(interaction).reviews
            if what == _LOOK or reviews is None:
                await show_behind(interaction, found)
            elif what == Decision.RELEASED:
                await reviews.decide(found, actor, Decision.RELEASED)
                await tell(interaction, say("Released: it is shown from now on."))
            else:
                await reviews.decide(found, actor, Decision.CONFIRMED)
                await tell(interaction, say("It stays covered."))

    @app_commands.command(name="log", description="What was decided here, the newest first")
    @app_commands.describe(
        what="Only this", person="Only what they did, or what was done about them"
    )
    @app_commands.choices(what=audit_log.KINDS)
    async def log(
        self,
        interaction: Interaction,
        what: str | None = None,
        person: discord.User | None = None,
    ) -> None:
        """Tell what was decided last, page by page."""
        async with acknowledged(interaction):
            moderator_of(interaction)
            shown = audit_log.Page(
                what=audit_log.kind_of(what), person=0 if person is None else person.id
            )
            await audit_log.tell_page(interaction, shown)


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(ModerateCog())


def _person(user: discord.User) -> Person:
    return Person(f"discord:{user.id}", user.display_name)


def _told(interaction: Interaction, block: Block) -> str:
    until = ""
    if block.until_ms is not None:
        time = f"<t:{block.until_ms // 1000}:f>"
        until = told(interaction, say(", until {time}", time=time))
    why = f": {words.plain(block.reason, 200)}" if block.reason else ""
    return f"**{words.plain(block.person.name, 40)}**{until}{why}"
