"""Clients that send so slowly that they would hold a place for ever are let go."""

from __future__ import annotations

import asyncio
import time

from aiohttp import ClientSession

from bot.wall import WallSettings
from bot.wall.settings import Patience
from tests.wall.conftest import Scene


async def trickle(port: int, begun: bytes, drop: bytes) -> tuple[bytes, float]:
    """Send a request's beginning, then drop by drop; return the answer, and how long it took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_s = time.monotonic()
    writer.write(begun)

    async def drip() -> None:
        while True:
            writer.write(drop)
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    said = b""
    try:
        async with asyncio.timeout(40):
            while piece := await reader.read(4096):
                said += piece
    except ConnectionError:
        pass  # closed while drops were on their way; what was said before that was heard
    finally:
        dripping.cancel()
        writer.close()
    return said, time.monotonic() - began_s


async def test_who_never_ends_a_request_is_let_go_and_others_are_answered(
    scene: Scene,
) -> None:
    patience = Patience(idle_s=1.5, head_s=0.4, body_s=0.6, look_s=0.1)
    wall = scene.make(WallSettings(port=0, patience=patience))
    await wall.start()
    try:
        [(_, port)] = wall.addresses
        head = b"GET /s/planets HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        post = (
            b"POST /s/planets/dreams HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200000\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nprompt="
        )
        slow = [
            *(trickle(port, head, b"X-A: b\r\n") for _ in range(20)),  # headers without an end
            *(trickle(port, b"GET /s/plan", b"") for _ in range(20)),  # silence within a request
            *(trickle(port, b"", b"") for _ in range(20)),  # silence from the beginning
            *(trickle(port, post, b"a") for _ in range(20)),  # a body without an end
        ]
        waiting = asyncio.gather(*slow)
        async with ClientSession(base_url=f"http://127.0.0.1:{port}") as visitor:
            while not waiting.done():
                async with visitor.get("/s/planets") as response:
                    assert response.status == 200
                await asyncio.sleep(0.1)
        answers = await waiting
        assert all(took_s < 40 for _, took_s in answers), [took_s for _, took_s in answers]
        told = [said.partition(b"\r\n")[0] for said, _ in answers]
        late = b"HTTP/1.1 408 Request Timeout"
        assert set(told[:20]) <= {late, b""}  # a drop on its way may take the answer along
        assert set(told[20:40] + told[60:]) == {late}
        assert set(told[40:60]) == {b""}
        assert not scene.dreams.requests
    finally:
        await wall.stop()
