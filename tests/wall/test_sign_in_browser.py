"""Signing in on a phone: there and back in a real browser, and the top of the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.wall.test_browser import browser  # taken by name
from tests.wall.test_sign_in import ANN, standing

__all__ = ["browser"]
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_somebody_signs_in_and_out_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    async with standing(tmp_path) as stage:
        stage.discord.be(ANN, "Annabel of the very long name")
        context = await browser.new_context(
            viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True
        )
        page = await context.new_page()
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        await page.goto(str(stage.url / "s" / "planets"))
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert hosts == {stage.url.authority}  # Discord is asked for nothing until it is gone to
        await page.get_by_role("link", name="Sign in with Discord").tap()
        await page.get_by_role("link", name="Authorize").tap()
        await page.wait_for_url("**/s/planets")  # where it was begun
        await expect(page.get_by_role("link", name="Annabel of the very long name")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        (session,) = (one for one in await context.cookies() if one["name"] == "dreamer-session")
        assert session["httpOnly"] and session["sameSite"] == "Lax"
        assert "dreamer-session" not in await page.evaluate("document.cookie")
        await page.get_by_role("button", name="Sign out").tap()
        await expect(page.get_by_role("link", name="Sign in with Discord")).to_be_visible()
        assert "dreamer-session" not in {one["name"] for one in await context.cookies()}
        await context.close()
