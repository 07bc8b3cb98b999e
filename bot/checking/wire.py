"""What the bot and the process that looks at pictures say to each other: length, then msgpack.

After the message that asks for a look come the bytes that are to be looked at, as they are. Answers
come in the order of the asks, one at a time. Both ends are of one version: the bot starts
the other.
"""

from __future__ import annotations

import struct

import msgspec

LENGTH = struct.Struct(">I")
MAX_BYTES = 256 * 1024 * 1024


class Look(msgspec.Struct, frozen=True):
    """Look at a picture or a film, of this media type and so many bytes, which follow."""

    media_type: str
    size_bytes: int


class Looked(msgspec.Struct, frozen=True):
    """How likely each picture of it is for adults, 0 to 1; or why it could not be looked at."""

    scores: tuple[float, ...] = ()
    reason: str = ""


class Ready(msgspec.Struct, frozen=True):
    """Said once: the network is loaded. With a `reason`, it never will be."""

    reason: str = ""


def framed(message: Look | Looked | Ready) -> bytes:
    """Return a message as it goes over the pipe."""
    data = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(data)) + data
