"""Hold an evening and publish it: what docs/publishing.md shows. Run it and it writes it anew.

    .venv/bin/python docs/make_bundle_pictures.py [--out docs/images] [--data FOLDER]

Starts everything in an empty folder with the starter models, lets five people hold a party, makes
its bundle, and photographs that in Chromium from its folder, as somebody sees it who unpacked it.
With `--data` the folder stays. Seeds are drawn by chance; nothing is chosen among the pictures.
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

from make_screenshots import ARGUMENTS, PEOPLE
from PIL import Image
from playwright.async_api import ViewportSize, async_playwright

from bot.config import Config
from bot.model import Dream
from bot.parties.model import AssociationKind, Party, Stage
from bot.publish.model import Bundle
from bot.rights import Actor
from bot.services import Services, services

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
GAP_PX = 24
DESKTOP = ViewportSize(width=1280, height=1000)
PHONE = ViewportSize(width=390, height=1000)


async def main() -> int:
    """Run it all; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--data", type=Path, help="a folder to keep the evening in")
    chosen = parser.parse_args()
    chromium = os.environ.get("DREAMSTREAM_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("There is no Chromium here: install it, or set DREAMSTREAM_CHROMIUM.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        config = Config.model_validate({"wall": {"port": 0}, "limits": {"waiting_per_person": 50}})
        async with services(config, chosen.data or Path(folder)) as parts:
            while not parts.supervisor.engines:  # noqa: ASYNC110 -- a first start tells nobody
                await asyncio.sleep(0.2)
            party = await hold(parts)
            await parts.publishing.make(party.id, HOST)
            made = await parts.publishing.wait(party.id)
            print(f"{made.folder}: {made.pictures} pictures, film: {made.film is not None}")
            await photograph(made, chromium, chosen.out / "bundle.webp")
    return 0


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
    await done(parts, sketches)
    await parties.move(party, HOST, Stage.ELABORATE)
    grown = [
        await parties.grow(party, people[2 + place], sketches[number].id, words)
        for place, (number, words) in enumerate(GROWN)
    ]
    await done(parts, grown)
    further = await parties.grow(party, HOST, grown[0].id, "watercolour")
    await done(parts, [further])
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


async def done(parts: Services, dreams: list[Dream]) -> None:
    """Wait for pictures."""
    for dream in dreams:
        ended = await parts.dreams.wait(dream.id)
        print(f"{ended.prompt}: {ended.state.value} {ended.reason}", flush=True)


async def photograph(made: Bundle, chromium: str, path: Path) -> None:
    """Photograph the first page as a desktop and a phone show it, side by side."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        shots = []
        for size in (DESKTOP, PHONE):
            page = await browser.new_page(viewport=size)
            await page.goto(made.index.as_uri())
            shots.append(Image.open(io.BytesIO(await page.screenshot(animations="disabled"))))
        await browser.close()
    width = sum(shot.width for shot in shots) + GAP_PX
    both = Image.new("RGB", (width, max(shot.height for shot in shots)), "#888888")
    both.paste(shots[0], (0, 0))
    both.paste(shots[1], (shots[0].width + GAP_PX, 0))
    both.save(path, "WEBP", quality=85, method=6)
    print(path)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
