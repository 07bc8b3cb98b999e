"""The real program as a subprocess, looked at from outside: its pages, its files, its processes."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

PATIENCE_S = 150.0


def dreamstream(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the `dreamstream` command in a folder until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def environment() -> dict[str, str]:
    """Return an environment in which the checkout is found and nothing is configured."""
    root = str(Path(__file__).resolve().parent.parent)
    kept = {name: value for name, value in os.environ.items() if "DREAMSTREAM" not in name}
    return kept | {"PYTHONPATH": root, "PYTHONUNBUFFERED": "1"}


def until(condition: Callable[[], Any], what: str) -> Any:
    """Return what `condition` gives once it is true of it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain for {what}")


class Program:
    """`dreamstream run` on a folder of its own. Start it as often as you like."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = folder
        (folder / "config.toml").write_text(settings, encoding="utf-8")
        self.log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it and wait for the wall's address."""
        begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bot", "run"],
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=log,
            )

        def address() -> str | None:
            text = self.log.read_text(encoding="utf-8")[begun:]
            found = re.search(r"The wall is at (http://\S+)", text)
            assert found or (self._process and self._process.poll() is None), text
            return found[1].rstrip("/") if found else None

        self.url = until(address, "the wall's address")

    def kill(self) -> None:
        """Kill the bot process as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def scheduler_pid(self) -> int | None:
        """Return the process that draws, None while there is none."""
        assert self._process is not None
        found = subprocess.run(
            ["pgrep", "-P", str(self._process.pid), "-f", "generation"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        return int(found[0]) if found else None

    def ask(self, **form: str) -> None:
        """Ask for a dream at the wall."""
        request = urllib.request.Request(
            f"{self.url}/s/open/dreams",
            data=urllib.parse.urlencode(form).encode(),
            headers={"Origin": self.url},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status == 200

    def get(self, path: str) -> bytes:
        """Return what the wall answers."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE_S) as answer:
            content: bytes = answer.read()
        return content

    def rows(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        """Query the database beside the running program."""
        uri = (self.folder / "data" / "dreamstream.db").as_uri() + "?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, parameters).fetchall()

    def checkpointed(self) -> bool:
        """Say whether an unfinished dream has been saved."""
        return any((self.folder / "data" / "library" / "checkpoints").rglob("*"))
