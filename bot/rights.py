"""Who acts, and what they may do to a dream. The fronts say who it is; here it is decided."""

from __future__ import annotations

import msgspec

from bot.errors import ForbiddenError, NotFoundError
from bot.model import Dream, Person, PictureCheck, Theme, Visibility
from bot.sentences import say

NOT_A_MODERATOR = say("Only who moderates this server can do that.")


class Actor(msgspec.Struct, frozen=True):
    """A person where they act.

    `guild_id` is the server they act in. `moderates` says that they may end and delete other
    people's dreams there; whoever sits at the machine itself may do so everywhere (`at_machine`).
    """

    person: Person
    guild_id: int | None = None
    moderates: bool = False
    at_machine: bool = False


def may_change(dream: Dream, actor: Actor) -> bool:
    """Whether somebody may end, steer or delete a dream: its author, or who moderates there."""
    return actor.person.id == dream.person.id or moderates(dream, actor)


def check_may_change(dream: Dream, actor: Actor) -> None:
    """Refuse what only a dream's author or a moderator may do.

    Raises:
        ForbiddenError: the actor is neither.
    """
    if not may_change(dream, actor):
        raise ForbiddenError(
            say("Only {name}, who asked for this dream, can do that.", name=dream.person.name)
        )


def moderates(dream: Dream, actor: Actor) -> bool:
    """Whether somebody moderates where a dream was asked for."""
    if actor.at_machine:
        return True
    return actor.moderates and actor.guild_id is not None and actor.guild_id == dream.guild_id


def may_look_behind(dream: Dream, actor: Actor) -> bool:
    """Whether somebody may see what the cover of a dream's picture stands for."""
    match dream.veil:
        case PictureCheck.SPOILER:
            return True
        case PictureCheck.BLUR:
            return moderates(dream, actor) or actor.person.id == dream.person.id
        case _:
            return moderates(dream, actor)


def may_see(dream: Dream, theme: Theme, here: Theme | None, channel_id: int | None) -> bool:
    """Whether a dream of a theme may be shown in a channel that carries the theme `here`.

    At the wall there is no channel. Dreams that are not published are shown where they were
    asked for; those of a private theme where that theme is.
    """
    if not dream.published and (channel_id is None or channel_id != dream.channel_id):
        return False
    return theme.visibility is not Visibility.PRIVATE or (here is not None and here.id == theme.id)


def check_may_see(dream: Dream, theme: Theme, here: Theme | None, channel_id: int | None) -> None:
    """Refuse a dream that may not be shown there.

    Raises:
        NotFoundError: it may not; that it is there is not told.
    """
    if not may_see(dream, theme, here, channel_id):
        raise NotFoundError("There is no such dream.")
