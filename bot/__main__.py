"""The ``dreamstream`` command."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bot import logs
from bot.config import Config
from bot.config_file import find_config, find_mistakes, load_config
from bot.config_secrets import read_token
from bot.errors import ConfigError, DreamstreamError
from bot.library_place import secrets


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 well, 1 not, 2 wrongly called, 130 interrupted."""
    arguments = _parsed(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        if arguments.run is _run:  # then it is no answer that nobody reads
            raise
        # As `| head` does. What is left to say must not be tried once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ConfigError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return 1
    except DreamstreamError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for; what is another program's to understand is its `arguments`.

    No `REMAINDER`: that does not begin with an option, such as --help.
    """
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.run in (_models, _workers):
        arguments.arguments = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dreamstream", description="Make pictures together: a Discord bot and a live wall."
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run", parents=[shared], help="start the wall, the bot, the scheduler"
    )
    run.set_defaults(run=_run)

    dream = commands.add_parser("dream", parents=[shared], help="draw a prompt into a file")
    _dream_arguments(dream)
    dream.set_defaults(run=_dream)

    doctor = commands.add_parser("doctor", parents=[shared], help="say what is wrong, and the mend")
    _doctor_arguments(doctor)
    doctor.set_defaults(run=_doctor)

    models = commands.add_parser(
        "models",
        parents=[shared],
        add_help=False,
        allow_abbrev=False,
        help="list, pull, verify, convert, remove, add what draws",
    )
    models.set_defaults(run=_models)

    workers = commands.add_parser(
        "workers",
        parents=[shared],
        add_help=False,
        allow_abbrev=False,
        help="on a cluster: list who draws, have them leave, join as a node",
    )
    workers.set_defaults(run=_workers)

    themes = commands.add_parser(
        "themes", parents=[shared], help="list, add, import, export and remove themes"
    )
    _theme_arguments(themes)
    themes.set_defaults(run=_themes)

    publish = commands.add_parser(
        "publish", parents=[shared], help="make a site of a party, or of a theme's days"
    )
    _publish_arguments(publish)
    publish.set_defaults(run=_publish)

    backup = commands.add_parser(
        "backup", parents=[shared], help="copy all that must not be lost, also while it runs"
    )
    _backup_arguments(backup)
    backup.set_defaults(run=_backup)

    restore = commands.add_parser("restore", parents=[shared], help="put a backup back")
    _restore_arguments(restore)
    restore.set_defaults(run=_restore)

    library = commands.add_parser(
        "library", parents=[shared], help="where the pictures lie; move them to another store"
    )
    _library_arguments(library)
    library.set_defaults(run=_library)

    retention = commands.add_parser(
        "retention", parents=[shared], help="let go what the settings do not keep"
    )
    retention.add_argument("--dry-run", action="store_true", help="only say what would go")
    retention.set_defaults(run=_retention)

    health = commands.add_parser(
        "health", parents=[shared], help="ask the running bot whether it is ready"
    )
    health.add_argument("--live", action="store_true", help="ask only whether it is alive")
    health.set_defaults(run=_health)

    config = commands.add_parser("config", help="about the settings").add_subparsers(
        required=True, metavar="COMMAND"
    )
    check = config.add_parser("check", parents=[shared], help="report every mistake at once")
    check.set_defaults(run=_config_check)
    return parser


def _dream_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="what to draw")
    parser.add_argument("--preset", metavar="NAME", help="a way of drawing, such as doorway")
    parser.add_argument("--engine", metavar="NAME")
    parser.add_argument("--model", metavar="NAME")
    parser.add_argument("--size", metavar="N or WxH", help="in pixels: 128, or 160x96")
    parser.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--guidance", type=float, metavar="X")
    parser.add_argument("--negative", metavar="TEXT", help="what not to draw")
    parser.add_argument("--init", type=Path, metavar="FILE", help="a picture to start from")
    parser.add_argument(
        "--picture",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a picture to draw towards; can be given several times",
    )
    parser.add_argument("--strength", type=float, metavar="X", help="how far to leave it: 0 to 1")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an engine's own setting"
    )
    parser.add_argument(
        "--count", type=int, default=1, metavar="K", help="pictures, seeds one apart"
    )
    parser.add_argument(
        "--background", action="store_true", help="up to 100, drawn as what nobody waits for"
    )
    parser.add_argument("--exact", action="store_true", help="the same pixels in any company")
    parser.add_argument(
        "--recipe", type=Path, metavar="PNG", help="draw again what this picture's recipe says"
    )
    parser.add_argument("--out", type=Path, default=Path("dream.png"), metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one line of JSON a picture, on stdout")


def _theme_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="what")
    commands.add_parser("list", help="the themes there are, and those that can be added")
    add = commands.add_parser("add", help="add themes that come with Dreamstream")
    add.add_argument("names", nargs="+", metavar="NAME", help="such as planets; or all")
    taken = commands.add_parser("import", help="make themes of files, or change those there are")
    taken.add_argument("files", nargs="+", type=Path, metavar="FILE")
    taken.add_argument("--replace", action="store_true", help="change the theme of that name")
    ended = commands.add_parser("remove", help="end a theme for good; its stream stays")
    ended.add_argument("names", nargs="+", metavar="NAME", help="its short name")
    given = commands.add_parser("export", help="write a theme into a file")
    given.add_argument("name", metavar="NAME", help="its short name")
    given.add_argument("--out", type=Path, metavar="FILE", help="- for the screen")


def _publish_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(required=True, metavar="WHAT", dest="what")
    party = what.add_parser("party", help="an evening")
    party.add_argument("name", metavar="ID|CODE", help="its id, or the code it was joined by")
    theme = what.add_parser("theme", help="what was drawn in a stream, the most liked first")
    theme.add_argument("name", metavar="NAME", help="the theme's short name")
    theme.add_argument("--day", metavar="YYYY-MM-DD", help="that day alone (UTC)")
    theme.add_argument("--since", metavar="YYYY-MM-DD", help="from that day on")
    theme.add_argument("--until", metavar="YYYY-MM-DD", help="up to that day, itself included")
    for one in (party, theme):
        one.add_argument("--into", type=Path, required=True, metavar="DIR", help="a new folder")
        one.add_argument("--zip", action="store_true", help="one ZIP of all of it besides")


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deep", action="store_true", help="prove every dream and every file that was ever kept"
    )
    parser.add_argument(
        "--mend", action="store_true", help="with --deep: mend what can be; the bot must not run"
    )
    parser.add_argument(
        "--backup", type=Path, metavar="DIR", help="with --mend: take lost files from there"
    )


def _backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "into",
        nargs="?",
        type=Path,
        metavar="DIR|FILE.tar",
        help="a folder, to which what is new is added (else backup.folder); or one file",
    )
    parser.add_argument("--keep", type=int, default=0, metavar="N", help="keep the newest N alone")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="prove every backup in a folder")
    parser.add_argument(
        "--mend",
        action="store_true",
        help="with --verify: copy damaged files anew, where the library has them whole",
    )


def _library_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="what")
    commands.add_parser("where", help="say where they lie")
    moved = commands.add_parser("move", help="move them; the bot must not run")
    moved.add_argument("to", metavar="TO", help="s3://bucket/prefix, or “folder” for data_dir")


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        type=Path,
        metavar="FROM",
        help="a folder of backups (the newest of them), one of its backups, or a .tar",
    )
    parser.add_argument("--into", type=Path, metavar="DIR", help="instead of storage.data_dir")
    parser.add_argument(
        "--replace", action="store_true", help="move aside what is in the folder already"
    )
    parser.add_argument(
        "--take-store",
        action="store_true",
        help="the picture store is of a data folder that is lost: have it be this one's",
    )
    parser.add_argument(
        "--leave-out-damaged",
        action="store_true",
        help="put back all but the files of which no whole copy is left",
    )


def _load(arguments: argparse.Namespace) -> Config:
    config = load_config(find_config(arguments.config))
    logs.begin(config.log.level, config.log.format)
    return config


def _run(arguments: argparse.Namespace) -> int:
    from bot.app import run

    config = _load(arguments)
    token = read_token(config)
    for secret in (token, *secrets()):
        logs.hide(secret)
    return asyncio.run(run(config, token))


def _dream(arguments: argparse.Namespace) -> int:
    from bot.headless import draw

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(draw(arguments, config))


def _doctor(arguments: argparse.Namespace) -> int:
    from bot.doctor import examine

    if arguments.backup is not None and not arguments.mend:
        raise ConfigError(["--backup says where lost files are taken from: give --mend, too."])
    if arguments.deep or arguments.mend:
        return _doctor_deep(arguments)
    _say_it_once()
    return asyncio.run(examine(find_config(arguments.config)))


def _doctor_deep(arguments: argparse.Namespace) -> int:
    from bot.consistency.command import run

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(run(config, mending=arguments.mend, backups=arguments.backup))


def _models(arguments: argparse.Namespace) -> int:
    """Hand over to a process that may import torch; this one never does."""
    from bot.configured import models_dir

    folder = models_dir(load_config(find_config(arguments.config)))
    command = [sys.executable, "-m", "generation.models", "--folder", str(folder)]
    try:
        return subprocess.run([*command, *arguments.arguments], check=False).returncode  # noqa: S603
    except KeyboardInterrupt:
        return 130


def _workers(arguments: argparse.Namespace) -> int:
    """Hand over to a process that may import Ray."""
    address = load_config(find_config(arguments.config)).scheduler.ray_address or "auto"
    command = [sys.executable, "-m", "generation.ray_command", "--address", address]
    process = subprocess.Popen([*command, *arguments.arguments])  # noqa: S603
    # A node of a cluster is told to end by a signal to this process.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()


def _themes(arguments: argparse.Namespace) -> int:
    from bot.theme_command import run

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(run(arguments, config))


def _publish(arguments: argparse.Namespace) -> int:
    from bot.publish.command import run

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(run(arguments, config))


def _backup(arguments: argparse.Namespace) -> int:
    from bot.backup.command import run_backup

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(run_backup(arguments, config))


def _restore(arguments: argparse.Namespace) -> int:
    from bot.backup.command import run_restore

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(run_restore(arguments, config))


def _library(arguments: argparse.Namespace) -> int:
    from bot.library_command import run

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(run(arguments, config))


def _retention(arguments: argparse.Namespace) -> int:
    from bot.retention_command import run

    config = load_config(find_config(arguments.config))
    _say_it_once()
    return asyncio.run(run(arguments, config))


def _health(arguments: argparse.Namespace) -> int:
    from bot.monitoring.command import ask

    return ask(load_config(find_config(arguments.config)), live=arguments.live)


def _say_it_once() -> None:
    """Keep the log quiet where the command itself says what went wrong."""
    logging.getLogger().addHandler(logging.NullHandler())


def _config_check(arguments: argparse.Namespace) -> int:
    path = find_config(arguments.config)
    mistakes = find_mistakes(path)
    if mistakes:
        raise ConfigError(mistakes)
    token = read_token(load_config(path))
    print(f"{path}: all is well." if path else "No config.toml here: the defaults hold.")
    print(
        "A Discord token is configured." if token else "No Discord token: only the wall will run."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
