"""Take the pictures of the wall that the documentation shows, of the real program at work.

    .venv/bin/python docs/make_screenshots.py [--out docs/images] [--steps N] [--pictures K]

Starts everything in an empty folder (the starter models, the wall on a free port), asks for
dreams as different people, and photographs the pages in Chromium. Needs Debian's `chromium` (or
DREAMSTREAM_CHROMIUM) and takes some minutes on a laptop's processor.
"""

from __future__ import annotations

import argparse
import asyncio

from picture_making import (
    DESK,
    PEOPLE,
    SCREEN,
    chromium,
    drawn,
    options,
    picture,
    program,
    save_png,
    wall,
)
from playwright.async_api import Browser, ViewportSize
from yarl import URL

from bot.model import Dream, DreamRequest, Theme
from bot.services import Services

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
    "watch": ("/s/{slug}/watch", SCREEN, 0.75),
    "dream": ("/d/{dream}", DESK, 1.0),
}


async def main() -> None:
    """Take them all."""
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, help="fewer are quicker")
    parser.add_argument("--engine", help="another than the default")
    parser.add_argument("--pictures", type=int, default=24, help="how many are drawn first")
    chosen = parser.parse_args()
    async with chromium() as browser, program() as parts, wall(parts) as url:
        await photograph(browser, url, parts, chosen)


async def photograph(
    browser: Browser, url: URL, parts: Services, chosen: argparse.Namespace
) -> None:
    """Fill the stream, have some dreams form, and take every screen."""
    theme = (await parts.themes.list())[0]
    asked = [
        await ask(parts, theme, PROMPTS[number % len(PROMPTS)], number, chosen)
        for number in range(chosen.pictures)
    ]
    await drawn(parts, asked)
    again = await parts.dreams.redo(asked[0].id, PEOPLE[1], same_seed=False)
    await drawn(parts, [again])
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
    for name, page in pages.items():
        await page.wait_for_function(
            "[...document.images].every(image => image.complete || image.loading === 'lazy')"
        )
        shown = picture(await page.screenshot(animations="disabled"))
        save_png(shown, chosen.out / f"{name}.png", min(1.0, SCREENS[name][2]))


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


if __name__ == "__main__":
    asyncio.run(main())
