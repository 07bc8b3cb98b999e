"""Messages that are posted once for good, and what keeps trying to post them.

Whoever posts them writes down before that one is about to be sent (`bot.store.sent_messages`), and
looks for one that an earlier attempt may have sent. `bot.delivery.sender` does the same for the
cards of dreams, which may be replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import discord

from bot.delivery.lane import Lane
from bot.delivery.pace import Urgency
from bot.delivery.sender import TooLargeError, TryLaterError, awake, earlier_message
from bot.front import Front
from bot.store.sent_messages import SentMessages

FIRST_DELAY_S = 3.0
PATIENCE_S = 24 * 3600.0
"""For how long what Discord refuses is tried: by the monotonic clock, so that none that jumps ends
it."""


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
    """What could not be shown, by its key in its lane, and how often in a row.

    What Discord has refused for `PATIENCE_S` is given up as it looked then: it is tried again once
    it looks otherwise, and by the next process.
    """

    def __init__(self, max_delay_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_delay_s = max_delay_s
        self._clock = clock
        self._failures: dict[int, int] = {}
        self._refused_s: dict[int, float] = {}  # since when
        self._lanes: dict[int, Lane] = {}
        self._looks: dict[int, str] = {}  # of what was last tried
        self._given_up: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def begins(self, key: int, looks: str) -> bool:
        """Note how something is about to look; say whether that is to be tried."""
        self._looks[key] = looks
        return not self.gave_up(key, looks)

    def gave_up(self, key: int, looks: str) -> bool:
        """Say whether something was given up that looked like this."""
        return self._given_up.get(key) == looks

    def failed(
        self, lane: Lane, key: int, urgency: Urgency, error: Exception, *, posted: bool
    ) -> bool:
        """Note why something could not be shown; have it tried again, and say whether it is.

        It is tried when Discord takes it again, where that has said so, or else after longer each
        time. It is not where Discord has refused it for so long that it is given up; what is wanted
        of it since it was read still has its turn.
        """
        told = error if isinstance(error, TryLaterError) else None
        lane.tried(key, posted=posted, closed_s=0.0 if told is None else told.closed_s)
        if isinstance(error, (TryLaterError, TooLargeError)):
            now_s = self._clock()
            if now_s - self._refused_s.setdefault(key, now_s) > PATIENCE_S:
                looks = self._looks.get(key, "")
                self.over(key)
                self._given_up[key] = looks
                return False
        if told is not None and told.after_s:
            # Not to be hurried: no permission that comes back ends that.
            self._lanes.pop(key, None)
            lane.later(key, urgency, told.after_s)
            return True
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._lanes[key] = lane
        lane.later(key, urgency, min(self._max_delay_s, FIRST_DELAY_S * 2 ** min(failures, 10)))
        return True

    def over(self, key: int) -> None:
        """Note that something was shown, is not to be shown, or is to be tried as if anew."""
        for noted in (self._failures, self._refused_s, self._lanes, self._looks, self._given_up):
            noted.pop(key, None)

    def hurry(self) -> None:
        """Have all that could not be shown tried at once."""
        for key, lane in self._lanes.items():
            self._failures.pop(key, None)
            lane.hurry(key)
        self._lanes.clear()
