"""The signs by which pages tell people apart.

A page says whose each picture is, so that it can offer people what is theirs to do; who looks at
its source is to learn nobody's id from that. So a sign is made with a key that this installation
has alone: who knows an id, as everybody in a server does, cannot tell either whether a sign is its.
"""

from __future__ import annotations

import hashlib
import secrets

KEY_BYTES = hashlib.blake2s.MAX_KEY_SIZE
_BYTES = 6


class Marks:
    """Makes signs, the same for the same person as long as the key is the same.

    Source: https://www.rfc-editor.org/rfc/rfc7693 (2.9: BLAKE2 with a key is a MAC)
    """

    def __init__(self, key: bytes | None = None) -> None:
        """Take a key of `KEY_BYTES`; without one, signs are good as long as this is there."""
        self._key = secrets.token_bytes(KEY_BYTES) if key is None else key

    def of(self, person_id: str) -> str:
        """Return a person's sign: 12 hexadecimal digits."""
        return hashlib.blake2s(person_id.encode(), digest_size=_BYTES, key=self._key).hexdigest()
