"""What hosts do with themes in Discord. Who may do it is asked here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self, cast

import discord
from discord import ui

from bot.checking.service import Brought
from bot.delivery import theme_files, words
from bot.delivery.asking import checked_here
from bot.delivery.finding import find_dream
from bot.delivery.incoming import fetch
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    channel_of,
    front_of,
    if_in_time,
    person_of,
    tell,
    told,
)
from bot.delivery.theme_guides import ThemeGuides
from bot.delivery.theme_threads import ThemeThreads
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.model import Theme, Visibility
from bot.parties.drawing import like_a_party
from bot.sentences import say
from bot.theme_pictures import ThemePictures
from bot.themes import OF_THE_MACHINE

_NOT_PINNED = say(
    "Its guide is not pinned: I need Pin Messages for that, and room. Or pin it yourself."
)


_NOT_OWNED = say(
    "How much of the machine a theme gets, and what it dreams by itself, only the bot's owner says."
)
_OWNING = (discord.TeamMemberRole.admin, discord.TeamMemberRole.developer)


class _HasGuides(Protocol):
    @property
    def theme_guides(self) -> ThemeGuides: ...
    @property
    def theme_threads(self) -> ThemeThreads: ...


def check_manages(interaction: Interaction) -> None:
    """Refuse who may not manage the channel.

    The command's default permission can be changed in the server's settings; a theme steers what
    everybody draws in the channel, so it is asked for here as well.

    Raises:
        ForbiddenError: they may not.
    """
    if not interaction.permissions >= discord.Permissions(manage_channels=True):
        raise ForbiddenError("Only who may manage this channel chooses its theme.")


def check_owns_bot(interaction: Interaction, details: Mapping[str, Any]) -> None:
    """Refuse what only whoever has the machine may say of a theme, where `details` say any of it.

    That is the owner of the bot's application, or who administers or develops its team: they hold
    its token.

    Raises:
        ForbiddenError: it is said by somebody else.
    """
    if OF_THE_MACHINE.isdisjoint(details):
        return
    application: discord.AppInfo | None = interaction.client.application
    if application is None:
        owners: set[int] = set()
    elif application.team is None:
        owners = {application.owner.id}
    else:
        owners = {one.id for one in application.team.members if one.role in _OWNING}
    if interaction.user.id not in owners:
        raise ForbiddenError(_NOT_OWNED)


async def is_for_party(interaction: Interaction, theme: Theme) -> bool:
    """Whether a theme is a party's, which takes only what its people ask for there."""
    if not like_a_party(theme.slug):
        return False
    return await front_of(interaction).parties.of_theme(theme.id) is not None


async def usable(interaction: Interaction, slug: str, own: Theme) -> Theme:
    """Return a theme that may be used in this channel: none of a party's or private to others.

    Whoever made a private one, or changed it where it hung, can hang it again.

    Raises:
        NotFoundError: there is none.
    """
    themes = front_of(interaction).themes
    found = await themes.get(slug.strip().lower())
    if found.id == own.id:
        return found
    if await is_for_party(interaction, found):
        raise NotFoundError("There is no such theme here.")
    if found.visibility is not Visibility.PRIVATE:
        return found
    if await themes.is_by(found, person_of(interaction)):
        return found
    raise NotFoundError("There is no such theme here.")


async def to_hang(interaction: Interaction, slug: str, own: Theme) -> Theme:
    """Return a theme that may be used in this channel; one that only ships is made.

    Raises:
        NotFoundError: there is none.
    """
    slug = slug.strip().lower()
    if all(known.slug != slug or known.retired for known in front_of(interaction).themes.known):
        await theme_files.add_shipped(interaction, slug)
    return await usable(interaction, slug, own)


@asynccontextmanager
async def picture_for(
    interaction: Interaction,
    theme: Theme | None,
    dream: str | None,
    upload: discord.Attachment | None,
) -> AsyncIterator[dict[str, Any]]:
    """Give what makes a picture stand for a theme: a dream's, or an uploaded one, if any is given.

    It is for `Themes.create`, where `theme` is None, or `change`: so what is not taken leaves
    nothing made and nothing changed.

    Raises:
        InvalidRequestError: both are given, or it is no picture for that.
        LimitError: nobody can look at the uploaded one now.
        NotFoundError: there is no such dream that may be seen here.
    """
    front = front_of(interaction)
    pictures = ThemePictures(front.store, front.library, front.themes, front.dreams)
    if dream and upload is not None:
        raise InvalidRequestError("picture", "Give either a dream or an uploaded picture.")
    if dream:
        picture = pictures.dreamt(await find_dream(interaction, dream), theme)
    elif upload is not None:
        data = await fetch(upload, front.library.uploads, "upload")
        brought = Brought(person_of(interaction), *channel_of(interaction))
        setting = checked_here(interaction)
        picture = pictures.uploaded(data, theme, brought=brought, setting=setting)
    else:
        yield {}
        return
    async with picture as ready:
        yield {"picture_sha256": ready.sha256, "also": ready.also}


async def put_up_guide(interaction: Interaction) -> str:
    """Have the channel's guide show its theme; return what there is to say of that, told already.

    It is empty where the guide is there and pinned.
    """
    client = cast(_HasGuides, interaction.client)
    client.theme_threads.look()
    try:
        pinned = await client.theme_guides.put(interaction)
    except ForbiddenError as error:
        return words.sentence(error, interaction.locale)
    return "" if pinned else told(interaction, _NOT_PINNED)


def look_at_guides(interaction: Interaction) -> None:
    """Have the guide go from a channel that carries no theme any more, and a thread's card tell."""
    client = cast(_HasGuides, interaction.client)
    client.theme_guides.look()
    client.theme_threads.look()


async def ask_whether_to_remove(interaction: Interaction) -> None:
    """Ask who manages the channel whether its theme is to end for good.

    Raises:
        NotFoundError, ForbiddenError: it is not theirs to end.
    """
    front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
    slug = await front.channels.own_theme(channel_id, guild_id, person_of(interaction))
    theme = await front.themes.get(slug)
    view = ui.View(timeout=None)
    view.add_item(RemoveButton(theme.id))
    view.stop()  # its button's id says all
    await tell(
        interaction,
        say(
            "End **{theme}**? It is taken off all channels, and nothing more is drawn in it, for "
            "good. Its stream stays for who has the link.",
            theme=words.plain(theme.title, 80),
        ),
        view=view,
    )


class RemoveButton(ui.DynamicItem[ui.Button[Any]], template=r"theme:remove:(?P<id>[0-9]{1,18})"):
    """Ends a theme, for good."""

    def __init__(self, theme_id: int) -> None:
        self._theme_id = theme_id
        style = discord.ButtonStyle.danger
        custom_id = f"theme:remove:{theme_id}"
        super().__init__(ui.Button(label="Yes, end it", style=style, custom_id=custom_id))

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        return cls(int(match["id"]))

    async def callback(self, interaction: Interaction) -> None:
        """End it, where it still hangs and is still theirs to end."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                check_manages(interaction)
                front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
                person = person_of(interaction)
                slug = await front.channels.own_theme(channel_id, guild_id, person)
                theme = await front.themes.get(slug)
                if theme.id != self._theme_id:
                    raise NotFoundError("That theme hangs here no more.")
                theme = await front.themes.retire(slug, person=person)
                page = front.page_of(theme)
                title = words.plain(theme.title, 80)
                ended = say("**{theme}** has ended. Its stream stays.", theme=title)
                if page:
                    ended = say(
                        "**{theme}** has ended. Its stream stays at <{page}>.",
                        theme=title,
                        page=page,
                    )
                await tell(interaction, ended, view=None)
