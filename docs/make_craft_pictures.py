"""Draw what docs/craft.md shows: run it and it writes them anew.

    .venv/bin/python docs/make_craft_pictures.py [--out docs/images]

Starts everything in an empty folder with the starter models, as `make_screenshots.py` does. The
studies' seed is fixed, so that they come out the same; nothing is chosen among pictures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from aiohttp import ClientSession
from make_screenshots import ARGUMENTS, PEOPLE, save
from playwright.async_api import Page, async_playwright
from yarl import URL

from bot.app import make_wall
from bot.config import Config
from bot.craft import associations
from bot.model import DreamRequest
from bot.services import Services, services

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


async def main() -> int:
    """Run it all; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    out: Path = parser.parse_args().out
    chromium = os.environ.get("DREAMSTREAM_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("There is no Chromium here: install it, or set DREAMSTREAM_CHROMIUM.")
        return 1
    config = Config.model_validate({"wall": {"port": 0}})
    with tempfile.TemporaryDirectory() as folder:
        async with services(config, Path(folder)) as parts:
            while not parts.supervisor.engines:  # noqa: ASYNC110 -- a first start tells nobody
                await asyncio.sleep(0.2)
            wall = make_wall(config, parts)
            assert wall is not None
            url = await wall.start()
            try:
                for word in WORDS:
                    print(f"{word}: {', '.join(await associations(parts.seeing, word, 8))}")
                pair = await draw(parts, *PAIR)
                await fetch(url, pair, out / "word.webp")
                study = await draw(parts, *STUDY)
                await fetch(url, study, out / "study.webp")
                async with async_playwright() as playwright:
                    browser = await playwright.chromium.launch(
                        executable_path=chromium, args=ARGUMENTS
                    )
                    page = await browser.new_page(viewport={"width": 1440, "height": 900})
                    await tick(page, url)
                    save(await page.screenshot(animations="disabled"), out / "words.png", 0.8)
                    await page.set_viewport_size({"width": 390, "height": 844})
                    await page.goto(str(url.join(URL("/s/open"))))
                    await page.locator("#prompt").press_sequentially("a lighthouse", delay=20)
                    await page.locator(".near button").first.wait_for()
                    save(await page.screenshot(animations="disabled"), out / "near-phone.png", 1.0)
                    await browser.close()
            finally:
                await wall.stop()
    return 0


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
    for dream in dreams:
        ended = await parts.dreams.wait(dream.id)
        print(f"{ended.prompt}: {ended.state.value} {ended.reason}", flush=True)
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
    sys.exit(asyncio.run(main()))
