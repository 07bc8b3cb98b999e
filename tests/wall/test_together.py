"""What was asked for together, and its order, on a dream's page."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace
from PIL import Image

from bot.model import DreamRequest
from bot.wall import WallSettings
from tests.wall.conftest import ADA, Scene

HTMX = {"HX-Request": "true"}


async def drawn(scene: Scene, *colours: str, prompt: str = "lime") -> list[str]:
    """Have dreams drawn together, each of one colour; return their ids."""
    dreams = await scene.dreams.ask(
        DreamRequest(theme="planets", person=ADA, prompt=prompt, count=len(colours))
    )
    for dream, colour in zip(dreams, colours, strict=True):
        scene.dreams.finish(dream.id)
        image = scene.dreams.library.keep(Image.new("RGB", (64, 64), colour))
        scene.dreams.dreams[dream.id] = replace(scene.dreams.dreams[dream.id], image=image)
    return [dream.id for dream in dreams]


async def get(visitor: ClientSession, path: str, *, htmx: bool = True, status: int = 200) -> str:
    async with visitor.get(path, headers=HTMX if htmx else {}) as response:
        assert response.status == status
        return await response.text()


@pytest.mark.parametrize("htmx", [True, False])
async def test_the_order_is_by_their_words_or_by_others(
    scene: Scene, visitor: ClientSession, htmx: bool
) -> None:
    first, second, third = await drawn(scene, "red", "lime", "blue")
    page = await get(visitor, f"/d/{first}", htmx=False)
    assert f"/d/{first}/together" in page
    text = await get(visitor, f"/d/{first}/together", htmx=htmx)
    assert all(f"dream-{one}" in text for one in (first, second, third)) and "1 ·" not in text
    text = await get(visitor, f"/d/{first}/rank", htmx=htmx)
    assert text.index(f"dream-{second}") < text.index("1 · 1.000") < text.index(f"dream-{first}")
    text = await get(visitor, f"/d/{first}/rank?words=blue", htmx=htmx)
    assert text.index(f"dream-{third}") < text.index("1 · 1.000") < text.index(f"dream-{first}")
    assert 'value="blue"' in text


async def test_what_is_alone_or_not_to_be_seen_is_not_among_them(
    scene: Scene, visitor: ClientSession
) -> None:
    (alone,) = await drawn(scene, "red")
    assert "family" not in await get(visitor, f"/d/{alone}/together")
    assert "fewer than two" in await get(visitor, f"/d/{alone}/rank")
    await get(visitor, f"/d/{alone}/rank", htmx=False, status=422)
    first, second, third = await drawn(scene, "red", "lime", "blue")
    scene.dreams.dreams[third] = replace(scene.dreams.dreams[third], published=False)
    text = await get(visitor, f"/d/{first}/rank")
    assert f"dream-{second}" in text and third not in text
    await get(visitor, f"/d/{third}/rank", status=404)


async def test_a_wall_for_watching_ranks_nothing(scene: Scene) -> None:
    first, second = await drawn(scene, "red", "lime")
    wall = scene.make(WallSettings(port=0, guests_may_ask=False))
    url = await wall.start()
    try:
        async with ClientSession(url) as visitor:
            text = await get(visitor, f"/d/{first}/together")
            assert f"dream-{second}" in text and "Rank" not in text
            await get(visitor, f"/d/{first}/rank", status=403)
    finally:
        await wall.stop()
