"""Pictures that people send in Discord: found on messages, and fetched within bounds.

Only uploads are: Discord itself says where they lie, on servers of its own. What merely stands in
a message, a link or its preview, is not fetched: anybody could have us ask any address by it.
"""

from __future__ import annotations

import asyncio

import discord

from bot.errors import InvalidRequestError
from bot.network import UNREACHABLE
from bot.uploads import FORMATS, UploadLimits

FETCH_S = 20.0
_KINDS = tuple(f"image/{kind.lower()}" for kind in FORMATS)
_GONE = "The picture could not be fetched from Discord. Send it again."


def picture_on(message: discord.Message) -> discord.Attachment | None:
    """Return the first still picture that was uploaded with a message, None where there is none.

    Of a message that was forwarded, the one that was uploaded with the original.
    """
    forwarded = [one for sent in message.message_snapshots for one in sent.attachments]
    for attachment in [*message.attachments, *forwarded]:
        kind = (attachment.content_type or "").partition(";")[0].strip().lower()
        if kind in _KINDS or (not kind and attachment.width):
            return attachment
    return None


async def fetch(attachment: discord.Attachment, limits: UploadLimits, field: str = "init") -> bytes:
    """Return the bytes of what somebody uploaded to Discord; whether it is a picture is not seen.

    Raises:
        InvalidRequestError: it is too large, or Discord does not hand it out.
    """
    limits.check_bytes(attachment.size, field)
    try:
        async with asyncio.timeout(FETCH_S):
            data = await attachment.read()
    except (discord.HTTPException, *UNREACHABLE, ValueError) as error:
        raise InvalidRequestError(field, _GONE) from error
    limits.check_bytes(len(data), field)  # what was said of it need not be so
    return data
