"""Messages that are posted once for good, and what keeps trying to post them.

Whoever posts them writes down before that one is about to be sent (`bot.store.sent_messages`), and
looks for one that an earlier attempt may have sent. `bot.delivery.sender` does the same for the
cards of dreams, which may be replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import discord

from bot.delivery.lane import Lane
from bot.delivery.pace import Urgency
from bot.delivery.sender import awake, earlier_message
from bot.front import Front
from bot.store.sent_messages import SentMessages

FIRST_DELAY_S = 3.0


class Row(Protocol):
    """What a row with a message knows of it."""

    @property
    def id(self) -> int: ...
    @property
    def message_id(self) -> int | None: ...
    @property
    def sends(self) -> int: ...
    @property
    def created_ms(self) -> int: ...


class Face(Protocol):
    """What a message is to show; `looks` tells one from another. `files` may block."""

    @property
    def looks(self) -> str: ...
    def view(self) -> discord.ui.LayoutView: ...
    def files(self) -> list[discord.File]: ...


class Posting:
    """Posts the messages of one table's rows."""

    def __init__(self, client: discord.Client, front: Front, rows: SentMessages) -> None:
        self._client = client
        self._store = front.store
        self._run = front.library.run
        self._rows = rows

    async def bring(
        self,
        channel: discord.PartialMessageable,
        row: Row,
        face: Face,
        *,
        nonce: str,
        is_it: Callable[[discord.Message], bool],
    ) -> None:
        """Have a row's message show a face, in one message for good.

        `nonce` names the message to Discord; `is_it` says whether one of ours is it.

        Raises:
            NeverError, TryLaterError, TooLargeError: Discord does not take it.
            DiskError, StoreError: it cannot be written down.
        """
        async with awake(self._client, channel.id):
            message_id = await self.known(channel, row, is_it)
            first = message_id is None and not row.sends
            if message_id is None:
                message_id = await self._send(channel, row, face, nonce)
            if not first:
                # Under its nonce Discord gives back what an earlier attempt has sent, as it was.
                await channel.get_partial_message(message_id).edit(
                    view=face.view(),
                    attachments=await self._run(face.files),
                    allowed_mentions=discord.AllowedMentions.none(),
                )
        await self._showed(row, face)

    async def known(
        self,
        channel: discord.PartialMessageable,
        row: Row,
        is_it: Callable[[discord.Message], bool],
    ) -> int | None:
        """Return a row's message, looking for one that an earlier attempt may have sent."""
        if row.message_id is not None or not row.sends:
            return row.message_id
        message_id = await earlier_message(self._client, channel, row.created_ms, is_it)
        if message_id is not None:
            async with self._store.write() as connection:
                await self._rows.sent(connection, row.id, message_id)
        return message_id

    async def _send(
        self, channel: discord.PartialMessageable, row: Row, face: Face, nonce: str
    ) -> int:
        files = await self._run(face.files)
        async with self._store.write() as connection:
            await self._rows.begin_send(connection, row.id)
        try:
            message = await channel.send(view=face.view(), files=files, nonce=nonce)
        except (discord.HTTPException, discord.RateLimited) as error:
            refused = isinstance(error, discord.RateLimited) or error.status < 500
            if refused and not row.sends:
                async with self._store.write() as connection:
                    await self._rows.refused(connection, row.id)
            raise
        async with self._store.write() as connection:
            await self._rows.sent(connection, row.id, message.id)
        return message.id

    async def _showed(self, row: Row, face: Face) -> None:
        async with self._store.write() as connection:
            await self._rows.showed(connection, row.id, face.looks)


class Retries:
    """What could not be shown, by its key in its lane, and how often in a row."""

    def __init__(self, max_delay_s: float) -> None:
        self._max_delay_s = max_delay_s
        self._failures: dict[int, int] = {}
        self._lanes: dict[int, Lane] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def later(self, lane: Lane, key: int, urgency: Urgency, after_s: float | None) -> None:
        """Have something tried again: after so long, or else after longer each time.

        What Discord has named a time for is not hurried: no permission that comes back ends that.
        """
        if after_s:
            self._lanes.pop(key, None)
            lane.later(key, urgency, after_s)
            return
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._lanes[key] = lane
        lane.later(key, urgency, min(self._max_delay_s, FIRST_DELAY_S * 2 ** min(failures, 10)))

    def over(self, key: int) -> None:
        """Note that something was shown."""
        self._failures.pop(key, None)
        self._lanes.pop(key, None)

    def hurry(self) -> None:
        """Have all that could not be shown tried at once."""
        for key, lane in self._lanes.items():
            self._failures.pop(key, None)
            lane.hurry(key)
        self._lanes.clear()
