"""Themes at the wall: as files, and added by whoever sits at the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession, FormData

from bot.model import Theme
from bot.theme_files import read, shipped
from bot.theme_pictures import ThemePictures
from bot.wall import WallSettings, theming
from bot.wall.choices import choices_for, counts_of
from tests.bot.drawer import FOURIER, png, request, services
from tests.wall.conftest import Scene
from tests.wall.test_real_services import wall_on


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
        monkeypatch.setattr(theming, "is_here", lambda *_: False)
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


def picture(data: bytes) -> FormData:
    form = FormData()
    form.add_field("file", data, filename="a.png", content_type="image/png")
    return form


async def test_a_picture_stands_for_a_theme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as parts:
        await parts.themes.create("castles", "Castles", asked_by="members", max_count=2)
        pictures = ThemePictures(parts.store, parts.library, parts.themes, parts.dreams)
        async with wall_on(parts, theme_pictures=pictures) as visitor:
            [dream] = await parts.dreams.ask(request("a gate"))
            await parts.draw(dream.id)
            await parts.dreams.wait(dream.id)
            at = "/themes/open/picture"
            async with visitor.get("/s/open/picture.webp") as response:
                assert response.status == 404
            for data, words in (
                (picture(b"no picture"), "picture"),
                ({"dream": "nonsense"}, "Choose a picture"),
                ({"dream": "0" * 16}, "no such dream"),
            ):
                async with visitor.post(at, data=data) as response:
                    assert response.status in (404, 422) and words in await response.text()
            async with visitor.post(at, data={"dream": f"http://wall/d/{dream.id}"}) as response:
                assert response.url.path == "/themes" and "picture.webp" in await response.text()
            async with visitor.post("/themes/castles/picture", data=picture(png(40, 30))) as _:
                assert (await parts.themes.get("castles")).picture_sha256 is not None
            shelf = await (await visitor.get("/")).text()
            assert shelf.count("picture.webp") == 2
            async with visitor.get("/s/open/picture.webp") as response:
                assert response.content_type == "image/webp"
                tag = response.headers["ETag"]
            async with visitor.get(
                "/s/open/picture.webp", headers={"If-None-Match": tag}
            ) as response:
                assert response.status == 304
            async with visitor.post(at, data={"none": "1"}) as response:
                assert (await parts.themes.get("open")).picture_sha256 is None
            # Whom a stream is not for is told so in place of the prompt box, and refused.
            stream = await (await visitor.get("/s/castles")).text()
            assert "people on Discord ask" in stream and 'id="prompt"' not in stream
            async with visitor.post("/s/castles/dreams", data={"prompt": "a gate"}) as response:
                assert response.status == 403
            monkeypatch.setattr(theming, "is_here", lambda *_: False)
            async with visitor.post(at, data={"dream": dream.id}) as response:
                assert response.status == 403
            assert "Its picture" not in await page(visitor)


def test_what_is_offered_lies_within_a_themes_bounds() -> None:
    theme = Theme(id=1, slug="a", title="A", max_side=96, max_steps=40, max_count=2)
    choices = choices_for((FOURIER,), theme)
    assert choices.engine is not None and choices.usual_steps == choices.engine.max_steps == 40
    sides = [int(side) for one in choices.sizes if one.value for side in one.value.split("x")]
    assert sides and max(sides) <= 96
    assert counts_of(theme) == (1, 2)
    assert counts_of(Theme(id=1, slug="a", title="A")) == (1, 2, 3, 4)
