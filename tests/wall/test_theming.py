"""Themes at the wall: as files, and added by whoever sits at the machine."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession, FormData

from bot.theme_files import read, shipped
from bot.wall import WallSettings
from bot.wall.theming import Theming
from tests.wall.conftest import Scene


def upload(text: str, name: str = "fog.toml") -> FormData:
    form = FormData()
    form.add_field("file", text.encode(), filename=name, content_type="application/toml")
    return form


async def page(visitor: ClientSession) -> str:
    async with visitor.get("/themes") as response:
        assert response.status == 200
        return await response.text()


async def test_a_theme_is_had_as_a_file(scene: Scene, visitor: ClientSession) -> None:
    async with visitor.get("/s/planets/theme.toml") as response:
        assert 'filename="planets.toml"' in response.headers["Content-Disposition"]
        found = read(await response.read())
    assert (found.slug, found.title) == ("planets", "Far planets")
    assert found.details["colour"] == "#2bb7c9"


async def test_themes_are_added_at_the_machine(scene: Scene, visitor: ClientSession) -> None:
    listed = await page(visitor)
    assert 'value="doorways"' in listed and 'value="planets"' not in listed, "one is there already"
    assert "Far planets" in listed and "Ours alone" not in listed and "With the link" not in listed
    async with visitor.post("/themes", data={"shipped": "doorways"}) as response:
        assert response.url.path == "/s/doorways"
    assert (await scene.themes.get("doorways")).template == shipped()["doorways"].details[
        "template"
    ]
    assert 'value="doorways"' not in await page(visitor)
    async with visitor.post("/themes", data=upload('title = "Fog"')) as response:
        assert response.url.path == "/s/fog"
    for data, words in (
        (upload('titel = "Fog"'), "Is “title” meant?"),
        (upload('title = "Fog"'), "already"),
        (upload("#" * 40_000), "32 KiB"),
        ({"file": "text"}, "Choose a theme"),
    ):
        async with visitor.post("/themes", data=data) as response:
            assert response.status == 422 and words in await response.text()
    async with visitor.post("/themes", data={"shipped": "nothing"}) as response:
        assert response.status == 404


@pytest.mark.parametrize("mode", ["local", "proxy"])
async def test_nobody_else_adds_themes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    if mode == "local":  # a guest in the room
        monkeypatch.setattr(Theming, "_is_here", lambda *_: False)
    wall = scene.make(WallSettings(mode=mode, port=0))  # type: ignore[arg-type]
    url = await wall.start()
    before = len(scene.themes.themes)
    try:
        async with ClientSession(base_url=url, headers={"Accept": "text/html"}) as visitor:
            assert 'name="file"' not in await page(visitor)
            for data in ({"shipped": "doorways"}, upload('title = "Fog"')):
                async with visitor.post("/themes", data=data) as response:
                    assert response.status == 403
                    assert "dreamstream themes" in await response.text()
    finally:
        await wall.stop()
    assert len(scene.themes.themes) == before
