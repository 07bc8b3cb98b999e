"""How much of what was sent the other end has taken, and whether that is enough."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass

from bot.wall.settings import Patience

# The fields of Linux' `struct tcp_info` that are read: what is in flight (segments), what was
# acknowledged (bytes), and what was not sent yet (bytes).
# Source: include/uapi/linux/tcp.h (since Linux 4.6).
_UNACKED = struct.Struct("=I")
_UNACKED_AT, _ACKED_AT, _NOT_SENT_AT, _SIZE = 24, 120, 144, 148


@dataclass(frozen=True)
class Taken:
    """How an answer stands: bytes the other end has acknowledged, and whether some are left."""

    acked: int
    pending: bool


def taken_of(transport: asyncio.Transport) -> Taken | None:
    """Ask the system how far the other end is; None where it does not say.

    What is held here counts, and what the system holds: a file goes there without passing here.
    """
    sock = transport.get_extra_info("socket")
    if sys.platform != "linux" or sock is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None
    (unacked,) = _UNACKED.unpack_from(info, _UNACKED_AT)
    (acked,) = struct.unpack_from("=Q", info, _ACKED_AT)
    (not_sent,) = _UNACKED.unpack_from(info, _NOT_SENT_AT)
    held = transport.get_write_buffer_size()
    return Taken(acked, bool(unacked or not_sent or held))


class Pace:
    """Watches one connection's other end take what it is sent."""

    __slots__ = ("_acked", "_patience", "_since_s")

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since_s: float | None = None
        self._acked = 0

    def is_stalled(self, taken: Taken | None, now_s: float) -> bool:
        """Say whether too little was taken for too long."""
        if taken is None or not taken.pending:
            self._since_s = None
            return False
        enough = taken.acked - self._acked >= self._patience.stall_bytes
        if self._since_s is None or enough:
            self._since_s, self._acked = now_s, taken.acked
            return False
        return now_s - self._since_s >= self._patience.stall_s
