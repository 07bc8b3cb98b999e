"""`dreamstream doctor`: look at everything the program needs; each line says how to mend it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import getpass
import hashlib
import io
import os
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from PIL import Image

from bot.backup.model import BackupError, read_manifest, whole_backups
from bot.backup.schedule import HOUR_MS, newest_ms, on_one_disk
from bot.blobs import UnreachableError
from bot.config import Config
from bot.config_file import load_config
from bot.config_secrets import TOKEN_VARIABLE, check_fronts, read_token
from bot.configured import scheduler_command
from bot.errors import ConfigError, DreamstreamError, SchedulerError
from bot.free_space import GIB, MIB
from bot.ids import now_ms
from bot.library_place import opened
from bot.store.check import check_file
from bot.supervisor import Supervisor
from generation.protocol import (
    EngineInfo,
    Failed,
    Finished,
    Job,
    Recipe,
    ToBot,
    Welcome,
    WorkerInfo,
)

if sys.platform != "win32":
    import pwd

_START_S = 120.0
_DRAW_S = 180.0
_STOP_S = 5.0
_BACKUPS_MISSED = 2.0


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
    for finding in await asyncio.to_thread(lambda: list(_data(config))):
        yield finding
    if config.library.store:
        yield await asyncio.to_thread(_library, config)
    yield await asyncio.to_thread(_backup, config)
    yield await asyncio.to_thread(_port, config)
    async for finding in _drawing(config):
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
        try:
            check_fronts(config, None, None)
        except ConfigError as error:
            return Finding(Mark.BAD, "token", str(error))
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


def _kept_away(what: str, folder: Path, error: OSError) -> Finding:
    """Say that this user may not look into a folder: most likely it is not the bot's user."""
    return Finding(
        Mark.BAD,
        what,
        f"The user {_user()} cannot look into {folder} ({error.strerror}). Run this as the user "
        "that the bot runs as, or make the folder that user's.",
    )


def _user() -> str:
    if sys.platform == "win32":
        return getpass.getuser()
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a number without a name, as containers have
        return str(os.geteuid())


def _is_there(path: Path) -> bool:
    """Say whether something is there.

    Raises:
        OSError: that is not for this user to know.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _data(config: Config) -> Iterator[Finding]:
    folder = config.storage.data_dir
    database = folder / "dreamstream.db"
    try:
        there = next(parent for parent in (folder, *folder.resolve().parents) if _is_there(parent))
        has_database = _is_there(database)
    except OSError as error:
        yield _kept_away("data", folder, error)
        return
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
        new = "" if there == folder else " (not there yet; the first run makes it)"
        yield Finding(Mark.WELL, "data", f"{folder}{new}")
    free = shutil.disk_usage(there).free
    text = f"{free / 1024**3:.1f} GiB free"
    if free < config.storage.least_free_mib * MIB:
        yield Finding(Mark.BAD, "disk", f"{text}: nothing new is taken. Free some space.")
    elif free < config.storage.warn_free_gib * GIB:
        yield Finding(Mark.NOTE, "disk", f"{text}: that will not last long. Free some space.")
    else:
        yield Finding(Mark.WELL, "disk", text)
    if has_database:
        try:
            version = check_file(database)
        except DreamstreamError as error:
            yield Finding(Mark.BAD, "database", str(error))
        else:
            yield Finding(Mark.WELL, "database", f"whole, version {version}")
    # Whoever ran a command as another user left them so; the folder itself tells nothing of it.
    kept = (database, *(folder / f"{database.name}{end}" for end in ("-wal", "-shm")))
    for path in (*kept, folder / "library"):
        if _is_there(path) and not os.access(path, os.W_OK):
            yield Finding(
                Mark.BAD,
                "data",
                f"The user {_user()} cannot write {path}. Run this as the user that the bot runs "
                "as; if that is this one, make the file that user's.",
            )


def _library(config: Config) -> Finding:
    place, root = config.library, config.storage.data_dir / "library"
    try:
        with opened(place, root, alone=False) as blobs:
            # What another key put there may be kept from this one; and it may be another store.
            blobs.claim(None)
            blobs.probe()
    except UnreachableError as error:
        return Finding(Mark.BAD, "library", f"{place.store}: {error.strerror}.")
    except DreamstreamError as error:
        return Finding(Mark.BAD, "library", f"{place.store}: {error}")
    except OSError as error:
        return _kept_away("library", root, error)
    return Finding(Mark.WELL, "library", f"{place.store} can be written.")


def _backup(config: Config) -> Finding:
    folder, every_hours = config.backup.folder, config.backup.every_hours
    try:
        for newest in whole_backups(folder)[-1:]:
            read_manifest(newest)
        made_ms = newest_ms(folder)
        near = on_one_disk(config.storage.data_dir, folder)
    except BackupError as error:
        return Finding(Mark.BAD, "backup", str(error))
    except OSError as error:
        return _kept_away("backup", folder, error)
    if made_ms is None:
        text = f"There is none in {folder}. Make one (dreamstream backup), or set "
        return Finding(Mark.NOTE, "backup", f"{text}backup.every_hours.")
    hours = (now_ms() - made_ms) / HOUR_MS
    text = f"The newest in {folder} is {hours:.1f} hours old."
    if not every_hours:
        text += " The bot makes none by itself (backup.every_hours)."
    if near:
        text += " It is on the disk of the data folder: if that is lost, both are."
    if every_hours and hours > _BACKUPS_MISSED * every_hours:
        return Finding(Mark.BAD, "backup", f"{text} Is the bot running? Its log says what failed.")
    return Finding(Mark.WELL, "backup", text)


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


class _Trial:
    """Listens to a scheduler process that is started only to be looked at.

    `up` is done while it is up, and has an error once it could not be started.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.up: asyncio.Future[Welcome] = loop.create_future()
        self.ends: dict[str, asyncio.Future[Finished | Failed]] = {}

    async def on_up(self, welcome: Welcome) -> None:
        if not self.up.done():
            self.up.set_result(welcome)

    async def on_down(self, suspects: tuple[str, ...], reason: str, outside: bool = False) -> None:
        if not self.up.done():
            self.up.set_exception(SchedulerError(reason))
        elif self.up.exception() is None:  # it begins anew; till then whatever is submitted is lost
            self.up = asyncio.get_running_loop().create_future()
        for name, end in self.ends.items():
            if not end.done():
                end.set_result(Failed(job_id=name, reason=reason))

    async def on_message(self, message: ToBot) -> None:
        if isinstance(message, Finished | Failed):
            end = self.ends.get(message.job_id)
            if end is not None and not end.done():
                end.set_result(message)


async def _drawing(config: Config) -> AsyncIterator[Finding]:
    """Start the scheduler process as a run would, and have each engine draw a small picture."""
    supervisor = Supervisor(scheduler_command(config))
    trial = _Trial()
    await supervisor.start(trial)
    try:
        welcome = await asyncio.wait_for(trial.up, _START_S)
        yield Finding(Mark.WELL, "device", welcome.device)
        for engine in welcome.engines:
            # The engine before it may have ended the process, which is no fault of this one's.
            await asyncio.wait_for(asyncio.shield(trial.up), _START_S)
            yield await _engine(supervisor, trial, engine)
        if any(worker.node for worker in supervisor.workers):
            yield _cluster(supervisor.workers)
        if not welcome.engines:
            yield Finding(Mark.BAD, "engine", "There is nothing to draw with. Install again.")
    except (TimeoutError, SchedulerError) as error:
        why = str(error) or f"It did not answer within {_START_S:.0f} s."
        yield Finding(Mark.BAD, "drawing", f"The drawing process cannot be started. {why}")
    finally:
        await supervisor.stop(_STOP_S)


def _cluster(workers: tuple[WorkerInfo, ...]) -> Finding:
    """Say which nodes draw, and with what. Further ones may still be coming up."""
    nodes: dict[str, Counter[str]] = {}
    for worker in workers:
        nodes.setdefault(worker.node, Counter())[worker.device] += 1
    told = [
        f"{node} ({', '.join(f'{count} × {device}' for device, count in devices.items())})"
        for node, devices in nodes.items()
    ]
    count = "1 worker" if len(workers) == 1 else f"{len(workers)} workers"
    return Finding(Mark.WELL, "cluster", f"{count} so far: {'; '.join(told)}")


async def _engine(supervisor: Supervisor, trial: _Trial, engine: EngineInfo) -> Finding:
    here = [model for model in engine.models if model.available]
    if not here:
        missing = "; ".join(model.missing for model in engine.models) or "It has no model."
        return Finding(Mark.NOTE, "engine", f"{engine.name}: {missing}")
    end = trial.ends[engine.name] = asyncio.get_running_loop().create_future()
    supervisor.submit(_smallest(engine, here[0].name))
    try:
        outcome = await asyncio.wait_for(end, _DRAW_S)
    except TimeoutError:
        text = f"{engine.name} drew nothing within {_DRAW_S:.0f} s. Look at the log of a run."
        return Finding(Mark.BAD, "engine", text)
    names = ", ".join(model.name for model in here)
    if isinstance(outcome, Failed):
        return Finding(Mark.BAD, "engine", f"{engine.name} ({names}): {outcome.reason}")
    return Finding(Mark.WELL, "engine", f"{engine.name} draws ({names}).")


def _smallest(engine: EngineInfo, model: str) -> Job:
    """Return the least that an engine can be asked for: one step of a small picture."""
    side = max(engine.min_side, engine.size_multiple)
    pictures: dict[str, bytes] = {}
    if engine.needs_init:
        plain = io.BytesIO()
        small = side // (engine.scale or 1)
        Image.new("RGB", (small, small), "teal").save(plain, "PNG")
        pictures[hashlib.sha256(plain.getvalue()).hexdigest()] = plain.getvalue()
    recipe = Recipe(
        engine=engine.name,
        model=model,
        prompt="a red apple" if engine.takes_prompt else "",
        width=side,
        height=side,
        steps=1,
        seed=1,
        guidance=engine.guidance,
        init_sha256=next(iter(pictures), None),
        settings=engine.defaults,
    )
    person = "local:doctor"
    return Job(id=engine.name, recipe=recipe, stream="doctor", person=person, pictures=pictures)
