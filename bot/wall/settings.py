"""How a wall is to be: where it listens, who may reach it, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from bot.wall.passes import shown

Network = IPv4Network | IPv6Network
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

REQUESTS_SAVED_S = 20
"""For so long an address saves up what it does not fetch; never less than one request costs."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the wall waits for somebody at the other end of a connection, in seconds."""

    idle_s: float = 60.0
    """Without a whole request, from a connection's beginning or from its last answer on."""
    settled_s: float = 1.0
    """Without a request for so long, a connection may be ended to make room for another."""
    head_s: float = 15.0
    """From a request's first byte to the end of its headers."""
    body_s: float = 120.0
    """For all that is posted: the largest upload at under a megabit per second."""
    pause_s: float = 15.0
    """In which `pause_bytes` of what is posted have to come, or the end of it."""
    pause_bytes: int = 4096
    stall_s: float = 30.0
    """In which `stall_bytes` of an answer have to be taken, or all that there is of it."""
    stall_bytes: int = 60 * 1024
    linger_s: float = 2.0
    """What is left of a body is read so long after the answer, so that a browser sees that."""
    look_s: float = 1.0
    """Between looks at all connections."""


@dataclass(frozen=True, kw_only=True)
class WallSettings:
    """`local`: people in one room or network; `proxy`: behind a reverse proxy; `off`: none.

    What a proxy says of where somebody comes from is believed of `trusted_proxies` alone.

    `public_url` is the address people type, where it differs from host and port. Guests may ask
    for dreams in local mode; behind a proxy, where anybody may come by, only if
    `guests_may_ask` says so; the same goes for asking for a batch, and `guests_may_batch`.

    `requests_per_address` is what one address may fetch in a second for long, in small pictures
    (`bot.wall.buckets.Cost`); 0 is without bound.
    """

    mode: Literal["local", "proxy", "off"] = "local"
    host: str = "127.0.0.1"
    port: int = 8642
    title: str = "Dreamstream"
    public_url: str = ""
    trusted_proxies: tuple[Network, ...] = LOOPBACK
    guests_may_ask: bool | None = None
    guests_may_batch: bool | None = None
    max_upload_bytes: int = 12 * 1024 * 1024
    streams_per_address: int = 64
    requests_per_address: int = 500
    connections: int = 1024
    connections_besides: int = 64
    dreams_per_address: int = 80
    background_per_address: int = 400
    pictures_per_batch: int = 100
    patience: Patience = Patience()

    @property
    def connections_per_address(self) -> int:
        """How many connections one address may have: its streams, and what fetches the rest."""
        return self.streams_per_address + self.connections_besides

    @property
    def requests_at_once(self) -> int:
        """How much one address may fetch at once, in small pictures: after it fetched nothing."""
        return self.requests_per_address * REQUESTS_SAVED_S

    @property
    def streams(self) -> int:
        """How many connections may be streams of events: pages are to be had besides."""
        return max(1, self.connections * 3 // 4)

    @property
    def posted_bytes(self) -> int:
        """How much of what is posted may be in memory at once: sixteen of the largest uploads."""
        return 16 * self.max_upload_bytes

    @property
    def posted_bytes_per_address(self) -> int:
        """How much of that may be one address's."""
        return 5 * self.max_upload_bytes

    @property
    def guests_ask(self) -> bool:
        """Whether any visitor of the wall may ask for dreams there."""
        if self.guests_may_ask is None:
            return self.mode == "local"
        return self.guests_may_ask

    @property
    def asking(self) -> bool:
        """Whether whoever looks may ask for dreams there: as a guest, or as they may in Discord."""
        return self.guests_ask or shown().asks

    @property
    def batching(self) -> bool:
        """Whether they may ask for many at once, drawn when nobody waits."""
        may = self.mode == "local" if self.guests_may_batch is None else self.guests_may_batch
        return may and self.asking

    @property
    def secure(self) -> bool:
        """Whether people come by https, so that cookies may insist on it."""
        return self.public_url.startswith("https://")
