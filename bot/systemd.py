"""Tells systemd how it goes, where systemd started us: a datagram to the socket that it names.

Source: sd_notify(3), sd_watchdog_enabled(3)
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def tell(*words: str) -> bool:
    """Tell systemd something, such as ``READY=1``; say whether there was anybody to tell it."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path or not hasattr(socket, "AF_UNIX"):
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as speaker:
            speaker.sendto("\n".join(words).encode(), address)
    except OSError as error:
        log.warning("systemd cannot be told %s: %s", words[0], error)
        return False
    return True


def watchdog_s() -> float | None:
    """Return within how many seconds systemd wants a sign of life; None where it wants none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None
