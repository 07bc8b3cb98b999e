"""Painting in a game in a real Chromium: with a finger on a phone, while another looks on."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from yarl import URL

from tests.bot.test_games import playing
from tests.wall.test_browser import browser
from tests.wall.test_games import wall_on
from tests.wall.test_painting_browser import drag
from tests.wall.test_party_browser import DESK, PHONE, opened

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_what_is_painted_on_a_phone_is_entered_and_all_see_who_leads(
    browser: Browser, tmp_path: Path
) -> None:
    complaints: list[str] = []
    async with playing(tmp_path) as there, wall_on(there) as url:
        host = await opened(browser, DESK, complaints)
        await host.goto(str(url.join(URL("/s/open/games"))))
        await host.get_by_label("Draw it: what is to be drawn?").fill("red")
        await host.get_by_label("Your name").fill("Ada")
        await host.get_by_role("button", name="Begin, all draw it").click()
        await expect(host.locator("h1")).to_have_text("“red”")
        phone = await opened(browser, PHONE, complaints)
        await phone.goto(str(url.join(URL("/s/open/games"))))
        await phone.get_by_role("link", name="Draw it: “red”").click()
        await phone.get_by_role("button", name="Enter it").click()
        await expect(phone.locator("#notice")).to_contain_text("Paint something first")
        canvas = phone.locator(".painting .canvas")
        await phone.get_by_role("button", name="red", exact=True).click()
        await drag(phone, canvas, [(0.2, 0.2), (0.8, 0.8), (0.8, 0.2)])
        await phone.get_by_label("Your name").fill("Lin")
        await phone.get_by_role("button", name="Enter it").click()
        await expect(phone.locator("#mine")).to_contain_text("points")
        await expect(phone.locator("#mine img")).to_be_visible()
        await expect(phone.locator("#notice")).to_be_empty()
        # It comes to the other page by itself, and on the phone one knows which is one's own.
        await expect(host.locator("#board")).to_contain_text("Lin")
        await expect(host.locator("#board img")).to_have_count(0)
        await expect(phone.locator("#board li.own")).to_contain_text("Lin")
        width = await phone.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], "nothing is wider than the phone"
        host.on("dialog", lambda dialog: dialog.accept())
        await host.get_by_role("button", name="End the game now").click()
        for page in (host, phone):
            await expect(page.locator("#board-title")).to_have_text("The result")
            await expect(page.locator("#board li.won")).to_contain_text("Lin")
        await expect(host.locator("#board li.won img")).to_be_visible()
        assert complaints == []
