from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar, FormData

from bot.errors import LimitError
from bot.model import Dream, DreamRequest, DreamState, JourneyRequest, Live, Relation
from bot.subject import FarFromSubjectError
from bot.wall import WallSettings
from bot.wall.words import standing
from generation.protocol import FilmFormat, JourneyKind
from tests.wall.conftest import Scene


async def post(
    visitor: ClientSession, path: str, data: Any = None, *, htmx: bool = True, status: int = 200
) -> str:
    headers = {"HX-Request": "true"} if htmx else {}
    async with visitor.post(path, data=data, headers=headers, allow_redirects=False) as response:
        text = await response.text()
        assert response.status == status, text
        return text


async def test_a_prompt_alone_leaves_all_else_to_the_stream(
    scene: Scene, visitor: ClientSession
) -> None:
    await post(visitor, "/s/planets/dreams", {"prompt": " two moons ", "engine": "", "seed": ""})
    [request] = scene.dreams.requests
    assert request == DreamRequest(theme="planets", person=request.person, prompt="two moons")
    assert request.person.name == "a guest"


async def test_every_choice_arrives(scene: Scene, visitor: ClientSession) -> None:
    form = FormData()
    choices = {
        "prompt": "two moons",
        "engine": "clip",
        "model": "fourier",
        "size": "192x128",
        "steps": "30",
        "seed": "0",
        "guidance": "4.5",
        "negative": "text",
        "strength": "0.4",
        "count": "3",
        "option.cutouts": "32",
        "option.learning_rate": "0.1",
        "option.palette": "grey",
        "option.symmetry": "yes",
        "option.unknown": "1",
        "name": "  Ada\u202e\n Lovelace ",
    }
    for name, value in choices.items():
        form.add_field(name, value)
    form.add_field("init", b"a picture", filename="start.png", content_type="image/png")
    form.add_field("mask", b"a mask", filename="mask.png", content_type="image/png")
    await post(visitor, "/s/planets/dreams", form)
    [request] = scene.dreams.requests
    assert (request.engine, request.model) == ("clip", "fourier")
    assert (request.width, request.height) == (192, 128)
    assert (request.steps, request.seed, request.count) == (30, 0, 3)
    assert (request.guidance, request.strength, request.negative) == (4.5, 0.4, "text")
    assert (request.init, request.mask) == (b"a picture", b"a mask")
    assert request.settings == {
        "cutouts": 32,
        "learning_rate": 0.1,
        "palette": "grey",
        "symmetry": True,
    }
    assert request.person.name == "Ada Lovelace"
    # The name is kept for the next time.
    await post(visitor, "/s/planets/dreams", {"prompt": "one moon"})
    assert scene.dreams.requests[1].person == request.person


async def test_a_journey_arrives(scene: Scene, visitor: ClientSession) -> None:
    typed = {
        "prompt": "two moons -> one",
        "journey": "camera",
        "seconds": "2.5",
        "zoom": "1.1",
        "rotate": "1@0, 2@9",
        "loop": "yes",
        "film_format": "webp",
    }
    await post(visitor, "/s/planets/dreams", typed)
    [request] = scene.dreams.requests
    wanted = JourneyRequest(
        kind=JourneyKind.CAMERA, seconds=2.5, zoom="1.1", rotate="1@0, 2@9", loop=True
    )
    assert request.journey == wanted and request.film_format is FilmFormat.WEBP
    # Without a journey its fields mean nothing.
    await post(visitor, "/s/planets/dreams", typed | {"journey": ""})
    assert scene.dreams.requests[1].journey is None


async def test_without_script_one_is_sent_back_to_the_stream(
    scene: Scene, visitor: ClientSession
) -> None:
    form = {"prompt": "two moons", "name": "Ada"}
    async with visitor.post("/s/planets/dreams", data=form) as response:
        assert response.history[0].status == 303
        text = await response.text()
    assert response.url.path == "/s/planets"
    assert "two moons" in text
    assert "as <strong>Ada</strong>" in text


async def test_a_mistake_is_said_by_the_prompt_box(scene: Scene, visitor: ClientSession) -> None:
    text = await post(visitor, "/s/planets/dreams", {"prompt": ""}, status=422)
    assert text.strip() == (
        '<p class="notice" role="alert" data-field="prompt">Type what shall be dreamt.</p>'
    )


async def test_without_script_a_mistake_keeps_what_was_typed(
    scene: Scene, visitor: ClientSession
) -> None:
    form = {"prompt": "two <moons>", "steps": "many", "negative": "fog"}
    text = await post(visitor, "/s/planets/dreams", form, htmx=False, status=422)
    assert "Steps must be a whole number." in text
    assert "two &lt;moons&gt;</textarea>" in text
    assert 'value="many"' in text
    assert 'value="fog"' in text
    assert '<details class="fold" open>' in text
    assert scene.dreams.requests == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", "1e3"),
        ("seed", "9" * 5000),
        ("guidance", "nan"),
        ("strength", "a lot"),
        ("size", "13x"),
        ("size", "x"),
        ("size", "128x-4"),
        ("count", "²"),
    ],
)
async def test_values_that_are_none(
    scene: Scene, visitor: ClientSession, field: str, value: str
) -> None:
    text = await post(visitor, "/s/planets/dreams", {"prompt": "moons", field: value}, status=422)
    assert f'data-field="{field}"' in text


async def test_an_upload_over_the_bound_is_refused(scene: Scene, visitor: ClientSession) -> None:
    form = FormData()
    form.add_field("prompt", "moons")
    form.add_field("init", bytes(13 * 1024 * 1024), filename="big.png", content_type="image/png")
    text = await post(visitor, "/s/planets/dreams", form, status=413)
    assert "too large" in text


async def test_a_body_that_is_not_what_it_says(scene: Scene, visitor: ClientSession) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": kind, "HX-Request": "true"}
        async with visitor.post(
            "/s/planets/dreams", data=b"\xff\x00nonsense", headers=headers
        ) as response:
            assert response.status in (400, 422)
            assert "Traceback" not in await response.text()


async def test_a_limit_says_when_to_try_again(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(request: DreamRequest) -> list[Dream]:
        raise LimitError("You have eight dreams in line. Wait for one to finish.", 12.2)

    monkeypatch.setattr(scene.dreams, "ask", full)
    headers = {"HX-Request": "true"}
    async with visitor.post(
        "/s/planets/dreams", data={"prompt": "moons"}, headers=headers
    ) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "13"
        assert "eight dreams in line" in await response.text()


async def test_dropping_the_cookie_gives_no_more_dreams(scene: Scene) -> None:
    wall = scene.make(WallSettings(port=0, dreams_per_address=3))
    url = await wall.start()
    try:
        # Nobody here keeps a cookie: everyone is new.
        async with ClientSession(base_url=url, cookie_jar=DummyCookieJar()) as visitor:
            await post(visitor, "/s/planets/dreams", {"prompt": "moons", "count": "2"})
            await post(visitor, "/s/planets/dreams", {"prompt": ""}, status=422)
            await post(visitor, "/s/planets/dreams", {"prompt": "moons"})
            one, *_, last = scene.dreams.dreams
            for path, form in (
                ("/s/planets/dreams", {"prompt": "moons"}),
                (f"/d/{last}/redo", {"same_seed": "0"}),
            ):
                text = await post(visitor, path, form, status=429)
                assert "3 dreams are waiting, and 3 is the most at once" in text
            assert len({dream.person.id for dream in scene.dreams.dreams.values()}) == 2
            scene.dreams.finish(one)
            await post(visitor, f"/d/{one}/redo", {"same_seed": "0"})
            await post(visitor, "/s/planets/dreams", {"prompt": "moons"}, status=429)
    finally:
        await wall.stop()


async def test_all_at_once_from_one_address_get_no_more_either(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = scene.dreams.ask

    async def slowly(request: DreamRequest) -> list[Dream]:
        await asyncio.sleep(0.1)
        return await ask(request)

    monkeypatch.setattr(scene.dreams, "ask", slowly)
    wall = scene.make(WallSettings(port=0, dreams_per_address=3))
    url = await wall.start()

    async def status(visitor: ClientSession) -> int:
        async with visitor.post("/s/planets/dreams", data={"prompt": "moons"}) as response:
            return response.status

    try:
        async with ClientSession(base_url=url, cookie_jar=DummyCookieJar()) as visitor:
            statuses = await asyncio.gather(*(status(visitor) for _ in range(8)))
    finally:
        await wall.stop()
    assert sorted(statuses) == [200] * 3 + [429] * 5


async def asked_by(visitor: ClientSession, scene: Scene) -> Dream:
    await post(visitor, "/s/planets/dreams", {"prompt": "two moons"})
    return list(scene.dreams.dreams.values())[-1]


async def test_ones_own_dream_can_be_cancelled_and_steered(
    scene: Scene, visitor: ClientSession
) -> None:
    dream = await asked_by(visitor, scene)
    async with visitor.get(f"/d/{dream.id}") as response:
        text = await response.text()
    assert f'action="/d/{dream.id}/cancel"' in text
    assert f'action="/d/{dream.id}/steer"' in text
    await post(visitor, f"/d/{dream.id}/steer", {"prompt": "three moons"}, status=204)
    assert scene.dreams.dreams[dream.id].recipe.steers[0].prompt == "three moons"
    await post(visitor, f"/d/{dream.id}/cancel", htmx=False, status=303)
    assert scene.dreams.dreams[dream.id].state is DreamState.CANCELLED


@pytest.mark.usefixtures("elsewhere")
async def test_somebody_elses_dream_cannot_be_cancelled(
    scene: Scene, visitor: ClientSession
) -> None:
    dream = await scene.ask("two moons")
    text = await post(visitor, f"/d/{dream.id}/cancel", status=403)
    assert "Only Ada, who asked for this dream, can do that." in text
    assert not scene.dreams.dreams[dream.id].state.final


async def test_a_dream_again(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("two moons", seed=5)
    headers = {"HX-Request": "true"}
    for same_seed, seed in (("1", 5), ("0", 6)):
        data = {"same_seed": same_seed}
        async with visitor.post(f"/d/{dream.id}/redo", data=data, headers=headers) as response:
            again = await scene.dreams.get(response.headers["HX-Redirect"].removeprefix("/d/"))
        assert again.recipe.seed == seed
        assert again.parent_id == dream.id
    await post(visitor, f"/d/{dream.id}/redo", {"same_seed": "0"}, htmx=False, status=303)


async def test_a_remix_names_its_parent(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("two moons")
    async with visitor.get(f"/s/planets?remix={dream.id}") as response:
        text = await response.text()
    assert "two moons</textarea>" in text
    assert f'name="parent" value="{dream.id}"' in text
    await post(visitor, "/s/planets/dreams", {"prompt": "three moons", "parent": dream.id})
    request = scene.dreams.requests[-1]
    assert (request.parent_id, request.relation) == (dream.id, Relation.REMIX)
    async with visitor.get(f"/s/linked?remix={dream.id}") as response:
        assert response.status == 404


@asynccontextmanager
async def walled(scene: Scene, settings: WallSettings) -> AsyncIterator[ClientSession]:
    """Give a visitor of another wall on the same services."""
    wall = scene.make(settings)
    url = await wall.start()
    try:
        async with ClientSession(url) as visitor:
            yield visitor
    finally:
        await wall.stop()


def live_of(dream: Dream) -> Live:
    return Live(
        dream_id=dream.id,
        theme_id=dream.theme_id,
        state=dream.state,
        step=0,
        steps=20,
        place=7,
        background=dream.background,
    )


async def test_many_are_drawn_when_nobody_waits_where_the_settings_let_guests_ask(
    scene: Scene, visitor: ClientSession
) -> None:
    async with visitor.get("/s/planets") as response:
        assert 'name="batch"' in await response.text()
    await post(visitor, "/s/planets/dreams", {"prompt": "moons", "count": "2", "batch": "40"})
    await post(visitor, "/s/planets/dreams", {"prompt": "moons", "count": "2", "batch": ""})
    assert [(one.count, one.background) for one in scene.dreams.requests] == [
        (40, True),
        (2, False),
    ]
    [waiting] = [one for one in scene.dreams.dreams.values() if one.recipe.seed == 46]
    assert waiting.background and "when nobody waits" in standing(waiting, live_of(waiting))


async def test_what_waits_in_the_background_takes_no_place_among_the_rest(scene: Scene) -> None:
    settings = WallSettings(port=0, dreams_per_address=3, background_per_address=50)
    async with walled(scene, settings) as visitor:
        await post(visitor, "/s/planets/dreams", {"prompt": "moons", "batch": "40"})
        await post(visitor, "/s/planets/dreams", {"prompt": "moons", "count": "3"})
        text = await post(visitor, "/s/planets/dreams", {"prompt": "m", "batch": "11"}, status=429)
        assert "40 dreams are waiting, and 50" in text


async def test_a_wall_without_batches_takes_none(scene: Scene) -> None:
    async with walled(scene, WallSettings(port=0, guests_may_batch=False)) as visitor:
        async with visitor.get("/s/planets") as response:
            assert 'name="batch"' not in await response.text()
        text = await post(
            visitor, "/s/planets/dreams", {"prompt": "moons", "batch": "4"}, status=403
        )
        assert "Ask for a few" in text and not scene.dreams.requests


def test_batches_are_for_those_who_may_ask() -> None:
    assert WallSettings().batching
    assert not WallSettings(mode="proxy", guests_may_ask=True).batching
    assert WallSettings(mode="proxy", guests_may_ask=True, guests_may_batch=True).batching
    assert not WallSettings(mode="proxy", guests_may_batch=True).batching


async def test_what_would_fit_a_stream_is_asked_for_with_one_press(
    scene: Scene, visitor: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = scene.dreams.ask

    async def held(request: DreamRequest, **more: Any) -> list[Dream]:
        if "moon" not in request.prompt:
            offered = ["a <b> car, moons", "moons"]
            raise FarFromSubjectError("moons & planets", offered, request)
        return await ask(request, **more)

    monkeypatch.setattr(scene.dreams, "ask", held)
    typed = {"prompt": "a <b> car", "seed": "5"}
    told = await post(visitor, "/s/planets/dreams", typed, status=422)
    said = re.search(r'role="alert"[^>]*>([^<]+)<', told)  # all that is read aloud
    assert said is not None and "<html" not in told
    assert said[1] == "This stream is about moons &amp; planets. One of these would fit it."
    button = '<button type="submit" name="instead" value="a &lt;b&gt; car, moons">'
    assert button in told
    # Without script the whole page comes back, with the buttons in its form.
    page = await post(visitor, "/s/planets/dreams", typed, htmx=False, status=422)
    form = page[page.index('id="ask"') : page.index("</form>")]
    assert button in form and "a &lt;b&gt; car</textarea>" in form
    await post(visitor, "/s/planets/dreams", typed | {"instead": "a <b> car, moons"})
    [request] = scene.dreams.requests
    assert (request.prompt, request.seed) == ("a <b> car, moons", 5)
