"""What the threads that we make are for: a theme, or the party that a theme was made for.

A row (`bot.store.theme_threads`) names a theme. What is so once its thread is there, what its card
says, and when the thread is needed no more depends on whether that is a party's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from bot.delivery.theme_guides import ThemeGuides
from bot.delivery.theme_thread_face import ThreadCard, card_of_party, card_of_theme
from bot.errors import RequestError
from bot.front import Front
from bot.ids import now_ms
from bot.model import Theme
from bot.parties.model import Party
from bot.store import channels as channel_rows
from bot.store import theme_guides
from bot.store import theme_threads as rows
from bot.store.theme_threads import ThemeThread


class ThreadUse(Protocol):
    """What one row's thread is for, as it stood when that was asked."""

    @property
    def theme(self) -> Theme:
        """The theme that is drawn for in it."""

    @property
    def over(self) -> bool:
        """Whether no thread is needed any more."""

    def card(self, *, gone: bool) -> ThreadCard:
        """Return the card above; `gone` says that the thread is there no more."""

    async def carried(self) -> bool:
        """Say whether the row's thread, which is there, is still for this."""

    async def begin(self, thread_id: int, guide_id: int | None) -> None:
        """Note in one transaction that the thread is there, and all that begins with that.

        `guide_id` is the guide's message, where that was made with the thread.

        Raises:
            RequestError: it is needed no more; StoreError, DiskError.
        """

    async def refused(self) -> None:
        """Note that Discord will not make the thread."""


class ForTheme:
    """A thread that a theme hangs on, with the guide to it."""

    def __init__(self, front: Front, guides: ThemeGuides, row: ThemeThread, theme: Theme) -> None:
        self._front = front
        self._guides = guides
        self._row = row
        self.theme = theme
        self.over = theme.retired

    def card(self, *, gone: bool) -> ThreadCard:
        """Return the card, with the way to the theme's stream."""
        return card_of_theme(self._row.id, self.theme, self._front.page_of(self.theme), gone=gone)

    async def carried(self) -> bool:
        """Say whether the theme still hangs there."""
        hung = await channel_rows.theme_of(self._front.store, self._row.message_id or 0)
        return hung is not None and hung.id == self.theme.id

    async def begin(self, thread_id: int, guide_id: int | None) -> None:
        """Hang the theme on the thread, and order its guide."""
        row, now = self._row, now_ms()
        async with self._front.store.write() as connection:
            await rows.made(connection, row.id, thread_id)
            await channel_rows.bind(connection, thread_id, row.guild_id, self.theme.id, now)
            await theme_guides.want(connection, thread_id, row.guild_id, now)
            if guide_id is not None:
                await theme_guides.begin_send(connection, thread_id, 1, now)
                await theme_guides.sent(connection, thread_id, guide_id)
        self._guides.look()

    async def refused(self) -> None:
        """Leave the theme as it is: it may hang elsewhere."""


class ForParty:
    """A thread in which a party is held. Without it the party is not."""

    def __init__(self, front: Front, row: ThemeThread, theme: Theme, party: Party) -> None:
        self._front = front
        self._row = row
        self._party = party
        self.theme = theme
        self.over = not party.open

    def card(self, *, gone: bool) -> ThreadCard:
        """Return the card, with the way to the party."""
        return card_of_party(self._row.id, self.theme, over=self.over, gone=gone)

    async def carried(self) -> bool:
        """Say whether the party is held there: it never moves."""
        return self._party.channel_id == self._row.message_id

    async def begin(self, thread_id: int, guide_id: int | None) -> None:
        """Have the party be held in the thread."""
        del guide_id
        await self._front.parties.hold(
            self._party,
            thread_id,
            also=lambda connection: rows.made(connection, self._row.id, thread_id),
        )

    async def refused(self) -> None:
        """End the party, which nobody could come to."""
        with suppress(RequestError):  # it has ended already
            await self._front.parties.give_up(self._party)


async def use_of(front: Front, guides: ThemeGuides, row: ThemeThread) -> ThreadUse:
    """Return what a row's thread is for.

    Raises:
        StoreError: it cannot be read.
    """
    theme = await front.themes.by_id(row.theme_id)
    party = await front.parties.of_theme(theme.id) if row.for_party else None
    if party is not None:
        return ForParty(front, row, theme, party)
    return ForTheme(front, guides, row, theme)
