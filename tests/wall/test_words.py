"""The page of words, what is tried on it, and words near to what is typed; all without script."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from PIL import Image

from bot.model import Visibility
from bot.modifiers import PICTURES, PLAIN, kinds
from bot.rights import Actor
from bot.seeing import list_words
from bot.wall import WallSettings, studying, words_page
from tests.bot.drawer import ANN, Services, request, services
from tests.bot.test_seeing import Colours
from tests.wall.test_real_services import page, wall_on

EVERY = [one for kind in kinds() for one in kind.modifiers]


def shown(html: str) -> list[str]:
    """Return the words that a page shows."""
    entries = re.findall(r"<li (hidden)?>.*?value=\"([^\"]+)\"", html, re.DOTALL)
    return [words for hidden, words in entries if not hidden]


async def study(visitor: ClientSession, **fields: str | list[str]) -> tuple[int, str, str]:
    """Send the page of words to be drawn; return the status, where it led and what it said."""
    data = [
        (name, one)
        for name, value in fields.items()
        for one in ([value] if isinstance(value, str) else value)
    ]
    async with visitor.post("/s/open/study", data=data) as response:
        return response.status, response.url.path, await response.text()


def test_every_word_has_its_picture_and_none_is_left_over() -> None:
    there = {path.stem: path for path in PICTURES.glob("*.webp")}
    assert set(there) == {one.name for one in EVERY} | {PLAIN}
    assert sum(path.stat().st_size for path in there.values()) < 1_500_000
    for path in there.values():
        with Image.open(path) as picture:
            assert picture.size == (96, 96), path
    assert {one.picture for one in EVERY} | {PICTURES / f"{PLAIN}.webp"} == {*there.values()}


async def test_words_are_found_ticked_and_put_into_the_prompt_box(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        html = await page(visitor, "/words?prompt=a+hare")
        assert len(shown(html)) == len(EVERY) and 'value="a hare"' in html
        assert all(kind.title in html for kind in kinds())
        [source] = re.findall(r'src="(/static/modifiers/watercolour.webp[^"]+)"', html)
        async with visitor.get(source) as response:
            assert response.content_type == "image/webp" and response.charset is None
        html = await page(visitor, "/s/open/words?q=WATERC&with=in+fog&prompt=a+%22fox%22")
        assert shown(html) == ["watercolour", "in fog"]
        assert 'value="in fog" checked' in html and 'value="a &#34;fox&#34;"' in html
        assert "symmetrical" in shown(await page(visitor, "/s/open/words?q=composition"))
        html = await page(visitor, "/s/open?prompt=a+fox:2&with=in+fog&with=etching&own=red,+old")
        assert ">a fox, in fog, etching, red, old:2</textarea>" in html
        assert ">in fog</textarea>" in await page(visitor, "/s/open?with=in+fog")
        assert 'href="/s/open/words"' in html


async def test_one_word_is_tried_with_and_without_it(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        status, path, html = await study(visitor, prompt="a fox", own="woodcut", **{"with": []})
        assert status == 200 and path.endswith("/study")
        assert "with and without" in html and ">without" in html and ">woodcut" in html
        plain, cut = await parts.dreams.unfinished(None)
        assert (plain.studied, cut.studied) == ("", "woodcut")
        assert f'hx-get="/d/{plain.id}/study"' in html and "study.webp" not in html
        async with visitor.get(f"/d/{cut.id}/study.webp") as response:
            assert response.status == 404
        await parts.draw(plain.id, "red")
        await parts.draw(cut.id, "blue")
        for dream in (plain, cut):
            await parts.dreams.wait(dream.id)
        html = await page(visitor, f"/d/{cut.id}/study")
        assert "hx-trigger" not in html and f'href="/d/{plain.id}/study.webp"' in html
        async with visitor.get(f"/d/{cut.id}/study.webp") as response:
            assert response.status == 200 and "no-cache" in response.headers["Cache-Control"]
            with Image.open(io.BytesIO(await response.read())) as sheet:
                assert sheet.width == 2 * 256 + 4 and sheet.height > 256
            tag = response.headers["ETag"]
        for seen, status in ((tag, 304), ('"another"', 200)):
            kept = {"If-None-Match": seen}
            async with visitor.get(f"/d/{plain.id}/study.webp", headers=kept) as response:
                assert (response.status, response.headers["ETag"]) == (status, tag)
                assert bool(await response.read()) is (status == 200)
                assert "X-Robots-Tag" not in response.headers
        await parts.themes.change("open", visibility=Visibility.LINK)
        for seen in (tag, '"another"'):
            kept = {"If-None-Match": seen}
            async with visitor.get(f"/d/{plain.id}/study.webp", headers=kept) as response:
                assert response.headers["X-Robots-Tag"] == "noindex"
        assert 'href="/s/open/words?prompt=a%20fox"' in await page(visitor, f"/d/{plain.id}")
        together = await page(visitor, f"/d/{plain.id}/together")
        assert "<figcaption>without</figcaption>" in together and "Side by side" in together
        # One that is taken away is seen no more; a study of one is none.
        await parts.dreams.delete(cut.id, Actor(plain.person))
        for path in (f"/d/{plain.id}/study", f"/d/{plain.id}/study.webp"):
            async with visitor.get(path) as response:
                assert response.status == 404


async def test_a_study_is_put_together_once_and_an_address_has_only_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studying, "SHEETS", 2)
    made: list[list[str]] = []

    def sheet(pictures: list[bytes | None], labels: list[str], side: int) -> bytes:
        made.append(labels)
        return b"a sheet"

    monkeypatch.setattr(studying, "labelled_sheet", sheet)
    async with services(tmp_path) as parts, wall_on(parts) as visitor:

        async def sent(dream_id: str) -> tuple[int, str | None]:
            async with visitor.get(f"/d/{dream_id}/study.webp") as response:
                return response.status, response.headers.get("ETag")

        await study(visitor, prompt="a fox", **{"with": ["etching", "calm", "woodcut"]})
        dreams = await parts.dreams.unfinished(None)
        tags = []
        for dream, status in zip(dreams, (200, 200, 429), strict=True):
            await parts.draw(dream.id)
            await parts.dreams.wait(dream.id)
            # Each new picture is another sheet; what was put together before costs nothing.
            answers = {await sent(one.id) for one in dreams}
            assert {answer[0] for answer in answers} == {status}
            tags += [answer[1] for answer in answers]
        assert made == 2 * [["etching", "calm", "woodcut"]]
        assert len(tags) == len(set(tags)) == 3


async def test_several_words_are_drawn_each(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        _, _, html = await study(
            visitor, prompt="a fox", own="old", **{"with": ["etching", "calm"]}
        )
        dreams = await parts.dreams.unfinished(None)
        assert [one.studied for one in dreams] == ["etching", "calm", "old"]
        assert "The same seed" in html


async def test_what_cannot_be_tried_comes_back_as_it_was_filled_in(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        status, _, html = await study(visitor, prompt="a fox")
        assert status == 422 and "Tick some words" in html and 'value="a fox"' in html
        status, _, html = await study(visitor, prompt="", **{"with": ["etching", "calm"]})
        assert status == 422 and "The prompt is empty" in html
        assert 'value="etching" checked' in html
        status, _, html = await study(visitor, prompt="a fox", own="a|b, <b>")
        assert status == 422 and "plain" in html and "<b>" not in html
        many = [one.words for one in EVERY[:17]]
        status, _, html = await study(visitor, prompt="a fox", **{"with": many})
        assert status == 422 and "2 to 16" in html
        assert not await parts.dreams.unfinished(None)


async def test_studies_of_private_streams_and_other_dreams_are_not_there(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        (alone,) = await parts.dreams.ask(request("a fox"))
        plain, _ = await parts.dreams.ask(request("a fox", study=("", "woodcut")))
        await parts.themes.create("secret", "Secret", visibility=Visibility.PRIVATE, person=ANN)
        hidden, _ = await parts.dreams.ask(request("a fox", theme="secret", study=("", "woodcut")))
        for dream, status in ((alone, 404), (hidden, 404), (plain, 200)):
            async with visitor.get(f"/d/{dream.id}/study") as response:
                assert response.status == status
        for path in ("/s/secret/words", "/s/nowhere/words"):
            async with visitor.get(path) as response:
                assert response.status == 404


async def test_near_words_are_offered_where_something_can_look(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        assert "data-add" not in await page(visitor, "/near?prompt=red")
        with_eyes(parts)
        await parts.seeing.word_vectors("colours")
        html = await page(visitor, "/near?prompt=a+fox+|+red:2")
        words = re.findall(r'data-add="([^"]+)"', html)
        assert len(words) == words_page.NEAR and "red" not in words
        assert "data-add" not in await page(visitor, "/near?prompt=")
        assert "Stuck?" in await page(visitor, "/near?stuck=1&prompt=red") and "Stuck" not in html
        # Who asks again and again is offered nothing for a while, and is not bothered about it.
        for _ in range(words_page.LOOKS):
            html = await page(visitor, "/near?prompt=red")
        assert "data-add" not in html and "notice" not in html


async def test_words_are_learnt_while_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words_page, "QUIET_S", 0.02)
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        eyes = with_eyes(parts)
        (dream,) = await parts.dreams.ask(request("a fox"))
        for _ in range(3):
            assert "data-add" not in await page(visitor, "/near?prompt=red")
            await asyncio.sleep(0.05)
        assert not eyes.asked, "nobody's picture waits for it"
        await parts.draw(dream.id)
        async with asyncio.timeout(20):
            while "data-add" not in await page(visitor, "/near?prompt=red"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        asked = [text for _, texts in eyes.asked for text in texts]
        assert len(set(asked)) == len(list_words()) and asked.count("abacus") == 1
    # They are kept: after a restart they are there at once.
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        with_eyes(parts)
        assert "data-add" in await page(visitor, "/near?prompt=red")


async def test_a_wall_for_watching_shows_words_and_draws_none(tmp_path: Path) -> None:
    settings = WallSettings(port=0, guests_may_ask=False)
    async with services(tmp_path) as parts, wall_on(parts, settings=settings) as visitor:
        with_eyes(parts)
        html = await page(visitor, "/s/open/words")
        assert len(shown(html)) == len(EVERY) and "Draw each" not in html
        status, _, _ = await study(visitor, prompt="a fox", own="old")
        assert status == 403 and not await parts.dreams.unfinished(None)
        assert "data-add" not in await page(visitor, "/near?prompt=red")


async def test_a_party_without_words_is_offered_some(tmp_path: Path) -> None:
    async with services(tmp_path) as parts, wall_on(parts, parties=parts.parties) as visitor:
        form = {"topic": "the sea & the shore", "name": "Ada"}
        async with visitor.post("/parties", data=form) as response:
            html = await response.text()
        assert "/near?stuck=1&amp;prompt=the%20sea%20%26%20the%20shore" in html
        assert "words.js" in html


def with_eyes(parts: Services) -> Colours:
    eyes = Colours()
    parts.drawer.perceptors = ("colours",)
    parts.drawer.embed = eyes.embed  # type: ignore[method-assign]
    return eyes
