"""A request that Discord never answers holds up what waits behind it for so long, and no longer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from bot.delivery import attempts
from bot.delivery.attempts import once, trace
from bot.delivery.sender import TryLaterError, meanings
from bot.delivery.whole_bot import WholeBot
from bot.network import UNREACHABLE


@asynccontextmanager
async def silent() -> AsyncIterator[tuple[aiohttp.ClientSession, URL]]:
    """Give a session as the client's is, and a server that answers at two addresses alone.

    At ``/limited`` it refuses, with the query as its reasons.
    """
    for_ever = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/limited":
            body = {name: json.loads(value) for name, value in request.query.items()}
            return web.json_response(body, status=429, headers={"Via": "1.1 google"})
        if request.path != "/answered":
            await for_ever.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/{path}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(trace_configs=[trace(WholeBot())]) as session:
            yield session, URL(f"http://{host}:{port}")
    finally:
        for_ever.set()
        await runner.cleanup()


async def status(session: aiohttp.ClientSession, url: URL) -> int:
    async with session.get(url) as answer:
        return answer.status


async def test_what_is_tried_once_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "LIMIT_S", 0.1)
    async with silent() as (session, url):
        with once():
            for _ in range(2):
                with pytest.raises(UNREACHABLE) as caught:
                    await status(session, url / "never")
                assert isinstance(caught.value, TimeoutError)
                assert await status(session, url / "answered") == 200
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0.2)  # no limit is left that would end what comes later
        assert not task.cancelling()
        with pytest.raises(TimeoutError):  # what is not tried once is left to the library
            async with asyncio.timeout(0.3):
                await status(session, url / "never")


async def test_who_is_cancelled_meanwhile_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "LIMIT_S", 5.0)
    async with silent() as (session, url):

        async def ask() -> int:
            with once():
                return await status(session, url / "never")

        task = asyncio.create_task(ask())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("body", "after_s", "closed_s"),
    [
        ({"retry_after": "8.5"}, 8.5, 8.5),
        ({}, 1.0, 1.0),
        ({"code": "30046", "retry_after": "8.5"}, 8.5, 0.0),
        ({"code": "30046"}, None, 0.0),
    ],
)
async def test_a_limit_of_one_message_is_no_limit_of_the_others(
    body: dict[str, str], after_s: float | None, closed_s: float
) -> None:
    async with silent() as (session, url):
        with pytest.raises(TryLaterError) as caught, meanings():
            await status(session, (url / "limited").with_query(body))
    assert (caught.value.after_s, caught.value.closed_s) == (after_s, closed_s)
