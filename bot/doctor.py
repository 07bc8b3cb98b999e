"""`dreamstream doctor`: look at everything the program needs; each line says how to mend it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bot.app import scheduler_command
from bot.config import TOKEN_VARIABLE, Config, load_config, read_token
from bot.errors import ConfigError, DreamstreamError
from bot.store.check import check_file
from bot.supervisor import Supervisor
from generation.protocol import ToBot, Welcome

_START_S = 120.0
_LOW_BYTES = 2 * 1024**3
_EMPTY_BYTES = 200 * 1024**2


class Mark(StrEnum):
    """How serious a finding is."""

    WELL = "ok"
    NOTE = "note"
    BAD = "BAD"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do where it is not well."""

    mark: Mark
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.mark:>4}  {self.what:<8} {self.text}"


async def examine(path: Path | None) -> int:
    """Print a line for everything looked at; return 1 if anything is bad."""
    bad = False
    async for finding in _findings(path):
        print(finding, flush=True)
        bad = bad or finding.mark is Mark.BAD
    print("Something needs mending." if bad else "All is well.")
    return 1 if bad else 0


async def _findings(path: Path | None) -> AsyncIterator[Finding]:
    yield _python()
    try:
        config = await asyncio.to_thread(load_config, path)
    except ConfigError as error:
        for mistake in error.mistakes:
            yield Finding(Mark.BAD, "config", mistake)
        yield Finding(Mark.NOTE, "config", "The rest is looked at with the defaults.")
        config = Config()
    else:
        where = f"{path} is well." if path else "No config.toml: the defaults hold."
        yield Finding(Mark.WELL, "config", where)
    yield await asyncio.to_thread(_token, config)
    for finding in await asyncio.to_thread(lambda: list(_data(config.storage.data_dir))):
        yield finding
    yield await asyncio.to_thread(_port, config)
    for finding in await _drawing(config):
        yield finding


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(Mark.WELL, "python", version)


def _token(config: Config) -> Finding:
    try:
        token = read_token(config)
    except ConfigError as error:
        return Finding(Mark.BAD, "token", str(error))
    if token is None:
        return Finding(
            Mark.NOTE,
            "token",
            f"No Discord token: only the wall runs. To join Discord, set {TOKEN_VARIABLE}, or "
            "discord.token_file in config.toml.",
        )
    if not _looks_like_a_token(token):
        return Finding(
            Mark.BAD,
            "token",
            "The Discord token does not look like one (three parts joined by dots, the first of "
            "which encodes the bot's number). Copy it anew from the developer portal, page “Bot”.",
        )
    return Finding(Mark.WELL, "token", "A Discord token is configured.")


def _looks_like_a_token(token: str) -> bool:
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        return False
    try:
        number = base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4))
    except (binascii.Error, ValueError):
        return False
    return number.isdigit()


def _data(folder: Path) -> Iterator[Finding]:
    there = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"dreamstream")
    except OSError as error:
        yield Finding(
            Mark.BAD,
            "data",
            f"{there} cannot be written ({error.strerror}). Make it writable, or set "
            "storage.data_dir to another folder.",
        )
    else:
        new = "" if folder.exists() else " (not there yet; the first run makes it)"
        yield Finding(Mark.WELL, "data", f"{folder}{new}")
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB free"
    if free < _EMPTY_BYTES:
        yield Finding(Mark.BAD, "disk", f"{text}: too little to keep pictures. Free some space.")
    elif free < _LOW_BYTES:
        yield Finding(Mark.NOTE, "disk", f"{text}: that will not last long. Free some space.")
    else:
        yield Finding(Mark.WELL, "disk", text)
    database = folder / "dreamstream.db"
    if database.exists():
        try:
            version = check_file(database)
        except DreamstreamError as error:
            yield Finding(Mark.BAD, "database", str(error))
        else:
            yield Finding(Mark.WELL, "database", f"whole, version {version}")


def _port(config: Config) -> Finding:
    wall = config.wall
    if wall.mode == "off":
        return Finding(Mark.NOTE, "wall", "The wall is off (wall.mode).")
    try:
        family, kind, *_, address = socket.getaddrinfo(
            wall.host, wall.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            if sys.platform != "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Finding(
                Mark.NOTE,
                "wall",
                f"Port {wall.port} of {wall.host} is in use: by a Dreamstream that runs now, or "
                "else by another program; then set wall.port to another number.",
            )
        return Finding(
            Mark.BAD,
            "wall",
            f"{wall.host}:{wall.port} cannot be listened on ({error.strerror}). Set wall.host and "
            "wall.port to an address of this machine.",
        )
    return Finding(Mark.WELL, "wall", f"{wall.host}:{wall.port} is free.")


class _Waiting:
    """A listener that only waits for the process to be ready."""

    def __init__(self) -> None:
        self.up: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self.reason = ""

    async def on_up(self, welcome: Welcome) -> None:
        if not self.up.done():
            self.up.set_result(welcome)

    async def on_down(self, suspects: tuple[str, ...], reason: str) -> None:
        self.reason = reason

    async def on_message(self, message: ToBot) -> None:
        pass


async def _drawing(config: Config) -> list[Finding]:
    """Start the scheduler process as a run would and ask it what it can do."""
    supervisor = Supervisor(scheduler_command(config, config.storage.data_dir))
    listener = _Waiting()
    await supervisor.start(listener)
    try:
        welcome = await asyncio.wait_for(listener.up, _START_S)
    except TimeoutError:
        why = listener.reason or f"it did not answer within {_START_S:.0f} s"
        return [
            Finding(
                Mark.BAD,
                "drawing",
                f"The scheduler process cannot be started: {why}. Install again with “make run”; "
                'with scheduler.device = "cpu" a faulty GPU driver is left out.',
            )
        ]
    finally:
        await supervisor.stop(0)
    findings = [Finding(Mark.WELL, "device", welcome.device)]
    for engine in welcome.engines:
        here = [model.name for model in engine.models if model.available]
        if here:
            findings.append(Finding(Mark.WELL, "engine", f"{engine.name}: {', '.join(here)}"))
        else:
            missing = "; ".join(model.missing for model in engine.models) or "no model"
            findings.append(Finding(Mark.NOTE, "engine", f"{engine.name}: {missing}"))
    if not any(model.available for engine in welcome.engines for model in engine.models):
        findings.append(
            Finding(Mark.BAD, "weights", "No model is here to draw with. Install again.")
        )
    return findings
