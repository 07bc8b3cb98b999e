"""Which errors say that Discord, or whatever is between, cannot be reached."""

from __future__ import annotations

import aiohttp

UNREACHABLE = (OSError, TimeoutError, aiohttp.ClientError)
"""A connection that breaks in the middle of an answer is no `OSError` to aiohttp."""
