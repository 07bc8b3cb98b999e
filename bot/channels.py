"""Which theme a Discord channel carries; one that carries none has the default theme."""

from __future__ import annotations

from bot.errors import ForbiddenError, NotFoundError
from bot.ids import now_ms
from bot.model import Person, Theme
from bot.sentences import say
from bot.store import Store, parties
from bot.store import channels as rows
from bot.themes import DEFAULT_SLUG, Themes


class Channels:
    """The channels, each with its theme."""

    def __init__(self, store: Store, themes: Themes) -> None:
        self._store = store
        self._themes = themes

    async def theme_of(self, channel_id: int, parent_id: int | None = None) -> Theme:
        """Return the theme of a channel; a thread without one has that of its channel.

        While a party is held in a place, that is the party's: what hangs there comes back with
        its end, whatever has died meanwhile.
        """
        for place in (channel_id, parent_id):
            if place is None:
                continue
            party = await parties.open_in(self._store, place)
            if party is not None:
                return await self._themes.by_id(party.theme_id)
            theme = await rows.theme_of(self._store, place)
            if theme is not None:
                return theme
        return await self._themes.get(DEFAULT_SLUG)

    async def hung_on(self, channel_id: int, parent_id: int | None = None) -> Theme:
        """Return the same theme, whatever party is held there."""
        for place in (channel_id, parent_id):
            theme = None if place is None else await rows.theme_of(self._store, place)
            if theme is not None:
                return theme
        return await self._themes.get(DEFAULT_SLUG)

    async def own_theme(self, channel_id: int, guild_id: int, person: Person) -> str:
        """Return the slug of the theme on a channel, if it is for this person to change there.

        It is for whoever made or changed it before, and for all who manage a channel that carries
        it, in the server in which it was made.

        Raises:
            NotFoundError: the channel carries none of its own.
            ForbiddenError: it is everybody's, hangs in another server as well, or was neither made
                in this one nor by them.
        """
        theme = await rows.theme_of(self._store, channel_id)
        if theme is None:
            raise NotFoundError(
                "This channel carries no theme of its own. Make one with /theme create."
            )
        if theme.slug == DEFAULT_SLUG or await rows.is_used_elsewhere(
            self._store, theme.id, guild_id
        ):
            raise ForbiddenError(
                "This theme is not this server's alone, so it cannot be changed from here. Make "
                "one of your own with /theme create."
            )
        if not await self._themes.is_made_in(theme, guild_id) and not await self._themes.is_by(
            theme, person
        ):
            raise ForbiddenError(
                "This theme was not made in this server, so it is only for whoever made it to "
                "change. Make one of your own with /theme create."
            )
        return theme.slug

    async def bind(self, channel_id: int, guild_id: int, slug: str) -> Theme:
        """Hang a theme on a channel. What was asked there before stays in its own stream.

        Raises:
            NotFoundError: there is no such theme, or it is retired.
        """
        theme = await self._themes.get(slug)
        if theme.retired:
            raise NotFoundError(
                say(
                    "“{title}” is no longer in use. Choose another theme, or make one.",
                    title=theme.title,
                )
            )
        async with self._store.write() as connection:
            await rows.bind(connection, channel_id, guild_id, theme.id, now_ms())
        return theme

    async def unbind(self, channel_id: int) -> bool:
        """Take the theme off a channel; say whether there was one."""
        async with self._store.write() as connection:
            return await rows.unbind(connection, channel_id)
