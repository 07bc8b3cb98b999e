"""Bring one card to Discord as its dreams are now, in files that are small enough there.

Knows neither when a card's turn comes nor what is done where it cannot be shown.
"""

from __future__ import annotations

import asyncio

import msgspec

from bot.delivery.card import Face
from bot.delivery.faces import Faces, Room
from bot.delivery.lane import Lane
from bot.delivery.open_cards import Card
from bot.delivery.pictures import REQUEST_LIMIT_BYTES
from bot.delivery.sender import Sender, TooLargeError, TryLaterError
from bot.store.deliveries import DeliveryRow

_MAX_AT_ONCE = 16
_MIN_ROOM_BYTES = 4 * 1024


class Showing:
    """All cards' way to Discord, of which so many go at once."""

    def __init__(self, sender: Sender, faces: Faces) -> None:
        self._sender = sender
        self._faces = faces
        self._at_once = asyncio.Semaphore(_MAX_AT_ONCE)

    async def bring(self, lane: Lane, card: Card) -> Face | None:
        """Have a card's message show its dreams, or be gone where there are none; return its face.

        After a `TooLargeError` the card's files have less room: it can be brought again at once.

        Raises:
            TryLaterError, NeverError, TooLargeError: it does not show them.
        """
        face = await self._faces.of(card.row.dream_id, card.row.dream_ids, self._room(card))
        before, first = card.row, not (card.tried or card.row.sends)
        if face is None:
            async with self._at_once:
                await self._sender.take_away(card.row)
        elif face.looks != card.looks:
            card.tried = True
            try:
                async with self._at_once:
                    row = await self._sender.show(card.row, face)
            except TooLargeError as error:
                _step_down(card, face, error)
                raise
            # More dreams may have come onto the card meanwhile.
            dream_ids = max(row.dream_ids, card.row.dream_ids, key=len)
            card.row = msgspec.structs.replace(row, dream_ids=dream_ids)
            card.looks, card.failures, card.failing_s = face.looks, 0, None
            if not first and row.message_id != before.message_id:
                lane.tried(row.id, posted=False)  # sent perhaps, and not just edited
        else:
            return face
        lane.sent(before.id, posted=not first)
        return face

    async def repaint(self, row: DeliveryRow) -> None:
        """Have a message that is done with show its dreams once more, where it is.

        Raises:
            TryLaterError, NeverError, TooLargeError: it is as it was.
        """
        room = Room(self._sender.limit_bytes(row.guild_id))
        face = await self._faces.of(row.dream_id, row.dream_ids, room)
        if face is not None:
            async with self._at_once:
                await self._sender.repaint(row, face)

    def _room(self, card: Card) -> Room:
        file_bytes = self._sender.limit_bytes(card.row.guild_id)
        if card.room_bytes is None:
            return Room(file_bytes)
        return Room(min(file_bytes, card.room_bytes), REQUEST_LIMIT_BYTES)


def _step_down(card: Card, face: Face, error: TooLargeError) -> None:
    """Allow less than what was just refused; nothing, where little was too much.

    Raises:
        TryLaterError: nothing was uploaded, so that it cannot have been too much.
    """
    if face.largest_bytes == 0:
        raise TryLaterError(str(error), outage=False) from error
    smaller_bytes = face.largest_bytes // 2
    card.room_bytes = smaller_bytes if smaller_bytes >= _MIN_ROOM_BYTES else 0
