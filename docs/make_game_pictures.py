"""Take the pictures of games and portraits that the documentation shows, of the program at work.

    .venv/bin/python docs/make_game_pictures.py [--out docs/images] [--engine diffusion] [--only …]

Starts everything in an empty folder, plays a round of each game with a few guests, has a portrait
drawn, plays a round at a party, and photographs a phone, a desk and the party's big screen in
Chromium (Debian's `chromium`, or DREAMSTREAM_CHROMIUM). Takes some minutes on a laptop's processor;
`--only` takes the pictures of one of these parts.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

from picture_making import (
    DESK,
    PEOPLE,
    PHONE,
    SCREEN,
    beside,
    chromium,
    drawn,
    open_party,
    options,
    picture,
    program,
    save_webp,
    wall,
)
from PIL import Image, ImageDraw
from playwright.async_api import Browser, Page, ViewportSize
from yarl import URL

from bot.games.model import MACHINE, Game
from bot.model import DreamRequest, Person
from bot.parties.model import Stage
from bot.rights import Actor
from bot.services import Services

GUESTS = [Actor(person) for person in PEOPLE[2:]]
DRAWN = "a sailboat on the sea"
STREAM = ("a red barn in the snow", "a lighthouse at night", "a strawberry", "snowy mountains")
SKETCHED = (
    *("snowy mountains", "a red balloon", "a beach at sunset"),
    *("a lighthouse on a cliff", "a red barn in the snow", "a strawberry"),
)
WORDS = "curly red hair, laughs loudly, always carries a notebook"
QUALITY = 82
SHOWN = """[...document.images].every((one) => one.complete
    || one.getBoundingClientRect().top > innerHeight)"""
SKY, SEA, HULL, SAIL = "#9cc9ea", "#2f6fde", "#7a4a2b", "#ffffff"
Points = Sequence[tuple[float, float]]
# What the phone's guest paints: colours by the names of the palette, and lines through parts of it.
STROKES: tuple[tuple[str, Points], ...] = (
    ("blue", [(0.02, 0.72), (0.3, 0.7), (0.6, 0.74), (0.98, 0.71)]),
    ("brown", [(0.3, 0.62), (0.7, 0.62), (0.62, 0.7), (0.38, 0.7), (0.3, 0.62)]),
    ("black", [(0.5, 0.62), (0.5, 0.2)]),
    ("red", [(0.51, 0.22), (0.72, 0.58), (0.51, 0.58), (0.51, 0.22)]),
)


async def main() -> None:
    """Take them all, or those of one part."""
    parser = options(__doc__)
    parser.add_argument("--engine", default="diffusion")
    parser.add_argument("--only", choices=list(PARTS))
    chosen = parser.parse_args()
    async with chromium() as browser, program() as parts, wall(parts) as url:
        await parts.themes.change("open", engine=chosen.engine)
        for name, take in PARTS.items():
            if chosen.only in (None, name):
                await take(browser, url, parts, chosen.out)


async def page_of(browser: Browser, viewport: ViewportSize) -> Page:
    """Return a page in a browser of its own, in which everything that is asked is answered yes."""
    scale = 2 if viewport is PHONE else 1
    context = await browser.new_context(viewport=viewport, device_scale_factor=scale)
    page = await context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    return page


async def games(browser: Browser, url: URL, parts: Services, out: Path) -> None:
    """Play a round of each game."""
    phone, desk = await page_of(browser, PHONE), await page_of(browser, DESK)
    dreams = [await dreamt(parts, words, GUESTS[0].person) for words in STREAM]

    await desk.goto(str(url.join(URL("/s/open/games"))))
    await desk.get_by_label("what is to be drawn?").fill(DRAWN)
    await desk.get_by_label("Your name").fill("Ada")
    await desk.get_by_role("button", name="Begin, all draw it").click()
    await desk.wait_for_selector("#board")
    game = await parts.games.get(desk.url.rpartition("/")[2])
    await phone.goto(desk.url)
    await paint(phone, STROKES)
    phones = [await taken(phone)]
    await phone.get_by_label("Your name").fill("Lin")
    await phone.get_by_role("button", name="Enter it").click()
    await phone.wait_for_selector("#mine img")
    for guest, painted in zip(GUESTS, (boat(), written(), boat(small=True)), strict=True):
        tried = await parts.games.enter_picture(game.id, guest, painted)
        print(f"{guest.person.name}: {tried.score:.1f}{' (words)' if tried.writing else ''}")
    await machine_entered(parts, game)
    await desk.get_by_role("button", name="End the game now").click()
    await desk.wait_for_selector("#board li.won img")
    await settled(desk)
    save_webp(await taken(desk), out / "game-draw-result.webp", QUALITY)
    await phone.wait_for_selector("#board li.won img")
    for one in await parts.games.standings(game.id):
        print(f"{one.place}. {one.entry.person.name} {one.entry.score}")

    for kind, label in (("say", "Play: say it"), ("guess", "Play: guess it")):
        await desk.goto(str(url.join(URL(f"/d/{dreams[0]}"))))
        await desk.get_by_role("button", name=label).click()
        await desk.wait_for_url("**/g/*")
        await phone.goto(desk.url)
        if kind == "say":
            await phone.get_by_label("Say it in your own words").fill("a house on a winter field")
            await phone.get_by_role("button", name="Say it").click()
            await phone.wait_for_selector(".told")
            await phone.evaluate("scrollTo(0, 0)")
        else:
            await phone.locator(".option").nth(1).click()
        await settled(phone)
        phones.append(await taken(phone))
    save_webp(small(phones), out / "game-phones.webp", QUALITY)


async def portrait(browser: Browser, url: URL, parts: Services, out: Path) -> None:
    """Have a portrait drawn."""
    phone = await page_of(browser, PHONE)
    await phone.goto(str(url.join(URL("/s/open/portrait"))))
    await phone.get_by_label("What are you like?").fill(WORDS)
    await phone.get_by_label("Your name").fill("Lin")
    phones = [await taken(phone)]
    await phone.get_by_role("button", name="Show me what would be kept").click()
    await phone.wait_for_selector(".terms")
    phones.append(await taken(phone))
    await phone.get_by_role("button", name="I agree: draw it").click()
    async with asyncio.timeout(600):
        await phone.wait_for_selector("#portraits img", timeout=600_000)
    await settled(phone)
    phones.append(await taken(phone))
    save_webp(small(phones), out / "portrait-phones.webp", QUALITY)


async def party(browser: Browser, url: URL, parts: Services, out: Path) -> None:
    """Play a round at a party, and photograph its big screen."""
    desk, screen = await page_of(browser, DESK), await page_of(browser, SCREEN)
    code = await open_party(desk, url)
    held = await parts.parties.by_code(code)
    host = Actor(held.host)
    for guest in GUESTS:
        await parts.parties.join(held, guest, code=code)
    held = await parts.parties.move(held, host, Stage.SKETCH)
    await screen.goto(str(url.join(URL(f"/p/{code}/screen"))))
    for number, words in enumerate(SKETCHED):
        await drawn(
            parts,
            await parts.parties.draw(held, GUESTS[number % len(GUESTS)], words, count=1),
        )

    theme = await parts.parties.theme_of(held)
    game = await parts.games.start_draw(theme, host, DRAWN, seconds=600)
    for guest, painted in zip(GUESTS, (boat(), written(), boat(small=True)), strict=True):
        await parts.games.enter_picture(game.id, guest, painted)
    await machine_entered(parts, game)
    await screen.get_by_text(f"{len(GUESTS) + 1} in it").wait_for()
    await settled(screen)
    save_webp(await taken(screen), out / "party-game.webp", QUALITY)
    await parts.games.end(game.id, host)
    await screen.wait_for_selector(".game-now.over img")
    await settled(screen)
    banner = picture(await screen.locator(".banner").screenshot())
    save_webp(banner, out / "party-game-result.webp", QUALITY)


PARTS = {"games": games, "portrait": portrait, "party": party}


async def dreamt(parts: Services, words: str, person: Person) -> str:
    """Have a picture drawn in the stream; return its dream's id."""
    request = DreamRequest(theme="open", person=person, prompt=words, seed=7)
    [dream] = await drawn(parts, await parts.dreams.ask(request))
    return dream.id


async def machine_entered(parts: Services, game: Game) -> None:
    """Wait until the machine's own picture is entered, too."""
    async with asyncio.timeout(600):
        while not any(  # noqa: ASYNC110 -- whatever it is tells nobody of itself
            one.entry.person.id == MACHINE.id and one.entry.image is not None
            for one in await parts.games.standings(game.id, MACHINE)
        ):
            await asyncio.sleep(0.5)


async def paint(page: Page, strokes: Sequence[tuple[str, Points]]) -> None:
    """Paint lines in the colours of the palette."""
    box = await page.locator(".painting .canvas").bounding_box()
    assert box is not None
    for colour, points in strokes:
        await page.get_by_role("button", name=colour, exact=True).click()
        box = await page.locator(".painting .canvas").bounding_box()
        assert box is not None
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        await page.mouse.move(*at[0])
        await page.mouse.down()
        for x, y in at[1:]:
            await page.mouse.move(x, y, steps=8)
        await page.mouse.up()


def boat(*, small: bool = False) -> bytes:
    """Draw what a guest might: a boat with sails on the sea."""
    shown = Image.new("RGB", (512, 512), SKY)
    draw = ImageDraw.Draw(shown)
    draw.rectangle((0, 360, 512, 512), fill=SEA)
    scale = 0.4 if small else 1.0
    x, y = 256, 360

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + scale * dx, y + scale * dy) for dx, dy in points]

    draw.polygon(at((-120, -40), (120, -40), (80, 20), (-80, 20)), fill=HULL)
    draw.polygon(at((6, -280), (120, -60), (6, -60)), fill=SAIL)
    draw.polygon(at((-6, -250), (-90, -60), (-6, -60)), fill="#d8352a")
    return png(shown)


def written() -> bytes:
    """Write the words instead of drawing them."""
    shown = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(shown)
    for line, words in enumerate(("a sailboat", "on the sea")):
        draw.text((40, 150 + 110 * line), words, fill="black", font_size=84)
    return png(shown)


def png(shown: Image.Image) -> bytes:
    """Return a picture's file."""
    out = io.BytesIO()
    shown.save(out, "PNG")
    return out.getvalue()


async def settled(page: Page) -> None:
    """Wait until all pictures that a page shows are there, and nothing moves any more."""
    while not await page.evaluate(SHOWN):  # noqa: ASYNC110 -- the wall's policy lets no page poll
        await asyncio.sleep(0.2)
    await page.wait_for_timeout(700)


async def taken(page: Page) -> Image.Image:
    """Return what a page shows."""
    return picture(await page.screenshot())


def small(phones: Sequence[Image.Image]) -> Image.Image:
    """Put pictures of phones side by side, and smaller."""
    row = beside(phones, ground="#2a2733")
    return row.resize((row.width * 3 // 5, row.height * 3 // 5), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    asyncio.run(main())
