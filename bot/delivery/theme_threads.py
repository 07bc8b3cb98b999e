"""Make threads for themes, say in the channel above that they are there, and notice when they go.

A row (`bot.store.theme_threads`) says that a theme is to have a thread in a channel; a party is
held in that of its theme where its host wants one (`thread_uses`). Invariants:

- a theme has one thread in a channel: in a text channel it begins at a card of ours, which is sent
  once for good, and Discord makes one thread of a message at most; a forum's post, which has no
  nonce, is written down before it is made, and looked for where one may be there;
- the transaction that notes that a thread is there hangs the theme on it and orders its guide, or
  has the party be held in it;
- a thread that is deleted, also while nobody looked, takes its theme's hanging there along, and its
  card says so; so does one that is given another theme.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import discord

from bot.delivery.lane import THREAD_KEYS, Lane
from bot.delivery.pace import Urgency
from bot.delivery.posting import Posting, Retries
from bot.delivery.sender import NeverError, TooLargeError, TryLaterError
from bot.delivery.theme_guides import ThemeGuides
from bot.delivery.theme_thread_face import ThreadCard, row_of
from bot.delivery.thread_making import ThreadMaking
from bot.delivery.thread_uses import ThreadUse, use_of
from bot.errors import DreamstreamError, ForbiddenError, NotFoundError
from bot.front import Front
from bot.ids import now_ms
from bot.model import Theme
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.store import channels as channel_rows
from bot.store import theme_guides
from bot.store import theme_threads as rows
from bot.store.theme_threads import ThemeThread
from bot.text import shorten
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
PATIENCE_MS = 24 * 3600 * 1000
"""After so long nobody waits for a thread any more. Restarts count, so it is of the wall clock."""
TRIED_S = 3600.0
"""But given up is only what was tried for so long, by the monotonic clock: neither a clock that
jumps nor a bot that was down for days makes the first failure the last."""
MAX_DELAY_S = 600.0
_GONE = say("That thread is there no more.")
_TAKES_LONGER = say("Discord takes its time. The thread comes as soon as it can be made.")


@dataclass(frozen=True)
class Place:
    """The channel in which a thread is to be, or the `forum` in which a post is."""

    guild_id: int
    channel_id: int
    forum: bool


class ThemeThreads:
    """The threads of themes, from `start` to `stop`. They take their turns in their channels."""

    keys = THREAD_KEYS

    def __init__(
        self,
        front: Front,
        client: discord.Client,
        lane_of: Callable[[int], Lane],
        guides: ThemeGuides,
    ) -> None:
        self._front = front
        self._client = client
        self._lane_of = lane_of
        self._guides = guides
        self._making = ThreadMaking(client)
        self._posting = Posting(client, front, rows.MESSAGES)
        self._retries = Retries(MAX_DELAY_S)
        self._failing_since_s: dict[int, float] = {}
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._changed = asyncio.Event()
        self._missed = asyncio.Event()
        self._forget: Callable[[], None] | None = None
        self._tasks = SideTasks()
        self._errors = Errors("theme-threads", log)

    async def start(self) -> None:
        """Make what was asked for, and keep every card as its theme and its thread are."""
        self._forget = self._front.themes.on_change(self._changed.set)
        trouble = "The threads of themes cannot be looked at"
        self._tasks.keep(self._run, trouble, name="discord-threads")
        trouble = "It cannot be told which threads are there"
        self._tasks.keep(self._keep_checking, trouble, name="discord-threads-check")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        await self._tasks.stop()

    def hurry(self) -> None:
        """Try again at once what could not be shown."""
        self._retries.hurry()

    def look(self) -> None:
        """Look at all of them again: some thread may carry another theme."""
        self._changed.set()

    def check(self) -> None:
        """Find out whether all threads are there: that some were deleted may have been missed."""
        self._missed.set()

    async def make(self, theme: Theme, place: Place) -> tuple[int, bool]:
        """Return the thread that a theme has in a channel, and whether it was made just now.

        One that sleeps is woken.

        Raises:
            ForbiddenError: Discord does not take it, or not yet; then it comes when it does.
            NotFoundError: it was deleted at once.
        """
        store = self._front.store
        row = await rows.in_use(store, place.channel_id, theme.id)
        if row is not None and (thread_id := row.thread_id) is not None:
            if await self._making.open(thread_id):
                return thread_id, False
            await self.deleted(thread_id)
        async with store.write() as connection:
            await rows.want(
                connection,
                theme.id,
                guild_id=place.guild_id,
                parent_id=place.channel_id,
                forum=place.forum,
                name=shorten(theme.title, 100),
                now_ms=now_ms(),
            )
        self._changed.set()
        return await self.come(theme.id, place.channel_id), True

    async def come(self, theme_id: int, channel_id: int) -> int:
        """Return the thread that a theme is to have in a channel, once it is there.

        Its row is there, and was followed by a change of a theme or by `look`.

        Raises:
            ForbiddenError, NotFoundError: as `make` does.
        """
        row = await rows.in_use(self._front.store, channel_id, theme_id)
        if row is None:  # made, and deleted again
            raise NotFoundError(_GONE)
        asked = self._asked.get(row.id)
        if asked is None:
            asked = self._asked[row.id] = asyncio.get_running_loop().create_future()
            asked.add_done_callback(_heard)  # who asked may not wait any more
        now = await rows.by_id(self._front.store, row.id)  # how it went before anybody waited
        if now is None or now.gone:
            self._tell(row.id, NotFoundError(_GONE))
        elif now.thread_id is not None:
            self._tell(row.id, now.thread_id)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(asked)
        except TimeoutError:
            raise ForbiddenError(_TAKES_LONGER) from None

    async def join(self, row_id: int, person: discord.abc.Snowflake) -> int:
        """Bring somebody into the thread of a row, which is woken; return the thread's id.

        Raises:
            NotFoundError: it is there no more.
            ForbiddenError: Discord does not let the bot do it at present.
        """
        row = await rows.by_id(self._front.store, row_id)
        thread_id = None if row is None or row.gone else row.thread_id
        if thread_id is None or not await self._making.open(thread_id, person):
            raise NotFoundError(_GONE)
        return thread_id

    async def deleted(self, channel_id: int) -> None:
        """Take off the theme, and the guide, of a channel or thread that is there no more.

        Raises:
            StoreError, DiskError: it cannot be written down.
        """
        found = await rows.every(self._front.store)
        async with self._front.store.write() as connection:
            await channel_rows.unbind(connection, channel_id)
            await theme_guides.forget(connection, channel_id)
            for row in found:
                if channel_id in (row.thread_id, row.parent_id):
                    await rows.has_gone(connection, row.id)
                    await channel_rows.unbind(connection, row.message_id or 0)
        self._changed.set()
        self._guides.look()

    async def show(self, lane: Lane, key: int) -> None:
        """Make a thread, or have its card show how it is. Whatever goes wrong is tried again."""
        row_id = key - THREAD_KEYS[0]
        row = await rows.by_id(self._front.store, row_id)
        if row is None:
            lane.drop(key)
            self._over(row_id)
            self._tell(row_id, NotFoundError(_GONE))
            return
        posted = row.message_id is not None
        try:
            await self._attempt(lane, key, row)
        except NeverError as error:
            lane.tried(key, posted=posted)
            await self._refused(row, error)
        except (TryLaterError, TooLargeError, DreamstreamError) as error:
            again = self._retries.failed(lane, key, _urgency(row), error, posted=posted)
            if again and not self._is_given_up(row):
                log.warning("Thread %d has to wait: %s", row.id, error)
                return
            await self._refused(row, error)
        except Exception as error:  # a mistake of ours
            self._errors.tell(error, "The thread “%s” cannot be made", row.name)
            self._retries.failed(lane, key, _urgency(row), error, posted=posted)
            return
        self._over(row_id)

    def _over(self, row_id: int) -> None:
        """Count no failures of a row any more."""
        self._failing_since_s.pop(row_id, None)
        self._retries.over(THREAD_KEYS[0] + row_id)

    def _is_given_up(self, row: ThemeThread) -> bool:
        """Say whether a thread that cannot be made at present is not to be made any more."""
        since_s = self._failing_since_s.setdefault(row.id, time.monotonic())
        if row.made or row.gone or now_ms() - row.created_ms <= PATIENCE_MS:
            return False
        return time.monotonic() - since_s >= TRIED_S

    # --- what is to be done ------------------------------------------------------------------

    async def _run(self) -> None:
        self._changed.set()  # also once begun again: what failed is not looked at yet
        while True:
            await self._changed.wait()
            self._changed.clear()
            for row in await rows.every(self._front.store):
                if await self._has_changed(row):
                    self._want(row)

    async def _has_changed(self, row: ThemeThread) -> bool:
        if not row.made or row.gone:
            return True
        use = await self._use(row)
        return not await use.carried() or use.card(gone=False).looks != row.shown

    def _want(self, row: ThemeThread) -> None:
        posted = row.message_id is not None
        key = THREAD_KEYS[0] + row.id
        self._lane_of(row.parent_id).want(key, _urgency(row), posted=posted)

    async def _keep_checking(self) -> None:
        self._missed.set()
        while True:
            await self._missed.wait()
            self._missed.clear()
            await self._client.wait_until_ready()  # else no channel would seem to be there
            for row in await rows.every(self._front.store):
                thread_id = None if row.gone else row.thread_id
                if thread_id is not None and await self._making.is_gone(thread_id):
                    await self.deleted(thread_id)

    # --- doing it ----------------------------------------------------------------------------

    async def _attempt(self, lane: Lane, key: int, row: ThemeThread) -> None:
        use = await self._use(row)
        gone = row.gone
        if not (row.made or gone or use.over):
            if row.forum:
                await self._make_post(lane, key, row, use)
            else:
                await self._make_thread(lane, key, row, use)
            return
        if not (gone or use.over) and not await use.carried():
            async with self._front.store.write() as connection:
                await rows.has_gone(connection, row.id)
            gone = True
        if row.message_id is not None and not row.forum:
            await self._show_card(lane, key, row, use.card(gone=gone))
        if gone or use.over:
            await self._let_go(row, NotFoundError(_GONE))
            lane.drop(key)

    async def _make_thread(self, lane: Lane, key: int, row: ThemeThread, use: ThreadUse) -> None:
        await self._show_card(lane, key, row, use.card(gone=False))
        carded = await rows.by_id(self._front.store, row.id)
        assert carded is not None and carded.message_id is not None
        await self._making.of_message(row, carded.message_id)
        await self._is_there(row, carded.message_id, use)

    async def _make_post(self, lane: Lane, key: int, row: ThemeThread, use: ThreadUse) -> None:
        """Make a forum's post, with the guide to the theme as its first message."""
        face = await self._guides.face_of(use.theme)
        others = {one.message_id for one in await rows.every(self._front.store)}

        async def begin() -> None:
            async with self._front.store.write() as connection:
                await rows.MESSAGES.begin_send(connection, row.id)

        post_id, first_id = await self._making.post(row, face, others, begin)
        if first_id is not None:
            lane.sent(key, posted=False)
        await self._is_there(row, post_id, use, guide_id=first_id or post_id)

    async def _is_there(
        self, row: ThemeThread, thread_id: int, use: ThreadUse, guide_id: int | None = None
    ) -> None:
        """Note that a thread is there, and have begin in it what it is for."""
        await use.begin(thread_id, guide_id)
        self._tell(row.id, thread_id)

    async def _show_card(self, lane: Lane, key: int, row: ThemeThread, card: ThreadCard) -> None:
        if row.message_id is not None and card.looks == row.shown:
            return
        posted = row.message_id is not None
        nonce = f"thread-{row.id}"
        await self._posting.bring(
            self._channel(row),
            row,
            card,
            nonce=nonce,
            is_it=lambda message: row_of(list(message.components)) == row.id,
        )
        lane.sent(key, posted=posted)

    async def _refused(self, row: ThemeThread, error: Exception) -> None:
        """Go on without what Discord will not do."""
        now = await rows.by_id(self._front.store, row.id)
        if now is None:
            return
        use = await self._use(now)
        if now.made and not now.gone:  # it is the card alone; what that stood for is there
            log.warning("The card of thread %d stays as it is: %s", now.id, error)
            async with self._front.store.write() as connection:
                await rows.MESSAGES.showed(connection, now.id, use.card(gone=False).looks)
            return
        log.warning("Thread %d is not there: %s", now.id, error)
        await use.refused()
        why = error.args[0] if error.args else error
        sentence = say("Discord did not let me make a thread here: {error}", error=why)
        if now.message_id is None or now.gone or now.forum:
            await self._let_go(now, ForbiddenError(sentence))
            return
        async with self._front.store.write() as connection:
            await rows.has_gone(connection, now.id)
        self._tell(now.id, ForbiddenError(sentence))
        self._changed.set()  # there is a card without a thread: it is to say so

    async def _let_go(self, row: ThemeThread, why: DreamstreamError) -> None:
        async with self._front.store.write() as connection:
            await rows.forget(connection, row.id)
        self._tell(row.id, why)

    def _tell(self, row_id: int, outcome: int | DreamstreamError) -> None:
        """Tell who waits for a thread which it is, or why there is none."""
        asked = self._asked.pop(row_id, None)
        if asked is None:
            return
        if isinstance(outcome, int):
            asked.set_result(outcome)
        else:
            asked.set_exception(outcome)

    async def _use(self, row: ThemeThread) -> ThreadUse:
        return await use_of(self._front, self._guides, row)

    def _channel(self, row: ThemeThread) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(row.parent_id, guild_id=row.guild_id)


def _heard(asked: asyncio.Future[int]) -> None:
    asked.exception()


def _urgency(row: ThemeThread) -> Urgency:
    return Urgency.FORMING if row.made else Urgency.NEW
