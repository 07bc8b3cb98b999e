"""Post the best of each channel's day: one message for each row of `bot.store.digests`.

Once a minute it is looked which digests are due (`bot.digest`). What a message shows is read anew
whenever its turn comes, so what was deleted meanwhile is not in it. Invariants:

- a row has one message: that one is about to be sent is written down before, and where one may
  have been sent that is not known, it is looked for;
- a row is open until its message shows its pictures, and again from the deletion of one until the
  message shows that one no more, or is gone with the last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import discord

from bot.delivery.digest_face import DigestFace, digest_of
from bot.delivery.galleries import thumbnails
from bot.delivery.lane import DIGEST_KEYS, Lane
from bot.delivery.pace import Urgency
from bot.delivery.posting import Posting, Retries
from bot.delivery.sender import NeverError, TooLargeError, TryLaterError, meanings
from bot.digest import LATEST_MS, Digests
from bot.errors import DreamstreamError
from bot.front import Front
from bot.model import Dream, Theme
from bot.rights import may_see
from bot.settings import DigestPlace
from bot.side_tasks import SideTasks
from bot.store import digests as rows
from bot.store import dreams as dream_rows
from bot.store.digests import DigestRow
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
MAX_DELAY_S = 600.0
_KEY_OF_0 = DIGEST_KEYS[-1]


class DigestCards:
    """The digests in Discord, from `start` to `stop`. Keys in a lane go down as ids go up."""

    keys = DIGEST_KEYS

    def __init__(
        self,
        front: Front,
        client: discord.Client,
        lane_of: Callable[[int], Lane],
        digests: Digests | None = None,
    ) -> None:
        self._front = front
        self._client = client
        self._lane_of = lane_of
        self.digests = digests or Digests(front.store, front.settings, front.channels)
        self._posting = Posting(client, front, rows.MESSAGES)
        self._retries = Retries(MAX_DELAY_S)
        self._tasks = SideTasks()
        self._errors = Errors("digest-cards", log)

    async def start(self) -> None:
        """Take up every digest that is not shown as it should be, and look out for more."""
        for digest_id in await rows.open_ids(self._front.store):
            await self._want(digest_id)
        trouble = "The best of the day cannot be written down yet"
        self._tasks.every(LOOK_EVERY_S, self._look, trouble, name="discord-digests")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        await self._tasks.stop()

    def hurry(self) -> None:
        """Try again at once what could not be shown."""
        self._retries.hurry()

    async def look(self) -> None:
        """Have what is due posted.

        Raises:
            DreamstreamError: nothing can be written at present.
        """
        try:
            with suppress(TryLaterError):  # Discord is out of reach: it is due the next time, too
                await self.digests.order_due(self._parent_of)
        finally:
            # All that are open: one may have been written down by a look that ended early.
            for digest_id in await rows.open_ids(self._front.store):
                await self._want(digest_id)

    async def deleted(self, dream_id: str) -> None:
        """Have a dream go from the digests that show it."""
        async with self._front.store.write() as connection:
            found = await rows.reopen(connection, dream_id)
        for digest_id in found:
            await self._want(digest_id)

    async def show(self, lane: Lane, key: int) -> None:
        """Bring a digest to Discord. Whatever goes wrong is tried again, but not for ever."""
        row = await rows.by_id(self._front.store, _KEY_OF_0 - key)
        if row is None or not row.open:
            lane.drop(key)
            return
        try:
            await self._attempt(lane, key, row)
        except NeverError as error:
            log.warning("The digest of channel %s will not be shown: %s", row.channel_id, error)
            lane.tried(key, posted=row.message_id is not None)
            await self._close(lane, key, row, 0)
        except (TryLaterError, TooLargeError, DreamstreamError) as error:
            again = self._failed(lane, key, row, error) and not self._too_late(row)
            how = "cannot be shown yet" if again else "will not be shown"
            log.warning("The digest of channel %s %s: %s", row.channel_id, how, error)
            if not again:
                await self._close(lane, key, row, 0)
        except Exception as error:  # a mistake of ours
            self._errors.tell(error, "The digest of channel %s cannot be shown", row.channel_id)
            self._failed(lane, key, row, error)

    # --- what is due -------------------------------------------------------------------------

    async def _look(self) -> None:
        await self._client.wait_until_ready()  # else every channel would seem not to be there
        await self.look()

    async def _parent_of(self, place: DigestPlace) -> int | None:
        """Return a thread's channel. Threads that sleep are known to Discord alone.

        A server that is out of reach is known all the same, and one that has sent us away is not:
        it would refuse every question.
        """
        if self._client.get_guild(place.guild_id) is None:
            raise LookupError(place.guild_id)
        channel = self._client.get_channel(place.channel_id)
        if channel is None:
            try:
                with meanings():
                    channel = await self._client.fetch_channel(place.channel_id)
            except NeverError as error:
                raise LookupError(str(error)) from error
        parent_id = getattr(channel, "parent_id", None)
        return parent_id if isinstance(channel, discord.Thread) else None

    async def _want(self, digest_id: int) -> None:
        row = await rows.by_id(self._front.store, digest_id)
        if row is not None and row.open:
            posted = row.message_id is not None
            urgency = Urgency.END if posted else Urgency.NEW
            self._lane_of(row.channel_id).want(_KEY_OF_0 - row.id, urgency, posted=posted)

    # --- showing it --------------------------------------------------------------------------

    def _too_late(self, row: DigestRow) -> bool:
        """Say whether nobody waits for it any more; one that may be there is not left alone."""
        return not row.sends and self.digests.now_ms - row.until_ms > LATEST_MS

    async def _attempt(self, lane: Lane, key: int, row: DigestRow) -> None:
        theme = await self._front.themes.by_id(row.theme_id)
        there = await self._there(row)
        dreams = [
            dream
            for dream in there
            if dream.image is not None and may_see(dream, theme, theme, row.channel_id)
        ]
        if not dreams or self._too_late(row):
            await self._take_away(row)
        else:
            face = await self._face(row, theme, dreams)
            if face.looks != row.shown:
                posted = row.message_id is not None
                await self._bring(row, face)
                lane.sent(key, posted=posted)
        await self._close(lane, key, row, len(there))

    async def _there(self, row: DigestRow) -> list[Dream]:
        """Return a digest's dreams that were not deleted, the best first."""
        ids = await rows.dreams_of(self._front.store, row.id)
        found = {dream.id: dream for dream in await dream_rows.by_ids(self._front.store, ids)}
        dreams = (found[one] for one in ids if one in found)
        return [dream for dream in dreams if dream.deleted_ms is None]

    async def _face(self, row: DigestRow, theme: Theme, dreams: list[Dream]) -> DigestFace:
        hearts = await self._front.moderation.favourites([dream.id for dream in dreams])
        pictures = await thumbnails(self._front, dreams)
        return DigestFace(self._front, row, theme, dreams, pictures, hearts)

    async def _bring(self, row: DigestRow, face: DigestFace) -> None:
        """Have a digest's message show a face, in one message for good."""
        await self._posting.bring(
            self._channel(row), row, face, nonce=f"digest-{row.id}", is_it=_is_of(row)
        )

    async def _take_away(self, row: DigestRow) -> None:
        """Delete a digest's message, if there is one: none of its pictures is to be seen."""
        channel = self._channel(row)
        with meanings():
            message_id = await self._posting.known(channel, row, _is_of(row))
            if message_id is not None:
                with suppress(discord.NotFound):
                    await channel.get_partial_message(message_id).delete()

    async def _close(self, lane: Lane, key: int, row: DigestRow, there: int) -> None:
        """Close a row, unless one of its pictures was deleted since it was read."""
        async with self._front.store.write() as connection:
            closed = await rows.close(connection, row.id, there)
        self._retries.over(key)
        lane.drop(key)
        if not closed:
            await self._want(row.id)

    def _channel(self, row: DigestRow) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(row.channel_id, guild_id=row.guild_id)

    def _failed(self, lane: Lane, key: int, row: DigestRow, error: Exception) -> bool:
        posted = row.message_id is not None
        urgency = Urgency.END if posted else Urgency.NEW
        return self._retries.failed(lane, key, urgency, error, posted=posted)


def _is_of(row: DigestRow) -> Callable[[discord.Message], bool]:
    return lambda message: digest_of(list(message.components)) == row.id
