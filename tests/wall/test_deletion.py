"""What was deleted, or is not published, is nowhere on the wall; who watches sees it go."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from bot.model import Dream, DreamState, Relation
from bot.rights import Actor
from bot.wall import WallSettings
from tests.bot.drawer import BOB, request, services
from tests.wall.conftest import ADA, Scene
from tests.wall.test_events import Message, until_listening, watching
from tests.wall.test_real_services import ask, first_id, page, until, wall_on

DELETED = "This dream was deleted."
PATHS = (
    "/d/{id}",
    "/d/{id}/preview.webp",
    "/i/{sha256}.png?d={id}",
    "/t/{sha256}.webp?d={id}",
    "/s/planets?remix={id}",
)


async def get(visitor: ClientSession, path: str) -> tuple[int, str]:
    async with visitor.get(path, allow_redirects=False) as response:
        return response.status, await response.text(errors="replace")


def paths(dream: Dream) -> list[str]:
    assert dream.image is not None
    return [path.format(id=dream.id, sha256=dream.image.sha256) for path in PATHS]


async def test_a_deleted_dream_is_gone_from_every_route(
    scene: Scene, visitor: ClientSession
) -> None:
    dream = await scene.draw("a secret castle")
    await scene.dreams.delete(dream.id, Actor(ADA))
    for path in paths(dream):
        status, text = await get(visitor, path)
        assert status == 410, path
        assert DELETED in text
    for path in ("/s/planets", "/s/planets/more", "/s/planets/watch", "/"):
        assert "secret castle" not in (await get(visitor, path))[1], path


async def test_the_family_of_a_deleted_dream_shows_a_tombstone(
    scene: Scene, visitor: ClientSession
) -> None:
    first = await scene.draw("a castle")
    second = await scene.draw("a secret castle", parent_id=first.id, relation=Relation.REMIX)
    third = await scene.draw("a castle of glass", parent_id=second.id, relation=Relation.REMIX)
    await scene.dreams.delete(second.id, Actor(ADA))
    for dream in (first, third):
        status, text = await get(visitor, f"/d/{dream.id}")
        assert status == 200
        assert '<span class="who">deleted</span>' in text
        assert "secret" not in text
        assert second.id not in text


async def test_who_watches_sees_it_go_and_who_comes_back_never_sees_it(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        async with watching(visitor, "/s/open/events") as reader:
            await ask(visitor, "a secret fox", name="Ada")
            dream_id = first_id(await until(reader, "asked\n", "a secret fox"))
            await parts.draw(dream_id)
            await until(reader, "done\n", dream_id)
            (other,) = await parts.dreams.ask(request("a bird", parent_id=dream_id))
            await parts.draw(other.id)
            await until(reader, "done\n", other.id)
            async with watching(visitor, f"/s/open/events?dream={other.id}") as of_child:
                await visitor.post(f"/d/{dream_id}/delete")
                for watcher in (reader, of_child):
                    text = await until(watcher, "deleted\n", f'id="dream-{dream_id}"')
                    assert 'hx-swap-oob="delete"' in text
                    assert "fox" not in text
        async with watching(visitor, "/s/open/events?after=0") as reader:
            seen: list[Message] = []
            while not seen or seen[-1].event != "deleted":
                message = await reader.next()
                assert message is not None
                seen.append(message)
            told = "\n".join(line for message in seen for line in message.data)
            assert "a bird" in told
            assert "secret fox" not in told
        async with watching(visitor, f"/s/open/events?dream={dream_id}") as reader:
            message = await reader.next()
            assert message is not None
            assert message.event == "reload", "its open page becomes what it is now"
        assert "secret fox" not in await page(visitor, "/s/open")


async def test_who_sits_at_the_machine_ends_and_deletes_any_dream(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        (foreign,) = await parts.dreams.ask(request("a bird", person=BOB))
        (other,) = await parts.dreams.ask(request("a castle", person=BOB))
        text = await page(visitor, f"/d/{foreign.id}")
        assert f'action="/d/{foreign.id}/cancel"' in text and "/steer" not in text
        assert "Delete this dream of Bob for good, as whoever runs this?" in text
        async with visitor.post(f"/d/{foreign.id}/steer", data={"prompt": "a cat"}) as response:
            assert response.status == 403, "other words are nobody else's to put in"
        async with visitor.post(f"/d/{foreign.id}/cancel") as response:
            assert response.status == 200
        assert (await parts.dreams.get(foreign.id)).state is DreamState.CANCELLED
        async with visitor.post(f"/d/{other.id}/delete") as response:
            assert response.status == 200
        assert (await parts.dreams.get(other.id)).deleted_ms is not None


async def test_where_the_wall_is_behind_a_proxy_nobody_sits_at_the_machine(
    tmp_path: Path,
) -> None:
    settings = WallSettings(mode="proxy", port=0, guests_may_ask=True)
    async with services(tmp_path) as parts, wall_on(parts, settings=settings) as visitor:
        (foreign,) = await parts.dreams.ask(request("a bird", person=BOB))
        for verb in ("cancel", "delete"):
            assert f"/{verb}" not in await page(visitor, f"/d/{foreign.id}")
            async with visitor.post(f"/d/{foreign.id}/{verb}") as response:
                assert response.status == 403


@pytest.mark.usefixtures("elsewhere")
async def test_only_its_author_deletes_a_dream_at_the_wall(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        await ask(visitor, "a red fox", name="Ada")
        (own,) = await parts.dreams.unfinished(None)
        (foreign,) = await parts.dreams.ask(request("a bird", person=BOB))
        async with visitor.post(f"/d/{foreign.id}/delete") as response:
            assert response.status == 403
        assert (await parts.dreams.get(foreign.id)).deleted_ms is None
        assert 'action="/d/' + own.id + '/delete"' in await page(visitor, f"/d/{own.id}")
        assert "/delete" not in await page(visitor, f"/d/{foreign.id}")
        headers = {"HX-Request": "true"}
        async with visitor.post(f"/d/{own.id}/delete", headers=headers) as response:
            assert response.headers["HX-Redirect"] == "/s/open"
        async with visitor.get(f"/d/{own.id}") as response:
            assert response.status == 410


@pytest.mark.parametrize("finished", [False, True])
async def test_what_is_not_published_is_nowhere_on_the_wall(
    scene: Scene, visitor: ClientSession, finished: bool
) -> None:
    shown = await scene.ask("a castle")
    async with watching(visitor) as reader:
        await until_listening(scene)
        dream = await scene.ask("a quiet wish", parent_id=shown.id, published=False)
        scene.dreams.advance(dream.id, 3)
        if finished:
            dream = scene.dreams.finish(dream.id)
            for path in paths(dream):
                assert (await get(visitor, path))[0] == 404, path
        after = await scene.ask("a bridge")
        told = ""
        while f'id="dream-{after.id}"' not in told:
            message = await reader.next()
            assert message is not None
            told += "\n".join(message.data)
        assert "quiet wish" not in told
        assert dream.id not in told
    for path in ("/s/planets", "/s/planets/watch", "/s/planets/more", f"/d/{shown.id}"):
        text = (await get(visitor, path))[1]
        assert "quiet wish" not in text, path
        assert dream.id not in text, path
    assert (await get(visitor, f"/s/planets/events?dream={dream.id}"))[0] == 404


async def test_a_page_says_where_a_start_is_no_longer_kept(
    scene: Scene, visitor: ClientSession
) -> None:
    start = await scene.draw("a castle")
    assert start.image is not None
    dream = await scene.draw("a castle at night")
    recipe = msgspec.structs.replace(dream.recipe, init_sha256=start.image.sha256, strength=0.5)
    path = f"/i/{start.image.sha256}.png?d={dream.id}"
    for kept, status in ((True, 200), (False, 404)):
        scene.dreams.dreams[dream.id] = msgspec.structs.replace(
            dream, recipe=recipe, init_kept=kept
        )
        text = (await get(visitor, f"/d/{dream.id}"))[1]
        assert ("a picture that is no longer kept" in text) is not kept
        assert (await get(visitor, path))[0] == status
