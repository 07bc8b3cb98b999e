"""The wall in a real Chromium: what a person sees, types and waits for."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Route,
    ViewportSize,
    async_playwright,
    expect,
)
from yarl import URL

from bot.errors import SchedulerError
from bot.model import Dream, DreamRequest
from bot.rights import Actor
from bot.subject import FarFromSubjectError
from bot.wall import forming
from tests.wall.conftest import Scene, eventually, standing_scene

# One browser for all: they live in one event loop, and so does the wall they look at.
pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# What Playwright switches off, which it does no longer where something is named here; and the
# pages by which Chromium shows suggestions under its address line, two more for each window. They
# take more processor time than the wall's.
_OFF = (
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxFullPopup",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(_OFF)}",
]
PATIENCE_MS = 20_000
PHONE = ViewportSize(width=360, height=740)
# What Chromium itself writes when a connection breaks, as some tests have it do.
BREAKS = re.compile(r"ERR_|htmx:sse|Failed to load resource|^\[object Event\]$")


def find_chromium() -> str:
    """Say where Chromium is; skip, or where it is required fail, if there is none."""
    named = os.environ.get("DREAMSTREAM_CHROMIUM")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None:
        return found
    message = "no Chromium here: install Debian's `chromium`, or name one in DREAMSTREAM_CHROMIUM"
    if os.environ.get("DREAMSTREAM_REQUIRE_BROWSER") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = find_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


class Visitor:
    """A person at a browser of their own; remembers whatever their browser complained of."""

    def __init__(self, context: BrowserContext, scene: Scene) -> None:
        self.context = context
        self.scene = scene
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []

    async def open(self, path: str = "/s/planets") -> Page:
        page = await self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._note(request.url))
        await page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (event) => console.error('CSP ' + event.violatedDirective + event.blockedURI));"
        )
        await page.goto(str(self.scene.url.join(URL(path))))
        return page

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)

    def _note(self, url: str) -> None:
        if not url.startswith((str(self.scene.url), "data:")):
            self.elsewhere.append(url)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with standing_scene(tmp_path) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module")
async def people(scene: Scene, browser: Browser) -> AsyncIterator[list[Visitor]]:
    """Two people with browsers of their own. Neither may have had cause to complain."""
    contexts = [
        await browser.new_context(viewport={"width": 1280, "height": 800}),
        await browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True),
    ]
    visitors = [Visitor(context, scene) for context in contexts]
    yield visitors
    for visitor in visitors:
        assert visitor.elsewhere == []
        assert visitor.complaints == []
        await visitor.context.close()


async def ask(page: Page, scene: Scene, prompt: str) -> str:
    """Type a prompt, and return the id of the dream that comes of it."""
    before = set(scene.dreams.dreams)
    await page.get_by_label("What shall be dreamt?").fill(prompt)
    await page.keyboard.press("Enter")
    await eventually(lambda: len(scene.dreams.dreams) > len(before))
    [dream_id] = set(scene.dreams.dreams) - before
    return dream_id


async def test_a_prompt_becomes_a_picture_before_everybodys_eyes(
    scene: Scene, people: list[Visitor]
) -> None:
    ada, grace = people
    page, phone = await ada.open(), await grace.open()
    await eventually(lambda: len(scene.feed.listeners) == 2)
    await page.get_by_placeholder("your name").fill("Ada")
    dream_id = await ask(page, scene, "two moons over a glass sea")

    cards = [shown.locator(f"#dream-{dream_id}.card") for shown in (page, phone)]
    for card in cards:
        await expect(card).to_contain_text("two moons over a glass sea")
        await expect(card).to_contain_text("Ada")
        await expect(card).to_contain_text("next in line · about 20 s")
    await expect(page.get_by_label("What shall be dreamt?")).to_have_value("")
    # Cancelling is offered to her who asked, and to nobody else.
    await expect(cards[0].get_by_role("button", name="Cancel")).to_be_visible()
    await expect(cards[1].get_by_role("button", name="Cancel")).to_be_hidden()

    for step, version in ((4, 1), (12, 2), (19, 3)):
        scene.dreams.advance(dream_id, step)
        for card in cards:
            await expect(card).to_contain_text(f"step {step} of 20")
            newest = card.locator(".preview").last
            await expect(newest).to_have_attribute("src", re.compile(f"v={version}$"))
            await expect(card.locator("progress")).to_have_js_property("value", step)
    # Older previews are cleared away.
    await expect(cards[0].locator(".preview")).to_have_count(1)

    scene.dreams.finish(dream_id)
    for shown, card in zip((page, phone), cards, strict=True):
        tile = shown.locator(f"#finished #dream-{dream_id}.tile")
        await expect(tile).to_be_visible()
        await expect(card).to_have_count(0)
        image = tile.get_by_alt_text("two moons over a glass sea")
        await expect(image).to_have_js_property("complete", True)
        assert await image.evaluate("image => image.naturalWidth") > 0
    await expect(page.locator("#says")).to_have_text("Finished: two moons over a glass sea")


async def test_a_deleted_dream_goes_from_every_open_page(
    scene: Scene, people: list[Visitor]
) -> None:
    ada, grace = people
    other = await scene.draw("a heron")
    dream = await scene.draw("a secret castle", parent_id=other.id)
    pages = [await ada.open(), await grace.open("/s/planets/watch")]
    own, family = await ada.open(f"/d/{dream.id}"), await grace.open(f"/d/{other.id}")
    await expect(pages[1].locator("#hero .shown img")).to_have_attribute("alt", "a secret castle")
    await eventually(lambda: len(scene.feed.listeners) == 4)

    await scene.dreams.delete(dream.id, Actor(dream.person))
    for page in (*pages, family):
        await expect(page.locator(f"#dream-{dream.id}")).to_have_count(0)
        await expect(page.get_by_alt_text("a secret castle")).to_have_count(0)
    await expect(own.get_by_role("heading")).to_contain_text("This dream was deleted.")
    assert ada.complaints
    ada.complaints.clear()  # of the page that is gone (410)


async def test_a_picture_that_did_not_come_is_asked_for_again(
    scene: Scene, people: list[Visitor]
) -> None:
    ada = people[0]
    page = await ada.open()
    await eventually(lambda: len(scene.feed.listeners) == 1)
    asked: list[str] = []

    async def broken_off_once(route: Route) -> None:
        asked.append(route.request.url)
        await (route.abort() if len(asked) == 1 else route.continue_())

    await page.route(re.compile(r"/[it]/[0-9a-f]{64}\."), broken_off_once)
    dream = await scene.draw("a heron")
    image = page.locator(f"#finished #dream-{dream.id}.tile img")
    await expect(image).to_have_attribute("data-tries", "1")
    await expect(image).not_to_have_js_property("naturalWidth", 0)
    assert len(asked) == 2 and asked[0] == asked[1]
    ada.complaints = [said for said in ada.complaints if not BREAKS.search(said)]


async def test_what_was_fetched_too_fast_stays_as_it_is_and_is_fetched_again(
    scene: Scene, people: list[Visitor]
) -> None:
    ada = people[0]
    dream = await scene.ask("a heron")
    asked: Counter[tuple[str, str]] = Counter()

    async def refuse_once(route: Route) -> None:
        request = route.request
        asked[request.method, request.url] += 1
        if "hx-request" not in request.headers or asked[request.method, request.url] > 1:
            await route.fallback()
            return
        await route.fulfill(
            status=429,
            headers={"Retry-After": "1", "Content-Type": "text/html"},
            body='<p class="notice">Wait.</p>',
        )

    await ada.context.route(re.compile(r"/d/[^?]*$"), refuse_once)
    page = await ada.open(f"/d/{dream.id}")
    await page.evaluate("Math.random = () => 0")
    await eventually(lambda: len(scene.feed.listeners) == 1)
    here = str(scene.url.with_path(f"/d/{dream.id}"))
    asked["GET", here] = 0  # by the page itself, from now on
    scene.dreams.finish(dream.id)
    await eventually(lambda: asked["GET", here] >= 1)
    await expect(page.locator("#whole[sse-connect]")).to_have_count(1)
    await expect(page.get_by_text("Download PNG")).to_be_visible()
    assert asked["GET", here] == 2
    await expect(page.get_by_text("Wait.")).to_have_count(0)
    # So does what is fetched as soon as a page is there, once.
    await page.reload()
    await eventually(lambda: asked["GET", f"{here}/like"] >= 2)
    await expect(page.get_by_text("Wait.")).to_have_count(0)
    # A person is told, and nothing is sent a second time for them.
    await page.get_by_role("button", name="Again, another seed").click()
    await expect(page.locator("#notice")).to_contain_text("Wait.")
    assert asked["POST", f"{here}/redo"] == 1
    ada.complaints = [said for said in ada.complaints if "429" not in said and "htmx" not in said]


async def test_what_happened_while_the_wall_was_down_is_shown(
    scene: Scene, people: list[Visitor]
) -> None:
    ada = people[0]
    page = await ada.open()
    await eventually(lambda: len(scene.feed.listeners) == 1)
    before = await scene.ask("asked before")
    await expect(page.locator(f"#dream-{before.id}")).to_be_visible()

    await scene.wall.stop()
    scene.dreams.finish(before.id)
    during = await scene.ask("asked meanwhile")
    await expect(page.locator("#offline")).to_be_visible()
    await scene.start_again()

    await expect(page.locator(f"#finished #dream-{before.id}.tile")).to_be_visible()
    await expect(page.locator(f"#forming #dream-{during.id}.card")).to_be_visible()
    await expect(page.locator(f"#dream-{before.id}")).to_have_count(1)
    await expect(page.locator("#offline")).to_be_hidden()
    after = await scene.ask("asked after")
    await expect(page.locator(f"#forming #dream-{after.id}")).to_have_count(1)
    ada.complaints = [said for said in ada.complaints if not BREAKS.search(said)]


async def test_a_page_in_the_background_gives_its_connection_up_and_misses_nothing(
    scene: Scene, people: list[Visitor]
) -> None:
    ada = people[0]
    page = await ada.open()
    await eventually(lambda: len(scene.feed.listeners) == 1)
    await page.clock.install()
    hide = (
        "hidden => { Object.defineProperty(document, 'hidden', { get: () => hidden,"
        " configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }"
    )
    await page.evaluate(hide, True)
    await page.clock.run_for(31_000)
    await eventually(lambda: not scene.feed.listeners)
    dream = await scene.ask("asked meanwhile")
    await page.evaluate(hide, False)
    await page.clock.run_for(1_000)
    await expect(page.locator(f"#forming #dream-{dream.id}")).to_have_count(1)
    await eventually(lambda: len(scene.feed.listeners) == 1)
    ada.complaints = [said for said in ada.complaints if not BREAKS.search(said)]


async def test_a_mistake_is_said_and_what_was_typed_is_kept(
    scene: Scene, people: list[Visitor]
) -> None:
    ada = people[0]
    page = await ada.open()
    await page.get_by_text("Ways to draw it").click()
    await page.get_by_label("Seed").fill("7")
    # What no select offers, as a page from before an engine was taken away would send.
    await page.get_by_label("Painter").evaluate(
        "select => { select.options[1].value = 'gone'; select.value = 'gone'; }"
    )
    await page.get_by_label("What shall be dreamt?").fill("two moons")
    await page.get_by_role("button", name="Dream", exact=True).click()
    await expect(page.get_by_role("alert")).to_have_text("There is no painter called “gone”.")
    await expect(page.get_by_label("What shall be dreamt?")).to_have_value("two moons")
    await expect(page.get_by_label("Seed")).to_have_value("7")
    assert scene.dreams.dreams == {}
    ada.complaints = [said for said in ada.complaints if "422" not in said]


async def test_the_choices_follow_the_painter_that_is_chosen(
    scene: Scene, people: list[Visitor]
) -> None:
    page = await people[0].open()
    await page.get_by_label("What shall be dreamt?").fill("kept while choosing")
    await page.get_by_text("Ways to draw it").click()
    await page.get_by_label("Painter").select_option("clip")
    await page.get_by_label("Cutouts").fill("8")
    await expect(page.get_by_label("Without")).to_have_count(0)
    await expect(page.get_by_label("What shall be dreamt?")).to_have_value("kept while choosing")
    await page.get_by_role("button", name="Dream", exact=True).click()
    await eventually(lambda: bool(scene.dreams.requests))
    [request] = scene.dreams.requests
    assert (request.engine, request.settings) == ("clip", {"cutouts": 8})


@pytest.mark.usefixtures("elsewhere")
async def test_a_dreams_own_page_follows_it_to_its_end(scene: Scene, people: list[Visitor]) -> None:
    ada, grace = people
    dream_id = await ask(await ada.open(), scene, "a door in the sky")
    page, phone = await ada.open(f"/d/{dream_id}"), await grace.open(f"/d/{dream_id}")
    await expect(phone.get_by_role("button", name="Cancel")).to_have_count(0)
    scene.dreams.advance(dream_id, 10)
    for shown in (page, phone):
        await expect(shown.locator("#whole")).to_contain_text("step 10 of 20")
    await page.get_by_placeholder("steer it towards").fill("a door under the sea")
    await page.get_by_role("button", name="Steer").click()
    for shown in (page, phone):
        await expect(shown.locator("#whole")).to_contain_text("From step 10")
    scene.dreams.finish(dream_id)
    for shown in (page, phone):
        image = shown.locator("#whole").get_by_alt_text("a door in the sky")
        await expect(image).to_be_visible()
        await expect(shown.get_by_text("Download PNG")).to_be_visible()
    await page.get_by_role("button", name="Again, another seed").click()
    await expect(page).not_to_have_url(re.compile(f"/d/{dream_id}$"))
    await expect(page.locator("#whole")).to_contain_text("another seed")


async def test_a_cancelled_dream_leaves_and_a_failed_one_says_why(
    scene: Scene, people: list[Visitor]
) -> None:
    page = await people[0].open()
    page.on("dialog", lambda dialog: dialog.accept())
    dream_id = await ask(page, scene, "not this")
    await page.locator(f"#dream-{dream_id}").get_by_role("button", name="Cancel").click()
    await expect(page.locator(f"#dream-{dream_id}")).to_have_count(0)
    dream_id = await ask(page, scene, "nor this")
    await expect(page.locator(f"#dream-{dream_id}")).to_be_visible()
    scene.dreams.fail(dream_id, "It did not fit into memory.")
    other = await people[1].open()
    for _ in range(2):
        card = page.locator(f"#dream-{dream_id}")
        await expect(card).to_contain_text("did not fit into memory")
        await expect(card.get_by_role("button", name="Try again")).to_be_visible()
        await page.reload()
    await expect(other.get_by_role("button", name="Try again")).to_have_count(0)
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(f"#dream-{dream_id}")).to_have_count(0)
    await expect(page.locator(".card")).to_contain_text("next in line")


async def test_where_more_wait_than_a_page_holds_cards_come_up_as_others_end(
    scene: Scene, people: list[Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forming, "SHOWN", 2)
    one, two, three, four, five = [(await scene.ask(f"moon {n}")).id for n in range(5)]
    page = await people[1].open()
    cards, hidden = page.locator("#forming .card"), page.locator("#hidden")
    await expect(cards).to_have_count(2)
    await expect(hidden).to_have_text("and 3 more are waiting")
    scene.dreams.finish(one)
    await expect(page.locator(f"#dream-{three}.card")).to_be_visible()
    await expect(hidden).to_have_text("and 2 more are waiting")
    own = await ask(page, scene, "a moon of my own")
    await expect(page.locator(f"#dream-{own}.card")).to_contain_text("a moon of my own")
    await page.reload()
    await expect(cards).to_have_count(3)
    for dream_id in (two, three, four, five):
        scene.dreams.finish(dream_id)
    await expect(cards).to_have_count(1)
    await expect(hidden).to_be_hidden()
    await expect(page.locator("#finished .tile")).to_have_count(5)


async def test_while_the_painter_wakes_an_ask_says_so_and_nothing_typed_is_lost(
    scene: Scene, people: list[Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = asyncio.Event()
    ask_awake = scene.dreams.ask

    async def refuse(request: DreamRequest) -> list[Dream]:
        await awake.wait()
        raise SchedulerError("The drawing process is still starting. Try again in a moment.")

    async def take(request: DreamRequest) -> list[Dream]:
        await awake.wait()
        return await ask_awake(request)

    scene.drawer.up, scene.drawer.engines = False, ()
    monkeypatch.setattr(scene.dreams, "ask", refuse)
    visitor = people[1]
    page = await visitor.open()
    prompt = page.get_by_label("What shall be dreamt?")
    waiting = page.get_by_text("Waiting for the painter to wake up")
    await expect(waiting).to_be_hidden()
    await prompt.fill("two moons")
    await page.get_by_role("button", name="Dream", exact=True).click()
    await expect(waiting).to_be_visible()
    awake.set()
    await expect(page.locator("#notice")).to_contain_text("still starting")
    await expect(waiting).to_be_hidden()
    await expect(prompt).to_have_value("two moons")
    # Typed on while it waits: what was not sent stays.
    awake.clear()
    monkeypatch.setattr(scene.dreams, "ask", take)
    await page.get_by_role("button", name="Dream", exact=True).click()
    await expect(waiting).to_be_visible()
    await prompt.fill("two moons, and a third")
    awake.set()
    await expect(page.locator(".card")).to_contain_text("two moons")
    await expect(prompt).to_have_value("two moons, and a third")
    # What Chromium itself says of an answer that is an error.
    visitor.complaints = [said for said in visitor.complaints if not BREAKS.search(said)]


async def test_the_big_screen_turns_to_what_is_new(scene: Scene, people: list[Visitor]) -> None:
    await scene.draw("the first")
    page = await people[0].open("/s/planets/watch")
    hero = page.locator("#hero .shown")
    await expect(hero).to_contain_text("the first")
    await eventually(lambda: len(scene.feed.listeners) == 1)
    await scene.draw("the second")
    await expect(hero).to_have_count(1)
    await expect(hero).to_contain_text("the second")
    image = await hero.locator("img").bounding_box()
    words = await hero.locator("figcaption").bounding_box()
    assert image and words and image["y"] + image["height"] <= words["y"] + 1, "below it, not on it"
    await expect(page.locator("#finished .tile")).to_have_count(2)
    # All of it as a mosaic, with its words; in the address, so that a projector comes up so.
    button = page.get_by_role("button", name="Mosaic")
    await button.click()
    await page.reload()
    await expect(hero).to_be_hidden()
    await expect(button).to_have_attribute("aria-pressed", "true")
    caption = page.locator("#finished .tile .caption").first
    await expect(caption).to_have_css("opacity", "1")
    await expect(caption).to_contain_text("the second")
    await button.click()
    await expect(hero).to_be_visible()
    assert page.url.endswith("/watch")


# How much of each mosaic but the last is covered by its tiles, each with a gap beside and below.
COVERED = """mosaics => mosaics.slice(0, -1).map((mosaic) => {
  const gap = parseFloat(getComputedStyle(mosaic).columnGap);
  const area = ({ width, height }) => (width + gap) * (height + gap);
  const tiles = [...mosaic.children].map((tile) => area(tile.getBoundingClientRect()));
  return tiles.reduce((sum, one) => sum + one, 0) / area(mosaic.getBoundingClientRect());
})"""


async def test_older_pictures_come_as_one_scrolls(scene: Scene, people: list[Visitor]) -> None:
    drawn = [await scene.draw(f"picture {number}") for number in range(100)]
    page = await people[1].open()
    await expect(page.locator("#finished .tile")).to_have_count(48)
    for count in (96, 100):
        await page.locator("#finished .older").scroll_into_view_if_needed()
        await expect(page.locator("#finished .tile")).to_have_count(count)
    await expect(page.locator("#finished .older")).to_have_count(0)
    # Three mosaics look like one: no row is left open between them, and none is out of order.
    covered = await page.locator("#finished .mosaic").evaluate_all(COVERED)
    assert covered == [pytest.approx(1, abs=0.01)] * 2
    newest = await scene.draw("the newest")
    await expect(page.locator(f"#finished #dream-{newest.id}.tile")).to_have_count(1)
    tiles = await page.locator("#finished .tile").evaluate_all("found => found.map(one => one.id)")
    assert tiles == [f"dream-{one.id}" for one in [newest, *reversed(drawn)]]


async def test_a_card_on_an_older_page_leaves_when_its_picture_is_done(
    scene: Scene, people: list[Visitor]
) -> None:
    drawn = [await scene.draw(f"picture {number}") for number in range(4)]
    page = await people[0].open(f"/s/planets?before={drawn[2].id}")
    await eventually(lambda: len(scene.feed.listeners) == 1)
    new = await scene.ask("a new one")
    card = page.locator(f"#forming #dream-{new.id}")
    await expect(card).to_have_count(1)
    scene.dreams.finish(new.id)
    await expect(card).to_have_count(0)
    await expect(page.locator("#says")).to_have_text("Finished: a new one")
    # It is no older picture: this page is of those alone.
    tiles = await page.locator("#finished .tile").evaluate_all("found => found.map(one => one.id)")
    assert tiles == [f"dream-{one.id}" for one in reversed(drawn[:2])]


async def test_pictures_are_found_as_one_types(scene: Scene, people: list[Visitor]) -> None:
    fox, owl = await scene.draw("a fox"), await scene.draw("an owl")
    page = await people[1].open()
    await expect(page.locator("#finished .tile")).to_have_count(2)
    field = page.get_by_role("searchbox", name="Search this stream")
    await field.press_sequentially("red fox", delay=30)
    await expect(page.locator("#found .tile")).to_have_count(2)
    await expect(page.locator("#finished")).to_be_hidden()
    await eventually(lambda: scene.search.looked_for[-1] == "red fox")
    await scene.dreams.delete(fox.id, Actor(fox.person))
    await expect(page.locator("#found .tile")).to_have_count(1)
    await field.fill("")
    await expect(page.locator("#finished .tile")).to_be_visible()
    file = {"name": "a.png", "mimeType": "image/png", "buffer": b"pixels"}
    await page.get_by_label("By a picture").set_input_files(file)  # type: ignore[arg-type]
    await expect(page.locator("#found .tile")).to_have_attribute("href", f"/d/{owl.id}")
    assert scene.search.looked_for[-1:] == [b"pixels"]


async def test_what_would_fit_is_asked_for_with_a_tap(
    scene: Scene, people: list[Visitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for = scene.dreams.ask
    offered = ["a red car, two moons over a sea of glass in the last light", "two moons"]

    async def held(request: DreamRequest, **more: Any) -> list[Dream]:
        if "moon" not in request.prompt:
            raise FarFromSubjectError("moons", offered, request)
        return await ask_for(request, **more)

    monkeypatch.setattr(scene.dreams, "ask", held)
    phone = await people[1].open()
    box = phone.get_by_label("What shall be dreamt?")
    await box.fill("a red car")
    await phone.keyboard.press("Enter")
    await expect(phone.locator("#notice")).to_contain_text("This stream is about moons. One")
    wide = await phone.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"]
    await phone.get_by_role("button", name=offered[0]).tap()
    await eventually(lambda: len(scene.dreams.requests) == 1)
    assert scene.dreams.requests[0].prompt == offered[0]
    await expect(box).to_have_value("")
    await expect(phone.get_by_role("button", name=offered[1])).to_have_count(0)
    people[1].complaints = [one for one in people[1].complaints if "422" not in one]


@pytest.mark.parametrize(
    "path", ["/s/planets", "/s/planets/watch", "/d/d0001", "/s/linked", "/", "/themes"]
)
async def test_nothing_is_wider_than_a_phone(
    scene: Scene, people: list[Visitor], path: str
) -> None:
    scene.themes.themes.append(type(scene.themes.themes[0])(id=9, slug="nine", title="N" * 60))
    await scene.draw("W" * 300, width=512, height=128)
    await scene.draw("a tall one", width=128, height=256)
    for number in range(4):
        forming = await scene.ask(f"forming {number}")
        scene.dreams.advance(forming.id, 3)
    page = await people[1].open(path)
    for fold in await page.locator("summary").all():
        await fold.click()
    width = await page.evaluate(
        "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    )
    assert width <= PHONE["width"]


async def test_it_can_be_used_without_a_mouse(scene: Scene, people: list[Visitor]) -> None:
    await scene.draw("two moons")
    page = await people[0].open()
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to the pictures")).to_be_focused()
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.classList.contains('tile')"):
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="two moons")).to_be_visible()


async def test_a_browser_without_script_can_ask_and_look(
    scene: Scene, browser: Browser, tmp_path: Path
) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(str(scene.url.with_path("/s/planets")))
    await page.get_by_label("What shall be dreamt?").fill("two moons")
    await page.get_by_role("button", name="Dream", exact=True).click()
    await expect(page.locator(".card")).to_contain_text("two moons")
    [dream] = scene.dreams.dreams.values()
    scene.dreams.finish(dream.id)
    await page.reload()
    await expect(page.get_by_alt_text("two moons")).to_be_visible()
    await context.close()
