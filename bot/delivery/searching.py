"""What ``/stream search`` shows: the pictures of a channel's stream that come nearest."""

from __future__ import annotations

import discord

from bot.delivery import galleries, words
from bot.delivery.asking import asker_of, check_words
from bot.delivery.finding import find_dream
from bot.delivery.incoming import fetch
from bot.delivery.interactions import Interaction, front_of, theme_of, told
from bot.errors import InvalidRequestError
from bot.search import Found, Hit
from bot.sentences import say

_ONE = (
    "Say what to look for: words, a picture, or a dream that others are to be like; one of these."
)
_NOTHING = say("There is no picture here yet that could be found.")
_INCOMPLETE = say("Older pictures are still being looked at: later there may be more.")


async def show(
    interaction: Interaction,
    text: str | None,
    picture: discord.Attachment | None,
    like: str | None,
) -> None:
    """Answer an acknowledged interaction with what was found by one of the three.

    Raises:
        RequestError: none or several are given, or it may not be looked for.
        SchedulerError: nothing can look at present.
    """
    if sum(given is not None for given in (text, picture, like)) != 1:
        raise InvalidRequestError("words", _ONE)
    front, theme = front_of(interaction), await theme_of(interaction)
    found = await _found(interaction, text, picture, like)
    pictures = await galleries.thumbnails(front, [hit.dream for hit in found.hits])
    hits = {hit.dream.id: hit for hit in found.hits}
    hearts = await front.moderation.favourites(list(hits))
    lines = [
        galleries.line(front, theme, number, dream, hearts.get(dream.id, 0))
        + _twins(hits[dream.id], like=like is not None)
        for number, (dream, _) in enumerate(pictures, 1)
    ]
    lines = lines or [told(interaction, _NOTHING)]
    if not found.complete:
        lines.append(f"-# {told(interaction, _INCOMPLETE)}")
    title = told(interaction, say("Found in {theme}", theme=words.plain(theme.title, 80)))
    await interaction.edit_original_response(
        view=galleries.page(theme, title, pictures, lines), attachments=galleries.files(pictures)
    )


async def _found(
    interaction: Interaction,
    text: str | None,
    picture: discord.Attachment | None,
    like: str | None,
) -> Found:
    front, theme = front_of(interaction), await theme_of(interaction)
    channel_id, count = interaction.channel_id, galleries.PAGE
    if text is not None:
        await check_words(interaction, text)
        return await front.search.by_text(theme, text, channel_id=channel_id, count=count)
    front.gate.check_person(asker_of(interaction))
    if picture is not None:
        data = await fetch(picture, front.library.uploads, "picture")
        return await front.search.by_picture(theme, data, channel_id=channel_id, count=count)
    assert like is not None
    dream = await find_dream(interaction, like)
    its_theme = await front.themes.by_id(dream.theme_id)
    if its_theme.id != theme.id:
        raise InvalidRequestError("like", "That dream is of another stream. Search there.")
    return await front.search.like(dream, theme, channel_id=channel_id, count=count)


def _twins(hit: Hit, *, like: bool) -> str:
    if like:
        return " · nearly the same" if hit.is_twin else ""
    return f" · and {hit.twins} nearly the same" if hit.twins else ""
