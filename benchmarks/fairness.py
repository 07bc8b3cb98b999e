"""How long a light person waits while a heavy one fills the queue: ours against first-in-first-out.

The real scheduler, simulated steps. One heavy person asks for 8 long dreams at once, again and
again; twelve light people ask for a short one now and then; together 84 % of what the machine
can do one run at a time. Two machines: one on which two runs in a step cost twice as much as one
(a CPU), and one on which each further run adds a tenth (a GPU).

    python -m benchmarks.fairness [--hours 24] [--seed 1]

Prints a table for people and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from random import Random

from generation.scheduler import Limits
from tests.fakes.world import Kind, World, line

STEP_S = 0.1
HEAVY_STEPS, HEAVY_COUNT, HEAVY_EVERY_S = 600, 8, 1000.0
LIGHT_STEPS, LIGHT_PEOPLE, LIGHT_EVERY_S = 100, 12, 333.0


@dataclass(frozen=True)
class Ask:
    """A dream asked for."""

    at: float
    job_id: str
    person: str
    steps: int
    kind: Kind


@dataclass(frozen=True)
class Waits:
    """Seconds from asking to the first preview and to the picture, by kind of person."""

    preview_s: dict[str, list[float]]
    done_s: dict[str, list[float]]


def asks(hours: float, seed: int) -> list[Ask]:
    """Return what is asked in so many hours, in order of time."""
    random = Random(seed)
    found: list[Ask] = []
    end = hours * 3600
    at = 0.0
    while at < end:
        for _ in range(HEAVY_COUNT):
            found.append(Ask(at, f"heavy-{len(found)}", "heavy", HEAVY_STEPS, ("plain", 512)))
        at += HEAVY_EVERY_S
    for nth in range(LIGHT_PEOPLE):
        at = random.expovariate(1 / LIGHT_EVERY_S)
        while at < end:
            # Half of them ask for the heavy one's size, half for another.
            kind = ("plain", random.choice([256, 512]))
            found.append(Ask(at, f"light-{len(found)}", f"light{nth}", LIGHT_STEPS, kind))
            at += random.expovariate(1 / LIGHT_EVERY_S)
    return sorted(found, key=lambda ask: ask.at)


def ours(asked: list[Ask], further_s: float) -> tuple[Waits, World]:
    """Let the real scheduler draw them."""
    world = World(cost=line(STEP_S, further_s), limits=Limits(), load_s=0.0)
    waiting = list(reversed(asked))
    while waiting or world.scheduler.tickets():
        while waiting and waiting[-1].at <= world.now:
            ask = waiting.pop()
            world.submit(ask.job_id, ask.person, "s", ask.steps, ask.kind)
        if world.turn() is None:
            world.now = waiting[-1].at
    first: dict[tuple[str, str], float] = {}
    for at, what, job_id in world.events:
        first.setdefault((what, job_id), at)
    return _waits(asked, first), world


def first_in_first_out(asked: list[Ask]) -> Waits:
    """Draw them one after the other, each to its end."""
    first: dict[tuple[str, str], float] = {}
    now = 0.0
    for ask in asked:
        now = max(now, ask.at)
        first["shown", ask.job_id] = now + STEP_S
        now += ask.steps * STEP_S
        first["done", ask.job_id] = now
    return _waits(asked, first)


def _waits(asked: list[Ask], first: dict[tuple[str, str], float]) -> Waits:
    waits = Waits({"light": [], "heavy": []}, {"light": [], "heavy": []})
    for ask in asked:
        who = ask.job_id.partition("-")[0]
        waits.preview_s[who].append(first["shown", ask.job_id] - ask.at)
        waits.done_s[who].append(first["done", ask.job_id] - ask.at)
    return waits


def quantile(values: list[float], part: float) -> float:
    """Return the value that so large a part of the others stays under."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main() -> None:
    """Run the simulation and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    asked = asks(arguments.hours, arguments.seed)
    work_s = sum(ask.steps for ask in asked) * STEP_S
    results: dict[str, Waits] = {"first in, first out": first_in_first_out(asked)}
    began = time.perf_counter()
    turns = 0
    for name, further_s in (("ours, as a CPU", STEP_S), ("ours, as a GPU", STEP_S / 10)):
        results[name], world = ours(asked, further_s)
        turns += len(world.assignments)
    took_s = time.perf_counter() - began

    columns = [
        (f"{who} {label} {quantile_name}", who, waits, part)
        for who in ("light", "heavy")
        for label, waits in (("preview", "preview_s"), ("picture", "done_s"))
        for quantile_name, part in (("p50", 0.5), ("p95", 0.95))
    ]
    figures: dict[str, dict[str, float]] = {
        name: {
            title: round(quantile(getattr(result, waits)[who], part), 2)
            for title, who, waits, part in columns
        }
        for name, result in results.items()
    }
    print(
        f"{len(asked)} dreams in {arguments.hours:g} h, load {work_s / arguments.hours / 36:.0f} %"
    )
    print(f"{'seconds from asking to':<24}" + "".join(f"{name:>22}" for name in results))
    for title, *_ in columns:
        print(f"{title:<24}" + "".join(f"{row[title]:>22.1f}" for row in figures.values()))
    fifo_s = figures["first in, first out"]["light preview p95"]
    print(
        json.dumps(
            {
                "benchmark": "fairness",
                "hours": arguments.hours,
                "seed": arguments.seed,
                "dreams": len(asked),
                "load": round(work_s / (arguments.hours * 3600), 3),
                "seconds": figures,
                "light_preview_p95_ratio": {
                    name: round(row["light preview p95"] / fifo_s, 4)
                    for name, row in figures.items()
                },
                "scheduler_ms_per_turn": round(1000 * took_s / turns, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
