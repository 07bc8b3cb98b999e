"""What a wall is to its visitors while slow clients take all the places they can.

A wall as it is set by itself, in a process of its own, is filled with clients of every slow kind,
twice as many as it has places: silent ones, headers and forms in drops, files, pages and events
that nobody reads. Whoever is let go comes back at once. Meanwhile a visitor looks at a page and
at a picture, once in a while, each time by new connections. Prints how long that took before and
then, how often the visitor was refused, and what the slow ones cost the server: processor time,
memory, open files.

    python -m benchmarks.slow_clients [--clients 2048] [--addresses 64] [--seconds 60]

The clients come from as many addresses (127.0.0.0/8, so this takes Linux). With one for each client
nobody has more than others, and only what is idle makes room.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from benchmarks.wall_server import Server, serving
from bot.wall import WallSettings

PICTURES = 200
_LOOKS_BEFORE = 30
_GAP_S = 0.25
_BACK_AFTER_S = 0.5
_HOST = b"Host: 127.0.0.1\r\n"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n"
_PICTURE = re.compile(r"/t/[0-9a-f]{64}\.webp\?d=\w+")


@dataclass(frozen=True)
class Slow:
    """A kind of slow client: what it sends first, what it sends each second, and never reads."""

    name: str
    first: bytes = b""
    drop: bytes = b""


@dataclass
class Seen:
    """What the visitor met with: how long a page and its picture took, and what was refused."""

    took_s: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, object]:
        """Return it in milliseconds."""
        took = sorted(self.took_s) or [float("nan")]
        return {
            "looks": len(self.took_s),
            "middle_ms": round(statistics.median(took) * 1000, 1),
            "p95_ms": round(took[int(len(took) * 0.95)] * 1000, 1),
            "longest_ms": round(took[-1] * 1000, 1),
            "refused": dict(self.refused),
        }


def kinds() -> tuple[Slow, ...]:
    """Return every kind of slow client; what is not read is more than the system holds of it."""

    def get(path: bytes) -> bytes:
        return b"GET " + path + b" HTTP/1.1\r\n" + _HOST

    form = b"POST /s/open/dreams HTTP/1.1\r\n" + _HOST + _FORM + b"\r\n"
    return (
        Slow("silent"),
        Slow("headers in drops", get(b"/s/open"), b"X-A: b\r\n"),
        Slow("a form in drops", form, b"a"),
        Slow("files unread", (get(b"/static/vendor/htmx-2.0.11.min.js") + b"\r\n") * 20),
        Slow("pages unread", (get(b"/s/open") + b"\r\n") * 8),
        Slow("events unread", get(b"/s/open/events") + b"\r\n"),
    )


async def be_slow(port: int, address: str, kind: Slow, met: Counter[str]) -> None:
    """Be such a client until cancelled; come back whenever it is let go."""
    while True:
        writer = None
        try:
            # What is not read fills this, and then what the server may send.
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(address, 0), limit=1024
            )
            met["connected"] += 1
            writer.write(kind.first)
            while not writer.is_closing():
                await asyncio.sleep(1.0)
                if kind.drop:
                    writer.write(kind.drop)
                if reader.at_eof():
                    break
        except OSError:
            met["refused or reset"] += 1
        finally:
            if writer is not None:
                writer.transport.abort()
        await asyncio.sleep(_BACK_AFTER_S)


async def look(url: str, seen: Seen) -> None:
    """Look at a page and at one of its pictures."""
    began_s = time.monotonic()
    headers = {"Accept": "text/html"}
    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with aiohttp.ClientSession(url, headers=headers, timeout=timeout) as session:
            async with session.get("/s/open") as answer:
                if answer.status != 200:
                    seen.refused[str(answer.status)] += 1
                    return
                found = _PICTURE.search(await answer.text())
            assert found is not None, "the page has no picture"
            async with session.get(found[0]) as answer:
                await answer.read()
                if answer.status != 200:
                    seen.refused[str(answer.status)] += 1
                    return
    except (aiohttp.ClientError, TimeoutError) as error:
        seen.refused[type(error).__name__] += 1
        return
    seen.took_s.append(time.monotonic() - began_s)


def standing(server: Server) -> dict[str, int]:
    """Return what the server's process holds: memory in MiB, and open files."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return {
        "rss_mib": int(found[1]) // 1024,
        "open_files": sum(1 for _ in Path(f"/proc/{server.pid}/fd").iterdir()),
    }


async def measure(clients: int, addresses: int, seconds: float, only: str) -> dict[str, object]:
    """Return what a visitor met with, and what the clients cost."""
    with serving(PICTURES, WallSettings(port=0)) as server:
        port = urlsplit(server.url).port
        assert port is not None
        before = Seen()
        for _ in range(_LOOKS_BEFORE):
            await look(server.url, before)
        at_rest = standing(server)
        every = [kind for kind in kinds() if only in kind.name]
        met, during = Counter[str](), Seen()
        slow = [
            asyncio.create_task(
                be_slow(port, _address(number % addresses), every[number % len(every)], met)
            )
            for number in range(clients)
        ]
        await asyncio.sleep(5)
        cpu_s, most = await server.cpu_s(), dict(at_rest)
        await server.slowest_round_ms()
        began_s, own_s = time.monotonic(), time.process_time()
        while (past_s := time.monotonic() - began_s) < seconds:
            await look(server.url, during)
            most = {name: max(value, most[name]) for name, value in standing(server).items()}
            await asyncio.sleep(_GAP_S)
        cpu_s = await server.cpu_s() - cpu_s
        slowest = await server.slowest_round_ms()
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        after = Seen()
        for _ in range(_LOOKS_BEFORE):
            await look(server.url, after)
        return {
            "clients": clients,
            "addresses": addresses,
            "seconds": round(past_s),
            "before": before.told(),
            "during": during.told(),
            "after": after.told(),
            "clients_met": dict(met),
            "at_rest": at_rest,
            "at_most": most,
            "afterwards": standing(server),
            "cpu_share": round(cpu_s / past_s, 3),
            "clients_cpu_share": round((time.process_time() - own_s) / past_s, 3),
            "slowest_round_ms": slowest,
        }


def _address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def main() -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_clients")
    parser.add_argument("--clients", type=int, default=2048)
    parser.add_argument("--addresses", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    asked = parser.parse_args()
    with suppress(KeyboardInterrupt):
        figures = asyncio.run(measure(asked.clients, asked.addresses, asked.seconds, asked.only))
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
