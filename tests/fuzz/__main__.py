"""`python -m tests.fuzz --inputs 10000 --seed N`: all parsers, and a verdict."""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.fuzz import wall
from tests.fuzz.running import Failure, Target, run
from tests.fuzz.targets import all_targets

_MOST_BYTES = 8 << 30
"""Of address space: what asks for more is told so, where else the machine would have to kill."""


def main() -> int:
    """Return 0 where every parser held."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="in all, spread evenly")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="any text; random if left out")
    parser.add_argument("--only", default="", help="targets whose name holds this")
    asked = parser.parse_args()
    targets = [target for target in all_targets() if asked.only in target.name]
    if not targets:
        parser.error(f"no target is called {asked.only}")
    if sys.platform == "linux":
        import resource  # not everywhere

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    each = -(-asked.inputs // len(targets))
    try:
        failures = [one for target in targets for one in _tried(target, each, asked.seed)]
    finally:
        wall.close()
    verdict = "all held" if not failures else f"{len(failures)} failures"
    print(f"{each * len(targets)} inputs, seed {asked.seed}: {verdict}")
    return 1 if failures else 0


def _tried(target: Target, inputs: int, seed: str) -> list[Failure]:
    """Try so many inputs at a target, and say what came of it."""
    begun = time.perf_counter()
    found = run([target], inputs, seed)
    took_s = time.perf_counter() - begun
    print(f"{target.name:24} {inputs:7} inputs {took_s:7.1f} s {len(found):5} failures", flush=True)
    for one in found[:5]:
        print(one, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
