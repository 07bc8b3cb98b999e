"""The page of words on a phone, and near words while somebody types."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from bot.wall import words_page
from tests.bot.test_ranking import Eyes
from tests.wall.conftest import Scene
from tests.wall.test_browser import (  # fixtures are taken by name
    Visitor,
    browser,
    people,
    scene,
)

__all__ = ["browser", "people", "scene"]
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_words_are_offered_found_ticked_and_taken_along(
    scene: Scene, people: list[Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def near(_eyes: Any, text: str, *_: Any, **__: Any) -> list[str]:
        return [f"{text} one", "wharf"]

    async def knows(_eyes: Any, _perceptor: str) -> bool:
        return True

    monkeypatch.setattr(words_page, "associations", near)
    monkeypatch.setattr(Eyes, "knows_words", knows)
    page = await people[1].open()
    box = page.get_by_label("What shall be dreamt?")
    await box.press_sequentially("a boat")
    await expect(page.get_by_role("button", name="a boat one")).to_be_visible()
    await page.get_by_role("button", name="wharf").tap()
    await expect(box).to_have_value("a boat, wharf")
    await expect(page.get_by_role("button", name="wharf")).to_have_count(0)
    # What was typed goes along to the words, and comes back with those that were ticked.
    await page.get_by_role("link", name="Words to try").tap()
    await expect(page.get_by_label("What shall be drawn?")).to_have_value("a boat, wharf")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shown = page.locator(".word:visible")
    assert await shown.count() > 120
    await page.get_by_label("Find words").fill("waterc")
    await expect(shown).to_have_count(1)
    await shown.tap()
    await page.get_by_label("Find words").fill("nothing is called so")
    await expect(shown).to_have_count(1)  # what is ticked stays in sight
    await page.get_by_label("Find words").fill("composition")
    await page.locator(".word", has_text="symmetrical").tap()
    await expect(page.get_by_text("2 ticked.")).to_have_count(1)
    await page.get_by_role("button", name="Use together").tap()
    await page.wait_for_url(re.compile(r"/s/planets\?"))
    await expect(page.get_by_label("What shall be dreamt?")).to_have_value(
        "a boat, wharf, watercolour, symmetrical"
    )
