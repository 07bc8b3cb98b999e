"""Evenings on a disk that fails anywhere, for as long as there is time.

`python -m tests.faults.anywhere --minutes 15 --seed 1` tries faults of every kind at changes that
chance chooses, in a new folder and in one that has been lived in; all of them (`test_disk`, with
``DREAMSTREAM_SLOW_TESTS=1``) take hours on a busy machine. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults import shim
from tests.faults.stage import FAULTS, Stage, stage

_OF_NEW = 0.25


def anywhere(
    scene: Stage, seconds: float, chance: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of what was tried, and what was wrong after it, until the time is over."""
    lived_in = scene.root / "lived-in"
    scene.undisturbed(lived_in)
    changes = {"": scene.undisturbed(lived_in).changes}
    changes["first-"] = scene.undisturbed(scene.root / "new").changes
    end_s = time.monotonic() + seconds
    tried: set[str] = set()
    while time.monotonic() < end_s:
        start = "first-" if chance.random() < _OF_NEW else ""
        name, first = chance.choice([*FAULTS]), chance.randrange(changes[start])
        what = f"{start}{name}@{first}"
        if what not in tried:
            tried.add(what)
            template = None if start else lived_in
            yield what, scene.wrong_after(what, template, FAULTS[name], first)


def main() -> int:
    """Run it by hand; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if shim.MISSING:
        print(shim.MISSING, file=sys.stderr)
        return 2
    root = Path(tempfile.mkdtemp(prefix="anywhere-"))
    counted: Counter[str] = Counter()
    faults = 0
    with stage(root) as scene:
        for what, wrong in anywhere(scene, given.minutes * 60, random.Random(given.seed)):
            counted[what.partition("@")[0]] += 1
            faults += len(wrong)
            for text in wrong:
                print(f"WRONG, in {root}: {text}", flush=True)
    verdict = "wrong" if faults else "nothing lost"
    print(json.dumps({"verdict": verdict, "tried": counted.total(), "of": dict(counted)}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
