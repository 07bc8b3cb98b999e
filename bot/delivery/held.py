"""Uploads that open forms are about, in memory: their addresses stand in no form and no row."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

import discord

from bot.errors import NotFoundError

HELD_S = 3600.0
MAX_HELD = 500
_FORGOTTEN = "This form is too old. Choose the command on the message again."


@dataclass(frozen=True)
class _Holding:
    attachment: discord.Attachment
    person_id: str
    until_s: float


class Held:
    """Uploads that forms are about, each for an hour, and only for who opened the form."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, _Holding] = OrderedDict()

    def put(self, attachment: discord.Attachment, person_id: str) -> str:
        """Hold an upload; return its name."""
        name = secrets.token_hex(8)
        self._held[name] = _Holding(attachment, person_id, time.monotonic() + HELD_S)
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        return name

    def get(self, name: str, person_id: str) -> discord.Attachment:
        """Return an upload that is held.

        Raises:
            NotFoundError: it is not, or is somebody else's.
        """
        holding = self._held.get(name)
        if holding is None or holding.person_id != person_id or holding.until_s < time.monotonic():
            raise NotFoundError(_FORGOTTEN)
        return holding.attachment
