"""A Chromium that scrolls through a wall's whole mosaic, for `benchmarks.wall`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from playwright.async_api import CDPSession, Page, ViewportSize, async_playwright

from benchmarks.wall_server import Server
from bot.wall.pages import PAGE
from tests.wall.test_browser import ARGUMENTS, find_chromium

# A phase that scrolls may take so long, and so much for each picture of the stream.
LIMIT_S = 60.0
PICTURE_S = 0.12
FAST = 22.5  # screens a second: nobody sees a picture that passes so
STROLL = 4.0  # what goes away is put back
STROLL_S = 15.0
EVERY_S = 0.05
LONG_MS = 50
ARRIVALS = 10
FRAME_MS = 1000 / 60
# What the page's thread did, by the names of `Performance.getMetrics`.
_WORK = {
    "style": "RecalcStyleDuration",
    "layout": "LayoutDuration",
    "script": "ScriptDuration",
}
VIEW = ViewportSize(width=1280, height=800)
# Notes how far apart frames are drawn, from now on.
_COUNT_FRAMES = """() => {
  window.frames_ = [];
  let before = performance.now();
  const next = (now) => {
    window.frames_.push(now - before);
    before = now;
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
}"""
# Scrolls by so many screens a second from now on, however fast frames are drawn; 0 is to stay.
_SCROLL = """(screens) => {
  if (window.scrolling_) cancelAnimationFrame(window.scrolling_);
  let before = performance.now();
  const next = (now) => {
    const by = screens * innerHeight * Math.min(0.25, (now - before) / 1000);
    before = now;
    window.scrollBy({top: by, behavior: 'instant'});
    window.scrolling_ = requestAnimationFrame(next);
  };
  window.scrolling_ = screens && requestAnimationFrame(next);
}"""
_PAGES = "() => document.querySelectorAll('#finished > .mosaic').length"
_TILES = "() => document.querySelectorAll('#finished .tile').length"
_TAKE_FRAMES = "() => { const taken = window.frames_; window.frames_ = []; return taken; }"
_AT_END = """() => !document.querySelector('.older')
  && innerHeight + scrollY >= document.documentElement.scrollHeight - 2"""
_AT_TOP = "() => scrollY === 0"
_WHERE = "() => scrollY"

Say = Callable[[str], None]


async def _nothing() -> None:
    pass


async def scrolled(server: Server, pictures: int, say: Say) -> dict[str, Any]:
    """Scroll to the oldest picture and back; return what the browser had to do.

    Each way ends by itself within `limit_s(pictures)`, and says whether it got there.
    """
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[*ARGUMENTS, "--enable-precise-memory-info", "--js-flags=--expose-gc"],
        )
        page = await browser.new_page(viewport=VIEW)
        page.set_default_timeout(LIMIT_S * 1000)
        begun = time.monotonic()
        await page.goto(f"{server.url}/s/open", wait_until="load")
        loaded_s = time.monotonic() - begun
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable")
        first = await _standing(page, session)
        await page.evaluate(_COUNT_FRAMES)
        most_s = limit_s(pictures)
        say("the browser strolls downwards")
        strolling_down = await _scroll(page, STROLL, _AT_END, _nothing, STROLL_S)
        say("the browser scrolls down")
        down, work = await _down(page, session, most_s)
        full = await _standing(page, session)
        say("the browser rests far down, while pictures come")
        watching = await _watching(page, server)
        say("the browser strolls upwards")
        strolling_up = await _scroll(page, -STROLL, _AT_TOP, _nothing, STROLL_S)
        say("the browser scrolls up, while pictures come")
        arriving = asyncio.create_task(server.happen(ARRIVALS, 0.2))
        up = await _scroll(page, -FAST, _AT_TOP, _nothing, most_s)
        *_, newest = (await arriving).at
        await page.wait_for_timeout(1000)
        top = await page.locator("#finished .tile").first.get_attribute("id")
        last = await _standing(page, session)
        await browser.close()
    return {
        "load_s": round(loaded_s, 2),
        "strolling downwards": strolling_down,
        "down": down,
        "at rest far down, while pictures come": watching,
        "strolling upwards": strolling_up,
        "up, while pictures come": up,
        "up by down, ms a screen": round(up["ms_a_screen"] / down["ms_a_screen"], 2),
        "ms of work a picture": work,
        "at the first page": first,
        "at the oldest picture": full,
        "back at the top": last,
        "the newest is at the top": top == f"dream-{newest}",
    }


def limit_s(pictures: int) -> float:
    """Return how many seconds a way through so many pictures may take."""
    return LIMIT_S + pictures * PICTURE_S


def goals(found: dict[str, Any]) -> dict[str, tuple[Any, str, bool]]:
    """Return what of it has a goal: its value, the goal in words, and whether it is reached."""
    down, up = found["down"], found["up, while pictures come"]
    tiles = found["at the oldest picture"]["tiles"]
    ratio = found["up by down, ms a screen"]
    stroll_ms = [found[f"strolling {way}"]["p95_ms"] for way in ("downwards", "upwards")]
    return {
        "scrolled to the oldest picture": (down["reached"], "in time", down["reached"]),
        "scrolled back to the top": (up["reached"], "in time", up["reached"]),
        "the newest is at the top": (
            found["the newest is at the top"],
            "yes",
            found["the newest is at the top"],
        ),
        "tiles held at the oldest picture": (tiles, "at most 4 pages", tiles <= 4 * PAGE),
        "a screen upwards by one downwards": (ratio, "at most 1.2", ratio <= 1.2),
        "95 % of frames, strolling upwards, ms": (
            stroll_ms[1],
            f"at most {stroll_ms[0]}, as downwards, and a frame",
            stroll_ms[1] <= stroll_ms[0] + FRAME_MS,
        ),
    }


async def _down(
    page: Page, session: CDPSession, most_s: float
) -> tuple[dict[str, Any], dict[str, float]]:
    """Scroll to the oldest picture; return how even the frames were, and what pictures cost.

    That is the page's own processor time for each picture that came into it, in the first and in
    the last quarter of the way.
    """
    noted: list[tuple[int, dict[str, float]]] = []

    async def note() -> None:
        pages = await page.evaluate(_PAGES)
        if not noted or noted[-1][0] != pages:
            noted.append((pages, await _metrics(session)))

    frames = await _scroll(page, FAST, _AT_END, note, most_s)
    quarter = max(1, len(noted) // 4)

    def each(part: list[tuple[int, dict[str, float]]], name: str = "ThreadTime") -> float:
        (pages, begun), (end, ended) = part[0], part[-1]
        return round((ended[name] - begun[name]) * 1000 / PAGE / max(1, end - pages), 2)

    first, last = each(noted[: quarter + 1]), each(noted[-quarter - 1 :])
    return frames, {
        "first quarter": first,
        "last quarter": last,
        "ratio": round(last / first, 2) if first else 0.0,
    } | {name: each(noted, metric) for name, metric in _WORK.items()}


async def _watching(page: Page, server: Server) -> dict[str, Any]:
    """Stay where the page is while pictures come; return how even the frames were."""
    await page.evaluate(_TAKE_FRAMES)
    begun = time.monotonic()
    await server.happen(ARRIVALS, 0.2)
    return _evenness(await page.evaluate(_TAKE_FRAMES), time.monotonic() - begun)


async def _scroll(
    page: Page, screens: float, done: str, note: Callable[[], Awaitable[None]], most_s: float
) -> dict[str, Any]:
    """Scroll so many screens a second until something is so; return how even the frames were."""
    await page.evaluate(_TAKE_FRAMES)
    begun, from_px = time.monotonic(), await page.evaluate(_WHERE)
    await page.evaluate(_SCROLL, screens)
    reached = False
    while not reached and time.monotonic() - begun < most_s:
        await asyncio.sleep(EVERY_S)
        await note()
        reached = await page.evaluate(done)
    seconds = time.monotonic() - begun
    await page.evaluate(_SCROLL, 0)
    passed = abs(await page.evaluate(_WHERE) - from_px) / VIEW["height"]
    return {
        "reached": reached,
        "screens": round(passed),
        "ms_a_screen": round(seconds * 1000 / max(1, passed), 1),
    } | _evenness(await page.evaluate(_TAKE_FRAMES), seconds)


def _evenness(frames: list[float], seconds: float) -> dict[str, float]:
    """Return how far apart frames were, in milliseconds."""
    frames = sorted(frames)

    def quantile(part: float) -> float:
        return round(frames[min(len(frames) - 1, int(len(frames) * part))], 1)

    return {
        "seconds": round(seconds, 1),
        "frames": len(frames),
        "p50_ms": quantile(0.5),
        "p95_ms": quantile(0.95),
        "p99_ms": quantile(0.99),
        "longest_ms": round(frames[-1], 1),
        f"over {LONG_MS} ms": sum(frame > LONG_MS for frame in frames),
    }


async def _metrics(session: CDPSession) -> dict[str, float]:
    told = await session.send("Performance.getMetrics")
    return {one["name"]: one["value"] for one in told["metrics"]}


async def _standing(page: Page, session: CDPSession) -> dict[str, float]:
    """Return how much the page holds, and the seconds of processor time that it has taken."""
    await page.evaluate("() => window.gc && window.gc()")
    metrics = await _metrics(session)
    return {
        "elements": await page.evaluate("() => document.querySelectorAll('*').length"),
        "tiles": await page.evaluate(_TILES),
        "nodes": int(metrics["Nodes"]),
        "heap_mib": round(metrics["JSHeapUsedSize"] / 1024**2, 1),
        "cpu_s": round(metrics["ThreadTime"], 1),
    }
