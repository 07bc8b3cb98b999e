"""What a wall costs that many browsers watch, and how that grows with them and with the stream.

Two walls, each in a process of its own: one with a short stream, one with a long one. Watchers take
the events as browsers do, while dreams are asked for, form and are done; the server's processor
time is taken with none, one and many of them, and for each page: what else the machine does is not
in it, but for how late watchers learn of things. With ``--browser`` a Chromium scrolls through the
whole mosaic, down and up again. Says on stderr what it is at; prints a table, what was reached of
its goals, and one line of JSON. What counts are the ratios within it.

Every phase has a limit that grows with its sizes, so it ends on a busy machine too: with 1 where a
goal was missed, with 2 where a phase that all else needs took too long.

    python -m benchmarks.wall --pictures 10000 --watchers 50 [--browser]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from benchmarks.wall_server import START_S, Server, serving

SHORT = 100
LOOKS = 15
DREAMS = 40
GAP_S = 0.1
# What a phase may take, in seconds: so much, and so much for each of what it goes through.
# About ten times what two idle cores take.
PHASE_S = 60.0
FILLED_S = 0.15  # a picture that is made
LOOK_S = 2.0  # a page that is asked for
TOLD_S = 0.05  # a watcher that is told of a dream
MOST_LONG_BY_SHORT = 2.0
_T = TypeVar("_T")
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
    forever = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=forever) as session:
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


class _Clock:
    """Says what is measured, and for how long; bounds each phase."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._phase = "starting"

    def say(self, phase: str) -> None:
        self._phase = phase
        print(f"{time.monotonic() - self._begun:7.0f} s  {phase}", file=sys.stderr, flush=True)

    async def bound(self, phase: str, limit_s: float, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what the phase's work returns.

        Raises:
            TimeoutError: it took longer than so many seconds.
        """
        self.say(phase)
        try:
            async with asyncio.timeout(limit_s):
                return await work
        except TimeoutError:
            raise TimeoutError(
                f"{self._phase}: not done in {limit_s:.0f} s. Try fewer pictures or watchers."
            ) from None


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
    clock = _Clock()
    for size in (SHORT, pictures):
        clock.say(f"making {size} pictures")
        with serving(size, limit_s=START_S + size * FILLED_S) as server:
            looked[str(size)] = await clock.bound(
                f"{size} pictures: pages", PHASE_S + LOOKS * LOOK_S, pages(server, size)
            )
            watched[str(size)] = {
                str(count): await clock.bound(
                    f"{size} pictures: {count} watching",
                    PHASE_S + DREAMS * (GAP_S + (count + 1) * TOLD_S),
                    with_watchers(server, count),
                )
                for count in sorted({0, 1, watchers})
            }
            if browser and size == pictures:
                from benchmarks.wall_browser import limit_s, scrolled

                result["browser"] = await clock.bound(
                    f"{size} pictures: the browser starts",
                    PHASE_S + 3 * limit_s(size),
                    scrolled(server, size, clock.say),
                )
    clock.say("done")
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
    result["goals"] = _goals(result)
    return result


def _goals(result: dict[str, Any]) -> dict[str, tuple[Any, str, bool]]:
    """Return what has a goal: its value, the goal in words, and whether it is reached."""
    slowest = max(result["long_by_short"], key=result["long_by_short"].__getitem__)
    ratio = result["long_by_short"][slowest]
    found: dict[str, tuple[Any, str, bool]] = {
        f"long by short, the worst ({slowest})": (
            ratio,
            f"at most {MOST_LONG_BY_SHORT}",
            ratio <= MOST_LONG_BY_SHORT,
        )
    }
    if "browser" in result:
        from benchmarks.wall_browser import goals

        found |= goals(result["browser"])
    return found


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
    print()
    for name, (value, wanted, is_reached) in result["goals"].items():
        print(f"{'reached' if is_reached else 'MISSED':8} {name}: {value} ({wanted})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    try:
        result = asyncio.run(
            measure(arguments.pictures, arguments.watchers, browser=arguments.browser)
        )
    except (TimeoutError, EOFError) as error:
        print(str(error) or "The wall's process ended.", file=sys.stderr)
        sys.exit(2)
    show(result)
    print(json.dumps(result))
    sys.exit(0 if all(is_reached for _, _, is_reached in result["goals"].values()) else 1)


if __name__ == "__main__":
    main()
