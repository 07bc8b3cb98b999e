"""How far in the log a page is, told so that nobody else can read it.

The entries of all streams are numbered in one row. So whoever reads a number, and another one
later, knows how much happened meanwhile in streams that they may not see. What a page is given in
its place is a sign that this wall alone can read, another one each time: nobody can tell either
whether two are of the same entry.

Source: https://www.rfc-editor.org/rfc/rfc7693 (2.9: BLAKE2 with a key is a MAC)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

_WORD = 8  # bytes
_SIGN = re.compile(r"[A-Za-z0-9_-]{32}")
_MOST = (1 << 63) - 1  # of SQLite's integers
_MOST_DIGITS = 18


class Cursors:
    """Makes such signs and reads them, under a key of this installation.

    A sign is a random word, the number under a pad that is made of it, and a seal of both.
    """

    def __init__(self, key: bytes | None = None) -> None:
        """Take a key of 32 bytes; without one numbers are told as they are."""
        self._key = key

    def of(self, event_id: int) -> str:
        """Return a sign of an entry: 32 characters."""
        if self._key is None:
            return str(event_id)
        word = secrets.token_bytes(_WORD)
        hidden = _xor(event_id.to_bytes(_WORD, "big"), self._made(b"pad", word))
        whole = word + hidden + self._made(b"seal", word + hidden)
        return base64.urlsafe_b64encode(whole).decode()

    def read(self, text: str) -> int | None:
        """Return the id of the entry that a sign is of; None where it is none of this wall's."""
        if self._key is None:
            good = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
            return int(text) if good else None
        if not _SIGN.fullmatch(text):
            return None
        try:
            whole = base64.urlsafe_b64decode(text)
        except binascii.Error:
            return None
        word, hidden, seal = whole[:_WORD], whole[_WORD : 2 * _WORD], whole[2 * _WORD :]
        if not hmac.compare_digest(seal, self._made(b"seal", word + hidden)):
            return None
        return min(int.from_bytes(_xor(hidden, self._made(b"pad", word)), "big"), _MOST)

    def _made(self, purpose: bytes, of: bytes) -> bytes:
        assert self._key is not None
        return hashlib.blake2s(of, digest_size=_WORD, key=self._key, person=purpose).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
