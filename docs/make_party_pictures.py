"""Take the pictures of a party that the documentation shows, of the real program at work.

    .venv/bin/python docs/make_party_pictures.py [--out docs/images] [--engine diffusion]

Starts everything in an empty folder, plays an evening with a few guests, and photographs a phone,
the host's desk and the big screen in Chromium (Debian's `chromium`, or DREAMSTREAM_CHROMIUM).
Takes some minutes on a laptop's processor.
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
from playwright.async_api import Browser, Page, ViewportSize, async_playwright
from yarl import URL

from bot.app import make_wall
from bot.config import Config
from bot.model import Dream, Person
from bot.parties.model import AssociationKind, Party, Stage
from bot.rights import Actor
from bot.services import Services, services

GUESTS = [Actor(Person(f"local:{name.lower()}", name)) for name in ("Mbali", "José", "Noor")]
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
SIZES = {
    "desk": ViewportSize(width=1440, height=900),
    "phone": ViewportSize(width=390, height=844),
    "screen": ViewportSize(width=1920, height=1080),
}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
GAP = 24


async def main() -> int:
    """Run it all; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--engine", default="diffusion")
    chosen = parser.parse_args()
    chromium = os.environ.get("DREAMSTREAM_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        print("There is no Chromium here: install it, or set DREAMSTREAM_CHROMIUM.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        config = Config.model_validate({"wall": {"port": 0}})
        async with services(config, Path(folder)) as parts, async_playwright() as playwright:
            wall = make_wall(config, parts)
            assert wall is not None
            url = await wall.start()
            try:
                browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
                await play(browser, url, parts, chosen)
                await browser.close()
            finally:
                await wall.stop()
    return 0


async def play(browser: Browser, url: URL, parts: Services, chosen: argparse.Namespace) -> None:
    """Hold the party, and take a picture of what is to be seen at each stage."""
    parties = parts.parties
    await parts.themes.change("open", engine=chosen.engine)
    phones: list[bytes] = []
    pages = {
        name: await (await browser.new_context(viewport=size)).new_page()
        for name, size in SIZES.items()
    }
    desk, phone, screen = pages["desk"], pages["phone"], pages["screen"]
    await desk.goto(str(url.join(URL("/parties/new"))))
    await desk.get_by_label("Topic").fill("loneliness")
    await desk.get_by_label("Your name").fill("Ada")
    await desk.get_by_role("button", name="Open the party").click()
    await desk.wait_for_selector(".desk")
    code = desk.url.rpartition("/")[2]
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
    save(await taken(screen), chosen.out / "party-gather.webp")

    party = await moved(parts, party, host, Stage.SKETCH, desk, phone, screen)
    drawn: list[Dream] = []
    for number, words in enumerate(SKETCHES):
        drawn += await parties.draw(party, GUESTS[number % len(GUESTS)], words, count=3)
    await finished(parts, drawn)
    phones.append(await taken(phone))
    save(await taken(screen), chosen.out / "party-sketch.webp")

    party = await moved(parts, party, host, Stage.ELABORATE, desk, phone, screen)
    root = drawn[0]
    grown = [await parties.grow(party, GUESTS[1], root.id, GROWTH[0])]
    await finished(parts, grown)
    grown += [
        await parties.grow(party, GUESTS[number], grown[0].id, words)
        for number, words in ((2, GROWTH[1]), (0, "with snowy mountains"))
    ]
    grown.append(await parties.grow(party, GUESTS[0], drawn[3].id, GROWTH[2]))
    await finished(parts, grown)
    phones.append(await taken(phone))
    save(await taken(screen), chosen.out / "party-elaborate.webp")

    party = await moved(parts, party, host, Stage.CHOOSE, desk, phone, screen)
    for guest, dream in zip(GUESTS, (grown[1], grown[1], grown[2]), strict=True):
        await parties.favour(party, guest, dream.id)
    points = {grown[0].id: 2, drawn[4].id: 2, drawn[8].id: 1}
    await parties.give_points(party, GUESTS[0], points)
    await screen.wait_for_selector(".podium .place")
    phones.append(await taken(phone))
    save(await taken(desk), chosen.out / "party-desk.webp")
    save(beside(phones), chosen.out / "party-phones.webp")


async def moved(parts: Services, party: Party, host: Actor, stage: Stage, *pages: Page) -> Party:
    """Move the party on; wait until every page has followed."""
    party = await parts.parties.move(party, host, stage)
    for page in pages:
        await page.wait_for_selector(f"body.at-{stage}, body.screen-{stage}")
    return party


async def finished(parts: Services, dreams: list[Dream]) -> None:
    """Wait until all are drawn."""
    for dream in dreams:
        ended = await parts.dreams.wait(dream.id)
        print(f"{ended.prompt}: {ended.state.value} {ended.reason}")


async def taken(page: Page) -> bytes:
    """Return a photograph of a page, once what was to come has come."""
    await page.wait_for_timeout(2500)
    return await page.screenshot(animations="disabled")


def beside(photographs: list[bytes]) -> bytes:
    """Return photographs of one height side by side."""
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in photographs]
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    whole = Image.new("RGB", (width, images[0].height), "white")
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + GAP
    out = io.BytesIO()
    whole.save(out, "PNG")
    return out.getvalue()


def save(data: bytes, path: Path) -> None:
    """Keep a photograph as a page of the documentation shows it."""
    with Image.open(io.BytesIO(data)) as image:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.convert("RGB").save(path, "WEBP", quality=80, method=6)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
