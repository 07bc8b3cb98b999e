"""Redrawing, extending and blending at the wall: what is offered, sent and refused."""

from __future__ import annotations

import io

import pytest
from aiohttp import ClientSession, FormData
from msgspec.structs import replace
from PIL import Image as Pillow

from bot.model import Relation
from bot.outpainting import Side
from bot.wall.settings import WallSettings
from tests.wall.conftest import Scene

PATHS = ("redraw", "extend", "blend")


def mask() -> bytes:
    out = io.BytesIO()
    Pillow.new("L", (128, 128), 255).save(out, "PNG")
    return out.getvalue()


def form(**fields: str | bytes) -> FormData:
    made = FormData()
    for name, value in fields.items():
        if isinstance(value, bytes):
            made.add_field(name, value, filename="mask.png", content_type="image/png")
        else:
            made.add_field(name, value)
    return made


async def send(visitor: ClientSession, path: str, **fields: str | bytes) -> tuple[int, str]:
    async with visitor.post(path, data=form(**fields), allow_redirects=False) as response:
        return response.status, response.headers.get("Location") or await response.text()


async def page(visitor: ClientSession, path: str) -> str:
    async with visitor.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.text()


async def test_a_mask_goes_to_the_part_that_is_redrawn(
    scene: Scene, visitor: ClientSession
) -> None:
    dream = await scene.draw("a red fox")
    assert f"/d/{dream.id}/repaint" in await page(visitor, f"/d/{dream.id}")
    shown = await page(visitor, f"/d/{dream.id}/repaint")
    # Who has no script, or paints with keys alone, uploads the mask.
    assert 'type="file" name="mask"' in shown and "paint.js" in shown
    status, where = await send(
        visitor, f"/d/{dream.id}/redraw", mask=mask(), prompt=" a moon ", strength="0.7"
    )
    (child,) = [one for one in scene.dreams.dreams.values() if one.parent_id == dream.id]
    assert (status, where, child.relation) == (303, f"/d/{child.id}", Relation.INPAINT)
    assert scene.offspring.masks == [mask()]
    assert scene.offspring.said == [("a moon", 0.7)]


async def test_extending_says_where_and_by_how_much(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a red fox")
    assert (await send(visitor, f"/d/{dream.id}/extend", side="left", by="80"))[0] == 303
    assert (await send(visitor, f"/d/{dream.id}/extend"))[0] == 303
    assert scene.offspring.said == [(Side.LEFT, 0.8, None, None), (Side.ALL, 0.5, None, None)]


async def test_the_other_picture_is_chosen_or_named_by_its_link(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.wall.painting.is_id", lambda text: text in scene.dreams.dreams)
    fox, owl = await scene.draw("a red fox"), await scene.draw("an owl")
    shown = await page(visitor, f"/d/{fox.id}/blend")
    assert f'value="{owl.id}"' in shown and f'value="{fox.id}"' not in shown
    status, where = await send(
        visitor, f"/d/{fox.id}/blend", **{"with": owl.id}, weight="30", strength="0.5"
    )
    assert status == 303 and where.startswith("/d/")
    link = str(scene.url.join(scene.url.with_path(f"/d/{owl.id}")))
    assert (await send(visitor, f"/d/{fox.id}/blend", link=link))[0] == 303
    assert scene.offspring.said == [(owl.id, 0.3, None, 0.5), (owl.id, 0.5, None, None)]


async def test_what_is_wrong_is_said_in_a_sentence(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.wall.painting.is_id", lambda text: text in scene.dreams.dreams)
    fox, forming = await scene.draw("a red fox"), await scene.ask("an owl")
    elsewhere = await scene.draw("a pike", "linked")
    hidden = await scene.draw("a secret", "secret")
    mistakes: list[tuple[str, dict[str, str | bytes], int, str]] = [
        ("redraw", {}, 422, "Paint over what"),
        ("redraw", {"mask": b""}, 422, "Paint over what"),
        ("redraw", {"mask": mask(), "strength": "nan"}, 422, "Strength must be a number"),
        ("extend", {"side": "inwards"}, 422, "Choose on which side"),
        ("extend", {"by": "much"}, 422, "How much must be a number"),
        ("blend", {}, 422, "Choose the other picture"),
        ("blend", {"link": "https://example.org/?"}, 422, "Choose the other picture"),
        ("blend", {"with": elsewhere.id}, 422, "another stream"),
        ("blend", {"with": hidden.id}, 404, "no such dream"),
    ]
    for path, fields, status, sentence in mistakes:
        said = await send(visitor, f"/d/{fox.id}/{path}", **fields)
        assert said[0] == status and sentence in said[1], (path, fields, said)
    for path in ("repaint", "blend"):
        async with visitor.get(f"/d/{forming.id}/{path}") as response:
            assert response.status == 422 and "no picture yet" in await response.text()
        async with visitor.get(f"/d/{hidden.id}/{path}") as response:
            assert response.status == 404
    scene.offspring.able = frozenset()
    assert "repaint" not in await page(visitor, f"/d/{fox.id}")
    async with visitor.get(f"/d/{fox.id}/repaint") as response:
        assert response.status == 422 and "Nothing here can" in await response.text()
    assert not scene.offspring.said and len(scene.dreams.dreams) == 4


async def test_a_wall_for_watching_paints_nothing(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("a red fox")
    await scene.wall.stop()
    scene.wall = scene.make(WallSettings(port=scene.url.port or 0, guests_may_ask=False))
    await scene.wall.start()
    for path in ("repaint", "blend"):
        async with visitor.get(f"/d/{dream.id}/{path}") as response:
            assert response.status == 403
    for path in PATHS:
        assert (await send(visitor, f"/d/{dream.id}/{path}", mask=mask()))[0] in (403, 422)
    assert "paint.js" not in await page(visitor, "/s/planets")
    assert len(scene.dreams.dreams) == 1


async def test_a_sketch_is_the_start_picture_or_leads(scene: Scene, visitor: ClientSession) -> None:
    asked: dict[str, str | bytes] = {"prompt": "hills", "sketched": mask()}
    assert (await send(visitor, "/s/planets/dreams", **asked))[0] == 303
    assert (scene.dreams.requests[-1].init, scene.dreams.requests[-1].sketch) == (mask(), None)
    # A file that was chosen as well goes first.
    await send(visitor, "/s/planets/dreams", **asked, init=b"a file")
    assert (scene.dreams.requests[-1].init, scene.dreams.requests[-1].sketch) == (b"a file", None)
    # Engines that are led by lines are told which it is.
    await send(visitor, "/s/planets/dreams", **asked, sketch_as="lines")
    assert (scene.dreams.requests[-1].init, scene.dreams.requests[-1].sketch) == (mask(), None)
    first, *others = scene.drawer.engines
    scene.drawer.engines = (replace(first, takes_sketch=True), *others)
    assert "lines to follow" in await page(visitor, "/s/planets")
    await send(visitor, "/s/planets/dreams", **asked)
    assert (scene.dreams.requests[-1].init, scene.dreams.requests[-1].sketch) == (mask(), None)
    await send(visitor, "/s/planets/dreams", **asked, sketch_as="lines")
    assert (scene.dreams.requests[-1].init, scene.dreams.requests[-1].sketch) == (None, mask())


async def test_a_mask_and_further_pictures_are_seen_by_who_sees_the_dream(
    scene: Scene, visitor: ClientSession
) -> None:
    one, other = await scene.draw("one"), await scene.draw("other")
    assert one.image is not None and other.image is not None
    recipe = replace(
        one.recipe,
        init_sha256=one.image.sha256,
        mask_sha256=other.image.sha256,
        picture_sha256s=(other.image.sha256,),
    )
    child = replace(await scene.draw("child"), recipe=recipe)
    scene.dreams.dreams[child.id] = child
    shown = await page(visitor, f"/d/{child.id}")
    assert "this mask" in shown and "picture 1" in shown
    address = f"/i/{other.image.sha256}.png?d="
    async with visitor.get(address + child.id) as response:
        assert response.status == 200
    async with visitor.get(address + one.id) as response:
        assert response.status == 404
    scene.dreams.dreams[child.id] = replace(child, init_kept=False)
    async with visitor.get(address + child.id) as response:
        assert response.status == 404
