"""Searching at the wall: pages, fragments, mistakes, and the real services behind them."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession, FormData

from bot.errors import InvalidRequestError, SchedulerError
from bot.wall import WallSettings, searching
from bot.watching import Watching
from tests.bot.drawer import png, services, until
from tests.bot.test_search import draw
from tests.bot.test_seeing import Colours
from tests.wall.conftest import Scene
from tests.wall.test_real_services import wall_on

HTMX = {"HX-Request": "true"}


async def got(visitor: ClientSession, path: str, status: int = 200, *, htmx: bool = True) -> str:
    async with visitor.get(path, headers=HTMX if htmx else {}) as response:
        text = await response.text()
        assert response.status == status, text
    return text


def upload(data: bytes) -> FormData:
    form = FormData()
    form.add_field("picture", data, filename="fox.png", content_type="image/png")
    return form


async def test_words_bring_pictures_as_they_are_typed(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a <red> fox")
    found = await got(visitor, "/s/planets/search?q=red+fox")
    assert scene.search.looked_for == ["red fox"]
    assert f'data-found="{dream.id}"' in found and "a &lt;red&gt; fox" in found
    assert "<html" not in found and f'id="dream-{dream.id}"' not in found
    page = await got(visitor, "/s/planets/search?q=%22%3E", htmx=False)
    assert "<html" in page and f'data-found="{dream.id}"' in page and 'value="&#34;&gt;"' in page
    assert "data-found" not in await got(visitor, "/s/planets/search?q=+")
    assert len(scene.search.looked_for) == 2, "nothing is looked for without words"
    assert 'action="/s/planets/search"' in await got(visitor, "/s/planets", htmx=False)


async def test_what_cannot_be_searched_is_a_sentence(scene: Scene, visitor: ClientSession) -> None:
    await scene.draw("a fox")
    scene.search.error = SchedulerError("There is no CLIP <model>.")
    assert "no CLIP &lt;model&gt;" in await got(visitor, "/s/planets/search?q=fox", 503)
    page = await got(visitor, "/s/planets/search?q=fox", 503, htmx=False)
    assert "no CLIP &lt;model&gt;" in page and 'value="fox"' in page
    scene.search.error = InvalidRequestError("text", "Too long.")
    assert "Too long." in await got(visitor, "/s/planets/search?q=fox", 422)
    scene.search.error, scene.search.complete = None, False
    assert "still being looked at" in await got(visitor, "/s/planets/search?q=fox")


async def test_one_address_searches_only_so_often(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SEARCHES", 2)
    wall = scene.make(WallSettings(port=0))
    url = await wall.start()
    try:
        async with ClientSession(base_url=url) as other:
            for text in ("fox", "owl"):
                assert "Very much" not in await got(other, f"/s/planets/search?q={text}")
            looked_for = [*scene.search.looked_for]
            assert "Very much was searched" in await got(other, "/s/planets/search?q=moth", 429)
            async with other.post("/s/planets/search", data=upload(png()), headers=HTMX) as answer:
                assert answer.status == 429
            assert scene.search.looked_for == looked_for == ["fox", "owl"]
            await got(other, "/s/planets/search?q=+")  # no words cost nothing
    finally:
        await wall.stop()


async def test_going_through_what_was_found_is_searching_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SEARCHES", 3)
    async with (
        services(tmp_path) as parts,
        wall_on(parts, watching=Watching(parts.store)) as visitor,
    ):
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        await parts.looker.start()
        await until(lambda: parts.looker.complete)
        for path in ("search?q=red", "found?words=green", "found/part?words=blue&from=0"):
            await got(visitor, f"/s/open/{path}", htmx=False)
        for path in ("found?words=lime", "found/part?words=lime", "search?q=lime"):
            assert "Very much" in await got(visitor, f"/s/open/{path}", 429, htmx=False)
        await got(visitor, "/s/open/best", htmx=False)  # which searches for nothing


async def test_a_picture_brings_pictures(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a fox")
    async with visitor.post("/s/planets/search", data=upload(b"pixels"), headers=HTMX) as response:
        assert f'data-found="{dream.id}"' in await response.text()
    assert scene.search.looked_for == [b"pixels"]
    async with visitor.post("/s/planets/search", data={"picture": "x"}) as response:
        assert response.status == 422 and "Choose a picture" in await response.text()


async def test_who_only_watches_searches_by_words(scene: Scene) -> None:
    wall = scene.make(WallSettings(mode="proxy", port=0))
    url = await wall.start()
    try:
        async with ClientSession(base_url=url, headers=HTMX) as visitor:
            assert "notice" not in await got(visitor, "/s/planets/search?q=fox")
            async with visitor.post("/s/planets/search", data=upload(png())) as response:
                assert response.status == 403
            assert 'name="picture"' not in await got(visitor, "/s/planets", htmx=False)
    finally:
        await wall.stop()


async def test_a_dreams_page_shows_what_is_like_it(scene: Scene, visitor: ClientSession) -> None:
    dream, other = await scene.draw("a fox"), await scene.draw("an owl")
    assert f"/d/{dream.id}/like" in await got(visitor, f"/d/{dream.id}", htmx=False)
    found = await got(visitor, f"/d/{dream.id}/like")
    assert "More like this" in found and f'data-found="{other.id}"' in found
    assert f'data-found="{dream.id}"' not in found
    assert "an owl" in await got(visitor, f"/d/{dream.id}/like", htmx=False)
    scene.search.error = SchedulerError("It sleeps.")
    assert await got(visitor, f"/d/{dream.id}/like") == "", "nothing is said where nothing looks"
    assert "It sleeps." in await got(visitor, f"/d/{dream.id}/like", 503, htmx=False)
    waiting = await scene.ask("a moth")
    assert f"/d/{waiting.id}/like" not in await got(visitor, f"/d/{waiting.id}", htmx=False)


@pytest.mark.parametrize("htmx", [True, False])
async def test_a_private_stream_is_not_searched(
    scene: Scene, visitor: ClientSession, htmx: bool
) -> None:
    dream = await scene.draw("a fox", "secret")
    await got(visitor, "/s/secret/search?q=fox", 404, htmx=htmx)
    await got(visitor, f"/d/{dream.id}/like", 404, htmx=htmx)
    async with visitor.post("/s/secret/search", data=upload(png())) as response:
        assert response.status == 404
    assert scene.search.looked_for == []


async def test_the_real_search_shows_what_is_published(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        await parts.looker.start()
        red, lime = await draw(parts, "red"), await draw(parts, "lime")
        hidden = await draw(parts, "#00f000", hidden_in=5)
        theme = await parts.themes.get("open")
        await until(lambda: len(parts.looker.shelf(theme.id) or ()) == 3)
        found = await got(visitor, "/s/open/search?q=green")
        assert found.index(lime) < found.index(red) and hidden not in found
        async with visitor.post(
            "/s/open/search", data=upload(png(40, 30, "red")), headers=HTMX
        ) as response:
            text = await response.text()
        assert text.index(red) < text.index(lime) and hidden not in text
        assert hidden not in await got(visitor, f"/d/{lime}/like")
        parts.drawer.up = False
        assert "at present" in await got(visitor, "/s/open/search?q=green", 503)
        assert red in await got(visitor, f"/d/{lime}/like"), "what was looked at is known"
