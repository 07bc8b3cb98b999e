"""A long stream in a real Chromium: what it holds is bounded, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from bot.model import Dream
from bot.rights import Actor
from bot.wall.pages import PAGE
from tests.wall.conftest import Scene, eventually, standing_scene
from tests.wall.test_browser import ARGUMENTS, PATIENCE_MS, find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PAGES = 4
# Tiles of three screens above and below the one in sight, and of the pages at their edges.
MOST = 150
SMALL = ViewportSize(width=360, height=480)
SHAPES = ((64, 64), (96, 64), (64, 64), (64, 96), (64, 64))
MOSAIC = "#finished .mosaic"
SHOWN = "[...document.querySelectorAll('#finished .tile')].map((tile) => tile.id)"
# How high the mosaics in sight are, by their places.
IN_SIGHT = """[...document.querySelectorAll('#finished .mosaic')].map((mosaic, place) =>
  [place, mosaic.getBoundingClientRect()]
).filter(([, box]) => box.top < innerHeight && box.bottom > 0).map(([place, box]) =>
  [place, box.height])"""
AWAY = """[...document.querySelectorAll('#finished .mosaic')].map((mosaic, place) =>
  [place, mosaic.getBoundingClientRect().height, mosaic.matches('.away')]
).filter(([, , away]) => away).map(([place, height]) => [place, height])"""

HELD_BACK = """[...document.querySelectorAll('#finished .mosaic.away')].some((mosaic) => {
  const box = mosaic.getBoundingClientRect();
  return box.top < innerHeight && box.bottom > 0; })"""
# Two screens a frame, all the way up; notes what was put away then and further than it keeps.
FLING = """async () => {
  window.passed_ = [...document.querySelectorAll('#finished .mosaic.away')].filter((mosaic) =>
    mosaic.getBoundingClientRect().bottom + scrollY > 8 * innerHeight);
  while (scrollY > 0) {
    scrollBy({ top: -2 * innerHeight, behavior: 'instant' });
    await new Promise(requestAnimationFrame);
  }
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = find_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


async def _to_the_end(page: Page) -> set[str]:
    """Scroll to the oldest picture; return all that were on the page on the way."""
    seen: set[str] = set()
    ended = False
    while not ended:
        await _all_in_sight(page)
        shown = await page.evaluate(SHOWN)
        assert len(shown) == len(set(shown)) <= MOST
        seen |= set(shown)
        ended = await page.evaluate(
            "() => { const before = scrollY; scrollBy(0, 1.5 * innerHeight);"
            " return scrollY === before && !document.querySelector('.older'); }"
        )
        await page.wait_for_timeout(20)
    return seen


async def _all_in_sight(page: Page) -> None:
    """Wait until nothing that is in sight is put away."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while await page.evaluate(HELD_BACK):  # noqa: ASYNC110 -- the policy lets no page poll
            await asyncio.sleep(0.02)


async def _keep_their_places(page: Page) -> None:
    """See that what is put away is as high as it is when it is there."""
    away = await page.evaluate(AWAY)
    assert away
    for place, height in away:
        await page.evaluate(
            f"() => document.querySelectorAll('{MOSAIC}')[{place}].scrollIntoView()"
        )
        await _all_in_sight(page)
        assert dict(await page.evaluate(IN_SIGHT))[place] == pytest.approx(height, abs=1)


async def test_a_long_stream_is_held_in_part_and_nothing_is_lost(
    browser: Browser, tmp_path: Path
) -> None:
    async with standing_scene(tmp_path) as scene:
        drawn = [
            await scene.draw(f"picture {number}", width=width, height=height)
            for number in range(PAGE * PAGES)
            for width, height in [SHAPES[number % len(SHAPES)]]
        ]
        context = await browser.new_context(viewport=SMALL, is_mobile=True, has_touch=True)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(str(scene.url.with_path("/s/planets")))
        await eventually(lambda: len(scene.feed.listeners) == 1)
        assert await _to_the_end(page) == {f"dream-{one.id}" for one in drawn}
        await _flung_past(page)
        await _to_the_end(page)
        await _keep_their_places(page)
        await _to_the_end(page)
        await _deleted_while_away(page, scene, drawn)
        await _comes_back_to(page, drawn)
        assert complaints == []
        await context.close()


async def _deleted_while_away(page: Page, scene: Scene, drawn: list[Dream]) -> None:
    """Delete a picture that is out of reach: it is not there either when one comes back to it."""
    gone, beside = drawn[-PAGE * 2], drawn[-PAGE * 2 - 1]
    assert f"dream-{gone.id}" not in await page.evaluate(SHOWN)
    await scene.dreams.delete(gone.id, Actor(gone.person))
    newest = await scene.draw("the newest")
    await expect(page.locator(f"#dream-{newest.id}")).to_have_count(1)
    passed = False
    for _ in range(200):
        shown = await page.evaluate(SHOWN)
        assert f"dream-{gone.id}" not in shown
        passed |= f"dream-{beside.id}" in shown
        # Not as a fling does, which puts nothing back.
        if await page.evaluate("() => { scrollBy(0, -innerHeight); return scrollY === 0; }"):
            break
        await _all_in_sight(page)
    assert passed, "never came by where it was"
    assert (await page.evaluate(SHOWN))[0] == f"dream-{newest.id}"


async def _flung_past(page: Page) -> None:
    """Fling upwards: what is passed stays put away, and where it ends all is there."""
    await page.evaluate(FLING)
    assert await page.evaluate("window.passed_.length") >= 2
    assert await page.evaluate("window.passed_.every((mosaic) => mosaic.matches('.away'))")
    await _all_in_sight(page)
    assert await page.evaluate("window.passed_.every((mosaic) => mosaic.matches('.away'))")


async def _comes_back_to(page: Page, drawn: list[Dream]) -> None:
    """Open a picture from far down and go back: it is in sight again, and has the focus."""
    await _to_the_end(page)
    tile = page.locator(f"#dream-{drawn[PAGE // 2].id}")
    await tile.scroll_into_view_if_needed()
    await tile.click()
    await expect(page.get_by_role("heading", name=drawn[PAGE // 2].prompt)).to_be_visible()
    await page.go_back()
    await expect(tile).to_be_in_viewport()
    await expect(tile).to_be_focused()
