"""The wall on the real store, feed, library and dreams; only the painter is played."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, CookieJar, FormData
from msgspec.structs import replace
from PIL import Image

from bot.ids import now_ms
from bot.model import DreamRequest, Person, Visibility
from bot.wall import Wall, WallSettings
from generation.protocol import Attachment, Failed
from tests.bot.drawer import Services, finished, png, services
from tests.wall.test_events import Reader, watching


@asynccontextmanager
async def wall_on(parts: Services, port: int = 0, **more: Any) -> AsyncIterator[ClientSession]:
    wall = Wall(
        more.pop("settings", WallSettings(port=port)),
        themes=parts.themes,
        dreams=parts.dreams,
        feed=parts.feed,
        library=parts.library,
        drawer=parts.drawer,
        offspring=parts.offspring,
        search=parts.search,
        seeing=parts.seeing,
        **more,
    )
    url = await wall.start()
    try:
        async with ClientSession(
            base_url=url, cookie_jar=CookieJar(unsafe=True), headers={"Accept": "text/html"}
        ) as visitor:
            yield visitor
    finally:
        await wall.stop()


async def ask(visitor: ClientSession, prompt: str, status: int = 200, **choices: str) -> str:
    form = {"prompt": prompt, **choices}
    async with visitor.post(
        "/s/open/dreams", data=form, headers={"HX-Request": "true"}
    ) as response:
        text = await response.text()
        assert response.status == status, text
    return text


async def page(visitor: ClientSession, path: str) -> str:
    async with visitor.get(path) as response:
        assert response.status == 200
        return await response.text()


async def until(reader: Reader, *pieces: str) -> str:
    """Read on until a message holds all the pieces; return it."""
    while True:
        message = await reader.next()
        assert message is not None, f"the stream ended before {pieces}"
        text = "\n".join([message.event, *message.data])
        if all(piece in text for piece in pieces):
            return text


def first_id(html: str) -> str:
    found = re.search(r'id="dream-([^"]+)"', html)
    assert found is not None
    return found[1]


async def test_from_the_prompt_to_the_kept_picture(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        async with watching(visitor, "/s/open/events") as reader:
            await ask(visitor, "a red fox", name="Ada", seed="7")
            dream_id = first_id(await until(reader, "asked\n", "a red fox", "Ada"))
            await parts.begin(dream_id, 5, preview=png())
            await until(reader, "live\n", "step 5 of 100", "preview.webp?v=1")
            async with visitor.get(f"/d/{dream_id}/preview.webp?v=1") as response:
                assert response.status == 200
            await parts.dreams.on_message(finished(await parts.job(dream_id)))
            tile = await until(reader, "done\n", f'id="dream-{dream_id}" class="tile')
        for name, form in (("i", "PNG"), ("t", "WEBP")):
            path = re.search(rf'/{name}/[^"]+', tile)
            assert path is not None
            async with visitor.get(path[0].replace("&amp;", "&")) as response:
                with Image.open(io.BytesIO(await response.read())) as picture:
                    assert (picture.format, picture.size) == (form, (128, 128))
        text = await page(visitor, f"/d/{dream_id}")
        assert "<dd>7</dd>" in text
        assert "Seed: 7" in text
        assert f'id="dream-{dream_id}" class="tile' in await page(visitor, "/s/open")


async def test_a_failure_is_told_after_a_restart_and_can_be_tried_again(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        await ask(visitor, "a fox")
        [dream] = await parts.dreams.unfinished(None)
        await parts.dreams.on_message(Failed(job_id=dream.id, reason="No words."))
        assert (await parts.dreams.wait(dream.id)).reason == "No words."
        cookies = visitor.cookie_jar
        other = Person("guest:other", "Other")
        assert await parts.dreams.failures(1, [other], since_ms=0) == []
        assert await parts.dreams.failures(1, [dream.person], since_ms=now_ms() + 1000) == []
        # Who signs in has been the guest as well: the latest of both are told.
        request = DreamRequest(theme="open", person=other, prompt="a crow")
        [others] = await parts.dreams.ask(request)
        await parts.dreams.on_message(Failed(job_id=others.id, reason="No wings."))
        await parts.dreams.wait(others.id)
        for most, told in ((12, [others.id, dream.id]), (1, [others.id])):
            both = [dream.person, other]
            failures = await parts.dreams.failures(1, both, since_ms=0, limit=most)
            assert [one.id for one in failures] == told
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        visitor.cookie_jar.update_cookies((cookie.key, cookie) for cookie in cookies)
        assert "No words." in await page(visitor, "/s/open")
        form = {"same_seed": "1", "stay": "1"}
        async with visitor.post(
            f"/d/{dream.id}/redo", data=form, headers={"HX-Request": "true"}
        ) as response:
            assert f'id="dream-{dream.id}" hx-swap-oob="delete"' in await response.text()
        assert "No words." not in await page(visitor, "/s/open")


async def test_a_restart_of_the_whole_bot_loses_nothing(tmp_path: Path) -> None:
    async with (
        services(tmp_path) as parts,
        wall_on(parts) as visitor,
        watching(visitor, "/s/open/events") as reader,
    ):
        await ask(visitor, "a fox before")
        message = await reader.next()
        assert message is not None
        dream_id = first_id("".join(message.data))
        last = message.id
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        await parts.draw(dream_id)
        await ask(visitor, "a fox after")
        async with watching(visitor, "/s/open/events", Last_Event_ID=last) as reader:
            kinds = [kind for kind, _ in await reader.kinds(2)]
            assert sorted(kinds) == ["asked", "done"]


async def test_what_the_services_refuse_is_said_in_their_words(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        assert "prompt is empty" in await ask(visitor, " \u200b ", 422)
        assert "10,000 characters" in await ask(visitor, "x" * 10_000, 422)
        await ask(visitor, "a fox", 422, engine="nosuch")
        await ask(visitor, "a fox", 422, steps="1000000")
        await ask(visitor, "\x00\x1b[31m" + "🦊" * 40)
        form = FormData()
        form.add_field("prompt", "a fox")
        form.add_field("init", b"no picture", filename="x.png", content_type="image/png")
        async with visitor.post(
            "/s/open/dreams", data=form, headers={"HX-Request": "true"}
        ) as response:
            assert response.status == 422
            assert 'data-field="init"' in await response.text()
        assert len(await parts.dreams.unfinished(None)) == 1


async def test_a_stream_that_turns_private_is_gone_at_once(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        async with watching(visitor, "/s/open/events") as reader:
            await ask(visitor, "a fox")
            dream_id = first_id(await until(reader, "asked\n"))
            await parts.draw(dream_id)
            await until(reader, "done\n")
            await parts.themes.change("open", visibility=Visibility.PRIVATE)
            while (message := await reader.next()) is not None:
                assert message.event != "theme"
        dream = await parts.dreams.get(dream_id)
        assert dream.image is not None
        for path in (
            "/s/open",
            "/s/open/events",
            f"/d/{dream_id}",
            f"/i/{dream.image.sha256}.png?d={dream_id}",
            f"/t/{dream.image.sha256}.webp?d={dream_id}",
        ):
            async with visitor.get(path) as response:
                assert response.status == 404, path


async def test_a_films_way_from_the_painter_to_the_page(tmp_path: Path) -> None:
    film = Attachment(name="forming.mp4", media_type="video/mp4", data=b"a film" * 999)
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        await ask(visitor, "a red fox")
        (dream,) = await parts.dreams.unfinished(None)
        job = await parts.begin(dream.id)
        await parts.dreams.on_message(replace(finished(job), attachments=(film,)))
        await parts.dreams.wait(dream.id)
        text = await page(visitor, f"/d/{dream.id}")
        path = f"/d/{dream.id}/files/forming.mp4"
        assert f'<video src="{path}"' in text and "Download MP4" in text
        async with visitor.get(path, headers={"Range": "bytes=6-11"}) as response:
            assert response.status == 206 and await response.read() == b"a film"
        assert "Make it larger" not in text and "Film it forming" in text
        url = f"/d/{dream.id}/variations"
        async with visitor.post(url, headers={"HX-Request": "true"}) as response:
            assert response.headers["HX-Redirect"] == "/s/open"
        made = await parts.dreams.unfinished(None)
        assert len(made) == 4 and {child.parent_id for child in made} == {dream.id}
