"""The wall: web pages on which streams are watched and, in local mode, prompted."""

from __future__ import annotations

from bot.wall.server import Wall
from bot.wall.settings import WallSettings

__all__ = ["Wall", "WallSettings"]
