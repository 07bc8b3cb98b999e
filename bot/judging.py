"""Judges dreams in the transaction that accepts them, by what they have become and where it is."""

from __future__ import annotations

from collections.abc import Sequence

import aiosqlite

from bot.gate import HOUR_MS, Asker, Gate
from bot.ids import now_ms
from bot.model import Dream
from bot.store import dream_states
from bot.store import dreams as rows
from bot.themes import Themes


async def judge(
    gate: Gate,
    themes: Themes,
    asker: Asker,
    connection: aiosqlite.Connection,
    dreams: Sequence[Dream],
) -> None:
    """Judge dreams within the transaction that has just inserted them, by what they have become.

    Those of a place that publishes nothing, or is age-restricted, are kept to it.

    Raises:
        LimitError: they are more than may be.
        InvalidRequestError: their words hold a blocked one.
    """
    if asker.guild_id is None or asker.channel_id is None:
        # No server sets limits there; and what is said in private is shown nowhere else.
        await dream_states.keep_to_place(connection, [dream.id for dream in dreams])
        return
    for dream in dreams:
        gate.check_dream(asker, dream, await themes.by_id(dream.theme_id))
    background = dreams[0].background  # dreams of one ask are all of one kind
    own, channel, hour = await rows.places_taken(
        connection,
        asker.person.id,
        guild_id=asker.guild_id,
        channel_id=asker.channel_id,
        since_ms=now_ms() - HOUR_MS,
        background=background,
    )
    gate.check_waiting(asker, own=own, channel=channel, hour=hour, background=background)
    checked_as = gate.picture_check(asker)
    if checked_as is not None:
        await dream_states.check_as(connection, [dream.id for dream in dreams], checked_as)
    if gate.keeps(asker):
        await dream_states.keep_to_place(connection, [dream.id for dream in dreams])
