"""How costs grow: deciding, from 1 to 64 runs; the bot's work, from 10 to 100,000 kept pictures.

Deciding is the real scheduler's with steps that take no time to simulate, against steps of a tenth
of a second. The bot's are the real services over a real database whose pictures are rows only: to
ask for a dream, to read a page of the newest and of the oldest pictures and the stream's events, to
search by vector, and to take up at a start what was unfinished. All are the processor's seconds of
this process, its database's threads included: others on the machine disturb them little.

    python -m benchmarks.growth [--runs 1 4 16 64] [--pictures 10 1000 10000 100000]

Prints tables for people and one line of JSON; the growth is from the first number of pictures that
fills every page to the most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.search import made, on_a_shelf
from benchmarks.wall_server import Stream
from bot.search import MOST
from generation.scheduler import Limits
from tests.bot.drawer import Services, request, services
from tests.fakes.world import World, line

STEP_S = 0.1
GOAL = 0.01
UNFINISHED = 20
FULL = 500


def deciding(runs: int, turns: int = 200) -> float:
    """Return the seconds of deciding and accounting for each step, with so many people's runs.

    Every assignment is half a second of steps of a tenth each, for up to eight runs.
    """
    world = World(cost=line(STEP_S, STEP_S / 10), limits=Limits(), load_s=0.0)
    for number in range(runs):
        # Two kinds, so that not everybody can share every step.
        kind = ("plain", 512 if number % 2 else 256)
        world.submit(f"job-{number}", f"person {number}", steps=1_000_000, kind=kind)
    scheduler = world.scheduler
    spent_s = 0.0
    steps = 0
    for _ in range(turns):
        began = time.process_time()
        assignment = scheduler.choose("w", world.now)
        spent_s += time.process_time() - began
        assert assignment is not None
        report = world.carry_out("w", assignment)
        steps += len(report.step_times)
        began = time.process_time()
        scheduler.report("w", report, world.now)
        spent_s += time.process_time() - began
    return spent_s / steps


async def keeping(pictures: int, turns: int) -> dict[str, float]:
    """Return the seconds that each of the bot's works takes with so many pictures kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with services(folder) as parts:
            await Stream(parts, files=False).fill(pictures)
            theme_id = (await parts.themes.get("open")).id
            oldest = (await _at(parts, pictures - 1)) if pictures > 1 else None
            last = await parts.feed.last_id(theme_id)
            found = {
                "accept a dream": await taken(lambda: parts.dreams.ask(request()), turns),
                "newest page": await taken(lambda: parts.dreams.recent(theme_id), turns),
                "oldest page": await taken(
                    lambda: parts.dreams.recent(theme_id, before=oldest), turns
                ),
                "newest events": await taken(
                    lambda: parts.feed.replay(theme_id=theme_id, after=max(0, last - 100)), turns
                ),
                "first events": await taken(
                    lambda: parts.feed.replay(theme_id=theme_id, after=0, limit=100), turns
                ),
            }
            for _ in range(UNFINISHED - turns - 1):
                await parts.dreams.ask(request())

        async def start() -> None:
            async with services(folder) as again:
                assert len(again.dreams.standing()) >= UNFINISHED

        found["start, 20 unfinished"] = await taken(start, 3)
    found["search by vector"] = searching(pictures, turns)
    return found


def searching(pictures: int, turns: int) -> float:
    """Return the seconds that finding the nearest of so many vectors takes."""
    vectors, wanted = made(pictures)
    shelf = on_a_shelf(vectors, codes=True)
    del vectors
    times = []
    for nth in range(turns + 1):
        began = time.process_time()
        shelf.nearest(wanted[nth % len(wanted)], MOST)
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


async def taken(act: Callable[[], Awaitable[object]], turns: int) -> float:
    """Return the median of the processor's seconds, after a first turn that does not count."""
    times = []
    for _ in range(turns + 1):
        began = time.process_time()
        await act()
        times.append(time.process_time() - began)
    return statistics.median(times[1:])


async def _at(parts: Services, place: int) -> str:
    """Return the id of the picture that has so many newer ones."""
    sql = "SELECT id FROM dream WHERE state = 'done' ORDER BY id DESC LIMIT 1 OFFSET ?"
    row = await parts.store.read_one(sql, (max(0, place - 10),))
    assert row is not None
    return str(row["id"])


def measure(runs: Sequence[int], pictures: Sequence[int], turns: int) -> dict[str, Any]:
    """Measure everything."""
    decided = {str(count): deciding(count) for count in runs}
    kept = {str(count): asyncio.run(keeping(count, turns)) for count in pictures}
    # A page and an answer are full from some hundred pictures on: less cost less.
    full = next((count for count in pictures if count >= FULL), pictures[0])
    fewest, most = kept[str(full)], kept[str(pictures[-1])]
    return {
        "benchmark": "growth",
        "deciding_s_per_step": decided,
        "part_of_a_step": {count: each / STEP_S for count, each in decided.items()},
        "goal": GOAL,
        "kept_s": kept,
        "growth_from": full,
        "growth": {name: most[name] / fewest[name] for name in most},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--pictures", type=int, nargs="+", default=[10, 1000, 10_000, 100_000])
    parser.add_argument("--turns", type=int, default=9, help="at most 19")
    asked = parser.parse_args(argv)
    if not 0 < asked.turns < UNFINISHED:
        parser.error(f"--turns: 1 to {UNFINISHED - 1}; more are not taken of one person")
    found = measure(asked.runs, asked.pictures, asked.turns)
    print(f"{'people with a run':22}{'µs a step':>12}{'of 0.1 s':>12}")
    for count, part in found["part_of_a_step"].items():
        print(f"{count:22}{part * STEP_S * 1e6:>12.1f}{part:>12.3%}")
    print(f"{'ms, pictures kept':22}" + "".join(f"{n:>10,}" for n in asked.pictures) + "    growth")
    for name, growth in found["growth"].items():
        row = "".join(f"{found['kept_s'][str(n)][name] * 1000:>10.2f}" for n in asked.pictures)
        print(f"{name:22}{row}{growth:>9.2f}×")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
