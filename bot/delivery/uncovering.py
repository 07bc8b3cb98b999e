"""Show what the check of pictures has covered, to who may see it and to nobody else."""

from __future__ import annotations

import io

import discord

from bot.delivery import words
from bot.delivery.interactions import Interaction, acknowledged, actor_of, front_of, tell, told
from bot.delivery.looking import visible_dream
from bot.delivery.pictures import DEFAULT_LIMIT_BYTES, fitting
from bot.errors import InvalidRequestError
from bot.model import Dream
from bot.sentences import say

_NOT_COVERED = say("This picture is not covered.")


async def uncover(interaction: Interaction, dream_id: str) -> None:
    """Show the picture behind a dream's cover to who asks, if they may see it."""
    async with acknowledged(interaction):
        await show_behind(interaction, await visible_dream(interaction, dream_id))


async def show_behind(interaction: Interaction, dream: Dream) -> None:
    """Answer an acknowledged interaction with the picture behind a cover.

    Raises:
        ForbiddenError, InvalidRequestError, NotFoundError: as `Reviews.original` does.
    """
    front = front_of(interaction)
    if front.reviews is None:
        raise InvalidRequestError("dream", _NOT_COVERED)
    png = await front.reviews.original(dream, actor_of(interaction))
    limit = interaction.filesize_limit or DEFAULT_LIMIT_BYTES
    upload = await front.library.run(fitting, png, limit)
    if upload is None:
        await tell(interaction, say("Too large to be shown in this channel; it is kept."))
        return
    file = discord.File(
        io.BytesIO(upload.data),
        f"dream-{dream.id}{upload.suffix}",
        spoiler=True,
        description=words.alt_text(dream),
    )
    said = told(interaction, say("Only you see this."))
    await interaction.edit_original_response(content=said, attachments=[file])
