"""Going through a day in a real Chromium: by the slider, keys, a swipe, and by itself."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from bot.rights import Actor
from tests.bot.drawer import ANN
from tests.wall.test_browser import ARGUMENTS, PATIENCE_MS, PHONE, find_chromium
from tests.wall.test_watching import draw, walled

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PROMPTS = ("a red fox", "an owl in the snow", "a door in the sky", "two moons")
COLOURS = ("firebrick", "lightsteelblue", "goldenrod", "slateblue")
PICTURES = os.environ.get("DREAMSTREAM_SCREENSHOTS")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = find_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


async def _is_shown(page: Page, prompt: str, place: str) -> None:
    await expect(page.locator("#stage figure.shown .prompt").last).to_have_text(prompt)
    await expect(page.locator("#stage figure")).to_have_count(1)
    await expect(page.locator("#place")).to_have_text(place)


async def _keep(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png")


async def test_a_day_is_gone_through_in_every_way(browser: Browser, tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        for prompt, colour in zip(PROMPTS, COLOURS, strict=True):
            await draw(parts, prompt, colour=colour)
        async with visitor.get("/s/open/day") as response:
            url = str(response.url)
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        await page.goto(url)
        await _is_shown(page, "a red fox", "1 of 4")
        await _keep(page, "day-desktop")

        await page.get_by_role("slider", name="Picture").fill("3")
        await _is_shown(page, "two moons", "4 of 4")
        await page.locator("#main").focus()
        await page.keyboard.press("ArrowLeft")
        await _is_shown(page, "a door in the sky", "3 of 4")
        await page.keyboard.press("Home")
        await _is_shown(page, "a red fox", "1 of 4")
        stage = await page.locator("#stage").bounding_box()
        assert stage is not None
        x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
        await page.mouse.move(x, y)
        await page.mouse.down()
        await page.mouse.move(x - 120, y)
        await page.mouse.up()
        await _is_shown(page, "an owl in the snow", "2 of 4")
        await page.locator('#around [data-at="2"]').click()
        await _is_shown(page, "a door in the sky", "3 of 4")
        # The place is in the address: who sends it, or comes back, is there again.
        await page.reload()
        await _is_shown(page, "a door in the sky", "3 of 4")
        await page.get_by_role("button", name="Play").click()
        await _is_shown(page, "two moons", "4 of 4")
        await page.get_by_role("button", name="Pause").click()
        heart = page.locator("#heart button")
        await heart.click()
        await expect(heart).to_have_text("♥ 1")
        await page.locator("#before").click()
        await _is_shown(page, "a door in the sky", "3 of 4")
        await expect(heart).to_have_text("♡")
        await page.locator("#after").click()
        await _is_shown(page, "two moons", "4 of 4")
        await expect(heart).to_have_text("♥ 1")

        await page.set_viewport_size(PHONE)
        await _keep(page, "day-phone")
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(overflow) <= 0
        await page.set_viewport_size({"width": 3840, "height": 2160})
        await _keep(page, "day-4k")
        await page.goto(url.partition("/s/")[0] + "/all")
        await expect(page.locator("#finished .tile")).to_have_count(4)
        await page.set_viewport_size({"width": 1280, "height": 800})
        await _keep(page, "all-desktop")
        await context.close()
        assert complaints == []


async def test_what_is_deleted_meanwhile_is_shown_no_more(browser: Browser, tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        fox, owl, door, moons = [
            await draw(parts, prompt, colour=colour)
            for prompt, colour in zip(PROMPTS, COLOURS, strict=True)
        ]
        async with visitor.get("/s/open/day") as response:
            url = str(response.url)
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        async with page.expect_response(lambda answer: "/events" in answer.url):
            await page.goto(url)
        await page.locator("#after").click()
        await _is_shown(page, "an owl in the snow", "2 of 4")
        await parts.dreams.delete(owl, Actor(ANN))  # the one that is shown
        await _is_shown(page, "a door in the sky", "2 of 3")
        await expect(page.locator("#around .tile")).to_have_count(3)
        await parts.dreams.delete(fox, Actor(ANN))  # one that was shown, and is known to the page
        await expect(page.locator("#around .tile")).to_have_count(2)
        await page.locator("#around .tile").first.click()
        await _is_shown(page, "a door in the sky", "1 of 2")
        await page.locator("#after").click()
        await _is_shown(page, "two moons", "2 of 2")
        await parts.dreams.delete(moons, Actor(ANN))  # the last one
        await _is_shown(page, "a door in the sky", "1 of 1")
        await parts.dreams.delete(door, Actor(ANN))
        await expect(page.locator("#place")).to_have_text("0 of 0")
        await expect(page.locator("#stage figure, #around .tile")).to_have_count(0)
        await context.close()
        assert complaints == []


async def test_a_big_screen_asks_in_peace_for_pictures_that_do_not_come(
    browser: Browser, tmp_path: Path
) -> None:
    async with walled(tmp_path) as (parts, visitor):
        for prompt, colour in zip(PROMPTS, COLOURS, strict=True):
            await draw(parts, prompt, colour=colour)
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        async with visitor.get("/s/open/watch") as response:
            url = str(response.url)
        async with page.expect_response(lambda answer: "/events" in answer.url):
            await page.goto(url)
        asked: list[str] = []

        async def refuse(route: Route) -> None:
            asked.append(route.request.url)
            await route.fulfill(status=429)

        await page.route("**/i/**", refuse)
        await draw(parts, "a bridge", colour="seagreen")
        await expect(page.locator("#finished .tile")).to_have_count(5)
        await page.wait_for_timeout(2000)
        assert 1 <= len(asked) <= 3
        await page.close()


async def test_a_big_screen_goes_on_with_the_one_picture_that_is_left(
    browser: Browser, tmp_path: Path
) -> None:
    async with walled(tmp_path) as (parts, visitor):
        await draw(parts, PROMPTS[0], colour=COLOURS[0])
        newest = await draw(parts, PROMPTS[1], colour=COLOURS[1])
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        async with visitor.get("/s/open/watch") as response:
            url = str(response.url)
        async with page.expect_response(lambda answer: "/events" in answer.url):
            await page.goto(url)
        shown = page.locator("#hero figure .prompt")
        await expect(shown).to_have_text(PROMPTS[1])
        await parts.dreams.delete(newest, Actor(ANN))
        await expect(shown).to_have_text(PROMPTS[0])
        await expect(page.locator("#finished .tile")).to_have_count(1)
        await page.close()


async def test_what_is_deleted_leaves_an_open_study(browser: Browser, tmp_path: Path) -> None:
    async with walled(tmp_path) as (parts, visitor):
        data = {"prompt": "a fox", "own": "woodcut, etching, calm"}
        async with visitor.post("/s/open/study", data=data) as response:
            url = str(response.url)
        dreams = await parts.dreams.unfinished(None)
        for dream, colour in zip(dreams, COLOURS, strict=False):
            await parts.draw(dream.id, colour)
            await parts.dreams.wait(dream.id)
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        async with page.expect_response(lambda answer: "/events" in answer.url):
            await page.goto(url)
        await expect(page.locator("figure")).to_have_count(len(dreams))
        await parts.dreams.delete(dreams[1].id, Actor(dreams[1].person))
        await expect(page.locator("figure")).to_have_count(len(dreams) - 1)
        await page.close()
