"""Draw what docs/offspring.md and docs/wall.md show of painting: run it and it writes them anew.

    .venv/bin/python docs/make_offspring_pictures.py [--out docs/images]

Starts everything in an empty folder with the starter models, and paints in Chromium with a mouse.
Seeds of children are drawn by chance, so pictures differ a little from run to run; nothing is
chosen among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from picture_making import (
    DESK,
    PEOPLE,
    beside,
    chromium,
    drawn,
    options,
    picture,
    program,
    save_png,
    save_webp,
    wall,
)
from PIL import Image
from playwright.async_api import Browser
from yarl import URL

from bot.model import Dream, DreamRequest
from bot.outpainting import Side
from bot.rights import Actor
from bot.services import Services

ACTOR = Actor(PEOPLE[0])
SEA, MOUNTAINS = "a sailboat on the sea at sunset", "snowy mountains under a blue sky"
BEACH = "a beach on a sunny day"
WEIGHTS = (0.25, 0.5, 0.75)
SIDE_PX = 256
GAP_PX = 8
STROKES = ((0.25, 0.22), (0.42, 0.2), (0.4, 0.32), (0.25, 0.33), (0.3, 0.27))


async def main() -> None:
    """Draw them all."""
    out: Path = options(__doc__).parse_args().out
    async with chromium() as browser, program() as parts, wall(parts) as url:
        sea, mountains, beach = [
            await ask(parts, prompt, seed)
            for prompt, seed in ((SEA, 3), (MOUNTAINS, 5), (BEACH, 4))
        ]
        blends = [
            await done(
                parts, await parts.offspring.blend(sea.id, mountains.id, ACTOR, weight=weight)
            )
            for weight in WEIGHTS
        ]
        await write(parts, [sea, *blends, mountains], out / "blend.webp")
        wide = await parts.offspring.extend(beach.id, ACTOR, Side.SIDES, 1.0)
        await write(parts, [beach, await done(parts, wide)], out / "extend.webp")
        await paint(browser, url, beach, out / "repaint.png")


async def ask(parts: Services, prompt: str, seed: int) -> Dream:
    """Have one drawn."""
    theme = (await parts.themes.list())[0]
    [dream] = await parts.dreams.ask(
        DreamRequest(
            theme=theme.slug, person=PEOPLE[0], prompt=prompt, engine="diffusion", seed=seed
        )
    )
    return await done(parts, dream)


async def done(parts: Services, dream: Dream) -> Dream:
    """Wait for its picture."""
    [ended] = await drawn(parts, [dream])
    assert ended.image is not None
    return ended


async def write(parts: Services, dreams: Sequence[Dream], path: Path) -> None:
    """Write pictures side by side."""
    pictures = []
    for dream in dreams:
        assert dream.image is not None
        whole = picture(await parts.library.read(dream.image.sha256))
        width = round(SIDE_PX * whole.width / whole.height)
        pictures.append(whole.resize((width, SIDE_PX), Image.Resampling.BICUBIC))
    save_webp(beside(pictures, gap_px=GAP_PX), path, 85)


async def paint(browser: Browser, url: URL, dream: Dream, path: Path) -> None:
    """Paint on a picture at the wall, and photograph the page."""
    page = await browser.new_page(viewport=DESK)
    await page.goto(str(url.join(URL(f"/d/{dream.id}/repaint"))))
    box = await page.locator(".canvas").bounding_box()
    assert box is not None
    across = [box["x"] + x * box["width"] for x, _ in STROKES]
    along = [box["y"] + y * box["height"] for _, y in STROKES]
    await page.mouse.move(across[0], along[0])
    await page.mouse.down()
    for x, y in zip(across[1:], along[1:], strict=True):
        await page.mouse.move(x, y, steps=8)
    await page.mouse.up()
    await page.locator("textarea").fill("a beach on a sunny day with a red balloon in the sky")
    save_png(picture(await page.screenshot(animations="disabled")), path, 1.0)


if __name__ == "__main__":
    asyncio.run(main())
