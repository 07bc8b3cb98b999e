"""Cards that only the asker sees, where the bot may not post: follow-ups to their interaction.

Discord takes them for a quarter of an hour. A follow-up is reached by the interaction's token,
which is a secret: it is kept in memory alone, so after a restart the dreams are found by their
ids (``/show``). Each ask has one card, so the five follow-ups that an app may send where only a
user has installed it are enough.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import aiosqlite
import discord

from bot.acceptance import Also
from bot.delivery.attempts import once
from bot.delivery.card import Face
from bot.delivery.faces import Faces, Room
from bot.delivery.lane import Lane
from bot.delivery.pace import Urgency
from bot.delivery.pictures import DEFAULT_LIMIT_BYTES
from bot.errors import DreamstreamError
from bot.model import Dream
from bot.network import UNREACHABLE
from bot.sentences import say
from bot.store import dream_states as rows
from bot.translations import in_language_of
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

WORD = "word"
"""Under which an interaction's extras hold what the asker is told besides."""
TOKEN_S = 15 * 60
LAST_S = 60.0
RETRY_S = 5.0
FAREWELL = "I cannot show it forming any longer. See what becomes of it with /show {dream}"
_MAX = 1000
_STOP_S = 2.0
_KEY = 0
_GONE = (401, 404)


@dataclass
class _FollowUp:
    """One card. It is begun once its dreams are accepted and the asker has had an answer."""

    webhook: discord.Webhook
    lane: Lane
    room: Room
    why: str
    locale: discord.Locale
    until_s: float = math.inf
    dream_ids: list[str] = field(default_factory=list)
    accepted: bool = False
    answered: bool = False
    message_id: int | None = None
    looks: object = None
    timer: asyncio.TimerHandle | None = None


class FollowUps:
    """The cards that are follow-ups."""

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self._errors = Errors("follow-ups", log)
        self._by_interaction: dict[int, _FollowUp] = {}
        self._of_dream: dict[str, int] = {}

    def ordering(self, interaction: discord.Interaction, why: str) -> Also:
        """Return what has an ask's dreams shown to the asker alone; `why` is told them."""
        self._purge()
        key = interaction.id
        follow_up = _FollowUp(
            webhook=interaction.followup,
            lane=Lane(lambda _lane, _key: self._show(key)),
            room=Room(interaction.filesize_limit or DEFAULT_LIMIT_BYTES),
            why=why,
            locale=interaction.locale,
        )
        self._by_interaction[key] = follow_up

        async def order(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
            interaction.extras[WORD] = why
            # Whoever asks where nobody else sees it has not asked for it to be on the wall.
            await rows.keep_to_place(connection, [dream.id for dream in dreams])
            for dream in dreams:
                follow_up.dream_ids.append(dream.id)
                self._of_dream[dream.id] = key

        return order

    def answered(self, interaction_id: int) -> None:
        """Note that the asker has had an answer: a follow-up would take its place before that."""
        if (follow_up := self._by_interaction.get(interaction_id)) is not None:
            follow_up.answered = True
            self._begin(interaction_id, follow_up)

    def accepted(self, dream_id: str) -> None:
        """Note that a dream has been accepted for good."""
        if (key := self._of_dream.get(dream_id)) is not None:
            follow_up = self._by_interaction[key]
            if not follow_up.accepted:
                follow_up.accepted = True
                self._begin(key, follow_up)

    def want(self, dream_id: str, urgency: Urgency) -> None:
        """Have a dream's card, if it has one, show it anew."""
        if (key := self._of_dream.get(dream_id)) is not None:
            follow_up = self._by_interaction[key]
            if follow_up.accepted and follow_up.answered:
                self._want(follow_up, urgency)

    async def stop(self) -> None:
        """Let what is being sent arrive, within reason, and forget all."""
        found = [*self._by_interaction.values()]
        for key in [*self._by_interaction]:
            self._forget(key)
        await asyncio.gather(*(one.lane.stop(_STOP_S) for one in found))

    def _begin(self, key: int, follow_up: _FollowUp) -> None:
        if follow_up.accepted and follow_up.answered and follow_up.timer is None:
            # Seconds after the token was made, at the most; `LAST_S` has room for that.
            follow_up.until_s = time.monotonic() + TOKEN_S
            left_s = TOKEN_S - LAST_S
            follow_up.timer = asyncio.get_running_loop().call_later(
                left_s, self._want, follow_up, Urgency.END
            )
            self._want(follow_up, Urgency.NEW)

    def _want(self, follow_up: _FollowUp, urgency: Urgency) -> None:
        follow_up.lane.want(_KEY, urgency, posted=follow_up.message_id is not None)

    async def _show(self, key: int) -> None:
        """Bring the card up to date; at the token's end, forget it."""
        follow_up = self._by_interaction.get(key)
        if follow_up is None:
            return
        try:
            with once():
                last = await self._bring(follow_up)
            if last:
                self._forget(key)
        except discord.RateLimited as error:
            self._later(key, follow_up, error.retry_after)
        except discord.HTTPException as error:
            self._refused(key, follow_up, error)
        except (DreamstreamError, *UNREACHABLE) as error:
            log.info("A follow-up cannot be shown yet: %s", error)
            self._later(key, follow_up, RETRY_S)
        except Exception as error:  # a mistake of ours
            self._errors.tell(error, "A follow-up cannot be shown")
            self._forget(key)

    async def _bring(self, follow_up: _FollowUp) -> bool:
        """Show it as it is; say whether that was the last time."""
        ids = follow_up.dream_ids
        face = await self._faces.of(ids[0], ids, follow_up.room)
        if face is None:
            if follow_up.message_id is not None:
                await follow_up.webhook.delete_message(follow_up.message_id)
            return True
        last = time.monotonic() >= follow_up.until_s - LAST_S
        farewell = in_language_of(follow_up.locale, say(FAREWELL, dream=ids[0]))
        note = farewell if last and not face.over else follow_up.why
        face = replace(face, note=" ".join(filter(None, (face.note, note))))
        # What is over stays known until the token's end, for one of its dreams may be deleted.
        looks = len(face.shown) if face.over else face.looks
        if looks != follow_up.looks:
            await self._send(follow_up, face)
            follow_up.looks = looks
        return last

    async def _send(self, follow_up: _FollowUp, face: Face) -> None:
        posted = follow_up.message_id is not None
        follow_up.lane.sent(_KEY, posted=posted)
        try:
            if follow_up.message_id is None:
                message = await follow_up.webhook.send(
                    view=face.view(), files=face.files(), ephemeral=True, wait=True
                )
                follow_up.message_id = message.id
            else:
                await follow_up.webhook.edit_message(
                    follow_up.message_id, view=face.view(), attachments=face.files()
                )
        except discord.HTTPException as error:
            if error.status in (403, 413) and face.largest_bytes:
                # Too large, or files may not be sent at all.
                room_bytes = face.largest_bytes // 2 if error.status == 413 else 0
                follow_up.room = replace(follow_up.room, file_bytes=room_bytes)
            raise

    def _refused(self, key: int, follow_up: _FollowUp, error: discord.HTTPException) -> None:
        log.info("A follow-up was not taken: %s", error)
        if error.status in _GONE:
            self._forget(key)
        else:
            self._later(key, follow_up, RETRY_S)

    def _later(self, key: int, follow_up: _FollowUp, delay_s: float) -> None:
        if time.monotonic() + delay_s < follow_up.until_s:
            follow_up.lane.later(_KEY, Urgency.END, delay_s)
        else:
            self._forget(key)

    def _forget(self, key: int) -> None:
        follow_up = self._by_interaction.pop(key, None)
        if follow_up is None:
            return
        for dream_id in follow_up.dream_ids:
            self._of_dream.pop(dream_id, None)
        if follow_up.timer is not None:
            follow_up.timer.cancel()

    def _purge(self) -> None:
        """Forget those whose tokens are dead, and the oldest where there are too many."""
        now_s = time.monotonic()
        dead = [key for key, one in self._by_interaction.items() if one.until_s <= now_s]
        too_many = [*self._by_interaction][: max(0, len(self._by_interaction) - _MAX)]
        for key in {*dead, *too_many}:
            self._forget(key)
