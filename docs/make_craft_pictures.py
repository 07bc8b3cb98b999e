"""Draw what docs/craft.md shows: run it and it writes them anew.

    .venv/bin/python docs/make_craft_pictures.py [--out docs/images]

Starts everything in an empty folder with the starter models. The studies' seed is fixed, so that
they come out the same; nothing is chosen among pictures.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import ClientSession
from picture_making import (
    DESK,
    PEOPLE,
    PHONE,
    chromium,
    drawn,
    options,
    picture,
    program,
    save_png,
    wall,
)
from playwright.async_api import Page
from yarl import URL

from bot.craft import associations
from bot.model import DreamRequest
from bot.services import Services

SEED = 4
PAIR = ("a forest by a lake", ("", "in fog"))
STUDY = (
    "a forest by a lake",
    (
        "at sunset",
        "at night",
        "in autumn",
        "in snow",
        "watercolour",
        "ink drawing",
        "stained glass",
        "sepia",
        "by Vincent van Gogh",
    ),
)
WORDS = ("lighthouse", "winter", "storm", "music", "love", "robot")


async def main() -> None:
    """Draw the studies, and photograph what is to be done with words."""
    out: Path = options(__doc__).parse_args().out
    async with chromium() as browser, program() as parts, wall(parts) as url:
        for word in WORDS:
            print(f"{word}: {', '.join(await associations(parts.seeing, word, 8))}")
        pair = await draw(parts, *PAIR)
        await fetch(url, pair, out / "word.webp")
        study = await draw(parts, *STUDY)
        await fetch(url, study, out / "study.webp")
        page = await browser.new_page(viewport=DESK)
        await tick(page, url)
        shown = picture(await page.screenshot(animations="disabled"))
        save_png(shown, out / "words.png", 0.8)
        await page.set_viewport_size(PHONE)
        await page.goto(str(url.join(URL("/s/open"))))
        await page.locator("#prompt").press_sequentially("a lighthouse", delay=20)
        await page.locator(".near button").first.wait_for()
        shown = picture(await page.screenshot(animations="disabled"))
        save_png(shown, out / "near-phone.png", 1.0)


async def draw(parts: Services, subject: str, words: tuple[str, ...]) -> str:
    """Have a study drawn; return the id of its first dream."""
    theme = (await parts.themes.list())[0]
    dreams = await parts.dreams.ask(
        DreamRequest(
            theme=theme.slug,
            person=PEOPLE[0],
            prompt=subject,
            engine="diffusion",
            study=words,
            seed=SEED,
        )
    )
    await drawn(parts, dreams)
    return dreams[0].id


async def fetch(url: URL, dream_id: str, path: Path) -> None:
    """Get a study as one picture from the wall, as a visitor does."""
    async with (
        ClientSession() as visitor,
        visitor.get(url.join(URL(f"/d/{dream_id}/study.webp"))) as response,
    ):
        response.raise_for_status()
        data = await response.read()
    await asyncio.to_thread(path.write_bytes, data)
    print(path)


async def tick(page: Page, url: URL) -> None:
    """Open the page of words, look for some and tick two."""
    await page.goto(str(url.join(URL("/words?prompt=a+forest+by+a+lake"))))
    await page.locator(".word", has_text="watercolour").click()
    await page.locator(".word", has_text="stained glass").click()
    await page.evaluate("scrollTo(0, 0)")
    await page.wait_for_function(
        "[...document.images].filter((i) => i.getBoundingClientRect().top < innerHeight)"
        ".every((i) => i.complete)"
    )


if __name__ == "__main__":
    asyncio.run(main())
