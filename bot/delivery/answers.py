"""Counts what Discord answers, and how long it takes, by kind of address.

An address holds ids and tokens; of those nothing is kept.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import aiohttp

from bot.monitoring.metrics import DISCORD_ANSWERS, DISCORD_LIMITED, DISCORD_S

_KINDS = frozenset({"channels", "guilds", "webhooks", "interactions", "applications", "users"})
_SCOPES = frozenset({"user", "global", "shared"})


def count_answers(config: aiohttp.TraceConfig) -> None:
    """Have the requests that are traced counted. Before any hook that raises."""
    config.on_request_start.append(_began)
    config.on_request_end.append(_ended)


def kind_of(path: str) -> str:
    """Return what kind of address a path is: ``messages``, ``webhooks``, ``interactions`` …"""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        parts = parts[2:]
    if len(parts) >= 3 and parts[0] == "channels" and parts[2] == "messages":
        return "messages"
    return parts[0] if parts and parts[0] in _KINDS else "other"


async def _began(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestStartParams,
) -> None:
    context.began_s = time.perf_counter()


async def _ended(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceRequestEndParams,
) -> None:
    answer, kind = params.response, kind_of(params.url.path)
    DISCORD_S.labels(kind).observe(time.perf_counter() - context.began_s)
    DISCORD_ANSWERS.labels(kind, str(answer.status)).inc()
    if answer.status == 429:
        scope = answer.headers.get("X-RateLimit-Scope", "")
        DISCORD_LIMITED.labels(kind, scope if scope in _SCOPES else "none").inc()
