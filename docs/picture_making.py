"""What the scripts beside this share that draw and photograph the documentation's pictures.

They show the program at work: it is started in an empty folder with the starter models, and its
pages are looked at in Chromium (Debian's `chromium`, or DREAMSTREAM_CHROMIUM).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from yarl import URL

from bot.app import make_wall
from bot.config import Config
from bot.model import Dream, Person
from bot.services import Services, services

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, ViewportSize

PEOPLE = [Person(f"local:{name.lower()}", name) for name in ("Ada", "Lin", "Mbali", "José", "Noor")]
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}
SCREEN: ViewportSize = {"width": 1920, "height": 1080}
GAP_PX = 24
MAX_BYTES = 400_000
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# A port that is free; and nobody waits for their turn to ask, as a script asks for all at once.
CONFIG = Config.model_validate({"wall": {"port": 0}, "limits": {"waiting_per_person": 200}})


def options(description: str | None) -> argparse.ArgumentParser:
    """Return the arguments of a script, of whose docstring the first line is told: `--out`."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    return parser


@asynccontextmanager
async def program(data_dir: Path | None = None) -> AsyncIterator[Services]:
    """Run the program until the end, in a folder that goes then if none is named.

    When it is handed over, it knows its engines.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with services(CONFIG, data_dir or Path(folder)) as parts:
            while not parts.supervisor.engines:  # noqa: ASYNC110 -- a first start tells nobody
                await asyncio.sleep(0.2)
            yield parts


@asynccontextmanager
async def wall(parts: Services) -> AsyncIterator[URL]:
    """Serve the program's wall until the end; give its address."""
    served = make_wall(CONFIG, parts)
    assert served is not None
    url = await served.start()
    try:
        yield url
    finally:
        await served.stop()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Chromium until the end.

    Raises:
        SystemExit: there is none.
    """
    path = os.environ.get("DREAMSTREAM_CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise SystemExit("There is no Chromium here: install it, or set DREAMSTREAM_CHROMIUM.")
    from playwright.async_api import async_playwright  # only who opens a browser needs it

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


async def drawn(parts: Services, dreams: Sequence[Dream]) -> list[Dream]:
    """Wait until dreams have ended, and print how; return them as they are then."""
    ended = []
    for number, dream in enumerate(dreams, 1):
        one = await parts.dreams.wait(dream.id)
        print(f"{number}/{len(dreams)} {one.prompt}: {one.state.value} {one.reason}", flush=True)
        ended.append(one)
    return ended


async def open_party(desk: Page, url: URL) -> str:
    """Open a party on a page, whose host Ada is at then; return its code."""
    await desk.goto(str(url.join(URL("/parties/new"))))
    await desk.get_by_label("Topic").fill("loneliness")
    await desk.get_by_label("Your name").fill("Ada")
    await desk.get_by_role("button", name="Open the party").click()
    await desk.wait_for_selector(".desk")
    return desk.url.rpartition("/")[2]


def picture(data: bytes) -> Image.Image:
    """Return the picture of a file's bytes, as RGB."""
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert("RGB")


def beside(
    pictures: Sequence[Image.Image], *, ground: str = "white", gap_px: int = GAP_PX
) -> Image.Image:
    """Return pictures side by side, as high as the highest."""
    width = sum(one.width for one in pictures) + gap_px * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(one.height for one in pictures)), ground)
    left = 0
    for one in pictures:
        row.paste(one, (left, 0))
        left += one.width + gap_px
    return row


def save_webp(shown: Image.Image, path: Path, quality: int) -> None:
    """Write a picture as a WebP."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown.save(path, "WEBP", quality=quality, method=6)
    _tell(path, shown.size)


def save_png(shown: Image.Image, path: Path, scale: float) -> None:
    """Write a picture as a PNG of moderate size: smaller where need be, then of 256 colours."""
    for colours, shrink in ((0, 1.0), (0, 0.85), (0, 0.7), (256, 0.85), (256, 0.6)):
        size = (round(shown.width * scale * shrink), round(shown.height * scale * shrink))
        small = shown.resize(size, Image.Resampling.LANCZOS)
        if colours:
            small = small.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG)
        out = io.BytesIO()
        small.save(out, "PNG", optimize=True)
        if out.tell() <= MAX_BYTES:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out.getvalue())
    _tell(path, size)


def _tell(path: Path, size: tuple[int, int]) -> None:
    print(f"{path}: {size[0]} × {size[1]}, {path.stat().st_size // 1000} kB", flush=True)
