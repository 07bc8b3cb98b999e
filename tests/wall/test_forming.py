"""Many dreams waiting: pages show a bounded number of cards, and the event loop stays free."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack

import msgspec
import pytest
from aiohttp import ClientSession

from bot.model import DreamRequest, Live
from bot.wall import forming
from bot.wall.rendering import Renderer
from bot.wall.slices import Slices
from tests.wall.conftest import ADA, Scene, eventually
from tests.wall.test_events import Reader, until_listening, watching

WATCHERS = 20


async def many(scene: Scene, count: int) -> list[str]:
    asked = await scene.dreams.ask(
        DreamRequest(theme="planets", person=ADA, prompt="a fox", count=count)
    )
    return [dream.id for dream in asked]


def tell_queue(scene: Scene) -> None:
    """Tell how every dream stands, as one update of the queue does."""
    for dream_id in scene.dreams.dreams:
        live = scene.dreams.live(dream_id)
        assert live is not None
        scene.feed.tell(msgspec.structs.replace(live, eta_s=100.0))


async def until(reader: Reader, piece: str) -> str:
    while True:
        message = await reader.next()
        assert message is not None, piece
        text = "\n".join(message.data)
        if piece in text:
            return text


async def page(visitor: ClientSession, path: str = "/s/planets") -> str:
    async with visitor.get(path) as response:
        return await response.text()


async def test_a_standing_is_rendered_once_for_all_and_only_where_it_is_shown(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many(scene, 1000)
    rendered: list[str] = []
    in_a_row = most_in_a_row = 0
    render = Renderer.live

    def slow(self: Renderer, live: Live, with_preview: bool) -> str:
        nonlocal in_a_row, most_in_a_row
        rendered.append(live.dream_id)
        in_a_row += 1
        most_in_a_row = max(most_in_a_row, in_a_row)
        time.sleep(0.001)
        return render(self, live, with_preview)

    async def others() -> None:
        nonlocal in_a_row
        while True:
            in_a_row = 0
            await asyncio.sleep(0)

    monkeypatch.setattr(Renderer, "live", slow)
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(watching(visitor)) for _ in range(WATCHERS)]
        await until_listening(scene, WATCHERS)
        rest = asyncio.create_task(others())
        tell_queue(scene)
        for reader in readers:
            await until(reader, 'id="status-d0060"')
        rest.cancel()
    assert len(rendered) == len(set(rendered)) == forming.SHOWN
    assert most_in_a_row <= 5


async def test_those_who_share_a_pace_share_each_slice() -> None:
    slices = Slices()
    in_a_row: list[int] = [0]

    def busy() -> None:
        time.sleep(0.0005)

    async def work() -> None:
        for _ in range(20):
            await slices.rest()
            in_a_row[-1] += 1
            busy()

    async def others() -> None:
        while True:
            in_a_row.append(0)
            await asyncio.sleep(0)

    rest = asyncio.create_task(others())
    await asyncio.gather(*(work() for _ in range(WATCHERS)))
    rest.cancel()
    assert max(in_a_row) <= 5


async def test_beyond_a_pages_cards_there_is_a_number(scene: Scene, visitor: ClientSession) -> None:
    await many(scene, 1000)
    text = await page(visitor)
    assert text.count('class="card ') == 60
    assert "and 940 more are waiting" in text
    assert "more are waiting" not in await page(visitor, "/s/linked")
    async with watching(visitor) as reader:
        await until(reader, "and 940 more are waiting")
        await scene.ask("one more")
        message = await reader.next()
        assert message is not None
        # It keeps its place in the log, without a card.
        assert (message.event, message.id, message.data) == ("asked", "3003", [""])
        await until(reader, "and 941 more are waiting")


async def test_whose_place_comes_gets_a_card(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forming, "SHOWN", 2)
    one, _, three, _, five = await many(scene, 5)
    async with watching(visitor) as reader:
        await until_listening(scene)
        scene.dreams.finish(one)
        assert "tile" in await until(reader, f'id="dream-{one}"')
        assert "card" in await until(reader, f'id="dream-{three}"')
        await until(reader, "and 2 more are waiting")
        # What is being drawn is shown, whoever was first.
        scene.dreams.advance(five, 3)
        assert "card" in await until(reader, f'id="dream-{five}"')
        await until(reader, "and 1 more is waiting")
        await until(reader, "step 3 of 20")


async def test_ones_own_dream_has_a_card_however_many_wait(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forming, "SHOWN", 2)
    await many(scene, 5)
    await page(visitor)
    async with (
        watching(visitor) as reader,
        visitor.post("/s/planets/dreams", data={"prompt": "mine"}),
    ):
        await until(reader, '<p class="prompt" id="prompt-d0006">mine')
    assert "mine" in await page(visitor)


async def test_a_page_that_comes_back_gets_the_cards_it_lacks(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forming, "SHOWN", 2)
    one, two, three, four = await many(scene, 4)
    connect = re.search(r'sse-connect="([^"]+)"', await page(visitor))
    assert connect is not None
    scene.dreams.finish(one)
    for path, headers in (
        (connect[1].replace("&amp;", "&"), {}),
        ("/s/planets/events", {"Last-Event-ID": "12"}),
    ):
        async with watching(visitor, path, **headers) as reader:
            await until(reader, f'id="dream-{two}" class="card')
            await until(reader, f'id="dream-{three}" class="card')
            await until(reader, "and 1 more is waiting")
    scene.dreams.finish(four)
    async with watching(visitor, "/s/planets/events?again=1") as reader:
        assert await until(reader, 'id="hidden"')
    await eventually(lambda: not scene.wall.watchers)
