"""A bundle in a real Chromium, opened from its folder, with no network and no scripts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Request, ViewportSize, async_playwright

from bot.publish import building
from bot.publish.story import of_party
from tests.bot.test_parties import room
from tests.bot.test_publishing import evening
from tests.wall.test_browser import ARGUMENTS, find_chromium

pytestmark = pytest.mark.browser

PHONE, DESKTOP = ViewportSize(width=360, height=740), ViewportSize(width=1280, height=900)
# The ratio of luminances as WCAG 2.2 defines it (success criterion 1.4.3), of all that has text.
CONTRAST = """() => {
  const part = value => (value /= 255) <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const read = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const [r, g, b, alpha = 1] = read(getComputedStyle(node).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll('body *')) {
    const text = [...node.childNodes].some(one => one.nodeType === 3 && one.data.trim());
    if (!text || node.closest('.skip, video')) continue;
    const pair = [light(read(getComputedStyle(node).color)), light(ground(node))].sort();
    const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
    if (ratio < 4.5) low.push(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
  }
  return low;
}"""


async def test_it_opens_from_its_folder_without_network_or_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "film_of", lambda *_: False)
    chromium = find_chromium()
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        record = await r.parties.record(await r.parties.get(party_id))
        into = tmp_path / "out"
        made = await asyncio.to_thread(building.bundle, of_party(record), r.s.library, into)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for size, scheme in ((PHONE, "dark"), (DESKTOP, "light")):
            asked: list[str] = []

            def note(request: Request, asked: list[str] = asked) -> None:
                asked.append(request.url)

            page = await browser.new_page(
                viewport=size,
                color_scheme="dark" if scheme == "dark" else "light",
                offline=True,
            )
            page.on("request", note)
            await page.goto(made.index.as_uri())
            for path in ("index.html", "pictures.html", "tree.html", "p/3.html"):
                await page.goto((into / path).as_uri())
                await page.evaluate("for (const one of document.images) one.loading = 'eager'")
                await page.wait_for_function("[...document.images].every(one => one.complete)")
                assert await page.evaluate("[...document.images].every(one => one.naturalWidth)")
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= size["width"], path
                assert await page.evaluate(CONTRAST) == [], path
            assert asked and all(url.startswith("file://") for url in asked)
            await page.close()
        # By the keyboard alone, without scripts: from the first page to a picture, and back.
        context = await browser.new_context(java_script_enabled=False, viewport=DESKTOP)
        page = await context.new_page()
        await page.goto(made.index.as_uri())
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")  # past what all pages begin with
        await page.get_by_role("link", name="in the snow").first.focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/p/3.html")
        await page.get_by_role("link", name="loneliness").click()
        await page.wait_for_url("**/index.html")
        await browser.close()
