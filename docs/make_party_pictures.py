"""Take the pictures of a party that the documentation shows, of the real program at work.

    .venv/bin/python docs/make_party_pictures.py [--out docs/images] [--engine diffusion]

Starts everything in an empty folder, plays an evening with a few guests, and photographs a phone,
the host's desk and the big screen in Chromium (Debian's `chromium`, or DREAMSTREAM_CHROMIUM).
Takes some minutes on a laptop's processor.
"""

from __future__ import annotations

import argparse
import asyncio

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
from PIL import Image
from playwright.async_api import Browser, Page
from yarl import URL

from bot.model import Dream
from bot.parties.model import AssociationKind, Party, Stage
from bot.rights import Actor
from bot.services import Services

GUESTS = [Actor(person) for person in PEOPLE[2:]]
SAID = (
    ("silence", AssociationKind.IDEA),
    ("a sailboat far out", AssociationKind.IDEA),
    ("watercolour", AssociationKind.STYLE),
    ("Caspar David Friedrich", AssociationKind.ARTIST),
    ("snow", AssociationKind.IDEA),
    ("a lake at night", AssociationKind.IDEA),
    ("Hokusai", AssociationKind.ARTIST),
    ("blue hour", AssociationKind.STYLE),
    ("a red balloon that flew away", AssociationKind.IDEA),
)
SKETCHES = ("a sailboat on the sea", "snowy mountains", "a red balloon", "a beach at sunset")
GROWTH = ("at sunset", "under a pink sky", "at night")
QUALITY = 80


async def main() -> None:
    """Hold the party, and take its pictures."""
    parser = options(__doc__)
    parser.add_argument("--engine", default="diffusion")
    chosen = parser.parse_args()
    async with chromium() as browser, program() as parts, wall(parts) as url:
        await play(browser, url, parts, chosen)


async def play(browser: Browser, url: URL, parts: Services, chosen: argparse.Namespace) -> None:
    """Hold the party, and take a picture of what is to be seen at each stage."""
    parties = parts.parties
    await parts.themes.change("open", engine=chosen.engine)
    phones: list[Image.Image] = []
    desk, phone, screen = [
        await (await browser.new_context(viewport=size)).new_page()
        for size in (DESK, PHONE, SCREEN)
    ]
    code = await open_party(desk, url)
    await phone.goto(str(url.join(URL(f"/p/{code}"))))
    await phone.get_by_label("Your name").fill("Lin")
    await phone.get_by_role("button", name="Come in").click()
    await screen.goto(str(url.join(URL(f"/p/{code}/screen"))))

    party = await parties.by_code(code)
    host = Actor(party.host)
    for guest in GUESTS:
        await parties.join(party, guest, code=code)
    for number, (words, kind) in enumerate(SAID):
        await parties.associate(party, GUESTS[number % len(GUESTS)], words, kind)
    for guest in GUESTS:
        await parties.associate(party, guest, "silence")
    await screen.wait_for_selector(".sky .times-3")
    phones.append(await taken(phone))
    save_webp(await taken(screen), chosen.out / "party-gather.webp", QUALITY)

    party = await moved(parts, party, host, Stage.SKETCH, desk, phone, screen)
    sketches: list[Dream] = []
    for number, words in enumerate(SKETCHES):
        sketches += await parties.draw(party, GUESTS[number % len(GUESTS)], words, count=3)
    await drawn(parts, sketches)
    phones.append(await taken(phone))
    save_webp(await taken(screen), chosen.out / "party-sketch.webp", QUALITY)

    party = await moved(parts, party, host, Stage.ELABORATE, desk, phone, screen)
    root = sketches[0]
    grown = [await parties.grow(party, GUESTS[1], root.id, GROWTH[0])]
    await drawn(parts, grown)
    grown += [
        await parties.grow(party, GUESTS[number], grown[0].id, words)
        for number, words in ((2, GROWTH[1]), (0, "with snowy mountains"))
    ]
    grown.append(await parties.grow(party, GUESTS[0], sketches[3].id, GROWTH[2]))
    await drawn(parts, grown)
    phones.append(await taken(phone))
    save_webp(await taken(screen), chosen.out / "party-elaborate.webp", QUALITY)

    party = await moved(parts, party, host, Stage.CHOOSE, desk, phone, screen)
    for guest, dream in zip(GUESTS, (grown[1], grown[1], grown[2]), strict=True):
        await parties.favour(party, guest, dream.id)
    points = {grown[0].id: 2, sketches[4].id: 2, sketches[8].id: 1}
    await parties.give_points(party, GUESTS[0], points)
    await screen.wait_for_selector(".podium .place")
    phones.append(await taken(phone))
    save_webp(await taken(desk), chosen.out / "party-desk.webp", QUALITY)
    save_webp(beside(phones), chosen.out / "party-phones.webp", QUALITY)


async def moved(parts: Services, party: Party, host: Actor, stage: Stage, *pages: Page) -> Party:
    """Move the party on; wait until every page has followed."""
    party = await parts.parties.move(party, host, stage)
    for page in pages:
        await page.wait_for_selector(f"body.at-{stage}, body.screen-{stage}")
    return party


async def taken(page: Page) -> Image.Image:
    """Return a photograph of a page, once what was to come has come."""
    await page.wait_for_timeout(2500)
    return picture(await page.screenshot(animations="disabled"))


if __name__ == "__main__":
    asyncio.run(main())
