"""Links to what is not listed, that expire and can be withdrawn.

A link's token says what it shows and until when, with an HMAC under a key of the data folder
(SHA-256; compared in constant time). So nothing is kept of a link that was made, and nobody who
reads the database, or a backup of it, can make one. Withdrawing keeps one time for each thing:
tokens that were made up to then are good no more. It stands in the same file as the key, and no
backup has that file; so a restored backup cannot bring a withdrawn link back.

Source: https://www.rfc-editor.org/rfc/rfc2104
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from bot.errors import ConfigError, InvalidRequestError, NotFoundError
from bot.files import write_atomic
from bot.ids import now_ms
from bot.sentences import say

FILE = "links.json"
HOUR_MS = 3600 * 1000
MOST_HOURS = 30 * 24
MAX_TOKEN = 200
NOT_GOOD = "This link is not good any more. Ask whoever gave it to you for a new one."
_TOKEN = re.compile(r"([td])\.([0-9a-z]{1,20})\.([0-9]{1,15})\.([0-9]{1,15})\.([A-Za-z0-9_-]{43})")
_PURPOSE = b"dreamstream link 1\0"
_DERIVED = b"dreamstream key 1\0"


class Shows(StrEnum):
    """What a link shows: a theme's whole stream, or one dream."""

    THEME = "t"
    DREAM = "d"


@dataclass(frozen=True)
class Grant:
    """What the bearer of a link may see: the theme or dream `id`, until `until_ms`."""

    shows: Shows
    id: str
    until_ms: int


class _Kept(msgspec.Struct):
    """The key, in hexadecimal, and when whatever was made for a thing was withdrawn."""

    key: str
    withdrawn: dict[str, int] = {}


class SignedLinks:
    """Makes links, reads them, and withdraws them."""

    def __init__(self, path: Path, kept: _Kept, *, clock: Callable[[], int] = now_ms) -> None:
        self._path = path
        self._kept = kept
        self._key = bytes.fromhex(kept.key)
        self._clock = clock
        self._turn = asyncio.Lock()

    @classmethod
    def open(cls, data_dir: Path, *, clock: Callable[[], int] = now_ms) -> SignedLinks:
        """Read the key of a data folder; make one where there is none. Blocks.

        Raises:
            ConfigError: what is there is no key.
            DiskError: it cannot be kept.
        """
        path = data_dir / FILE
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            if len(bytes.fromhex(kept.key)) != hashlib.sha256().digest_size:
                raise ValueError
        except FileNotFoundError:
            kept = _Kept(secrets.token_hex(32))
            _write(path, kept)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise ConfigError(
                [
                    f"{path}: the key of links cannot be read. Remove the file: links given out "
                    "before will then be good no more."
                ]
            ) from error
        return cls(path, kept, clock=clock)

    def make(self, shows: Shows, id: str, hours: float) -> tuple[str, Grant]:
        """Return a token, and what it grants.

        Raises:
            InvalidRequestError: it is to be good for longer than `MOST_HOURS`, or for no time.
        """
        if not 0 < hours <= MOST_HOURS:
            raise InvalidRequestError(
                "hours", say("A link is good for 1 to {most} hours.", most=MOST_HOURS)
            )
        made_ms = self._clock()
        grant = Grant(shows, id, made_ms + int(hours * HOUR_MS))
        said = f"{shows}.{id}.{made_ms}.{grant.until_ms}"
        return f"{said}.{self._seal(said)}", grant

    def read(self, token: str) -> Grant:
        """Return what a token grants at this moment.

        Raises:
            NotFoundError: nothing: it is none of ours, over, or withdrawn; which is not told.
        """
        found = _TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN else None
        if found is None:
            raise NotFoundError(NOT_GOOD)
        said, _, seal = token.rpartition(".")
        if not hmac.compare_digest(seal, self._seal(said)):
            raise NotFoundError(NOT_GOOD)
        shows, id, made_ms, until_ms = found[1], found[2], int(found[3]), int(found[4])
        # One that was made later than now was made by a clock that was ahead: it is withdrawn no
        # less by what was done since.
        withdrawn_ms = self._kept.withdrawn.get(f"{shows}.{id}", -1)
        if self._clock() >= until_ms or made_ms <= withdrawn_ms:
            raise NotFoundError(NOT_GOOD)
        return Grant(Shows(shows), id, until_ms)

    async def withdraw(self, shows: Shows, id: str) -> None:
        """Have every link that was made for a thing be good no more.

        Raises:
            DiskError: it cannot be kept; the links are good as before.
        """
        async with self._turn:
            now = self._clock()
            # What was withdrawn longer ago than a link can last needs no word any more.
            since = now - MOST_HOURS * HOUR_MS
            withdrawn = {what: at for what, at in self._kept.withdrawn.items() if at >= since}
            kept = _Kept(self._kept.key, withdrawn | {f"{shows}.{id}": now})
            await asyncio.to_thread(_write, self._path, kept)
            self._kept = kept

    def derive(self, purpose: str) -> bytes:
        """Return a key of 32 bytes for something else, from which this one cannot be had."""
        return hmac.digest(self._key, _DERIVED + purpose.encode(), "sha256")

    def _seal(self, said: str) -> str:
        seal = hmac.digest(self._key, _PURPOSE + said.encode(), "sha256")
        return base64.urlsafe_b64encode(seal).rstrip(b"=").decode()


def _write(path: Path, kept: _Kept) -> None:
    write_atomic(path, msgspec.json.encode(kept), mode=0o600)
