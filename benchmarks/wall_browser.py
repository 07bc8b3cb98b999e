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

LIMIT_S = 240.0
STEP_PX = 900
EVERY_S = 0.05
LONG_MS = 50
ARRIVALS = 10
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
_PAGES = "() => document.querySelectorAll('#finished > .mosaic').length"
_TILES = "() => document.querySelectorAll('#finished .tile').length"
_TAKE_FRAMES = "() => { const taken = window.frames_; window.frames_ = []; return taken; }"
_AT_END = """() => !document.querySelector('.older')
  && innerHeight + scrollY >= document.documentElement.scrollHeight - 2"""


async def scrolled(server: Server) -> dict[str, Any]:
    """Scroll to the oldest picture and back; return what the browser had to do."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[*ARGUMENTS, "--enable-precise-memory-info", "--js-flags=--expose-gc"],
        )
        page = await browser.new_page(viewport=VIEW)
        begun = time.monotonic()
        await page.goto(f"{server.url}/s/open", wait_until="load")
        loaded_s = time.monotonic() - begun
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable")
        first = await _standing(page, session)
        await page.evaluate(_COUNT_FRAMES)
        down, work = await _down(page, session)
        full = await _standing(page, session)
        watching = await _watching(page, server)
        arriving = asyncio.create_task(server.happen(ARRIVALS, 0.2))
        up = await _up(page)
        *_, newest = (await arriving).at
        await page.wait_for_timeout(1000)
        top = await page.locator("#finished .tile").first.get_attribute("id")
        last = await _standing(page, session)
        await browser.close()
    return {
        "load_s": round(loaded_s, 2),
        "down": down,
        "at rest far down, while pictures come": watching,
        "up, while pictures come": up,
        "ms of work a picture": work,
        "at the first page": first,
        "at the oldest picture": full,
        "back at the top": last,
        "the newest is at the top": top == f"dream-{newest}",
    }


async def _down(page: Page, session: CDPSession) -> tuple[dict[str, Any], dict[str, float]]:
    """Scroll to the oldest picture; return how even the frames were, and what pictures cost.

    That is the page's own processor time for each picture that came into it, in the first and in
    the last quarter of the way.
    """
    noted: list[tuple[int, dict[str, float]]] = []

    async def note() -> None:
        pages = await page.evaluate(_PAGES)
        if not noted or noted[-1][0] != pages:
            noted.append((pages, await _metrics(session)))

    frames = await _scroll(page, STEP_PX, _AT_END, note)
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


async def _up(page: Page) -> dict[str, Any]:
    async def nothing() -> None:
        pass

    return await _scroll(page, -STEP_PX * 4, "() => scrollY === 0", nothing)


async def _scroll(
    page: Page, by_px: int, done: str, note: Callable[[], Awaitable[None]]
) -> dict[str, Any]:
    """Scroll until something is so, as a wheel does; return how even the frames were."""
    begun = time.monotonic()
    reached = False
    while not reached and time.monotonic() - begun < LIMIT_S:
        await page.evaluate(f"() => window.scrollBy({{top: {by_px}, behavior: 'instant'}})")
        await asyncio.sleep(EVERY_S)
        await note()
        reached = await page.evaluate(done)
    return {"reached": reached} | _evenness(
        await page.evaluate(_TAKE_FRAMES), time.monotonic() - begun
    )


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
