from __future__ import annotations

import json

import msgspec
import pytest
from aiohttp import ClientSession
from markupsafe import escape

from bot.errors import ConfigError
from bot.model import Theme
from bot.wall import WallSettings
from tests.wall.conftest import Scene


async def read(visitor: ClientSession, path: str, status: int = 200) -> str:
    async with visitor.get(path) as response:
        text = await response.text()
        assert response.status == status, text
        return text


async def test_a_single_public_stream_is_gone_to_straight_away(
    scene: Scene, visitor: ClientSession
) -> None:
    async with visitor.get("/", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/s/planets"


async def test_several_streams_are_listed_with_their_newest_pictures(
    scene: Scene, visitor: ClientSession
) -> None:
    scene.themes.themes.append(Theme(id=4, slug="cats", title="Cats & kittens", colour="#e0924f"))
    dream = await scene.draw("a cat", "cats")
    text = await read(visitor, "/")
    assert 'href="/s/cats"' in text
    assert "Cats &amp; kittens" in text
    assert dream.image is not None
    assert f"/t/{dream.image.sha256}.webp" in text
    assert ".theme-4 { --accent: #e0924f; }" in text
    assert "linked" not in text
    assert "secret" not in text


async def test_without_any_stream_the_page_says_so(scene: Scene, visitor: ClientSession) -> None:
    scene.themes.themes.clear()
    assert "no public stream yet" in await read(visitor, "/")


async def test_an_empty_stream_invites(scene: Scene, visitor: ClientSession) -> None:
    text = await read(visitor, "/s/planets")
    assert "Far planets" in text
    assert "Landscapes nobody saw." in text
    assert "Nothing has been dreamt here yet." in text
    assert 'name="prompt"' in text


async def test_a_stream_shows_what_waits_what_forms_and_what_is_finished(
    scene: Scene, visitor: ClientSession
) -> None:
    old = await scene.draw("an old one")
    new = await scene.draw("a new one")
    forming = await scene.ask("a forming one")
    scene.dreams.advance(forming.id, 5)
    waiting = await scene.ask("a waiting one")
    text = await read(visitor, "/s/planets")
    assert text.index(new.prompt) < text.index(old.prompt)
    assert f"/d/{forming.id}/preview.webp?v=1" in text
    assert "step 5 of 20 · about 8 s" in text
    assert "2nd in line · about 20 s" in text
    assert f'id="dream-{waiting.id}"' in text
    newest = scene.feed.log[-1].id
    assert f'sse-connect="/s/planets/events?after={newest}"' in text


async def test_prompts_and_names_are_text_and_nothing_else(
    scene: Scene, visitor: ClientSession
) -> None:
    await scene.draw('"><script>alert(1)</script>')
    for path in ("/s/planets", "/s/planets/watch", "/d/d0001"):
        text = await read(visitor, path)
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert" in text


async def test_a_colour_that_is_none_does_not_reach_the_style_sheet(
    scene: Scene, visitor: ClientSession
) -> None:
    scene.themes.themes[0] = msgspec.structs.replace(
        scene.themes.themes[0], colour="red; } body { display: none"
    )
    assert "display: none" not in await read(visitor, "/s/planets")


async def test_older_pictures_come_page_by_page(scene: Scene, visitor: ClientSession) -> None:
    dreams = [await scene.draw(f"picture {number}") for number in range(60)]
    first = await read(visitor, "/s/planets")
    assert f'hx-get="/s/planets/more?before={dreams[12].id}"' in first
    more = await read(visitor, f"/s/planets/more?before={dreams[12].id}")
    assert f'id="dream-{dreams[11].id}"' in more
    assert f'id="dream-{dreams[12].id}"' not in more
    assert "hx-get" not in more
    assert "<html" not in more
    # The same without script.
    page = await read(visitor, f"/s/planets?before={dreams[12].id}")
    assert f'id="dream-{dreams[11].id}"' in page
    assert 'sse-swap="done"' not in page
    # What is done goes from what forms there, and comes nowhere: it is no older picture.
    sink = 'id="sink" hidden sse-swap="live,steered,failed,cancelled,deleted{}" hx-swap="none"'
    assert sink.format(",done") in page and sink.format("") in first


async def test_the_big_screen_shows_the_newest_large(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("two moons")
    text = await read(visitor, "/s/planets/watch")
    assert dream.image is not None
    assert f'<img src="/i/{dream.image.sha256}.png?d={dream.id}" alt="two moons"' in text
    # Nobody else can reach this machine's own address.
    assert "Dream along" not in text


async def test_the_big_screen_says_where_to_type(scene: Scene) -> None:
    wall = scene.make(WallSettings(port=0, public_url="http://wall.local:8642/"))
    await wall.start()
    try:
        [(host, port)] = wall.addresses
        async with ClientSession(base_url=f"http://{host}:{port}") as visitor:
            text = await read(visitor, "/s/planets/watch")
    finally:
        await wall.stop()
    assert "Dream along at <strong>wall.local:8642</strong>" in text
    assert "Type one at wall.local:8642" in text


async def test_a_dream_shows_its_recipe_and_its_family(
    scene: Scene, visitor: ClientSession
) -> None:
    parent = await scene.draw("a castle")
    dream = await scene.draw("a castle", parent_id=parent.id, seed=99)
    child = await scene.ask("a castle in snow", parent_id=dream.id)
    text = await read(visitor, f"/d/{dream.id}")
    assert "<dd>99</dd>" in text
    assert "<dd>128 × 128</dd>" in text
    assert "Seed: 99" in text
    assert f'href="/d/{parent.id}"' in text
    assert f'href="/d/{child.id}"' in text
    assert "&amp;download" in text
    assert f"dream={dream.id}" in text, "it learns of its deletion"


@pytest.mark.usefixtures("elsewhere")
async def test_a_forming_dream_keeps_its_page_up_to_date(
    scene: Scene, visitor: ClientSession
) -> None:
    dream = await scene.ask("a castle")
    text = await read(visitor, f"/d/{dream.id}")
    assert f"&amp;dream={dream.id}" in text
    # Somebody else's: nothing to steer or to cancel.
    assert "/cancel" not in text
    assert "/steer" not in text


async def test_a_failed_dream_says_why(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.ask("a castle")
    scene.dreams.fail(dream.id, "The machine's memory was not enough for it.")
    assert "memory was not enough" in await read(visitor, f"/d/{dream.id}")


async def test_who_was_away_learns_what_failed_and_why(
    scene: Scene, visitor: ClientSession
) -> None:
    async with visitor.post("/s/planets/dreams", data={"prompt": "a castle"}):
        [dream] = scene.dreams.dreams.values()
    somebodys = await scene.ask("somebody else's")
    for failed in (dream, somebodys):
        scene.dreams.fail(failed.id, "The machine's memory was not enough for it.")
    text = await read(visitor, "/s/planets")
    assert f'id="dream-{dream.id}" class="card failed"' in text
    assert "memory was not enough" in text
    assert "Try again" in text
    assert "somebody else" not in text
    assert "Try again" in await read(visitor, f"/d/{dream.id}")
    # Tried again, it is told no more.
    again = {"same_seed": "1", "stay": "1"}
    async with visitor.post(f"/d/{dream.id}/redo", data=again) as response:
        assert response.url.path == "/s/planets"
        text = await response.text()
    assert "memory was not enough" not in text
    assert text.count('class="card ') == 1
    [_, _, retried] = scene.dreams.dreams.values()
    assert (retried.prompt, retried.parent_id) == ("a castle", dream.id)


async def test_a_failure_of_the_day_before_yesterday_is_told_no_more(
    scene: Scene, visitor: ClientSession
) -> None:
    async with visitor.post("/s/planets/dreams", data={"prompt": "a castle"}):
        [dream] = scene.dreams.dreams.values()
    scene.dreams.fail(dream.id, "It did not fit.")
    old = msgspec.structs.replace(scene.dreams.dreams[dream.id], ended_ms=1)
    scene.dreams.dreams[dream.id] = old
    assert "did not fit" not in await read(visitor, "/s/planets")


async def test_the_painter_is_waited_for(scene: Scene, visitor: ClientSession) -> None:
    scene.drawer.up = False
    scene.drawer.engines = ()
    text = await read(visitor, "/s/planets")
    assert "The painter is waking up" in text
    assert "as soon as the painter is awake" in text
    assert "every 2s" in await read(visitor, "/machine")
    scene.drawer.up = True
    assert "hidden" in await read(visitor, "/machine")
    scene.drawer.paused = "Drawing is paused: it crashed three times."
    assert "it crashed three times" in await read(visitor, "/machine")


async def test_the_choices_follow_the_painter(scene: Scene, visitor: ClientSession) -> None:
    text = await read(visitor, "/s/planets/choices?engine=clip&steps=77")
    assert 'name="option.cutouts"' in text
    assert "Whoever sees the dream can see this picture too." in await read(visitor, "/s/planets")
    assert 'value="77"' in text
    assert 'name="negative"' not in text
    assert '<option value="clip" selected' in text


async def test_health_and_readiness(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await read(visitor, "/healthz") == "ok\n"
    assert json.loads(await read(visitor, "/readyz")) == {
        "status": "ready",
        "parts": {"drawing": "ready"},
    }
    scene.drawer.up, scene.drawer.paused = False, "It has burnt down, at /srv/secret."
    monkeypatch.setattr("bot.monitoring.health.KEPT_S", 0.0)
    told = await read(visitor, "/readyz", 503)
    assert "secret" not in told
    assert json.loads(told)["parts"] == {"drawing": "not ready"}


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/s/nowhere", "/d/nowhere", "/s/nowhere/watch", "/d/%00"],
)
async def test_what_is_not_there_is_said_on_a_page(
    scene: Scene, visitor: ClientSession, path: str
) -> None:
    text = await read(visitor, path, 404)
    assert 'class="invitation shown"' in text
    assert "Traceback" not in text


async def test_an_unexpected_error_shows_no_traceback(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(slug: str) -> Theme:
        raise RuntimeError("the inside of the machine")

    monkeypatch.setattr(scene.themes, "get", broken)
    text = await read(visitor, "/s/planets", 500)
    assert "Something went wrong on our side" in text
    assert "inside of the machine" not in text


async def test_a_wall_for_watching_takes_no_prompts(scene: Scene) -> None:
    wall = scene.make(WallSettings(port=0, guests_may_ask=False))
    url = await wall.start()
    try:
        async with ClientSession(base_url=url, headers={"Accept": "text/html"}) as visitor:
            assert 'name="prompt"' not in await read(visitor, "/s/planets")
            async with visitor.post("/s/planets/dreams", data={"prompt": "a cat"}) as response:
                assert response.status == 403
    finally:
        await wall.stop()
    assert scene.dreams.requests == []


async def test_a_taken_port_is_told_in_a_sentence(scene: Scene) -> None:
    assert scene.url.port is not None
    with pytest.raises(ConfigError, match=r"wall\.port: port \d+ of 127\.0\.0\.1 is taken"):
        await scene.make(WallSettings(port=scene.url.port)).start()
    with pytest.raises(ConfigError, match=r"wall\.host"):
        await scene.make(WallSettings(host="192.0.2.7", port=0)).start()
    with pytest.raises(ConfigError, match=r"wall\.mode"):
        await scene.make(WallSettings(mode="off", port=0)).start()


async def test_a_mask_is_asked_for_where_the_painter_takes_one(
    scene: Scene, visitor: ClientSession
) -> None:
    field = '<input type="file" name="mask"'
    assert field not in await read(visitor, "/s/planets/choices")
    scene.drawer.engines = tuple(
        msgspec.structs.replace(engine, takes_init=True, takes_mask=True)
        for engine in scene.drawer.engines
    )
    assert field in await read(visitor, "/s/planets/choices")


async def test_a_large_picture_has_a_small_one_for_fine_screens(
    scene: Scene, visitor: ClientSession
) -> None:
    large = await scene.draw("large", width=1024, height=512)
    assert large.image is not None
    small = await scene.draw("small", width=384, height=256)
    page = await (await visitor.get("/s/planets")).text()
    url = f"/t/{large.image.sha256}.webp?d={large.id}"
    widths = f"{url} 384w, {url}&side=768 768w"
    assert f'srcset="{escape(widths)}"' in page
    assert page.count("srcset=") == 1 and small.id in page
    tags = set()
    for path, status in ((url, 200), (f"{url}&side=768", 200), (f"{url}&side=5000", 404)):
        async with visitor.get(path) as answer:
            assert answer.status == status, path
            tags.add(answer.headers.get("ETag"))
    assert len(tags) == 3, "a browser does not take the one for the other"
