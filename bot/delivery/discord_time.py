"""What time it is at Discord, told by what Discord dates, whatever this machine's clock says.

Discord decides by its own clock which messages are old, and ours may be a day ahead of it. Every
time that Discord has written into an answer has been reached there by the moment the answer comes;
since then as much has gone by as the monotonic clock says. So what is known is a lower bound: no
message is ever taken for older than it is.

Source: https://discord.com/developers/docs/reference#snowflakes (ids hold when they were made).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import discord


class DiscordTime:
    """A lower bound of Discord's time; none until something dated has been seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure what goes by with `clock`, in seconds that nobody sets."""
        self._clock = clock
        self._ahead_s = float("-inf")  # of the clock

    def saw(self, message: discord.Message) -> None:
        """Learn from a message that has just come in an answer."""
        latest = max(message.created_at, message.edited_at or message.created_at)
        self._ahead_s = max(self._ahead_s, latest.timestamp() - self._clock())

    def least_age_s(self, message_id: int) -> float:
        """Return how many seconds old a message is at the least; below zero where nobody knows."""
        made_s = discord.utils.snowflake_time(message_id).timestamp()
        return self._clock() + self._ahead_s - made_s
