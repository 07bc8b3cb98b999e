"""What hosts do for threads of themes in Discord. Who may, and whether we may, is asked here."""

from __future__ import annotations

from typing import Any, Protocol, cast

import discord

from bot.delivery import words
from bot.delivery.interactions import Interaction, channel_of, front_of, tell, told
from bot.delivery.theme_acts import to_hang
from bot.delivery.theme_guides import ThemeGuides
from bot.delivery.theme_threads import Place, ThemeThreads
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.sentences import Sentence, say

Parent = discord.TextChannel | discord.ForumChannel

_NEEDED = {
    "view_channel": say("View Channel"),
    "read_message_history": say("Read Message History"),
    "send_messages": say("Send Messages"),
    "create_public_threads": say("Create Public Threads"),
    "send_messages_in_threads": say("Send Messages in Threads"),
    "attach_files": say("Attach Files"),
}
_NOT_PINNED = (
    "{made} The guide in it is not pinned: I need Pin Messages for that, and room. Or pin it "
    "yourself."
)


class _HasThreads(Protocol):
    @property
    def theme_threads(self) -> ThemeThreads: ...
    @property
    def theme_guides(self) -> ThemeGuides: ...


async def make(interaction: Interaction, slug: str | None, channel: Parent | None) -> None:
    """Have a thread made for a theme, with its guide pinned in it; where there is one, tell that.

    Without a `channel` it is the one in which this is asked, or which its thread belongs to.

    Raises:
        ForbiddenError: the asker may not manage that channel, or the bot may not make threads.
        InvalidRequestError: no threads can be made there.
        NotFoundError: there is no such theme.
    """
    front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
    parent = _parent_of(interaction, channel)
    _check_may_make(interaction, parent, elsewhere=channel is not None)
    own = await front.channels.hung_on(channel_id, parent.id)  # whatever party is held there
    theme = own if slug is None else await to_hang(interaction, slug, own)
    if theme.retired:
        raise NotFoundError("This theme is no longer in use. Choose another, or make one.")
    client = cast(_HasThreads, interaction.client)
    place = Place(guild_id, parent.id, forum=isinstance(parent, discord.ForumChannel))
    thread_id, fresh = await client.theme_threads.make(theme, place)
    parts: dict[str, Any] = {
        "theme": words.plain(theme.title, 80),
        "thread": f"<#{thread_id}>",
    }
    if not fresh:
        await tell(interaction, say("**{theme}** has a thread there already: {thread}", **parts))
        return
    made: Sentence = say("**{theme}** has a thread of its own now: {thread}", **parts)
    pinned = await client.theme_guides.bring(guild_id, thread_id)
    await tell(interaction, made if pinned else say(_NOT_PINNED, made=made))


def _parent_of(interaction: Interaction, channel: Parent | None) -> Parent:
    where: Any = channel or interaction.channel
    if isinstance(where, discord.Thread):
        where = where.parent
    if not isinstance(where, discord.TextChannel | discord.ForumChannel):
        raise InvalidRequestError(
            "channel",
            "Threads can be made in text channels and in forums only. Name one with the option "
            "channel.",
        )
    return where


def _check_may_make(interaction: Interaction, parent: Parent, *, elsewhere: bool) -> None:
    """Refuse before anything is made. Discord tells rights for the channel of the asking only."""
    if elsewhere:
        member = cast(discord.Member, interaction.user)
        theirs, ours = parent.permissions_for(member), parent.permissions_for(parent.guild.me)
    else:
        theirs, ours = interaction.permissions, interaction.app_permissions
    if not theirs.manage_channels:
        raise ForbiddenError("Only who may manage that channel can have a thread made for a theme.")
    check_may_make(interaction, parent, ours)


def check_may_make(interaction: Interaction, parent: Parent, ours: discord.Permissions) -> None:
    """Refuse to have a thread made where the bot, with these permissions, cannot make it whole.

    Raises:
        ForbiddenError: what is to be allowed.
    """
    forum = isinstance(parent, discord.ForumChannel)  # there, posts are what messages are
    missing = [
        told(interaction, sentence)
        for name, sentence in _NEEDED.items()
        if not getattr(ours, name) and not (forum and name == "create_public_threads")
    ]
    if missing:
        raise ForbiddenError(
            say(
                "I cannot make a thread in {channel} yet. Allow me there: {permissions}.",
                channel=f"#{parent.name}",  # a mention in what is refused would not be one
                permissions=", ".join(missing),
            )
        )
