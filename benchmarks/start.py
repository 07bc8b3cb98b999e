"""How long from starting the program to the first preview at the wall.

The real `dreamstream run` on an empty folder, and again on the same folder, where its database is
made. Somebody asks as soon as the wall answers. Measured is until the wall has its address, until
its first page is there, and until the wall has a preview of the dream; beside it, turn and turn
about, how long a plain program takes to import torch and open_clip here, which is what any program
that draws with them must wait for.

    python -m benchmarks.start [--turns 3] [--engine diffusion]

Prints a table for people and one line of JSON: medians, in seconds of the clock, and the ratio to
the plain program.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path

from tests.program import Program, until

SETTINGS = '[wall]\nport = 0\nmode = "local"\n'
PLAIN = "import torch, open_clip"


def started(program: Program, engine: str) -> dict[str, float]:
    """Start it, ask, and wait for something to see; return how long each took since the start."""
    began = time.perf_counter()
    program.start()
    address_s = time.perf_counter() - began
    program.get("/s/open")
    page_s = time.perf_counter() - began
    known = {row["id"] for row in program.rows("SELECT id FROM dream")}
    program.ask(prompt="a lighthouse in a storm", engine=engine)
    asked_s = time.perf_counter() - began
    (dream_id,) = {row["id"] for row in program.rows("SELECT id FROM dream")} - known

    def shown() -> bool:
        try:
            program.get(f"/d/{dream_id}/preview.webp")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False
        return True

    until(shown, "a preview")
    return {
        "address": address_s,
        "first page": page_s,
        "asked": asked_s,
        "first preview": time.perf_counter() - began,
    }


def plain() -> float:
    """Return how long a program takes that only imports what draws."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", PLAIN], check=True, capture_output=True)
    return time.perf_counter() - began


def measure(turns: int, engine: str) -> dict[str, object]:
    """Start the program so often on an empty folder and on its own again."""
    found: dict[str, list[dict[str, float]]] = {"an empty folder": [], "again": []}
    plain_s: list[float] = []
    plain()  # from now on what both import is in the system's cache
    for _ in range(turns):
        plain_s.append(plain())
        with tempfile.TemporaryDirectory() as name:
            program = Program(Path(name), SETTINGS)
            for each in found.values():
                try:
                    each.append(started(program, engine))
                    program.stop()
                finally:
                    program.close()
    medians = {
        name: {what: statistics.median(one[what] for one in each) for what in each[0]}
        for name, each in found.items()
    }
    importing_s = statistics.median(plain_s)
    return {
        "benchmark": "start",
        "engine": engine,
        "turns": turns,
        "seconds": medians,
        "plain_s": importing_s,
        "ratio_to_plain": {
            name: each["first preview"] / importing_s for name, each in medians.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--engine", default="diffusion")
    asked = parser.parse_args(argv)
    found = measure(asked.turns, asked.engine)
    seconds, ratios = found["seconds"], found["ratio_to_plain"]
    assert isinstance(seconds, dict) and isinstance(ratios, dict)
    for name, each in seconds.items():
        steps = ", ".join(f"{what} {taken:.1f} s" for what, taken in each.items())
        print(f"{name + ':':18}{steps}; {ratios[name]:.2f} × the plain imports")
    print(f"{'plain imports:':18}{found['plain_s']:.1f} s")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
