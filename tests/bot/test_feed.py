"""The feed: exactly the log, for every listener, however slow and whenever it comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.feed import MAX_BEHIND, Feed
from bot.model import DreamState, EventKind, Live, StreamEvent, Theme
from bot.store import Store, dream_states, events, people, themes
from tests.bot.test_store import PERSON, a_dream


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await Store.open(tmp_path / "a.db")
    async with made.write() as connection:
        for slug in ("one", "two"):
            await themes.insert(connection, Theme(id=0, slug=slug, title=slug))
        await people.upsert(connection, PERSON, 1)
        await dream_states.insert(connection, [a_dream(1, "d" * 16)])
    yield made
    await made.close()


async def write(
    store: Store, theme_id: int = 1, kind: EventKind = EventKind.THEME, count: int = 1
) -> None:
    dream_id = None if kind is EventKind.THEME else "d" * 16
    async with store.write() as connection:
        for _ in range(count):
            await events.append(connection, kind, theme_id, 1, dream_id=dream_id)


def live(step: int, theme_id: int = 1) -> Live:
    return Live(
        dream_id="d" * 16, theme_id=theme_id, state=DreamState.DRAWING, step=step, steps=100
    )


async def take(updates: AsyncIterator[StreamEvent | Live], count: int) -> list[StreamEvent | Live]:
    async with asyncio.timeout(20):
        return [await anext(updates) for _ in range(count)]


def ids(updates: list[StreamEvent | Live]) -> list[int]:
    return [update.id for update in updates if isinstance(update, StreamEvent)]


async def test_replay_pages_through_the_log(store: Store) -> None:
    feed = Feed(store)
    await write(store, 1, count=3)
    await write(store, 2, count=2)
    assert ids(list(await feed.replay(theme_id=None, after=1, limit=3))) == [2, 3, 4]
    assert ids(list(await feed.replay(theme_id=2, after=0))) == [4, 5]
    assert await feed.last_id() == 5
    assert [await feed.last_id(theme_id) for theme_id in (1, 2, 3)] == [3, 5, 0]


async def test_listeners_hear_what_comes_after_in_their_theme(store: Store) -> None:
    feed = Feed(store)
    await write(store)
    async with feed.listen(1) as one, feed.listen(None) as everything:
        await write(store, 2)
        await write(store, 1)
        assert ids(await take(one, 1)) == [3]
        assert ids(await take(everything, 2)) == [2, 3]


async def test_nothing_is_heard_that_was_undone(store: Store) -> None:
    feed = Feed(store)
    async with feed.listen(None) as updates:
        with pytest.raises(ZeroDivisionError):
            async with store.write() as connection:
                await events.append(connection, EventKind.THEME, 1, 1)
                raise ZeroDivisionError
        await write(store)
        (event,) = await take(updates, 1)
    assert [event] == await feed.replay(theme_id=None, after=0)


async def test_after_joins_the_replayed_and_the_live_without_a_gap(store: Store) -> None:
    """Listeners come and go at random moments while events are written; each hears all, once."""
    feed = Feed(store)
    chance = random.Random(7)
    total = 400

    async def writer() -> None:
        written = 0
        while written < total:
            count = min(chance.randint(1, 9), total - written)
            await write(store, count=count)
            written += count
            await asyncio.sleep(chance.random() * 0.004)

    async def listener() -> list[int]:
        heard: list[int] = []
        while not heard or heard[-1] < total:
            async with feed.listen(None, after=heard[-1] if heard else 0) as updates:
                for _ in range(chance.randint(1, 80)):
                    if heard and heard[-1] == total:
                        break
                    heard += ids(await take(updates, 1))
                    if chance.random() < 0.1:
                        await asyncio.sleep(chance.random() * 0.003)
        return heard

    heard = await asyncio.gather(*(listener() for _ in range(8)), writer())
    for one in heard[:-1]:
        assert one == list(range(1, total + 1))


async def test_only_the_latest_of_a_dream_is_told(store: Store) -> None:
    feed = Feed(store)
    async with feed.listen(None) as updates:
        for step in range(1000):
            feed.publish(live(step))
        assert await take(updates, 1) == [live(999)]
        feed.publish(live(1000, theme_id=2))
        assert await take(updates, 1) == [live(1000, theme_id=2)]


async def test_progress_never_comes_before_its_dream_nor_after_its_end(store: Store) -> None:
    feed = Feed(store)
    async with feed.listen(None) as updates:
        await write(store, kind=EventKind.ASKED)
        feed.publish(live(1))
        first, second = await take(updates, 2)
        assert isinstance(first, StreamEvent)
        assert second == live(1)
        feed.publish(live(2))
        await write(store, kind=EventKind.DONE)
        for _ in range(50):
            await asyncio.sleep(0.002)
        (event,) = await take(updates, 1)
        assert isinstance(event, StreamEvent)
        assert event.kind is EventKind.DONE
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(updates), 0.05)


async def test_who_falls_too_far_behind_is_ended_and_can_come_back(store: Store) -> None:
    feed = Feed(store)
    async with feed.listen(None) as slow, feed.listen(None) as quick:
        for _ in range(3):
            await write(store, count=MAX_BEHIND // 2)
            await take(quick, MAX_BEHIND // 2)
        async with asyncio.timeout(20):
            assert [update async for update in slow] == []
    async with feed.listen(None, after=0) as back:
        assert ids(await take(back, 1500)) == list(range(1, 1501))


async def test_nobody_listening_costs_nothing(store: Store) -> None:
    feed = Feed(store)
    feed.publish(live(1))
    await write(store)
    feed.publish(live(2))
    async with feed.listen(None) as updates:
        await write(store)
        assert ids(await take(updates, 1)) == [2]
    assert not feed._listeners
    assert not feed._held
    assert feed._pump is None


async def test_a_listener_that_is_cancelled_leaves(store: Store) -> None:
    feed = Feed(store)

    async def listen() -> None:
        async with feed.listen(None) as updates:
            async for _ in updates:
                pass

    tasks = [asyncio.create_task(listen()) for _ in range(5)]
    for _ in range(5):
        await write(store)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not feed._listeners
    assert feed._pump is None
