"""What is sent by a schedule is tried once: where it fails, the schedule says when to try again.

Left to itself, discord.py tries a request five times: 1, 3, 5 and 7 s after a server error, and
after whatever a 429 names, and keeps the caller waiting meanwhile. So edits would come that no
`Pace` has counted, sooner than a message may be edited, and one channel's new messages would wait
for what its edits are refused. Within `once` both come back at the first answer.

The hook is `aiohttp`'s tracing, which `discord.Client` takes as `http_trace`: what it raises once
an answer is there ends the request. A limit that holds for the whole bot is left to the library,
which holds up every request for it.

Source: `HTTPClient.request` and `AsyncWebhookAdapter.request` of discord.py 2.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import aiohttp
import discord
import msgspec

from bot.delivery.answers import count_answers
from bot.delivery.whole_bot import WholeBot
from bot.network import UNREACHABLE

_LATER_ERRNO = (54, 10054)  # a reset connection on macOS and Windows: the library tries that again
_DEFAULT_RETRY_S = 1.0

_once: ContextVar[bool] = ContextVar("once", default=False)


@contextmanager
def once() -> Iterator[None]:
    """Have each request of this task be tried once, within.

    The requests raise, besides what they always do:
        discord.DiscordServerError: Discord had a mistake; the request may have been carried out.
        discord.RateLimited: one route's limit; `retry_after` is in seconds.
    """
    token = _once.set(True)
    try:
        yield
    finally:
        _once.reset(token)


def trace(whole: WholeBot) -> aiohttp.TraceConfig:
    """Return what a client has to be made with (`http_trace`) for `once` and `whole` to hold."""
    config = aiohttp.TraceConfig()
    config.on_request_start.append(whole.on_request_start)  # first: waiting is not counted
    count_answers(config)
    config.on_request_end.append(_answered)
    config.on_request_exception.append(_broken)
    return config


async def _answered(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    params: aiohttp.TraceRequestEndParams,
) -> None:
    answer = params.response
    if not _once.get():
        return
    if answer.status >= 500:
        answer.close()
        raise discord.DiscordServerError(answer, f"Discord answered {answer.status}.")
    if answer.status == 429 and "Via" in answer.headers:  # else a proxy's: raised by the library
        told = await _told(answer)
        if not told.is_global:
            answer.close()
            raise discord.RateLimited(told.retry_after)


async def _broken(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    params: aiohttp.TraceRequestExceptionParams,
) -> None:
    error = params.exception
    if _once.get() and isinstance(error, OSError) and error.errno in _LATER_ERRNO:
        raise aiohttp.ClientConnectionError(str(error)) from error


class _Told(msgspec.Struct):
    """What the body of a 429 says; `retry_after` is in seconds."""

    retry_after: float = _DEFAULT_RETRY_S
    is_global: bool = msgspec.field(default=False, name="global")


async def _told(answer: aiohttp.ClientResponse) -> _Told:
    try:
        # The library reads it again, from memory.
        return msgspec.json.decode(await answer.read(), type=_Told)
    except (msgspec.MsgspecError, *UNREACHABLE):
        return _Told()
