"""Draw what docs/offspring.md and docs/wall.md show of painting: run it and it writes them anew.

    .venv/bin/python docs/make_offspring_pictures.py [--out docs/images]

Starts everything in an empty folder with the starter models, as `make_screenshots.py` does, and
paints in Chromium with a mouse. Seeds of children are drawn by chance, so pictures differ a little
from run to run; nothing is chosen among them.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from make_screenshots import ARGUMENTS, PEOPLE, save
from PIL import Image
from playwright.async_api import async_playwright
from yarl import URL

from bot.app import make_wall
from bot.config import Config
from bot.model import Dream, DreamRequest
from bot.outpainting import Side
from bot.rights import Actor
from bot.services import Services, services

ACTOR = Actor(PEOPLE[0])
SEA, MOUNTAINS = "a sailboat on the sea at sunset", "snowy mountains under a blue sky"
BEACH = "a beach on a sunny day"
WEIGHTS = (0.25, 0.5, 0.75)
SIDE_PX = 256
GAP_PX = 8
STROKES = ((0.25, 0.22), (0.42, 0.2), (0.4, 0.32), (0.25, 0.33), (0.3, 0.27))


async def main() -> int:
    """Run it all; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    out: Path = parser.parse_args().out
    chromium = os.environ.get("DREAMSTREAM_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("There is no Chromium here: install it, or set DREAMSTREAM_CHROMIUM.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        config = Config.model_validate({"wall": {"port": 0}})
        async with services(config, Path(folder)) as parts:
            while not parts.supervisor.engines:  # noqa: ASYNC110 -- a first start tells nobody
                await asyncio.sleep(0.2)
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
            await paint(parts, beach, chromium, out / "repaint.png")
    return 0


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
    ended = await parts.dreams.wait(dream.id)
    print(f"{ended.prompt}: {ended.state.value} {ended.reason}")
    assert ended.image is not None
    return ended


async def write(parts: Services, dreams: Sequence[Dream], path: Path) -> None:
    """Write pictures side by side."""
    pictures = []
    for dream in dreams:
        assert dream.image is not None
        with Image.open(io.BytesIO(await parts.library.read(dream.image.sha256))) as opened:
            width = round(SIDE_PX * opened.width / opened.height)
            pictures.append(
                opened.convert("RGB").resize((width, SIDE_PX), Image.Resampling.BICUBIC)
            )
    width = sum(picture.width for picture in pictures) + GAP_PX * (len(pictures) - 1)
    row = Image.new("RGB", (width, SIDE_PX), "white")
    at = 0
    for picture in pictures:
        row.paste(picture, (at, 0))
        at += picture.width + GAP_PX
    row.save(path, "WEBP", quality=85, method=6)
    print(path)


async def paint(parts: Services, dream: Dream, chromium: str, path: Path) -> None:
    """Paint on a picture at the wall, and photograph the page."""
    wall = make_wall(Config.model_validate({"wall": {"port": 0}}), parts)
    assert wall is not None
    url = await wall.start()
    try:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
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
            await page.locator("textarea").fill(
                "a beach on a sunny day with a red balloon in the sky"
            )
            save(await page.screenshot(animations="disabled"), path, 1.0)
            await browser.close()
    finally:
        await wall.stop()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
