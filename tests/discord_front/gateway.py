"""The gateway of the loopback Discord, v10: sessions, shards, resuming, and how it fails.

It is as strict as Discord's: what is out of order closes the connection with Discord's own code
and is a mistake besides. Faults are what `outage`, `cut`, `reconnect`, `invalidate` and the
attributes `close_code` and `deaf` order.
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.discord_front.payloads import Json

_PRIVILEGED = (1 << 1) | (1 << 8) | (1 << 15)
_REACTIONS = 1 << 10
_MAX_PAYLOAD = 4096
_MAX_SENT, _SENT_WINDOW_S = 120, 60.0
_IDENTIFY_S = 5.0


class Closed(Exception):
    """The bot did what closes the connection."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(why)


@dataclass
class Session:
    """What a gateway session has been told, so that it can be resumed."""

    shard: int
    intents: int
    events: list[Json] = field(default_factory=list)
    line: Line | None = None


class Line:
    """One connection, with the compression that lasts as long as it does."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket = socket
        self.session: Session | None = None
        self._request = request
        self._deflate = zlib.compressobj()
        self._heard_s: deque[float] = deque(maxlen=_MAX_SENT)

    async def send(self, payload: Json) -> None:
        """Send a payload as one binary frame that ends in a sync flush."""
        if not self.socket.closed:
            data = self._deflate.compress(json.dumps(payload).encode())
            with suppress(ConnectionError):  # the bot was killed, which nobody has noticed yet
                await self.socket.send_bytes(data + self._deflate.flush(zlib.Z_SYNC_FLUSH))

    def abort(self) -> None:
        """Cut it, as a bad network does: without a closing frame."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def check(self, frame: str) -> Json:
        """Return what a frame says, if it may be sent at all."""
        if len(frame.encode()) > _MAX_PAYLOAD:
            raise Closed(4002, "a payload of more than 4,096 bytes")
        now_s = time.monotonic()
        if len(self._heard_s) == _MAX_SENT and now_s - self._heard_s[0] < _SENT_WINDOW_S:
            raise Closed(4008, "more than 120 payloads in a minute")
        self._heard_s.append(now_s)
        try:
            payload: Json = json.loads(frame)
        except ValueError:
            raise Closed(4002, "a payload that is no JSON") from None
        return payload


class Gateway:
    """The sessions there are. `first` gives a session's READY and what follows, by its shard."""

    def __init__(
        self,
        token: str,
        first: Callable[[list[int]], list[tuple[str, Json]]],
        mistakes: list[str],
        judge: Callable[[str, Json], None],
    ) -> None:
        self.shards = 1
        self.identifies: list[tuple[float, int]] = []
        self.at_once = 1  # so many may identify in the same 5 s
        self.identified_s: dict[int, float] = {}
        self.resumes = 0
        self.heartbeats = 0
        self.heartbeat_ms = 41_250
        self.close_code: int | None = None
        self.deaf = False
        self.is_out = False
        self.news = asyncio.Event()
        self._token = token
        self._first = first
        self._mistakes = mistakes
        self._judge = judge
        self._sessions: dict[str, Session] = {}

    @property
    def connected(self) -> int:
        """How many shards have a connection at present."""
        return sum(one.line is not None for one in self._sessions.values())

    async def dispatch(self, name: str, data: Json, shard: int = 0) -> None:
        """Tell a shard's newest session of an event; it is kept for who resumes.

        Of reactions only who has asked for them is told.
        """
        self._judge(name, data)
        found = [one for one in self._sessions.values() if one.shard == shard]
        wanted = not name.startswith("MESSAGE_REACTION_") or any(
            one.intents & _REACTIONS for one in found[-1:]
        )
        if found and wanted:
            await self._tell(found[-1], name, data)

    async def cut(self, shard: int | None = None) -> None:
        """Abort every connection, or one shard's."""
        for session in self._sessions.values():
            if session.line is not None and shard in (None, session.shard):
                session.line.abort()
                session.line = None

    async def reconnect(self) -> None:
        """Ask every connection to come back (op 7), and close it soon after."""
        for session in [*self._sessions.values()]:
            if session.line is not None:
                await session.line.send({"op": 7, "d": None})

    async def invalidate(self, *, resumable: bool) -> None:
        """Declare every session invalid (op 9)."""
        for key, session in [*self._sessions.items()]:
            if not resumable:
                del self._sessions[key]
            if session.line is not None:
                await session.line.send({"op": 9, "d": resumable})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection."""
        if self.is_out:
            return web.Response(status=503)
        wanted = {"v": "10", "encoding": "json", "compress": "zlib-stream"}
        if dict(request.query) != wanted:
            self._mistakes.append(f"the gateway was asked for with {dict(request.query)}")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        line = Line(socket, request)
        await line.send({"op": 10, "d": {"heartbeat_interval": self.heartbeat_ms}})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            try:
                await self._heard(line, line.check(frame.data))
            except Closed as reason:
                if self.close_code is None:
                    self._mistakes.append(f"the gateway closed with {reason.code}: {reason}")
                await socket.close(code=reason.code)
        if line.session is not None and line.session.line is line:
            line.session.line = None
        self.news.set()
        return socket

    async def _heard(self, line: Line, payload: Json) -> None:
        data: Any = payload.get("d")
        match payload.get("op"):
            case 1:
                self._check_heartbeat(line, data)
                if not self.deaf:
                    await line.send({"op": 11})
            case 2 | 6 if self.close_code is not None:
                raise Closed(self.close_code, "as ordered")
            case 2 | 6 if line.session is not None:
                raise Closed(4005, "already identified")
            case 2 | 6 if data["token"] != self._token:
                raise Closed(4004, "a wrong token")
            case 2:
                await self._identify(line, data)
            case 6:
                await self._resume(line, data)
            case 3 | 4 | 8 if line.session is None:
                raise Closed(4003, "not identified yet")
            case op:
                raise Closed(4001, f"op {op} is nothing that this bot should send")
        self.news.set()

    def _check_heartbeat(self, line: Line, seq: Any) -> None:
        self.heartbeats += 1
        known = len(line.session.events) if line.session is not None else None
        if seq is not None and known is not None and seq > known:
            self._mistakes.append(f"a heartbeat of event {seq}, of {known}")

    async def _identify(self, line: Line, data: Json) -> None:
        shard, shards = data.get("shard", [0, 1])
        if shards != self.shards or not 0 <= shard < shards:
            raise Closed(4010, f"shard {shard} of {shards}")
        if data["intents"] & _PRIVILEGED:
            raise Closed(4014, "a privileged intent was asked for")
        if set(data["properties"]) != {"os", "browser", "device"}:
            self._mistakes.append(f"an identify with the properties {data['properties']}")
        now_s = time.monotonic()
        # What was sent 5 s apart may arrive a little closer.
        key = shard % self.at_once
        if now_s - self.identified_s.get(key, float("-inf")) < _IDENTIFY_S - 0.5:
            self._mistakes.append("two identifies within 5 s")
            await line.send({"op": 9, "d": False})
            return
        self.identified_s[key] = now_s
        self.identifies.append((now_s, shard))
        line.session = Session(shard, data["intents"], line=line)
        events = self._first([shard, shards])
        self._sessions[events[0][1]["session_id"]] = line.session
        for name, event in events:
            self._judge(name, event)
            await self._tell(line.session, name, event)

    async def _resume(self, line: Line, data: Json) -> None:
        known = self._sessions.get(data["session_id"])
        if known is None:
            await line.send({"op": 9, "d": False})
            return
        if data["seq"] > len(known.events):
            raise Closed(4007, f"event {data['seq']} of {len(known.events)}")
        self.resumes += 1
        line.session, known.line = known, line
        for event in known.events[data["seq"] :]:
            await line.send(event)
        await self._tell(known, "RESUMED", {})

    async def _tell(self, session: Session, name: str, data: Json) -> None:
        event = {"op": 0, "t": name, "s": len(session.events) + 1, "d": data}
        session.events.append(event)
        if session.line is not None:
            await session.line.send(event)
