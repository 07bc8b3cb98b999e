"""Whether something may be asked for in a channel: every command and button asks this first.

`permit` judges what is known at once: who asks, where, in which words. What it returns goes along
with the dreams into the transaction that accepts them, where it judges what they have become and
counts them, so that many asks at once do not pass a limit together; and orders their card.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aiosqlite
import discord

from bot.acceptance import Also
from bot.delivery.interactions import (
    Interaction,
    actor_of,
    front_of,
    posting_here,
)
from bot.gate import Asker
from bot.judging import judge
from bot.model import Dream, PictureCheck, Theme


def asker_of(interaction: Interaction) -> Asker:
    """Return who asks, with their roles, and where."""
    actor, channel, user = actor_of(interaction), interaction.channel, interaction.user
    roles = user.roles if isinstance(user, discord.Member) else ()
    return Asker(
        actor.person,
        guild_id=actor.guild_id,
        moderates=actor.moderates,
        at_machine=actor.at_machine,
        channel_id=interaction.channel_id,
        parent_id=getattr(channel, "parent_id", None),
        role_ids=frozenset(role.id for role in roles),
        age_restricted=_is_age_restricted(channel),
    )


async def permit(
    interaction: Interaction,
    *,
    prompt: str = "",
    count: int = 1,
    exploring: bool = False,
    background: bool = False,
) -> Also:
    """Return what orders a card here, if `count` dreams of these words may be asked for.

    `prompt` is all that was typed, with what is not to be drawn.

    Raises:
        ForbiddenError: the asker may not ask here.
        LimitError: these are too many.
        InvalidRequestError: the words hold a blocked one.
    """
    front, asker = front_of(interaction), asker_of(interaction)
    front.gate.check(asker, prompt=prompt, count=count, exploring=exploring, background=background)
    order = posting_here(interaction)

    async def also(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
        await judge(front.gate, front.themes, asker, connection, dreams)
        await order(connection, dreams)

    return also


def checked_here(interaction: Interaction) -> PictureCheck | None:
    """Return how the place wants pictures checked, None where only the machine says."""
    return front_of(interaction).gate.picture_check(asker_of(interaction))


async def check_words(interaction: Interaction, text: str) -> Callable[[str, Theme], None]:
    """Return the check of what a steer's words become (`Dreams.steer`), if these may be said.

    Raises:
        ForbiddenError: the asker may not ask here.
        InvalidRequestError: the words hold a blocked one.
    """
    gate, asker = front_of(interaction).gate, asker_of(interaction)
    gate.check(asker, prompt=text)

    def check(expanded: str, theme: Theme) -> None:
        gate.check_words(asker, [expanded], [theme.template, theme.modifiers])

    return check


async def steer_here(
    interaction: Interaction, dream: Dream, prompt: str, glide_steps: int | None = None
) -> None:
    """Let a dream glide to a prompt: one's own, or, at a party, another's as its host allows.

    Raises:
        As `check_words`, `Dreams.steer` and, for another's dream at a party, `Parties.steer` do.
    """
    front, actor = front_of(interaction), actor_of(interaction)
    check = await check_words(interaction, prompt)
    if dream.person.id != actor.person.id and not actor.moderates:
        party = await front.parties.of_theme(dream.theme_id)
        if party is not None:
            await front.parties.steer(party, actor, dream.id, prompt, glide_steps, check=check)
            return
    await front.dreams.steer(dream.id, actor, prompt, glide_steps, check=check)


def _is_age_restricted(channel: object) -> bool:
    if isinstance(channel, discord.Thread) and channel.parent is not None:
        return channel.parent.is_nsfw()
    return bool(getattr(channel, "nsfw", False))
