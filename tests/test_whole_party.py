"""A whole party: its host and a guest at the wall, another guest in Discord, and everything dies.

The program is the shipped one, on a Discord on loopback, watched by two real browsers that nobody
reloads. `DREAMSTREAM_SLOW_TESTS=1` holds it with the starter models, too, and with
`DREAMSTREAM_PHOTOGRAPHS=folder` either takes a picture of every page at each stage, and of the
bundle's.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from playwright.async_api import Browser, Dialog, Page, ViewportSize, expect

from tests.discord_front.looks import labels_of, text_of, walk
from tests.discord_front.loopback import Discord
from tests.discord_front.partying import answer_of, at, cards_of, choose, fill, form_of, offered
from tests.discord_front.payloads import ANN, Json
from tests.discord_front.shipped import Bot, loopback
from tests.wall.test_browser import PATIENCE_MS, browser
from tests.wall.test_party_browser import CUT, DESK, PHONE, moved, opened

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SLOW = "DREAMSTREAM_SLOW_TESTS" in os.environ
PHOTOGRAPHS = os.environ.get("DREAMSTREAM_PHOTOGRAPHS")
# A screen in 4k is drawn by the processor here: four times as much as it takes for this one.
SCREEN = (
    ViewportSize(width=1920, height=1080)
    if PHOTOGRAPHS is None and not SLOW
    else ViewportSize(width=3840, height=2160)
)
STEP_S = "0.04"  # long enough for a process to be killed in the middle of a picture
SLOW_PATIENCE_S = 400.0


@dataclass
class Ledger:
    """What everybody did, as they know it."""

    words: dict[str, set[str]] = field(default_factory=dict)  # what was said, and by whom
    votes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by whom, and of which kind


@dataclass
class Evening:
    """The party, and the three who hold it: Ada and Lin at the wall, Ann in Discord."""

    bot: Bot
    discord: Discord
    environ: dict[str, str]
    ada: Page
    lin: Page
    screen: Page
    ledger: Ledger = field(default_factory=Ledger)

    async def killed(self) -> None:
        """Kill the program as a power cut does, and start it; nobody touches their page."""
        await self.bot.kill()
        await self.bot.joined(**self.environ)

    async def all_moved(self, button: str, stage: str) -> Json:
        """Let Ada move on; wait until all pages and the channel are there. Return the card."""
        await moved(self.ada, button, stage, self.lin, self.screen)
        card = await at(self.discord, stage.capitalize())
        await self.photographed(stage)
        return card

    async def photographed(self, name: str) -> None:
        """Take a picture of every page, where they are wanted."""
        if PHOTOGRAPHS is None:
            return
        for page, who in ((self.ada, "desk"), (self.lin, "phone"), (self.screen, "4k")):
            await page.wait_for_timeout(1500)
            await page.screenshot(path=f"{PHOTOGRAPHS}/{name}-{who}.png")

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Query the database beside the running program."""
        path = self.bot.folder / "data" / "dreamstream.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as found:
            return found.execute(sql, values).fetchall()

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what the condition gives, once it is true of it: the program tells nobody."""
        try:
            async with asyncio.timeout(SLOW_PATIENCE_S if SLOW else 60.0):
                while not (found := condition()):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                return found
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}\n{self.bot.said()[-4000:]}") from None

    async def drawn(self, count: int) -> list[str]:
        """Wait until so many of the party's pictures are finished, and no other waits."""
        sql = "SELECT id, state FROM dream JOIN party_dream ON dream_id = id ORDER BY id"

        def all_done() -> list[str]:
            found = self.rows(sql)
            assert len(found) <= count, found
            return [one for one, state in found if state == "done"] if len(found) == count else []

        def enough() -> list[str] | None:
            found = all_done()
            return found if len(found) == count else None

        ids: list[str] = await self.until(enough, f"{count} pictures")
        return ids

    def scheduler_pid(self) -> int | None:
        """Return the process that draws."""
        assert self.bot.process is not None
        tasks = Path(f"/proc/{self.bot.process.pid}/task")
        pids = {one for task in tasks.iterdir() for one in (task / "children").read_text().split()}
        for pid in sorted(pids, key=int):
            if b"generation" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        return None


async def gather(evening: Evening) -> None:
    ada, lin, discord, ledger = evening.ada, evening.lin, evening.discord, evening.ledger
    await ada.get_by_label("What comes to your mind?").fill("an empty bench")
    await ada.get_by_role("button", name="Say").click()
    card = await at(discord, "Gather", "an empty bench")
    form = await form_of(discord, card, "Say a word", ANN)
    await evening.killed()  # with the form open, and three pages
    said = await fill(discord, form, ANN, words="a lighthouse\nAn empty bench", kind=["idea"])
    assert await discord.answer(said) == "2 things were said."
    for page in (ada, lin, evening.screen):
        await expect(page.locator(".said", has_text="a lighthouse")).to_be_visible()
    await lin.get_by_label("What comes to your mind?").fill("linocut")
    await lin.get_by_text("Style", exact=True).click()
    await lin.get_by_role("button", name="Say").click()
    await at(discord, "Gather", "linocut")
    ledger.words |= {
        "an empty bench": {"Ada", "Ann"},
        "a lighthouse": {"Ann"},
        "linocut": {"Lin"},
    }
    await evening.photographed("gather")


async def sketch(evening: Evening) -> list[str]:
    lin, discord = evening.lin, evening.discord
    card = await evening.all_moved("Sketch →", "sketch")
    form = await form_of(discord, card, "Sketch", ANN)
    sketched = await fill(discord, form, ANN, words="a lighthouse at night")
    assert "4 sketches." in await discord.answer(sketched)
    pid = evening.scheduler_pid()
    assert pid is not None
    await evening.until(
        lambda: evening.rows("SELECT 1 FROM dream WHERE state = 'drawing'"), "a picture that forms"
    )
    os.kill(pid, signal.SIGKILL)  # the drawing process alone
    await lin.locator("label.said", has_text="an empty bench").click()
    await lin.get_by_label("Prompt").fill("two old people")
    await lin.get_by_role("button", name="Sketch").click()
    ids = await evening.drawn(8)
    await expect(lin.locator("#pictures .tile img")).to_have_count(8)
    await at(discord, "Sketch", "8 finished")
    await evening.photographed("sketched")
    return ids


async def elaborate(evening: Evening, sketches: list[str]) -> list[str]:
    lin, discord = evening.lin, evening.discord
    await moved(evening.ada, "Elaborate →", "elaborate", lin, evening.screen)
    await evening.killed()  # before or after the new card: nobody knows
    card = await at(discord, "Elaborate")
    await lin.locator(f"#dream-{sketches[-1]}, [href*='{sketches[-1]}']").first.click()
    await lin.get_by_label("Let its words grow").fill("looking away from each other")
    await lin.get_by_role("button", name="Grow").click()
    await expect(lin.locator("#sheet")).to_be_hidden()
    ids = await evening.drawn(9)
    await expect(lin.locator(".row.deep-1 em")).to_have_text(", looking away from each other")
    menu = await answer_of(discord, card, "Combine", ANN)
    assert set(offered(menu)) == set(ids)
    both = [sketches[0], ids[-1]]
    asked = await choose(discord, menu, both, ANN)
    assert "put together" in await discord.answer(asked)
    ids = await evening.drawn(10)
    await evening.photographed("elaborate")
    return ids


async def vote(evening: Evening, ids: list[str]) -> str:
    ada, lin, discord, ledger = evening.ada, evening.lin, evening.discord, evening.ledger
    card = await evening.all_moved("Choose →", "choose")
    best = ids[-2]
    form = await form_of(discord, card, "Points", ANN)
    await lin.locator(".choice-of-two").first.click()
    await expect(evening.screen.locator("body.screen-choose")).to_be_visible()
    await lin.locator(f"#heart-{best}").click()
    await expect(lin.locator(f"#heart-{best}")).to_have_attribute("aria-pressed", "true")
    await evening.killed()  # with the form of points open, and two votes given
    for given in ("1", "2"):
        await lin.locator(f"#more-{best}").click()
        points = lin.locator(".points", has=lin.locator(f"#more-{best}"))
        await expect(points).to_contain_text(given)
    given_points = await fill(discord, form, ANN, point1=[best], point2=[best], point3=[ids[0]])
    assert "You have 2 left." in await discord.answer(given_points)
    await ada.locator(f"#heart-{best}").click()
    await at(discord, "Choose", "3 people")
    ledger.votes += Counter(
        {
            ("Lin", "pair"): 1,
            ("Lin", "favourite"): 1,
            ("Lin", "points"): 2,
            ("Ann", "points"): 3,
            ("Ada", "favourite"): 1,
        }
    )
    await expect(ada.locator(f"#finalists [value='{best}']")).to_be_checked()
    await evening.photographed("choose")
    return best


async def finish(evening: Evening, best: str) -> None:
    ada, lin, discord = evening.ada, evening.lin, evening.discord
    chosen = ada.locator("#finalists input:checked")
    for dream_id in await chosen.evaluate_all("boxes => boxes.map(one => one.value)"):
        if dream_id != best:
            await ada.locator(f"#finalists [value='{dream_id}']").uncheck()
    await ada.get_by_role("button", name="Draw these large").click()
    for page in (ada, lin, evening.screen):
        await expect(page.locator("body.at-finale, body.screen-finale")).to_be_visible()
    await evening.until(lambda: evening.rows("SELECT 1 FROM party_finale"), "the finale")
    await evening.killed()  # while it is drawn large
    await evening.until(
        lambda: evening.rows("SELECT 1 FROM party_finale WHERE done = 1"), "the finale's end"
    )
    await evening.until(
        lambda: not evening.rows("SELECT 1 FROM dream WHERE state IN ('waiting', 'drawing')"),
        "the last picture",
    )
    await expect(lin.locator(".exhibit .who").first).to_have_text("Lin")  # whose picture it was
    # What broke off with the program has come after all, and nobody has reloaded their page.
    for page in (ada, lin):
        await expect(page.locator(".exhibit img").first).not_to_have_js_property("naturalWidth", 0)
    card = await at(discord, "Finale")
    await discord.until(
        lambda: any("items" in one for one in walk(card_of(discord, card)["components"])),
        "the large picture on the card",
    )
    await evening.photographed("finale")


def card_of(discord: Discord, card: Json) -> Json:
    """Return a card as it is now."""
    return discord.rest.messages[int(card["id"])]


async def publish(evening: Evening) -> bytes:
    """Publish, and kill the program at once; return the bundle as the channel has it."""
    ada, lin, discord = evening.ada, evening.lin, evening.discord
    await moved(ada, "Publish →", "published", lin, evening.screen)
    await evening.killed()
    bundle = lin.get_by_role("link", name="The evening’s bundle")
    # Films are written when nobody else wants the processor.
    await expect(bundle).to_be_visible(timeout=12 * PATIENCE_MS)
    card = await at(discord, "Published", "The whole evening")

    def attached() -> Json | None:
        now = card_of(discord, card)["attachments"]
        return next((one for one in now if one["filename"].endswith(".zip")), None)

    file = await discord.until(attached, "the bundle on the card")
    # Discord has the message before the program has Discord's answer, and writes it down.
    await evening.until(
        lambda: not evening.rows("SELECT 1 FROM party_card WHERE message_id IS NULL"),
        "every card's message to be noted",
    )
    await evening.photographed("published")
    return discord.rest.files[file["url"].partition("/attachments/")[2]]


def check_record(evening: Evening, best: str) -> None:
    """See that every word, vote and picture is in the record once, and every stage."""
    rows, ledger = evening.rows, evening.ledger
    said: dict[str, set[str]] = {}
    for words, name in rows(
        "SELECT words, name FROM party_association JOIN party_saying ON association_id = "
        "party_association.id JOIN person ON person.id = party_saying.person_id"
    ):
        said.setdefault(words, set()).add(name)
    assert said == ledger.words
    votes: Counter[tuple[str, str]] = Counter()
    for name, kind, value in rows(
        "SELECT name, kind, abs(value) FROM party_vote JOIN person ON person.id = person_id"
    ):
        votes[name, kind] += value
    assert votes == ledger.votes
    dreams = rows("SELECT state, count(*) FROM party_dream JOIN dream ON id = dream_id GROUP BY 1")
    made = rows("SELECT dream_id, redrawn_id, upscaled_id FROM party_finale")
    assert [one for one, *_ in made] == [best]
    assert dreams == [("done", 10 + sum(one is not None for one in made[0][1:]))]
    stages = [stage for (stage,) in rows("SELECT stage FROM party_stage ORDER BY id")]
    assert stages == ["gather", "sketch", "elaborate", "choose", "finale", "published"]
    hosts = rows("SELECT name FROM party_member JOIN person ON id = person_id WHERE role = 'host'")
    assert hosts == [("Ada",)]
    messages = [one for (one,) in rows("SELECT message_id FROM party_card")]
    assert None not in messages and len(set(messages)) == len(stages)
    cards = cards_of(evening.discord)
    assert [int(card["id"]) for card in cards] == sorted(messages), "each once, and no other"
    assert all("This stage is over." in text_of(card) for card in cards[:-1])
    assert all(not labels_of(card) for card in cards[:-1])


async def check_bundle(browser: Browser, bundle: bytes, folder: Path) -> None:
    """Open a bundle from its folder without a network; follow every link, look at every image."""

    def unpack() -> None:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            assert archive.testzip() is None
            archive.extractall(folder)

    await asyncio.to_thread(unpack)
    root = folder / "bundle"
    context = await browser.new_context(offline=True, viewport=PHONE)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = await context.new_page()
    waiting, seen = [root / "index.html"], set()
    pictures = 0
    while waiting:
        path = waiting.pop().resolve()
        if path in seen:
            continue
        seen.add(path)
        assert path.is_relative_to(root.resolve()) and path.is_file(), path
        if path.suffix != ".html":
            continue
        await page.goto(path.as_uri())
        await page.evaluate("for (const one of document.images) one.loading = 'eager'")
        await page.wait_for_function("[...document.images].every(one => one.complete)")
        assert await page.evaluate("[...document.images].every(one => one.naturalWidth)"), path
        pictures += await page.evaluate("document.images.length")
        if PHOTOGRAPHS is not None and path.parent == root.resolve():
            await page.screenshot(path=f"{PHOTOGRAPHS}/bundle-{path.stem}.png", full_page=True)
        links = await page.evaluate(
            "[...document.querySelectorAll('a[href], link[href], video[src], source[src]')]"
            ".map(one => one.href || one.src)"
        )
        for link in links:
            assert link.startswith("file://"), link
            waiting.append(Path(unquote(urldefrag(link)[0]).removeprefix("file://")))
        for film in await page.locator("video").all():
            await film.evaluate("one => { one.preload = 'metadata'; one.load(); }")
            await page.wait_for_function(
                "one => one.readyState >= 1", arg=await film.element_handle()
            )
    assert len([one for one in seen if one.suffix == ".html"]) >= 13 and pictures > 20
    assert (root / "film.mp4").resolve() in seen
    assert asked and all(url.startswith("file://") for url in asked)
    text = (root / "index.html").read_text(encoding="utf-8")
    for told in ("an empty bench", "a lighthouse", "linocut", "Ada", "Lin", "Ann"):
        assert told in text, told
    await context.close()


async def hold(folder: Path, browser: Browser, environ: dict[str, str]) -> None:
    """Hold the party from its first word to its bundle, on somebody's laptop."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    settings = (
        f'[wall]\nport = {port}\npublic_url = "http://127.0.0.1:{port}"\n'
        "[scheduler]\npreview_interval_s = 0.1\n"
    )
    complaints: list[str] = []
    async with loopback() as discord:
        bot = Bot(folder, discord, settings)
        pages = [await opened(browser, size, complaints) for size in (DESK, PHONE, SCREEN)]
        ada, lin, screen = pages
        evening = Evening(bot, discord, environ, ada, lin, screen)
        try:
            await bot.joined(**environ)
            await open_party(evening, f"http://127.0.0.1:{port}")
            await gather(evening)
            ids = await elaborate(evening, await sketch(evening))
            best = await vote(evening, ids)
            await finish(evening, best)
            bundle = await publish(evening)
            await asyncio.to_thread(check_record, evening, best)
            await evening.ada.get_by_text("Timer and rules").click()
            evening.ada.on("dialog", accept)
            await evening.ada.get_by_role("button", name="End the party").click()
            await discord.until(
                lambda: not any(labels_of(card) for card in cards_of(discord)), "the end of all"
            )
            assert await bot.stop() == 0
        finally:
            await bot.kill()
            for page in pages:
                await page.context.close()
        assert "Traceback" not in bot.said(), bot.said()
    assert [one for one in complaints if not CUT.search(one)] == []
    await check_bundle(browser, bundle, folder / "home")


async def accept(dialog: Dialog) -> None:
    """Say yes to what a page asks."""
    await dialog.accept()


async def open_party(evening: Evening, url: str) -> None:
    """Open the party in Discord; two come by its code, and Ann hands over to one of them."""
    discord, ada, lin = evening.discord, evening.ada, evening.lin
    asked = await discord.slash("party start", topic="loneliness", by=ANN)
    assert "The party is open" in await discord.answer(asked), evening.bot.said()
    card = await at(discord, "Gather")
    code = text_of(card).partition("code `")[2][:9]
    await evening.screen.goto(f"{url}/p/{code.replace(' ', '')}/screen")
    for page, name in ((ada, "Ada"), (lin, "Lin")):
        await page.goto(f"{url}/join")
        await page.get_by_label("Code").fill(code.upper())
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_label("Your name").fill(name)
        await page.get_by_role("button", name="Come in").click()
        await expect(page.get_by_label("What comes to your mind?")).to_be_visible()
    await at(discord, "Gather", "Lin")
    form = await form_of(discord, card, "Roles …", ANN)
    people = form["components"][0]["component"]["options"]
    [ada_id] = [one["value"] for one in people if one["label"] == "Ada"]
    given = await fill(discord, form, ANN, person=[ada_id], role=["host"])
    assert await discord.answer(given) == "Ada is now: host."
    await expect(ada.locator(".desk")).to_be_visible()


async def test_a_party_of_two_browsers_and_discord_loses_nothing_whatever_dies(
    tmp_path: Path, browser: Browser
) -> None:
    await hold(tmp_path, browser, {"FAKE_STEP_S": STEP_S})


@pytest.mark.skipif(not SLOW, reason="takes minutes: DREAMSTREAM_SLOW_TESTS=1")
async def test_a_party_with_the_starter_models(tmp_path: Path, browser: Browser) -> None:
    expect.set_options(timeout=SLOW_PATIENCE_S * 1000)
    await hold(tmp_path, browser, {"LOOPBACK_ENGINES": "shipped", "OMP_NUM_THREADS": "1"})
