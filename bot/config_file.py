"""Reading the settings: one TOML file, checked as a whole, every mistake reported at once."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.config import Config
from bot.config_mistakes import sentences
from bot.config_secrets import check_fronts, read_client_secret, read_token
from bot.errors import ConfigError

CONFIG_VARIABLE = "DREAMSTREAM_CONFIG"
DEFAULT_FILE = Path("config.toml")


def find_config(named: Path | None) -> Path | None:
    """Say which file holds the settings: the one named, the environment's, or ./config.toml.

    None means that there is none and the defaults hold.
    """
    if named is not None:
        return named
    from_environment = os.environ.get(CONFIG_VARIABLE)
    if from_environment:
        return Path(from_environment)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_config(path: Path | None) -> Config:
    """Read and check the settings; None gives the defaults.

    Relative paths in the file are relative to the file's folder.

    Raises:
        ConfigError: with a sentence for every mistake in the file.
    """
    if path is None:
        return Config()
    table = _read_table(path)
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        raise ConfigError([f"{path}: {sentence}" for sentence in sentences(error)]) from error
    return _anchored(config, path.resolve().parent)


def find_mistakes(path: Path | None) -> tuple[str, ...]:
    """Return a sentence for every mistake in the settings and with the token they lead to."""
    mistakes: list[str] = []
    try:
        config = load_config(path)
    except ConfigError as error:
        mistakes += error.mistakes
        config = _discord_alone(path)
    secrets: list[str | None] = []
    for read in (read_token, read_client_secret):
        try:
            secrets.append(read(config))
        except ConfigError as error:
            mistakes += error.mistakes
    if not mistakes:
        token, client_secret = secrets
        try:
            check_fronts(config, token, client_secret)
        except ConfigError as error:
            mistakes += error.mistakes
    return tuple(mistakes)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: there is no such file. Copy config.example.toml there, or name another."]
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})."]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: this is not UTF-8. Save it as UTF-8."]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: this is not TOML: {error}."]) from error
    except (RecursionError, ValueError) as error:  # nested too deep; a number of too many digits
        raise ConfigError(
            [f"{path}: this cannot be read: it is nested too deep, or holds a number too long."]
        ) from error


def _discord_alone(path: Path | None) -> Config:
    """Return the settings' part for Discord where the rest is wrong; the defaults if it is too."""
    try:
        assert path is not None, "without a file there are no mistakes"
        discord = _read_table(path).get("discord", {})
        return _anchored(Config.model_validate({"discord": discord}), path.resolve().parent)
    except (ConfigError, ValidationError):
        return Config()


def _anchored(config: Config, folder: Path) -> Config:
    storage = config.storage.model_copy(update={"data_dir": folder / config.storage.data_dir})
    backup = config.backup.model_copy(update={"folder": folder / config.backup.folder})
    discord, scheduler, wall = config.discord, config.scheduler, config.wall
    if wall.sign_in.client_secret_file is not None:
        file = folder / wall.sign_in.client_secret_file
        sign_in = wall.sign_in.model_copy(update={"client_secret_file": file})
        wall = wall.model_copy(update={"sign_in": sign_in})
    if discord.token_file is not None:
        discord = discord.model_copy(update={"token_file": folder / discord.token_file})
    if scheduler.models_dir is not None:
        scheduler = scheduler.model_copy(update={"models_dir": folder / scheduler.models_dir})
    return config.model_copy(
        update={
            "storage": storage,
            "backup": backup,
            "wall": wall,
            "discord": discord,
            "scheduler": scheduler,
        }
    )
