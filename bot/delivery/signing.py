"""Links that show for a while, to who has them, what is in no list of the wall."""

from __future__ import annotations

from bot.delivery import words
from bot.delivery.finding import find_dream
from bot.delivery.interactions import Interaction, front_of, tell, theme_of
from bot.delivery.theme_acts import check_manages
from bot.errors import InvalidRequestError
from bot.sentences import say
from bot.signed_links import Shows


async def give(interaction: Interaction, hours: int, dream: str | None) -> None:
    """Tell the asker alone a link to the channel's stream or to one dream, and how long it is good.

    Raises:
        ForbiddenError: they may not manage the channel.
        InvalidRequestError: this wall has no such links, or the dream is not shown at the wall.
        NotFoundError: there is no such dream here.
    """
    check_manages(interaction)
    front = front_of(interaction)
    if front.links is None or not front.wall_url:
        raise InvalidRequestError(
            "hours", say("The wall has no address yet that a link could lead to.")
        )
    shows, id, title = await _meant(interaction, dream)
    token, grant = front.links.make(shows, id, hours)
    text = say(
        "Whoever has this link sees **{what}** until <t:{until}:f>, also without an account: "
        "<{url}>\n"
        "`/stream link end:True` ends all links to it before that.",
        what=title,
        until=str(grant.until_ms // 1000),
        url=f"{front.wall_url}/l/{token}",
    )
    await tell(interaction, text)


async def withdraw(interaction: Interaction, dream: str | None) -> None:
    """End all links to the channel's stream, or to one dream; raises as `give` does."""
    check_manages(interaction)
    front = front_of(interaction)
    shows, id, title = await _meant(interaction, dream)
    if front.links is not None:
        await front.links.withdraw(shows, id)
    await tell(interaction, say("No link to **{what}** is good any more.", what=title))


async def _meant(interaction: Interaction, dream: str | None) -> tuple[Shows, str, str]:
    theme = await theme_of(interaction)
    if dream is None:
        return Shows.THEME, str(theme.id), words.plain(theme.title, 80)
    found = await find_dream(interaction, dream)
    if not found.published or found.theme_id != theme.id:
        raise InvalidRequestError("dream", say("This dream is not of this channel's stream."))
    return Shows.DREAM, found.id, words.plain(found.prompt, 80)
