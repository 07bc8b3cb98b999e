"""What a wall costs that many browsers watch, and how that grows with them and with the stream.

Two walls, each in a process of its own: one with a short stream, one with a long one. Watchers take
the events as browsers do, while dreams are asked for, form and are done; the server's processor
time is taken with none, one and many of them, and for each page: what else the machine does is not
in it, but for how late watchers learn of things. With
``--browser`` a Chromium scrolls through the whole mosaic, down and up again. Prints a table and one
line of JSON; what counts are the ratios within it.

    python -m benchmarks.wall --pictures 10000 --watchers 50 [--browser]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.wall_server import Server, serving

SHORT = 100
LOOKS = 15
DREAMS = 40
GAP_S = 0.1
_DONE = re.compile(rb'event: done\n.*?id="dream-([0-9a-z]+)"', re.DOTALL)


@dataclass
class Watched:
    """What one watcher was sent: bytes, and when it had the end of each dream."""

    size: int = 0
    at: dict[str, float] = field(default_factory=dict)


async def watch(session: aiohttp.ClientSession, url: str, watched: Watched) -> None:
    """Take a stream's events until cancelled."""
    async with session.get(f"{url}/s/open/events") as answer:
        rest = b""
        async for chunk in answer.content.iter_any():
            now_s = time.monotonic()
            watched.size += len(chunk)
            *messages, rest = (rest + chunk).split(b"\n\n")
            for message in messages:
                if found := _DONE.search(message):
                    watched.at.setdefault(found[1].decode(), now_s)


async def with_watchers(server: Server, count: int) -> dict[str, float]:
    """Have dreams come while so many watch; return what that cost."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        all_watched = [Watched() for _ in range(count)]
        tasks = [asyncio.create_task(watch(session, server.url, one)) for one in all_watched]
        await asyncio.sleep(1.0)
        await server.slowest_round_ms()
        happened = await server.happen(DREAMS, GAP_S)
        slowest = await server.slowest_round_ms()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    late = [one.at[key] - at for one in all_watched for key, at in happened.at.items()]
    return {
        "cpu_ms_per_dream": round(happened.cpu_s / DREAMS * 1000, 2),
        "loop_ms_per_dream": round(happened.loop_s / DREAMS * 1000, 2),
        "bytes_per_dream": round(sum(one.size for one in all_watched) / DREAMS / max(1, count)),
        "late_p50_ms": round(statistics.median(late) * 1000, 1) if late else 0.0,
        "late_max_ms": round(max(late) * 1000, 1) if late else 0.0,
        "slowest_round_cpu_ms": slowest["cpu"],
    }


async def small_picture(session: aiohttp.ClientSession, server: Server) -> str:
    """Return the address of the newest small picture."""
    async with session.get(f"{server.url}/s/open") as answer:
        found = re.search(r'/t/[^"]+', await answer.text())
    assert found is not None
    return found[0]


async def pages(server: Server, pictures: int) -> dict[str, dict[str, float]]:
    """Return each page's bytes, and how much of the server's processor it takes, in ms."""
    deep = await server.id_at(pictures - 49)  # a whole page from the end
    found = {}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        for name, path in {
            "first page": "/s/open",
            "older, near": f"/s/open/more?before={await server.id_at(1)}",
            "older, deep": f"/s/open/more?before={deep}",
            "big screen": "/s/open/watch",
            "a day": "/s/open/day",
            "the best": "/s/open/best",
            "feed": "/s/open/feed.atom",
            "a small picture": await small_picture(session, server),
        }.items():
            took, size = [], 0
            for _ in range(LOOKS):
                begun = await server.cpu_s()
                async with session.get(server.url + path) as answer:
                    size = len(await answer.read())
                    assert answer.status == 200, path
                took.append(await server.cpu_s() - begun)
            found[name] = {"ms": round(statistics.median(took) * 1000, 2), "bytes": size}
    return found


async def measure(pictures: int, watchers: int, *, browser: bool) -> dict[str, Any]:
    """Measure both walls."""
    result: dict[str, Any] = {
        "benchmark": "wall",
        "pictures": pictures,
        "watchers": watchers,
        "dreams": DREAMS,
    }
    watched: dict[str, dict[str, dict[str, float]]] = {}
    looked: dict[str, dict[str, dict[str, float]]] = {}
    for size in (SHORT, pictures):
        with serving(size) as server:
            looked[str(size)] = await pages(server, size)
            watched[str(size)] = {
                str(count): await with_watchers(server, count) for count in sorted({0, 1, watchers})
            }
            if browser and size == pictures:
                from benchmarks.wall_browser import scrolled

                result["browser"] = await scrolled(server)
    long, short = watched[str(pictures)], watched[str(SHORT)]

    def each(of: dict[str, dict[str, float]], count: int) -> float:
        """Return what one more watcher costs for a dream, in ms of the server's processor."""
        added = of[str(count)]["cpu_ms_per_dream"] - of["0"]["cpu_ms_per_dream"]
        return round(added / count, 3)

    result |= {
        "pages": looked,
        "watched": watched,
        "ms_per_watcher_and_dream": {
            "long, many": each(long, watchers),
            "long, one": each(long, 1),
            "short, many": each(short, watchers),
        },
        "long_by_short": {
            name: round(looked[str(pictures)][name]["ms"] / looked[str(SHORT)][name]["ms"], 2)
            for name in looked[str(SHORT)]
        }
        | {
            "a dream, many watch": round(
                long[str(watchers)]["cpu_ms_per_dream"] / short[str(watchers)]["cpu_ms_per_dream"],
                2,
            )
        },
    }
    return result


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    short, long = (str(SHORT), str(result["pictures"]))
    print(f"{'page':22}{short + ' pictures':>16}{long + ' pictures':>18}{'ratio':>8}{'KiB':>8}")
    for name, of_long in result["pages"][long].items():
        ms = result["pages"][short][name]["ms"]
        ratio = result["long_by_short"][name]
        kib = of_long["bytes"] / 1024
        print(f"{name:22}{ms:>13} ms{of_long['ms']:>15} ms{ratio:>8}{kib:>8.0f}")
    print(f"\n{'pictures, watchers':22}{'CPU ms a dream':>16}{'on the loop':>13}", end="")
    print(f"{'bytes each':>12}{'late p50':>10}{'longest':>9}{'slowest round':>15}")
    for size, counts in result["watched"].items():
        for count, told in counts.items():
            print(
                f"{size + ', ' + count:22}{told['cpu_ms_per_dream']:>16}"
                f"{told['loop_ms_per_dream']:>13}{told['bytes_per_dream']:>12}"
                f"{told['late_p50_ms']:>7} ms{told['late_max_ms']:>6} ms"
                f"{told['slowest_round_cpu_ms']:>12} ms"
            )
    print(f"\none more watcher costs, in ms a dream: {result['ms_per_watcher_and_dream']}")
    for name, value in result.get("browser", {}).items():
        print(f"browser, {name}: {value}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.pictures, arguments.watchers, browser=arguments.browser))
    show(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
