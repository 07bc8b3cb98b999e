"""The secrets the settings lead to: Discord's token for the bot, and what signs people in.

They are never in the settings' file, nor on a command line: they come from the environment, or
from a file of their own that a setting names.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from bot.config import Config
from bot.errors import ConfigError

TOKEN_VARIABLE = "DREAMSTREAM_DISCORD_TOKEN"  # noqa: S105 - the variable's name, not a token
SECRET_VARIABLE = "DREAMSTREAM_DISCORD_CLIENT_SECRET"  # noqa: S105 - a name, too
_NO_FRONT = (
    "Nobody could ask for anything: the wall is off (wall.mode) and there is no Discord token. "
    f"Turn the wall on, or put a bot token into {TOKEN_VARIABLE}."
)
_NO_SIGN_IN = (
    "wall.sign_in: nobody can be signed in without a bot, which knows who may read what. Put its "
    f"token into {TOKEN_VARIABLE}, or set wall.sign_in.enabled = false."
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# As long, and made of such signs, as Discord's tokens and client secrets are; no folder before it.
_LIKE_A_SECRET = re.compile(r"[\w.-]{30,}")


def read_token(config: Config) -> str | None:
    """Return the Discord bot token, or None where none is configured.

    Reads a file: not for the event loop.

    Raises:
        ConfigError: the file named for it cannot be read or holds no token.
    """
    path = config.discord.token_file
    return _secret(TOKEN_VARIABLE, path, "discord.token_file", "the bot token")


def check_fronts(config: Config, token: str | None, client_secret: str | None) -> None:
    """Check that with these secrets somebody can ask for something, and be signed in.

    Raises:
        ConfigError: there is no front at all, or no bot that knows who may read what.
    """
    if config.wall.mode == "off" and token is None:
        raise ConfigError([_NO_FRONT])
    if client_secret is not None and token is None:
        raise ConfigError([_NO_SIGN_IN])


def read_client_secret(config: Config) -> str | None:
    """Return the secret with which people are signed in, or None where nobody is to be.

    Reads a file: not for the event loop.

    Raises:
        ConfigError: something that signing in needs is missing, or cannot be read.
    """
    sign_in, wall = config.wall.sign_in, config.wall
    if not sign_in.enabled or wall.mode == "off":
        return None
    mistakes = []
    url = urlsplit(wall.public_url)
    if not wall.public_url:
        mistakes.append(
            "wall.sign_in: Discord has to know where to lead people back to. Set wall.public_url "
            "to the address that they reach the wall by."
        )
    elif url.scheme != "https" and url.hostname not in _LOOPBACK:
        mistakes.append(
            "wall.sign_in: nobody is signed in without encryption. Set wall.public_url to an https "
            "address, behind a proxy that has it; http will do for localhost alone."
        )
    secret = None
    try:
        path, key = sign_in.client_secret_file, "wall.sign_in.client_secret_file"
        secret = _secret(SECRET_VARIABLE, path, key, "the client secret")
    except ConfigError as error:
        mistakes += error.mistakes
    else:
        if secret is None:
            mistakes.append(
                "wall.sign_in: the application's secret is missing. Copy it from the developer "
                f"portal (page “OAuth2”, “Client Secret”) into {SECRET_VARIABLE}, or into a file "
                "that wall.sign_in.client_secret_file names."
            )
    if mistakes:
        raise ConfigError(mistakes)
    return secret


def _secret(variable: str, path: Path | None, key: str, what: str) -> str | None:
    """Return a secret from the environment or else from a file; None where there is neither.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    secret = os.environ.get(variable, "").strip()
    if secret or path is None:
        return secret or None
    try:
        secret = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.ENAMETOOLONG or (
            number == errno.ENOENT and _LIKE_A_SECRET.fullmatch(path.name)
        ):
            sentence = f"{key}: there is no such file. Put {what} into a file, and name that here."
            raise ConfigError([sentence]) from None  # for this may be it
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            [f"{key}: {path} cannot be read ({reason}). Put {what} in it."]
        ) from error
    if not secret or any(character.isspace() for character in secret):
        raise ConfigError([f"{key}: {path} should hold {what} and nothing else."])
    return secret
