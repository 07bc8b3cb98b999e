"""The buttons of a dream's page that make something of it, and the files that come with it."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace

from bot.model import Relation
from bot.wall.settings import WallSettings
from bot.wall.words import RELATIONS
from tests.wall.conftest import Scene

BUTTONS = {
    "variations": (Relation.VARIATION, "Four variations"),
    "continue": (Relation.CONTINUE, "Carry on"),
    "upscale": (Relation.UPSCALE, "Make it larger"),
    "animate": (Relation.ANIMATE, "Film it forming"),
}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


async def text_of(visitor: ClientSession, path: str) -> str:
    async with visitor.get(path) as response:
        assert response.status == 200
        return await response.text()


@pytest.mark.parametrize("path", BUTTONS)
async def test_a_button_makes_children_and_leads_to_them(
    scene: Scene, visitor: ClientSession, path: str
) -> None:
    relation, label = BUTTONS[path]
    dream = await scene.draw("a red fox")
    assert label in await text_of(visitor, f"/d/{dream.id}")
    async with visitor.post(f"/d/{dream.id}/{path}", allow_redirects=False) as response:
        assert response.status == 303
        where = response.headers["Location"]
    _, made = await scene.dreams.lineage(dream.id)
    assert {child.relation for child in made} == {relation}
    assert {child.person.id for child in made} != {dream.person.id}
    if relation is Relation.VARIATION:
        assert len(made) == 4 and where == "/s/planets"
    else:
        (child,) = made
        assert where == f"/d/{child.id}"
        assert RELATIONS[relation] in await text_of(visitor, where)


async def test_only_what_can_be_done_is_offered(scene: Scene, visitor: ClientSession) -> None:
    forming = await scene.ask("a red fox")
    dream = await scene.draw("a red fox")
    for able in (frozenset({Relation.UPSCALE}), frozenset[Relation]()):
        scene.offspring.able = able
        text = await text_of(visitor, f"/d/{dream.id}")
        for relation, label in BUTTONS.values():
            assert (label in text) is (relation in able)
    text = await text_of(visitor, f"/d/{forming.id}")
    assert not any(label in text for _, label in BUTTONS.values())
    async with visitor.post(f"/d/{dream.id}/upscale") as response:
        assert response.status == 422 and "Nothing here can do that" in await response.text()


async def test_a_wall_for_watching_makes_nothing(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a red fox")
    await scene.wall.stop()
    scene.wall = scene.make(WallSettings(port=scene.url.port or 0, guests_may_ask=False))
    await scene.wall.start()
    text = await text_of(visitor, f"/d/{dream.id}")
    assert not any(label in text for _, label in BUTTONS.values())
    for path in BUTTONS:
        async with visitor.post(f"/d/{dream.id}/{path}") as response:
            assert response.status == 403
    assert len(scene.dreams.dreams) == 1


async def test_variations_count_against_the_address(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a red fox")
    statuses = []
    for _ in range(40):
        async with visitor.post(f"/d/{dream.id}/variations", allow_redirects=False) as response:
            statuses.append(response.status)
    assert statuses[0] == 303 and statuses[-1] == 429


async def test_a_film_is_shown_and_can_be_kept(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a red fox")
    scene.dreams.attach(dream.id, "forming.mp4", "video/mp4", b"0123456789")
    text = await text_of(visitor, f"/d/{dream.id}")
    path = f"/d/{dream.id}/files/forming.mp4"
    assert f'<video src="{path}"' in text
    async with visitor.get(f"/d/{dream.id}") as response:
        assert "media-src 'self'" in response.headers["Content-Security-Policy"]
    async with visitor.get(path) as response:
        assert response.headers["Content-Type"] == "video/mp4"
        assert "Content-Disposition" not in response.headers
        assert await response.read() == b"0123456789"
        tag = response.headers["ETag"]
    async with visitor.get(path, headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    async with visitor.get(path, headers={"Range": "bytes=2-4"}) as response:
        assert response.status == 206 and await response.read() == b"234"
    async with visitor.get(f"{path}?download") as response:
        assert response.headers["Content-Disposition"].startswith("attachment")


async def test_a_drawing_is_only_to_be_kept(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a red fox")
    scene.dreams.attach(dream.id, "drawing.svg", "image/svg+xml", SVG)
    text = await text_of(visitor, f"/d/{dream.id}")
    assert "Download SVG" in text and "<video" not in text
    async with visitor.get(f"/d/{dream.id}/files/drawing.svg") as response:
        assert response.headers["Content-Type"] == "image/svg+xml"
        assert response.headers["Content-Disposition"].startswith("attachment")
        policy = response.headers["Content-Security-Policy"]
        assert "sandbox" in policy and "default-src 'none'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["other.mp4", "..%2F..%2Fetc%2Fpasswd", "page.html"])
async def test_other_files_are_not_here(scene: Scene, visitor: ClientSession, name: str) -> None:
    dream = await scene.draw("a red fox")
    scene.dreams.attach(dream.id, "forming.mp4", "video/mp4", b"x")
    scene.dreams.attach(dream.id, "page.html", "text/html", b"<script>")
    async with visitor.get(f"/d/{dream.id}/files/{name}") as response:
        assert response.status == 404


async def test_a_first_look_says_how_far_it_went(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a red fox", steps=40)
    scene.dreams.dreams[dream.id] = replace(dream, recipe=replace(dream.recipe, until_step=12))
    assert "<dd>12 of 40</dd>" in await text_of(visitor, f"/d/{dream.id}")
