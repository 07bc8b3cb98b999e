"""A party's slow show: the order of the evening, who is named, and who sees it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from bot.model import Visibility
from bot.rights import Actor
from bot.wall.party.slides import WORDS_AT_ONCE
from tests.wall.test_browser import ARGUMENTS, PATIENCE_MS, find_chromium
from tests.wall.test_party import Evening, evening_in


async def _evening(evening: Evening) -> tuple[str, str]:
    """Say, sketch, grow and vote; return the ids of the sketch and of what grew of it."""
    host, lin = await evening.host(), await evening.guest("Lin")
    assert await evening.post(lin, "words", words="silence") == 200
    assert await evening.post(host, "stage", stage="sketch") == 200
    sketch = await evening.drawn(lin, "a fox")
    assert await evening.post(host, "words", words="snow") == 200
    assert await evening.post(host, "stage", stage="elaborate") == 200
    assert await evening.post(host, f"picture/{sketch}/grow", words="in the snow") == 200
    (grown,) = await evening.parts.dreams.unfinished(None)
    await evening.finish(grown.id)
    assert await evening.post(host, "stage", stage="choose") == 200
    assert await evening.post(lin, f"picture/{grown.id}/favour") == 200
    return sketch, grown.id


async def _slides(evening: Evening) -> list[str]:
    """Return all slides of the show, as a guest without a cookie who has the code."""
    visitor = evening.visitor()
    status, first = await evening.get(visitor, "/show/slide")
    assert status == 200
    [total] = re.findall(r'data-total="(\d+)"', first)
    found = [(await evening.get(visitor, f"/show/slide?at={at}"))[1] for at in range(int(total))]
    assert (await evening.get(visitor, f"/show/slide?at={total}"))[1] == first
    return found


def _kind(slide: str) -> str:
    return slide.split('class="slide slide-')[1].split('"')[0]


async def test_the_show_goes_as_the_evening_went(tmp_path: Path) -> None:
    async with evening_in(tmp_path) as evening:
        await _evening(evening)
        slides = await _slides(evening)
        assert [_kind(slide) for slide in slides] == [
            "title", "stage", "words", "stage", "picture", "words", "stage", "picture",
            "tree", "stage", "standing", "thanks",
        ]  # fmt: skip
        for at, told in (
            (0, "loneliness"), (1, "Gather"), (2, "silence"), (3, "Sketch"), (4, "a fox"),
            (5, "snow"), (6, "Elaborate"), (7, "<em>, in the snow</em>"), (9, "Choose"),
        ):  # fmt: skip
            assert told in slides[at], at
        assert "It came of: a fox" in slides[7] and "Lin" in slides[4]
        assert slides[10].count('class="place"') == 1
        # Without script, links lead from slide to slide, and from the last to the first.
        _, page = await evening.get(evening.visitor(), "/show?at=11")
        assert 'href="/p/' + evening.code + '/show?at=0"' in page and "12 of 12" in page


async def test_who_does_not_want_to_be_named_is_not(tmp_path: Path) -> None:
    async with evening_in(tmp_path) as evening:
        await _evening(evening)
        lin = evening.sessions[1]
        assert await evening.post(lin, "credit", credited="0") == 200
        slides = await _slides(evening)
        assert not any("Lin" in slide for slide in slides)
        assert "Ada" in slides[-1]


async def test_what_was_deleted_is_in_no_slide(tmp_path: Path) -> None:
    async with evening_in(tmp_path) as evening:
        sketch, _ = await _evening(evening)
        dream = await evening.parts.dreams.get(sketch)
        await evening.parts.dreams.delete(sketch, Actor(dream.person))
        slides = await _slides(evening)
        assert [_kind(slide) for slide in slides].count("picture") == 1
        assert not any(sketch in slide or "It came of" in slide for slide in slides)


async def test_winners_come_last_and_the_best_at_the_very_end(tmp_path: Path) -> None:
    async with evening_in(tmp_path) as evening:
        sketch, grown = await _evening(evening)
        host = evening.sessions[0]
        assert await evening.post(host, "stage", stage="finale") == 200
        form = [("dream", sketch), ("dream", grown)]
        async with host.post(f"/p/{evening.code}/finale", data=form) as response:
            assert response.status == 200
        slides = await _slides(evening)
        assert [_kind(slide) for slide in slides][-4:] == ["stage", "winner", "winner", "thanks"]
        assert "favourite of the evening" in slides[-2] and "in the snow" in slides[-2]
        assert "favourite of the evening" not in slides[-3]


async def test_only_who_may_open_the_big_screen_sees_the_show(tmp_path: Path) -> None:
    async with evening_in(tmp_path) as evening:
        host = await evening.host()
        lin = await evening.guest("Lin")
        assert (await evening.get(lin, "/show"))[0] == 200
        visitor = evening.visitor()
        async with visitor.get("/p/wrongcod/show") as response:
            assert response.status == 404
        assert await evening.post(host, f"members/{await evening.mark('Lin')}/remove") == 200
        for path in ("/show", "/show/slide"):
            assert (await evening.get(lin, path))[0] == 404
        theme = (await evening.party()).theme_id
        slug = (await evening.parts.themes.by_id(theme)).slug
        await evening.parts.themes.change(slug, visibility=Visibility.PRIVATE)
        assert (await evening.get(host, "/show"))[0] == 404


async def test_many_words_come_in_handfuls(tmp_path: Path) -> None:
    async with evening_in(tmp_path) as evening:
        host = await evening.host()
        for number in range(WORDS_AT_ONCE + 1):
            assert await evening.post(host, "words", words=f"word {number}") == 200
        kinds = [_kind(slide) for slide in await _slides(evening)]
        assert kinds == ["title", "stage", "words", "words", "thanks"]


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    path = find_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.mark.browser
async def test_it_goes_by_itself_and_by_keys(browser: Browser, tmp_path: Path) -> None:
    async with evening_in(tmp_path) as evening:
        sketch, _ = await _evening(evening)
        page = await browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.clock.install()
        await page.goto(str(evening.url.with_path(f"/p/{evening.code}/show")) + "#play")
        place, slide = page.locator("#place"), page.locator(".slide").last
        await expect(page.get_by_role("button", name="Pause")).to_be_visible()
        await page.clock.run_for(7000)
        await expect(place).to_have_text("2 of 12")
        await page.keyboard.press("Space")
        await page.clock.run_for(60_000)
        await expect(place).to_have_text("2 of 12")
        for key, shown in (
            ("End", "12 of 12"),
            ("ArrowRight", "1 of 12"),
            ("ArrowLeft", "12 of 12"),
        ):
            await page.keyboard.press(key)
            await expect(place).to_have_text(shown)
        await page.keyboard.press("Home")
        for number in range(2, 6):
            await page.keyboard.press("ArrowRight")
            await expect(place).to_have_text(f"{number} of 12")
        await expect(slide.get_by_alt_text("a fox")).to_be_visible()
        # What is deleted goes from the show while it is looked at.
        dream = await evening.parts.dreams.get(sketch)
        await evening.parts.dreams.delete(sketch, Actor(dream.person))
        await expect(page.get_by_alt_text("a fox", exact=True)).to_have_count(0)
        assert complaints == []
