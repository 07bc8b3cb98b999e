"""Mistakes in the settings, as sentences: where, what is there, and what should be.

What may be a secret is not repeated, for it may have been put into a wrong place.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bot.config import Config
from bot.config_secrets import SECRET_VARIABLE, TOKEN_VARIABLE

_LONGEST_BITS = 1024
# Before an @ in an address there is a password, perhaps.
_USER = re.compile(r"//[^/\s@]*@")
_SECRETIVE = (("discord",), ("wall", "sign_in"))


def sentences(error: ValidationError) -> list[str]:
    """Return a sentence for every mistake that was found in a `Config`."""
    return [_sentence(detail) for detail in error.errors()]


def _sentence(detail: ErrorDetails) -> str:
    place = [str(part) for part in detail["loc"]]
    key = ".".join(place)
    if detail["type"] == "extra_forbidden":
        return _unknown(place)
    if detail["type"] == "model_type":
        return f"[{key}] should be a table of settings, not {_shown(detail['input'], place)}."
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{key} = {_shown(detail['input'], place)}: {message}."


def _shown(value: Any, place: list[str]) -> str:
    """Return a value as it may be repeated."""
    secretive = any(tuple(place[: len(one)]) == one for one in _SECRETIVE)
    if secretive and not isinstance(value, int | float):
        return "…"
    if isinstance(value, int) and value.bit_length() > _LONGEST_BITS:
        return "…"  # such a number, of hexadecimal digits, cannot be written in decimal ones
    shown = repr(value).replace("'", '"') if isinstance(value, str) else repr(value)
    shown = _USER.sub("//…@", shown)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def _unknown(place: list[str]) -> str:
    key = ".".join(place)
    if place == ["discord", "token"]:
        return (
            "discord.token: the token does not belong in this file. Put it in the environment "
            f"variable {TOKEN_VARIABLE}, or in a file that discord.token_file names."
        )
    if place == ["wall", "sign_in", "client_secret"]:
        return (
            "wall.sign_in.client_secret: the secret does not belong in this file. Put it in the "
            f"environment variable {SECRET_VARIABLE}, or in a file that "
            "wall.sign_in.client_secret_file names."
        )
    known = sorted(_keys_beside(place))
    near = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}."
    return f"{key}: there is no such setting; {hint}"


def _keys_beside(place: list[str]) -> set[str]:
    section: type[BaseModel] = Config
    for part in place[:-1]:
        annotation = section.model_fields[part].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        section = annotation
    return set(section.model_fields)
