"""What is made once for everybody who asks for it."""

from __future__ import annotations

import asyncio

import pytest

from bot.wall.once import Once


async def test_it_is_made_once_for_all_who_ask_whoever_goes_away() -> None:
    once: Once[str, int] = Once(9)
    go, made = asyncio.Event(), 0

    async def make() -> int:
        nonlocal made
        made += 1
        await go.wait()
        return made

    first, second = (asyncio.create_task(once.get("a", make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await second == 1 and first.cancelled()
    assert await once.get("a", make) == 1
    once.forget("a")
    assert await once.get("a", make) == 2


async def test_what_failed_is_made_anew_and_the_oldest_goes() -> None:
    once: Once[int, int] = Once(2)

    async def fail() -> int:
        raise ValueError("not today")

    async def make() -> int:
        return 7

    with pytest.raises(ValueError, match="not today"):
        await once.get(1, fail)
    for key in (1, 2, 3):
        assert await once.get(key, make) == 7
    assert [*once] == [2, 3] and 1 not in once
    once.clear()
    assert not [*once]
