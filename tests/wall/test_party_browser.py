"""A whole party in real browsers: the host's, a guest's phone and the big screen.

The bot is restarted in the middle of it. Only the painter is played.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect

from bot.rights import Actor
from bot.wall import Wall, WallSettings
from generation.protocol import PROTOCOL_VERSION, Welcome
from tests.bot.drawer import ANN, DIFFUSION, FOURIER, Services, png, services
from tests.wall.test_browser import BREAKS, PATIENCE_MS, browser
from tests.wall.test_party import evening_in

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1440, height=900)
SCREEN = ViewportSize(width=1920, height=1080)
# What htmx says when the bot goes away while it answers.
CUT = re.compile(r"^htmx:(afterRequest|sendError)\b")
FULL = """(finalists) => {
  finalists.dataset.most = finalists.querySelectorAll(":checked").length;
  finalists.querySelector("input").dispatchEvent(new Event("change", { bubbles: true }));
}"""
COLOURS = ("navy", "teal", "olive", "maroon", "purple", "green", "gray", "orange", "pink", "gold")


class Bot:
    """The bot, which can be restarted at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = AsyncExitStack()
        self._drawn = 0
        self.parts: Services
        self.port = 0

    async def start(self) -> None:
        self.parts = await self._running.enter_async_context(services(self._folder, up=False))
        await self.parts.parties.start_keeping()
        await self.parts.up(
            Welcome(version=PROTOCOL_VERSION, pid=1, device="a test", engines=(FOURIER, DIFFUSION))
        )
        wall = Wall(
            WallSettings(port=self.port),
            themes=self.parts.themes,
            dreams=self.parts.dreams,
            feed=self.parts.feed,
            library=self.parts.library,
            drawer=self.parts.drawer,
            offspring=self.parts.offspring,
            search=self.parts.search,
            seeing=self.parts.seeing,
            parties=self.parts.parties,
        )
        url = await wall.start()
        assert url.port is not None
        self.port = url.port
        self._running.push_async_callback(wall.stop)

    async def stop(self) -> None:
        await self._running.aclose()

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def waiting(self, count: int) -> list[str]:
        """Wait until so many dreams are on their way; return their ids."""
        async with asyncio.timeout(20):
            while len(found := await self.parts.dreams.unfinished(None)) != count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return [dream.id for dream in found]

    async def finish(self, *dream_ids: str) -> None:
        """Let dreams be drawn, each in a colour of its own."""
        for dream_id in dream_ids:
            await self.parts.draw(dream_id, colour=COLOURS[self._drawn % len(COLOURS)])
            await self.parts.dreams.wait(dream_id)
            self._drawn += 1


@pytest_asyncio.fixture(loop_scope="module")
async def bot(tmp_path: Path) -> AsyncIterator[Bot]:
    made = Bot(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def opened(browser: Browser, size: ViewportSize, complaints: list[str]) -> Page:
    """Return a page of a browser of its own, which remembers what it complains of."""
    phone = size == PHONE
    context = await browser.new_context(viewport=size, is_mobile=phone, has_touch=phone)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: (
            complaints.append(said.text)
            if said.type in ("error", "warning") and not BREAKS.search(said.text)
            else None
        ),
    )
    return page


async def moved(host: Page, button: str, stage: str, *others: Page) -> None:
    """Press a button of the desk's stepper; wait until all pages are at the stage."""
    await host.get_by_role("button", name=button).click()
    for page in (host, *others):
        await expect(page.locator(f"body.at-{stage}, body.screen-{stage}")).to_be_visible()


async def test_an_evening_from_the_topic_to_the_last_picture(bot: Bot, browser: Browser) -> None:
    complaints: list[str] = []
    host = await opened(browser, DESK, complaints)
    phone = await opened(browser, PHONE, complaints)
    screen = await opened(browser, SCREEN, complaints)

    await host.goto(bot.address("/parties/new"))
    await host.get_by_label("Topic").fill("loneliness")
    await host.get_by_label("Your name").fill("Ada")
    await host.get_by_role("button", name="Open the party").click()
    await expect(host.locator(".desk")).to_be_visible()
    code = host.url.rpartition("/")[2]
    await screen.goto(bot.address(f"/p/{code}/screen"))
    await expect(screen.locator("img.qr")).to_be_visible()

    # The guest types the code, as it is read from the wall.
    await phone.goto(bot.address("/join"))
    await phone.get_by_label("Code").fill(f"{code[:4]} {code[4:]}".upper())
    await phone.get_by_role("button", name="Go on").click()
    await phone.get_by_label("Your name").fill("Lin")
    await phone.get_by_role("button", name="Come in").click()
    await expect(screen.locator(".who-is-here")).to_contain_text("Lin")
    await phone.get_by_label("What comes to your mind?").fill("an empty bench")
    await phone.get_by_role("button", name="Say").click()
    for page in (screen, host, phone):
        await expect(page.locator(".said", has_text="an empty bench")).to_be_visible()
    await expect(phone.get_by_label("What comes to your mind?")).to_have_value("")
    await host.get_by_label("What comes to your mind?").fill("noise")
    await host.keyboard.press("Enter")
    await expect(phone.locator(".said", has_text="noise")).to_be_visible()
    await host.get_by_role("button", name="Take “noise” away").click()
    for page in (screen, phone):
        await expect(page.locator(".said", has_text="noise")).to_have_count(0)

    # What could not be fetched when it was told is fetched a little later.
    await phone.route("**/part/said", lambda route: route.abort(), times=1)
    await host.get_by_label("What comes to your mind?").fill("a last bus")
    await host.keyboard.press("Enter")
    await expect(phone.locator(".said", has_text="a last bus")).to_be_visible()

    await moved(host, "Sketch →", "sketch", phone, screen)
    await expect(screen.locator(".invitation")).to_be_in_viewport()
    await phone.locator("label.said", has_text="an empty bench").click()
    await phone.get_by_label("Prompt").fill("two old people")
    await phone.get_by_role("button", name="Sketch").click()
    sketches = await bot.waiting(4)
    await bot.parts.begin(sketches[0], 30, preview=png(colour="red"))
    await expect(screen.locator(f"#frame-{sketches[0]} .preview").first).to_be_visible()
    await expect(phone.locator(f"#status-{sketches[0]}")).to_contain_text("step 30")
    await bot.finish(*sketches)
    await expect(screen.locator(".piece .tile img")).to_have_count(4)

    # Everything goes away and comes back, while nobody touches the browsers.
    await bot.stop()
    await bot.start()
    await expect(phone.locator("body.offline")).to_have_count(0)
    await moved(host, "Elaborate →", "elaborate", phone, screen)
    await phone.locator(".row .tile").first.click()
    await phone.get_by_label("Let its words grow").fill("looking away from each other")
    await phone.get_by_role("button", name="Grow").click()
    await expect(phone.locator("#sheet")).to_be_hidden()
    (grown,) = await bot.waiting(1)
    await bot.finish(grown)
    await expect(phone.locator(".row.deep-1 em")).to_have_text(", looking away from each other")
    await expect(screen.locator(".lane em")).to_have_text("looking away from each other")

    await moved(host, "Choose →", "choose", phone, screen)
    await phone.locator(".choice-of-two").first.click()
    await phone.locator(f"#heart-{grown}").click()
    await expect(phone.locator(f"#heart-{grown}")).to_have_attribute("aria-pressed", "true")
    for given in ("1", "2"):
        await phone.locator(f"#more-{grown}").click()
        await expect(phone.locator(".points", has=phone.locator(f"#more-{grown}"))).to_contain_text(
            given
        )
    await expect(phone.locator("#pictures")).to_contain_text("3 of 5 points left")
    await expect(screen.locator(".place").first).to_contain_text("looking away")
    # The best stand chosen at the desk without anybody's doing.
    await expect(host.locator(f"#finalists [value='{grown}']")).to_be_checked()

    # Where so many are chosen as a finale takes, no more can be.
    finalists = host.locator("#finalists")
    await finalists.evaluate(FULL)
    await expect(finalists.locator("input:disabled")).not_to_have_count(0)
    await expect(finalists.locator("input:enabled:not(:checked)")).to_have_count(0)

    await host.get_by_role("button", name="Draw these large").click()
    await expect(screen.locator("body.screen-finale")).to_be_visible()
    async with asyncio.timeout(20):
        # What stands in the database tells nobody that it does.
        while not await bot.parts.parties.finale_of(  # noqa: ASYNC110
            await bot.parts.parties.by_code(code)
        ):
            await asyncio.sleep(0.05)
    for dream in await bot.parts.dreams.unfinished(None):
        await bot.finish(dream.id)
    await expect(phone.locator(".exhibit").first).to_contain_text("looking away")
    await expect(screen.locator("#hero figure").first).to_be_visible()  # one fades into another

    await moved(host, "Publish →", "published", phone, screen)
    await expect(screen.locator(".credits")).to_contain_text("Lin")
    await phone.get_by_role("button", name="Do not name me").click()
    await expect(phone.get_by_role("button", name="Name me")).to_be_visible()
    await screen.reload()
    await expect(screen.locator(".credits")).not_to_contain_text("Lin")
    assert [one for one in complaints if not CUT.search(one)] == []
    for page in (host, phone, screen):
        await page.context.close()


async def test_a_finale_picture_that_is_deleted_leaves_the_big_screen(
    browser: Browser, tmp_path: Path
) -> None:
    async with evening_in(tmp_path) as evening:
        host, parties = await evening.host(), evening.parts.parties
        await evening.post(host, "stage", stage="sketch")
        ids = [await evening.drawn(host, f"fox {n}") for n in range(3)]
        await evening.post(host, "stage", stage="choose")
        form = [("dream", one) for one in ids]
        async with host.post(f"/p/{evening.code}/finale", data=form) as answer:
            assert answer.status == 200
        party = await evening.party()
        complaints: list[str] = []
        screen = await opened(browser, SCREEN, complaints)
        async with screen.expect_response(lambda answer: "/events" in answer.url):
            await screen.goto(str(evening.url / "p" / evening.code / "screen"))
        shown = screen.locator("#hero figure")
        await expect(shown).to_have_count(1)
        assert len(await parties.finale_of(party)) == len(ids)
        await screen.evaluate("window.staysAsItIs = true")
        while len(ids) > 1:
            source = await shown.locator("img").last.get_attribute("src")
            assert source is not None
            gone = source.rpartition("?d=")[2]
            await evening.parts.dreams.delete(gone, Actor(ANN, at_machine=True))
            ids.remove(gone)
            # Not when its time is up, which is 14 s.
            await expect(screen.locator(f"#hero img[src$='{gone}']")).to_have_count(0, timeout=9000)
            await expect(shown).to_have_count(1)
            if len(ids) > 1:
                assert await screen.evaluate("window.staysAsItIs")
        await evening.parts.dreams.delete(ids[0], Actor(ANN, at_machine=True))
        await expect(shown).to_have_count(0)
        await screen.context.close()
