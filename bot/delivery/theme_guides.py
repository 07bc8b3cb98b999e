"""Keep the guide to a channel's theme: a pinned message on what it is about, and how to ask.

Which channels have one is in the database; what it shows follows from the theme that hangs there
now. That a message is about to be sent is written down before, and where one may have been sent
that is not known, it is looked for: a crash leaves no second one. A guide that somebody deletes
stays away until it is asked for again. In a thread that sleeps it is brought up to date when the
thread wakes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import discord

from bot.delivery.interactions import Interaction, channel_of
from bot.delivery.lane import GUIDE_KEYS, Lane
from bot.delivery.pace import Urgency
from bot.delivery.posting import Retries
from bot.delivery.sender import (
    AsleepError,
    NeverError,
    TooLargeError,
    TryLaterError,
    awake,
    earlier_message,
    meanings,
)
from bot.delivery.theme_face import Face
from bot.errors import ForbiddenError, NotFoundError
from bot.front import Front
from bot.ids import now_ms
from bot.model import Theme
from bot.side_tasks import SideTasks
from bot.store import channels as channel_rows
from bot.store import theme_guides as rows
from bot.store.theme_guides import ThemeGuide
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

FIRST_DELAY_S = 5.0
MAX_DELAY_S = 600.0
PATIENCE_S = 10.0
_SIDE = 768
_GONE = "gone"  # how it looks where no theme hangs any more


class ThemeGuides:
    """The guides, from `start` to `stop`. They take their turns in the channels' lanes."""

    keys = GUIDE_KEYS

    def __init__(
        self, front: Front, client: discord.Client, lane_of: Callable[[int], Lane]
    ) -> None:
        self._front = front
        self._client = client
        self._lane_of = lane_of
        self._changed = asyncio.Event()
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._retries = Retries(MAX_DELAY_S)
        self._asleep = False
        self._forget: Callable[[], None] | None = None
        self._tasks = SideTasks()
        self._errors = Errors("theme-guides", log)

    async def start(self) -> None:
        """Keep every guide as its theme is, from now on."""
        self._forget = self._front.themes.on_change(self._changed.set)
        trouble = "The guides cannot be kept up to date"
        self._tasks.keep(self._run, trouble, name="discord-guides")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        if self._forget is not None:
            self._forget()
        await self._tasks.stop()

    def hurry(self) -> None:
        """Try again at once what could not be shown."""
        self._retries.hurry()
        if self._asleep:
            self._asleep = False
            self._changed.set()

    async def put(self, interaction: Interaction) -> bool:
        """Have the guide in the channel where somebody asks for it; say whether it is pinned.

        Raises:
            NotFoundError: the channel carries no theme of its own.
            ForbiddenError: the bot may not post there, or cannot at present; then it tries again.
        """
        guild_id, channel_id = channel_of(interaction)
        store = self._front.store
        if await channel_rows.theme_of(store, channel_id) is None:
            raise NotFoundError(
                "This channel carries no theme of its own, so there is nothing to guide to. Hang "
                "one here with /theme here."
            )
        has = interaction.app_permissions
        in_thread = isinstance(interaction.channel, discord.Thread)
        posts = has.send_messages_in_threads if in_thread else has.send_messages
        if not (has.view_channel and posts and has.attach_files):
            raise ForbiddenError(
                "I may not post a guide here: I need View Channel, Send Messages and Attach Files."
            )
        return await self.bring(guild_id, channel_id)

    async def bring(self, guild_id: int, channel_id: int) -> bool:
        """Have the guide in a channel that carries a theme; say whether it is pinned.

        Raises:
            ForbiddenError: it cannot be posted there at present; then it is tried again.
        """
        async with self._front.store.write() as connection:
            await rows.want(connection, channel_id, guild_id, now_ms())
        self._retries.over(_key(channel_id))
        asked = self._asked.setdefault(channel_id, asyncio.get_running_loop().create_future())
        self._changed.set()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.shield(asked)
        except TimeoutError:
            raise ForbiddenError("Its guide comes as soon as it can be posted here.") from None

    def look(self) -> None:
        """Look at all of them again: some channel may carry another theme, or none."""
        self._changed.set()

    async def show(self, lane: Lane, key: int) -> None:
        """Bring a guide to Discord as its theme is now. Whatever goes wrong is tried again.

        What Discord has refused for too long waits until the theme changes, somebody asks for the
        guide, or the next start.
        """
        channel_id = key - GUIDE_KEYS[0]
        row = await rows.of(self._front.store, channel_id)
        asked = self._asked.get(channel_id)
        if row is None:
            self._retries.over(key)
            lane.drop(key)
            return
        posted = row.message_id is not None
        try:
            pinned = await self._bring(lane, key, row, anew=asked is not None)
        except NeverError as error:
            log.info("The guide of channel %s is gone: %s", channel_id, error)
            lane.tried(key, posted=posted)
            async with self._front.store.write() as connection:
                await rows.forget(connection, channel_id)
            self._retries.over(key)
            pinned = False
        except Exception as error:
            if isinstance(error, AsleepError) and asked is None:
                self._retries.over(key)
                lane.tried(key, posted=True)
                lane.drop(key)
                self._asleep = True  # it is done when the thread wakes
                return
            if self._retries.failed(lane, key, Urgency.END, error, posted=posted):
                what = "The guide of channel %s cannot be shown yet"
                if isinstance(error, (TryLaterError, TooLargeError)):
                    log.warning(f"{what}: %s", channel_id, error)
                else:
                    self._errors.tell(error, what, channel_id)
                return
            log.warning("The guide of channel %s will not be shown: %s", channel_id, error)
            pinned = False
        else:
            self._retries.over(key)
        if asked is not None:
            del self._asked[channel_id]
            asked.set_result(pinned)

    async def _run(self) -> None:
        failures = 0
        self._changed.set()  # also once begun again: what failed is not looked at yet
        while True:
            await self._changed.wait()
            self._changed.clear()
            failed = not await self._want_all()
            failures = failures + 1 if failed else 0
            if failed:
                delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 1, 10))
                with suppress(TimeoutError):  # or sooner, when something changes
                    await asyncio.wait_for(self._changed.wait(), delay_s)
                self._changed.set()

    async def _want_all(self) -> bool:
        """Have every guide shown that has changed; say whether all could be looked at."""
        fine = True
        for row in await rows.every(self._front.store):
            try:
                await self._want(row.channel_id)
            except Exception as error:
                fine = False
                self._errors.tell(error, "The guide of channel %s cannot be told", row.channel_id)
        return fine

    async def _want(self, channel_id: int) -> None:
        """Have a guide shown in its turn, if that would change anything."""
        store = self._front.store
        row = await rows.of(store, channel_id)
        if row is None:
            return
        theme = await channel_rows.theme_of(store, channel_id)
        looks = _GONE if theme is None else (await self.face_of(theme)).looks
        vain = looks == row.shown or self._retries.gave_up(_key(channel_id), looks)
        if vain and channel_id not in self._asked:
            return
        posted = row.message_id is not None
        urgency = Urgency.FORMING if posted else Urgency.NEW
        self._lane_of(channel_id).want(_key(channel_id), urgency, posted=posted)

    async def _bring(self, lane: Lane, key: int, row: ThemeGuide, *, anew: bool) -> bool:
        """Have a guide show its theme as it is now, `anew` where it has been deleted, too.

        Says whether it is pinned.
        """
        store = self._front.store
        theme = await channel_rows.theme_of(store, row.channel_id)
        if theme is None:
            self._retries.begins(key, _GONE)
            await self._delete(row)
            return False
        face = await self.face_of(theme)
        self._retries.begins(key, face.looks)
        if not anew:
            return await self._show_face(lane, key, row, face, anew=False)
        async with awake(self._client, row.channel_id):
            return await self._show_face(lane, key, row, face, anew=True)

    async def _show_face(
        self, lane: Lane, key: int, row: ThemeGuide, face: Face, *, anew: bool
    ) -> bool:
        store = self._front.store
        with meanings():
            message_id = row.message_id
            if message_id is None and row.sends:
                message_id = await self._found(row)
            fresh = message_id is None
            if message_id is not None and (anew or face.looks != row.shown):
                fresh = not await self._edit(row, message_id, face, anew=anew)
                lane.sent(key, posted=True)
            if fresh or message_id is None:
                unknown = row.message_id is None and row.sends > 0
                message_id = await self._send(row, face, again=unknown)
                lane.sent(key, posted=False)
                if unknown:  # what an earlier attempt has sent came back as it was
                    await self._edit(row, message_id, face, anew=anew)
                    lane.sent(key, posted=True)
            async with store.write() as connection:
                await rows.showed(connection, row.channel_id, face.looks)
            if fresh or not row.shown or (anew and not row.pinned):
                return await self._pin(row, message_id)
        return row.pinned

    async def face_of(self, theme: Theme) -> Face:
        """Return what the guide to a theme shows."""
        picture = None
        if theme.picture_sha256 is not None:
            # Deleted at this moment: then the theme changes, too.
            with suppress(NotFoundError, FileNotFoundError):
                path = await self._front.library.make_thumbnail(theme.picture_sha256, _SIDE)
                picture = await self._front.library.run(path.read_bytes)
        return Face(theme, self._front.page_of(theme), picture)

    async def _edit(self, row: ThemeGuide, message_id: int, face: Face, *, anew: bool) -> bool:
        """Change a message; say whether it is there. Where it is not, and need be, raise."""
        try:
            await (
                self._channel(row)
                .get_partial_message(message_id)
                .edit(
                    view=face.view(),
                    attachments=face.files(),
                    allowed_mentions=discord.AllowedMentions.none(),
                )
            )
        except discord.NotFound:
            if not anew:
                raise
            return False
        return True

    async def _send(self, row: ThemeGuide, face: Face, *, again: bool) -> int:
        # Under its nonce Discord gives back, within minutes, what an earlier attempt has sent.
        number = row.sends if again else row.sends + 1
        async with self._front.store.write() as connection:
            await rows.begin_send(connection, row.channel_id, number, now_ms())
        message = await self._channel(row).send(
            view=face.view(),
            files=face.files(),
            nonce=f"guide-{row.channel_id % 10**9}-{number}",
        )
        await self._known(row, message.id)
        return message.id

    async def _pin(self, row: ThemeGuide, message_id: int) -> bool:
        """Pin a message, where that may be done and there is room for it; say whether it is."""
        try:
            await self._channel(row).get_partial_message(message_id).pin()
        except discord.HTTPException as error:
            if error.status >= 500:
                raise
            log.info("The guide of channel %s is not pinned: %s", row.channel_id, error)
            return False
        async with self._front.store.write() as connection:
            await rows.was_pinned(connection, row.channel_id)
        return True

    async def _delete(self, row: ThemeGuide) -> None:
        with meanings():
            message_id = row.message_id
            if message_id is None and row.sends:
                message_id = await self._found(row)
            if message_id is not None:
                with suppress(discord.NotFound):
                    await self._channel(row).get_partial_message(message_id).delete()
        async with self._front.store.write() as connection:
            await rows.forget(connection, row.channel_id)

    async def _found(self, row: ThemeGuide) -> int | None:
        """Look for the message that an earlier attempt may have sent."""
        channel = self._channel(row)
        found = await earlier_message(self._client, channel, row.created_ms, is_guide)
        if found is not None:
            await self._known(row, found)
        return found

    async def _known(self, row: ThemeGuide, message_id: int) -> None:
        async with self._front.store.write() as connection:
            await rows.sent(connection, row.channel_id, message_id)

    def _channel(self, row: ThemeGuide) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(row.channel_id, guild_id=row.guild_id)


def _key(channel_id: int) -> int:
    return GUIDE_KEYS[0] + channel_id


def is_guide(message: discord.Message) -> bool:
    """Say whether a message of ours is a guide: by its button."""
    return any(
        getattr(button, "custom_id", None) == "theme:ask"
        for box in message.components
        for row in getattr(box, "children", ())
        for button in getattr(row, "children", ())
    )
