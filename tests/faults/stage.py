"""Evenings on a disk that fails at any change there is, and what must hold after each."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.errors import StoreError
from tests.faults.proof import Seen, wrong_with
from tests.faults.scenario import BROKEN, REFUSED
from tests.faults.shim import FOR_EVER, KILL, KILL_AFTER, POWER_CUT, Faults
from tests.program import environment


@dataclass(frozen=True)
class Fault:
    """What happens at a change of a file: an errno, or as `shim` names it.

    It happens to so many changes, or to all for so many seconds.
    """

    how: int
    times: int = 1
    lasts_s: float = 0.0


FAULTS = {
    "kill": Fault(KILL),
    "kill-after": Fault(KILL_AFTER, FOR_EVER),
    "power-cut": Fault(POWER_CUT),
    "full": Fault(errno.ENOSPC, FOR_EVER, lasts_s=0.06),
    "full-once": Fault(errno.ENOSPC),
    "read-only": Fault(errno.EROFS, FOR_EVER, lasts_s=0.06),
    "not-ours": Fault(errno.EACCES),
    "broken": Fault(errno.EIO, 3),
}
"""All that a disk is made to do."""


@dataclass(frozen=True)
class Evening:
    """What a process said, how it exited (below zero: by which signal), and how often it wrote."""

    said: tuple[tuple[str, str], ...]
    code: int
    changes: int
    hits: int

    def about(self, word: str) -> list[str]:
        """Return what was said with a word."""
        return [about for said, about in self.said if said == word]


class Stage:
    """A process from which evenings are forked, and the orders for their disk and clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults(root)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.scenario"],
            env=environment() | self.faults.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Leave nothing running."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        self.faults.close()

    def play(self, folder: Path, *, asking: bool = True) -> Evening:
        """Live through an evening in a folder; the orders for its disk are given before."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps({"folder": str(folder), "asking": asking}), file=self._server.stdin)
        self._server.stdin.flush()
        told: dict[str, Any] = json.loads(self._server.stdout.readline())
        said = tuple((word, about) for word, about in told["said"])
        return Evening(said, told["code"], self.faults.count, self.faults.hits)

    def undisturbed(self, folder: Path) -> Evening:
        """Live through an evening without faults; it tells how many changes there are."""
        self.faults.begin()
        return self.play(folder)

    def wrong_after(self, name: str, template: Path | None, fault: Fault, first: int) -> list[str]:
        """Return what is wrong after an evening whose `first` change fails, and one more.

        The second evening only ends what the first has left.

        It begins with a copy of the `template`; the copy is removed if nothing is wrong.
        """
        folder = self.root / name
        if template is None:
            folder.mkdir()
        else:
            shutil.copytree(template, folder)
        self.faults.begin()
        self.faults.order(fault.how, first, fault.times, lasts_s=fault.lasts_s)
        disturbed = self.play(folder)
        wrong = [f"{name}: {text}" for text in disturbed.about("mistake")]
        expected = (-signal.SIGKILL, 0) if fault.how < 0 else (0, REFUSED)
        if disturbed.code not in expected and disturbed.code != BROKEN:
            wrong.append(f"{name}: the process exited with {disturbed.code}")
        self.faults.begin()
        after = self.play(folder, asking=False)
        wrong += [f"{name}, afterwards: {text}" for text in after.about("mistake")]
        if after.code != 0:
            wrong.append(f"{name}: afterwards it exited with {after.code}: {after.said}")
        seen = Seen(
            accepted=set(disturbed.about("accepted")),
            done=disturbed.about("done") + after.about("done"),
            deleted=set(disturbed.about("deleted")),
        )
        try:
            wrong += [f"{name}: {text}" for text in wrong_with(folder, seen)]
        except StoreError as error:  # it cannot even be looked at
            wrong.append(f"{name}: {error}")
        if not wrong:
            shutil.rmtree(folder)
        return wrong


@contextmanager
def stage(root: Path) -> Iterator[Stage]:
    """Give a stage over a folder, which must be there."""
    made = Stage(root)
    try:
        yield made
    finally:
        made.close()
