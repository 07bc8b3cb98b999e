from __future__ import annotations

import pytest
from aiohttp import ClientSession

from bot.model import Dream, Visibility
from bot.wall.rendering import picture_url, thumbnail_url
from tests.wall.conftest import Scene

GETS = (
    "/s/{slug}",
    "/s/{slug}/more",
    "/s/{slug}/choices",
    "/s/{slug}/watch",
    "/s/{slug}/events",
    "/s/{slug}/events?after=0",
    "/s/{slug}/search?q=x",
    "/s/{slug}/theme.toml",
    "/d/{done}/like",
    "/d/{done}",
    "/d/{forming}",
    "/d/{forming}/preview.webp",
    "/i/{sha256}.png?d={done}",
    "/t/{sha256}.webp?d={done}",
    "/d/{done}/files/forming.mp4",
)
POSTS = (
    "/s/{slug}/dreams",
    "/d/{forming}/cancel",
    "/d/{forming}/steer",
    "/d/{done}/redo",
    "/d/{done}/variations",
    "/d/{done}/continue",
    "/d/{done}/upscale",
    "/d/{done}/animate",
)


@pytest.fixture
async def seen(scene: Scene) -> dict[str, dict[str, str]]:
    """One finished and one forming dream in each stream, as the routes name them."""
    found = {}
    for theme in scene.themes.themes:
        done = await scene.draw("a picture", theme.slug, seed=theme.id)
        scene.dreams.attach(done.id, "forming.mp4", "video/mp4", b"a film")
        forming = await scene.ask("another", theme.slug)
        scene.dreams.advance(forming.id, 3)
        assert done.image is not None
        found[theme.slug] = {
            "slug": theme.slug,
            "done": done.id,
            "forming": forming.id,
            "sha256": done.image.sha256,
        }
    return found


async def status_of(visitor: ClientSession, method: str, path: str) -> int:
    data = {"prompt": "x"} if method == "POST" else None
    async with visitor.request(method, path, data=data, allow_redirects=False) as response:
        return response.status


async def test_a_private_stream_is_nowhere(
    scene: Scene, visitor: ClientSession, seen: dict[str, dict[str, str]]
) -> None:
    before = dict(scene.dreams.dreams)
    for path in GETS:
        assert await status_of(visitor, "GET", path.format(**seen["secret"])) == 404, path
        for slug in ("planets", "linked"):
            assert await status_of(visitor, "GET", path.format(**seen[slug])) == 200, path
    for path in POSTS:
        assert await status_of(visitor, "POST", path.format(**seen["secret"])) == 404, path
    assert scene.dreams.dreams == before


async def test_a_private_stream_answers_as_one_that_is_not(
    scene: Scene, visitor: ClientSession, seen: dict[str, dict[str, str]]
) -> None:
    async with visitor.get("/s/secret") as response:
        private = await response.text()
    async with visitor.get("/s/nosuch") as response:
        absent = await response.text()

    def sentence(text: str) -> str:
        return text.split('class="invitation shown">')[1].split("<small>")[0]

    assert sentence(private) == sentence(absent).replace("nosuch", "secret")


async def test_a_pictures_hash_alone_shows_nothing(
    scene: Scene, visitor: ClientSession, seen: dict[str, dict[str, str]]
) -> None:
    secret, public = seen["secret"]["sha256"], seen["planets"]["done"]
    for path in (
        f"/i/{secret}.png",
        f"/i/{secret}.png?d={public}",
        f"/t/{secret}.webp?d={public}",
        f"/i/{secret[:-1]}.png?d={public}",
        f"/i/{secret.upper()}.png?d={public}",
        f"/i/..%2f..%2f{secret}.png?d={public}",
    ):
        assert await status_of(visitor, "GET", path) == 404, path


async def test_a_remix_does_not_show_a_private_prompt(
    scene: Scene, visitor: ClientSession, seen: dict[str, dict[str, str]]
) -> None:
    assert await status_of(visitor, "GET", f"/s/planets?remix={seen['secret']['done']}") == 404
    async with visitor.post(
        "/s/planets/dreams", data={"prompt": "x", "parent": seen["secret"]["done"]}
    ) as response:
        assert response.status == 404


async def test_a_private_relative_is_not_shown(scene: Scene, visitor: ClientSession) -> None:
    parent = await scene.draw("what nobody may read", "secret")
    child: Dream = await scene.draw("a picture", parent_id=parent.id)
    async with visitor.get(f"/d/{child.id}") as response:
        assert "what nobody may read" not in await response.text()


async def test_pictures_are_kept_as_far_as_their_stream_is_seen(
    scene: Scene, visitor: ClientSession, seen: dict[str, dict[str, str]]
) -> None:
    for slug in ("planets", "linked"):
        for path, kind in (
            ("/i/{sha256}.png?d={done}", "image/png"),
            ("/t/{sha256}.webp?d={done}", "image/webp"),
        ):
            async with visitor.get(path.format(**seen[slug])) as response:
                # By the browser alone, and only after asking: it may be seen no more by then.
                assert response.headers["Cache-Control"] == "private, no-cache"
                tag = response.headers["ETag"]
                assert tag.startswith(f'"{seen[slug]["sha256"]}')
                assert "Last-Modified" not in response.headers
                assert response.headers["Content-Type"] == kind
                assert (await response.read())[:4] in (b"\x89PNG", b"RIFF")
            again = {"If-None-Match": f'"other", {tag}'}
            async with visitor.get(path.format(**seen[slug]), headers=again) as response:
                assert (response.status, await response.read()) == (304, b"")
                assert response.headers["ETag"] == tag
                assert response.headers["Cache-Control"] == "private, no-cache"
            other = {"If-None-Match": '"other"'}
            async with visitor.get(path.format(**seen[slug]), headers=other) as response:
                assert response.status == 200
    async with visitor.get("/i/{sha256}.png?d={done}&download".format(**seen["planets"])) as got:
        assert got.headers["Content-Disposition"].startswith('attachment; filename="planets-')


async def test_a_finished_dreams_preview_is_its_picture(
    scene: Scene, visitor: ClientSession, seen: dict[str, dict[str, str]]
) -> None:
    path = f"/d/{seen['planets']['forming']}/preview.webp"
    async with visitor.get(f"{path}?v=1") as response:
        assert response.headers["Cache-Control"] == "private, max-age=600"
    async with visitor.get(f"{path}?v=9") as response:
        assert response.headers["Cache-Control"] == "no-store"
    dream = scene.dreams.finish(seen["planets"]["forming"])
    assert dream.image is not None
    async with visitor.get(path) as response:
        assert response.url.path == f"/t/{dream.image.sha256}.webp"
    waiting = await scene.ask("not begun")
    assert await status_of(visitor, "GET", f"/d/{waiting.id}/preview.webp") == 404


async def test_a_stream_that_turns_private_is_gone_at_once(
    scene: Scene, visitor: ClientSession, seen: dict[str, dict[str, str]]
) -> None:
    theme = scene.themes.themes[0]
    scene.themes.themes[0] = type(theme)(
        id=theme.id, slug=theme.slug, title=theme.title, visibility=Visibility.PRIVATE
    )
    for path in GETS:
        path = path.format(**seen["planets"])
        assert await status_of(visitor, "GET", path) == 404, path
        async with visitor.get(path, headers={"If-None-Match": "*"}) as response:
            assert response.status == 404, path


async def test_search_engines_are_told_not_to_list_what_the_wall_does_not(
    scene: Scene, visitor: ClientSession
) -> None:
    for slug, expected in (("planets", ""), ("linked", "noindex")):
        dream = await scene.draw("two moons", slug)
        forming = await scene.ask("more moons", slug)
        scene.dreams.advance(forming.id, 3)
        scene.dreams.attach(dream.id, "forming.mp4", "video/mp4", b"a film")
        told = {}
        for path in (
            f"/s/{slug}",
            f"/s/{slug}/watch",
            f"/s/{slug}/feed.atom",
            f"/d/{dream.id}",
            f"/d/{dream.id}/files/forming.mp4",
            f"/d/{forming.id}/preview.webp",
            picture_url(dream),
            thumbnail_url(dream),
        ):
            async with visitor.get(path) as response:
                assert response.status == 200, path
                told[path] = response.headers.get("X-Robots-Tag", "")
        assert set(told.values()) == {expected}, told
