"""What is sent by a schedule is tried once: where it fails, the schedule says when to try again.

Left to itself, discord.py tries a request five times: 1, 3, 5 and 7 s after a server error, and
after whatever a 429 names, and keeps the caller waiting meanwhile. So edits would come that no
`Pace` has counted, sooner than a message may be edited, and one channel's new messages would wait
for what its edits are refused. Within `once` both come back at the first answer.

The hook is `aiohttp`'s tracing, which `discord.Client` takes as `http_trace`: what it raises once
an answer is there ends the request. A limit that holds for the whole bot is left to the library,
which holds up every request for it.

An answer that does not come is waited for `LIMIT_S`, not for the five minutes that are `aiohttp`'s
own: a channel's cards are sent one after the other, and would all wait for it. As with Discord's
own errors, what was sent may have arrived.

Source: `HTTPClient.request` and `AsyncWebhookAdapter.request` of discord.py 2.7.
"""

from __future__ import annotations

import asyncio
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
EDITED_TOO_OFTEN = 30046
"""The code of a 429 that is of one old message: no more edits of that one, for a while."""
LIMIT_S = 60.0
"""How long an answer may take, with all that is sent before it: 10 MB at 1.4 Mbit/s."""

_once: ContextVar[bool] = ContextVar("once", default=False)


@contextmanager
def once() -> Iterator[None]:
    """Have each request of this task be tried once, within.

    The requests raise, besides what they always do:
        discord.DiscordServerError: Discord had a mistake; the request may have been carried out.
        discord.RateLimited: one route's limit; `retry_after` is in seconds.
        EditedTooOftenError: the limit of one old message.
        TimeoutError: there was no answer for `LIMIT_S`; the request may have been carried out.
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
    config.on_request_start.append(_begin_limit)  # last: what raises before it leaves none running
    config.on_request_end.append(_end_limit)
    config.on_request_end.append(_answered)
    config.on_request_exception.append(_end_limit)
    config.on_request_exception.append(_broken)
    return config


async def _begin_limit(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceRequestStartParams,
) -> None:
    if _once.get():
        context.limit = asyncio.timeout(LIMIT_S)
        await context.limit.__aenter__()


async def _end_limit(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceRequestEndParams | aiohttp.TraceRequestExceptionParams,
) -> None:
    """End what was begun, once: `aiohttp` tells of an end or an exception, in the same task.

    What its own limit has cancelled raises a `TimeoutError` here, in place of that.
    """
    limit: asyncio.Timeout | None = context.__dict__.pop("limit", None)
    if limit is not None:
        error = getattr(params, "exception", None)
        await limit.__aexit__(None if error is None else type(error), error, None)


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
        if told.code == EDITED_TOO_OFTEN:
            answer.close()
            raise EditedTooOftenError(answer, told)
        if not told.is_global:
            answer.close()
            after_s = told.retry_after
            raise discord.RateLimited(_DEFAULT_RETRY_S if after_s is None else after_s)


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

    retry_after: float | None = None
    code: int = 0
    message: str = ""
    is_global: bool = msgspec.field(default=False, name="global")


class EditedTooOftenError(discord.HTTPException):
    """An old message takes no more edits, for `retry_after` seconds where Discord says so."""

    def __init__(self, answer: aiohttp.ClientResponse, told: _Told) -> None:
        super().__init__(answer, {"code": told.code, "message": told.message})
        self.retry_after = told.retry_after


async def _told(answer: aiohttp.ClientResponse) -> _Told:
    try:
        # The library reads it again, from memory.
        return msgspec.json.decode(await answer.read(), type=_Told)
    except (msgspec.MsgspecError, *UNREACHABLE):
        return _Told()
