"""Themes that come as files, uploaded in Discord or shipped, and themes that go out as files."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import discord

from bot.delivery.interactions import Interaction, channel_of, front_of, person_of
from bot.errors import InvalidRequestError, NotFoundError
from bot.model import Theme
from bot.network import UNREACHABLE
from bot.theme_files import (
    MAX_BYTES,
    TOO_LARGE,
    ThemeFile,
    file_name,
    read,
    shipped,
    shipped_one,
    write,
)
from bot.themes import NOT_IN_FILES, OF_THE_MACHINE

_FETCH_S = 20.0


def as_file(theme: Theme) -> discord.File:
    """Return a theme as a file to be attached."""
    return discord.File(io.BytesIO(write(theme)), file_name(theme))


async def offered(interaction: Interaction) -> list[tuple[str, str]]:
    """Return titles and short names of the shipped themes that have not been added."""
    front = front_of(interaction)
    known = {theme.slug for theme in front.themes.known if not theme.retired}
    found = await front.library.run(shipped)
    return [
        (f"{one.title} ({one.slug})", one.slug) for one in found.values() if one.slug not in known
    ]


async def add_shipped(interaction: Interaction, slug: str) -> Theme:
    """Make a shipped theme, unless somebody was quicker, and return it.

    Raises:
        NotFoundError: there is neither a theme nor a shipped one of this name.
    """
    front = front_of(interaction)
    try:
        one = await front.library.run(shipped_one, slug)
    except NotFoundError:
        return await front.themes.get(slug)  # says it in its own words
    try:
        return await front.themes.take_up(
            one.slug,
            one.title,
            person=person_of(interaction),
            guild_id=interaction.guild_id,
            **one.details,
        )
    except InvalidRequestError:
        return await front.themes.get(one.slug)


async def take_in(interaction: Interaction, file: discord.Attachment, name: str) -> Theme:
    """Make a theme of an uploaded file and hang it on the channel; change the one it carries.

    The one that it carries is changed where that has the file's name and is theirs to change.
    How much of the machine a stream gets is not for a server to say: a `weight` is left out, and so
    is what the stream may dream by itself.

    Raises:
        InvalidRequestError: the file is no theme, or the name is taken.
        ForbiddenError: it is the name of the channel's theme, which is not theirs to change.
    """
    front, (guild_id, channel_id) = front_of(interaction), channel_of(interaction)
    found = await front.library.run(read, await _fetch(file), file.filename)
    slug = name.strip().lower() or found.slug
    details = {key: value for key, value in found.details.items() if key not in OF_THE_MACHINE}
    person = person_of(interaction)
    carried = await front.channels.theme_of(channel_id)
    if carried.slug == slug:
        slug = await front.channels.own_theme(channel_id, guild_id, person)
        return await front.themes.change(slug, person=person, **_whole(found, details))
    theme = await front.themes.create(
        slug, found.title, person=person, guild_id=guild_id, **details
    )
    await front.channels.bind(channel_id, guild_id, theme.slug)
    return theme


def _whole(found: ThemeFile, details: dict[str, Any]) -> dict[str, Any]:
    """Return all fields that a file stands for: what it leaves out is as if nothing was said."""
    plain = {
        field: getattr(_PLAIN, field)
        for field in Theme.__struct_fields__
        if field not in ("id", "slug", "created_ms", *OF_THE_MACHINE, *NOT_IN_FILES)
    }
    return {**plain, **details, "title": found.title}


_PLAIN = Theme(id=0, slug="plain", title="Plain")


async def _fetch(file: discord.Attachment) -> bytes:
    if file.size > MAX_BYTES:
        raise InvalidRequestError("file", TOO_LARGE)
    try:
        async with asyncio.timeout(_FETCH_S):
            return await file.read()
    except (discord.HTTPException, *UNREACHABLE, ValueError) as error:
        raise InvalidRequestError(
            "file", "The file could not be fetched from Discord. Send it again."
        ) from error
