"""Take the pictures of the wall that the documentation shows, of the real program at work.

    .venv/bin/python docs/make_screenshots.py [--out docs/images] [--steps N] [--pictures K]

Starts everything in an empty folder (the starter models, the wall on a free port), asks for
dreams as different people, and photographs the pages in Chromium. Needs Debian's `chromium` (or
DREAMSTREAM_CHROMIUM) and takes some minutes on a laptop's processor.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, ViewportSize, async_playwright
from yarl import URL

from bot.app import make_wall
from bot.config import Config
from bot.model import Dream, DreamRequest, Person, Theme
from bot.services import Services, services

MAX_BYTES = 400_000
PEOPLE = [Person(f"local:{name.lower()}", name) for name in ("Ada", "Lin", "Mbali", "José", "Noor")]
PROMPTS = (
    "the sea at sunset",
    "snowy mountains under a blue sky",
    "a forest in autumn",
    "a red apple",
    "a beach on a sunny day",
    "green hills at sunrise",
    "an erupting volcano at night",
    "an octopus under the sea",
    "northern lights over mountains",
    "a flower meadow in the morning",
    "a city skyline at night",
    "two red balloons",
    "mountains behind a lake at sunset",
    "sand dunes under a pink sky",
    "a snowy forest at dusk",
    "a sailboat on the sea at sunset",
)
FORMING = (
    "a beach under a pink sky",
    "a forest in autumn, watercolour",
    "snowy mountains at sunrise",
    "a strawberry",
)
SCREENS = {
    "wall": ("/s/{slug}", ViewportSize(width=1440, height=1080), 1.0),
    "watch": ("/s/{slug}/watch", ViewportSize(width=1920, height=1080), 0.75),
    "dream": ("/d/{dream}", ViewportSize(width=1440, height=900), 1.0),
}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


async def main() -> int:
    """Run it all; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--steps", type=int, help="fewer are quicker")
    parser.add_argument("--engine", help="another than the default")
    parser.add_argument("--pictures", type=int, default=24, help="how many are drawn first")
    chosen = parser.parse_args()
    chromium = os.environ.get("DREAMSTREAM_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("There is no Chromium here: install it, or set DREAMSTREAM_CHROMIUM.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        config = Config.model_validate({"wall": {"port": 0}, "limits": {"waiting_per_person": 200}})
        async with services(config, Path(folder)) as parts, async_playwright() as playwright:
            wall = make_wall(config, parts)
            assert wall is not None
            url = await wall.start()
            try:
                browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                await photograph(browser, url, parts, chosen)
                await browser.close()
            finally:
                await wall.stop()
    return 0


async def photograph(
    browser: Browser, url: URL, parts: Services, chosen: argparse.Namespace
) -> None:
    """Fill the stream, have some dreams form, and take every screen."""
    theme = (await parts.themes.list())[0]
    drawn = [
        await ask(parts, theme, PROMPTS[number % len(PROMPTS)], number, chosen)
        for number in range(chosen.pictures)
    ]
    for number, dream in enumerate(drawn, 1):
        ended = await parts.dreams.wait(dream.id)
        print(f"{number}/{len(drawn)} {ended.prompt}: {ended.state.value} {ended.reason}")
    again = await parts.dreams.redo(drawn[0].id, PEOPLE[1], same_seed=False)
    await parts.dreams.wait(again.id)
    pages = {}
    for name, (path, size, scale) in SCREENS.items():
        page = await browser.new_page(
            viewport=size,
            device_scale_factor=max(1.0, scale),
            bypass_csp=True,  # `wait_for_function` evaluates text in the page
        )
        address = str(url.join(URL(path.format(slug=theme.slug, dream=again.id))))
        # Open event streams never let the network fall idle: the pictures are waited for below.
        await page.goto(address)
        pages[name] = page
    forming = [
        await ask(parts, theme, prompt, number, chosen, slowly=True)
        for number, prompt in enumerate(FORMING)
    ]
    await until_seen(parts, forming[0])
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        await page.wait_for_function(
            "[...document.images].every(image => image.complete || image.loading === 'lazy')"
        )
        data = await page.screenshot(animations="disabled")
        save(data, chosen.out / f"{name}.png", min(1.0, SCREENS[name][2]))


async def ask(
    parts: Services,
    theme: Theme,
    prompt: str,
    number: int,
    chosen: argparse.Namespace,
    *,
    slowly: bool = False,
) -> Dream:
    """Ask for a dream as one of the people."""
    steps = chosen.steps
    if slowly:
        info = parts.supervisor.engines[0]
        steps = min(info.max_steps, 2 * (steps or info.default_steps))
    [dream] = await parts.dreams.ask(
        DreamRequest(
            theme=theme.slug,
            person=PEOPLE[number % len(PEOPLE)],
            prompt=prompt,
            engine=chosen.engine,
            steps=steps,
            seed=1000 + number,
        )
    )
    return dream


async def until_seen(parts: Services, dream: Dream) -> None:
    """Wait until there is something to see of a dream."""
    async with asyncio.timeout(1200):
        while True:
            live = parts.dreams.live(dream.id)
            if live is None or (live.preview_version and 3 * live.step >= live.steps):
                break
            await asyncio.sleep(0.1)


def save(data: bytes, path: Path, scale: float) -> None:
    """Write a screenshot as a PNG of moderate size: smaller where need be, then of 256 colours."""
    with Image.open(io.BytesIO(data)) as shot:
        picture = shot.convert("RGB")
    for colours, shrink in ((0, 1.0), (0, 0.85), (0, 0.7), (256, 0.85), (256, 0.6)):
        size = (round(picture.width * scale * shrink), round(picture.height * scale * shrink))
        small = picture.resize(size, Image.Resampling.LANCZOS)
        if colours:
            small = small.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG)
        out = io.BytesIO()
        small.save(out, "PNG", optimize=True)
        if out.tell() <= MAX_BYTES:
            break
    path.write_bytes(out.getvalue())
    print(f"{path}: {size[0]} × {size[1]}, {out.tell() // 1000} kB")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
