"""`make test`: mypy goes on beside the tests, counts like them, and no signal leaves either."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("env") is None, reason="make is not here"
)

# What ignored Ctrl-C already would not tell that a background job begins to.
MAKE = ["env", "--default-signal=INT", "make", "test"]


def checkout(folder: Path, **tools: str) -> Path:
    """Lay the Makefile beside tools that are lines of sh."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    (folder / "tests/__pycache__").mkdir(parents=True)
    binaries = folder / ".venv/bin"
    binaries.mkdir(parents=True)
    for name, line in {"python": f'exec {sys.executable} "$@"', "ruff": "", **tools}.items():
        (binaries / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (binaries / name).chmod(0o755)
    (folder / ".venv/.installed-dev").touch()
    return folder


def ended(pid: int) -> bool:
    """Whether a process is over; nobody may have asked yet how it ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] == "Z"
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("collected", [True, False], ids=["tests", "collection"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_a_signal_leaves_neither_behind(
    tmp_path: Path, number: signal.Signals, collected: bool
) -> None:
    # Named whole at once: who finds the file finds a number in it.
    line = "echo $$ > {0}.part; mv {0}.part {0}; exec sleep 60"
    folder = checkout(tmp_path, mypy=line.format("mypy.pid"), pytest=line.format("pytest.pid"))
    if not collected:
        (folder / "tests/__pycache__").rmdir()
    pids = [folder / "mypy.pid", folder / "pytest.pid"]
    with (folder / "said").open("wb") as said:
        make = subprocess.Popen(MAKE, cwd=folder, stdout=said, stderr=said, start_new_session=True)
    try:
        until_s = time.monotonic() + 30
        while not all(one.exists() for one in pids):
            assert time.monotonic() < until_s and make.poll() is None, (folder / "said").read_text()
            time.sleep(0.02)
        if number == signal.SIGINT:  # the terminal tells everybody
            os.killpg(make.pid, number)
        else:
            make.send_signal(number)
        assert make.wait(30) != 0
        for one in pids:
            pid = int(one.read_text(encoding="utf-8"))
            while not ended(pid):
                assert time.monotonic() < until_s + 10, f"{one.stem} goes on"
                time.sleep(0.02)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(make.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("types", "tests", "good"), [(0, 0, True), (1, 0, False), (0, 1, False), (2, 5, False)]
)
def test_either_ones_failure_is_the_commands(
    tmp_path: Path, types: int, tests: int, good: bool
) -> None:
    folder = checkout(tmp_path, mypy=f"echo checked; exit {types}", pytest=f"exit {tests}")
    done = subprocess.run(MAKE, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is good, done.stdout + done.stderr
    assert "checked" in done.stdout
