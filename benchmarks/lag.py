"""How long the bot's event loop is held up while people dream and watch.

Starts the whole product on a temporary folder, has several people ask at once, several browsers'
worth of event streams and pages read along, and measures how late a 5 ms timer fires, first idle
and then under load. A second process with nothing else to do measures the same at the same time:
what it sees too is the machine's doing (its cores are busy drawing), not the bot's. Prints one
line of JSON and a table. The goal is a longest lag under 50 ms on a machine with nothing else on.

    python -m benchmarks.lag --dreams 8 --watchers 8
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import multiprocessing.synchronize
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from bot.app import make_wall
from bot.config import Config, Wall
from bot.model import DreamRequest, DreamState, Person
from bot.services import services
from bot.themes import DEFAULT_SLUG

TICK_S = 0.005


async def probe(lags: list[float]) -> None:
    """Note, in seconds, how late each tick of a timer comes; until cancelled."""
    while True:
        due = time.perf_counter() + TICK_S
        await asyncio.sleep(TICK_S)
        lags.append(max(0.0, time.perf_counter() - due))


def control(
    stop: multiprocessing.synchronize.Event, result: multiprocessing.Queue[dict[str, float]]
) -> None:
    """Do nothing but be woken by a timer, in a process of its own; say how late it was."""
    lags: list[float] = []

    async def idle() -> None:
        probing = asyncio.create_task(probe(lags))
        while not stop.is_set():  # noqa: ASYNC110 -- it is set in another process
            await asyncio.sleep(0.1)
        probing.cancel()

    asyncio.run(idle())
    result.put(summary(lags))


async def watch(url: str, pages: list[int]) -> None:
    """Hold an event stream open and look at a page every second, as a browser does."""

    async def look(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.get(f"{url}/s/{DEFAULT_SLUG}") as answer:
                await answer.read()
                pages.append(answer.status)
            await asyncio.sleep(1)

    async with aiohttp.ClientSession() as session:
        looking = asyncio.create_task(look(session))
        try:
            async with session.get(f"{url}/s/{DEFAULT_SLUG}/events") as answer:
                async for _ in answer.content.iter_chunked(65536):
                    pass
        finally:
            looking.cancel()


def summary(lags: list[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the longest, in milliseconds."""
    ordered = sorted(lags)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
        "max_ms": round(ordered[-1] * 1000, 2),
    }


async def measure(dreams: int, watchers: int, engine: str | None) -> dict[str, object]:
    """Run the product idle and under load; return what was measured."""
    config = Config(wall=Wall(port=0))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        parts = await stack.enter_async_context(services(config, Path(folder)))
        wall = make_wall(config, parts)
        assert wall is not None
        url = str(await wall.start()).rstrip("/")
        stack.push_async_callback(wall.stop)
        while not parts.supervisor.up:  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0.1)
        gc.collect()

        idle: list[float] = []
        probing = asyncio.create_task(probe(idle))
        await asyncio.sleep(5)
        probing.cancel()

        spawn = multiprocessing.get_context("spawn")
        stop, answer = spawn.Event(), spawn.Queue()
        beside = spawn.Process(target=control, args=(stop, answer), daemon=True)
        beside.start()
        await asyncio.sleep(2)

        pages: list[int] = []
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(watch(url, pages)) for _ in range(watchers)]
            busy: list[float] = []
            probing = group.create_task(probe(busy))
            begun = time.perf_counter()
            asked = []
            for number in range(dreams):
                request = DreamRequest(
                    theme=DEFAULT_SLUG,
                    person=Person(f"guest:{number}", f"Guest {number}"),
                    prompt=f"a castle on hill number {number}",
                    engine=engine,
                    seed=number,
                )
                asked += await parts.dreams.ask(request)
            ended = [await parts.dreams.wait(dream.id) for dream in asked]
            took_s = time.perf_counter() - begun
            for task in (*watching, probing):
                task.cancel()
        stop.set()
        other = await asyncio.to_thread(answer.get)
    return {
        "benchmark": "lag",
        "dreams": dreams,
        "done": sum(dream.state is DreamState.DONE for dream in ended),
        "watchers": watchers,
        "pages": len(pages),
        "took_s": round(took_s, 1),
        "idle": summary(idle),
        "busy": summary(busy),
        "control": other,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dreams", type=int, default=8)
    parser.add_argument("--watchers", type=int, default=8)
    parser.add_argument("--engine")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.dreams, arguments.watchers, arguments.engine))
    print(json.dumps(result))
    print(f"{'':8}{'p50 ms':>10}{'p99 ms':>10}{'longest ms':>12}")
    for name in ("idle", "busy", "control"):
        row = result[name]
        assert isinstance(row, dict)
        print(f"{name:8}{row['p50_ms']:>10}{row['p99_ms']:>10}{row['max_ms']:>12}")


if __name__ == "__main__":
    main()
