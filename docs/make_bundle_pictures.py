"""Hold an evening and publish it: what docs/publishing.md shows. Run it and it writes it anew.

    .venv/bin/python docs/make_bundle_pictures.py [--out docs/images] [--data FOLDER]

Starts everything in an empty folder with the starter models, lets five people hold a party, makes
its bundle, and photographs that in Chromium from its folder, as somebody sees it who unpacked it.
With `--data` the folder stays. Seeds are drawn by chance; nothing is chosen among the pictures.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from picture_making import (
    PEOPLE,
    beside,
    chromium,
    drawn,
    options,
    picture,
    program,
    save_webp,
)
from playwright.async_api import Browser, ViewportSize

from bot.model import Dream
from bot.parties.model import AssociationKind, Party, Stage
from bot.publish.model import Bundle
from bot.rights import Actor
from bot.services import Services

HOST, *GUESTS = [Actor(person) for person in PEOPLE]
SAID = (
    ("a sailboat on the sea", AssociationKind.IDEA),
    ("a beach", AssociationKind.IDEA),
    ("an octopus under the sea", AssociationKind.IDEA),
    ("an island", AssociationKind.IDEA),
    ("watercolour", AssociationKind.STYLE),
    ("William Turner", AssociationKind.ARTIST),
)
SKETCHED = (0, 1, 2)
GROWN = ((0, "at sunset"), (0, "in a storm"), (1, "under a pink sky"))
SIZES = (ViewportSize(width=1280, height=1000), ViewportSize(width=390, height=1000))


async def main() -> None:
    """Hold the evening, and take its bundle's picture."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, help="a folder to keep the evening in")
    chosen = parser.parse_args()
    async with chromium() as browser, program(chosen.data) as parts:
        party = await hold(parts)
        await parts.publishing.make(party.id, HOST)
        made = await parts.publishing.wait(party.id)
        print(f"{made.folder}: {made.pictures} pictures, film: {made.film is not None}")
        await photograph(browser, made, chosen.out / "bundle.webp")


async def hold(parts: Services) -> Party:
    """Hold the evening, from the first word to the finale."""
    parties = parts.parties
    party = await parties.start("the sea", HOST, theme=(await parts.themes.list())[0])
    for guest in GUESTS:
        await parties.join(party, guest, code=party.code)
    people = [HOST, *GUESTS]
    said = [
        await parties.associate(party, people[number % len(people)], words, kind)
        for number, (words, kind) in enumerate(SAID)
    ]
    await parties.associate(party, GUESTS[1], SAID[1][0])
    await parties.move(party, HOST, Stage.SKETCH)
    sketches: list[Dream] = []
    for number in SKETCHED:
        asked = await parties.draw(
            party, people[number], association_ids=[said[number].id], count=2
        )
        sketches.append(asked[0])
    await drawn(parts, sketches)
    await parties.move(party, HOST, Stage.ELABORATE)
    grown = [
        await parties.grow(party, people[2 + place], sketches[number].id, words)
        for place, (number, words) in enumerate(GROWN)
    ]
    await drawn(parts, grown)
    further = await parties.grow(party, HOST, grown[0].id, "watercolour")
    await drawn(parts, [further])
    await parties.move(party, HOST, Stage.CHOOSE)
    for person in people[:4]:
        await parties.favour(party, person, further.id)
    await parties.favour(party, people[1], grown[2].id)
    await parties.give_points(party, people[4], {grown[2].id: 3, sketches[2].id: 2})
    await parties.move(party, HOST, Stage.FINALE)
    await parties.finale(party, HOST, [further.id, grown[2].id])
    while not all(one.done for one in await parties.finale_of(party)):  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    for one in await parties.finale_of(party):
        await parts.dreams.wait(one.best_id)
    await parties.credit(party, GUESTS[3].person, False)
    return await parties.move(party, HOST, Stage.PUBLISHED)


async def photograph(browser: Browser, made: Bundle, path: Path) -> None:
    """Photograph the first page as a desktop and a phone show it, side by side."""
    shots = []
    for size in SIZES:
        page = await browser.new_page(viewport=size)
        await page.goto(made.index.as_uri())
        shots.append(picture(await page.screenshot(animations="disabled")))
    save_webp(beside(shots, ground="#888888"), path, 85)


if __name__ == "__main__":
    asyncio.run(main())
