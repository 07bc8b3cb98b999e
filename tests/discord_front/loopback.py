"""A Discord on loopback: REST and gateway of API v10, and the CDN; one guild, one channel.

What the bot asks is judged by `oracle`, and so is what it is answered. Faults are ordered with
`fail`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.discord_front import oracle, payloads
from tests.discord_front.payloads import Json, snowflake

PATIENCE_S = 120.0


@dataclass
class Fault:
    """How matching requests fail: with a status before, or after, they were carried out."""

    method: str
    path: str
    status: int
    times: int
    after: bool = False
    body: Json = field(default_factory=lambda: {"message": "ordered", "code": 0})


@dataclass
class Session:
    """What a gateway session has been told, so that it can be resumed."""

    events: list[Json] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None
    deflate: Any = None


class Discord:
    """The server. `start` it, give the bot its `address`, `stop` it."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.address = ""
        self.messages: dict[int, Json] = {}
        self.deleted: list[int] = []
        self.files: dict[str, bytes] = {}
        self.commands: list[Json] = []
        self.syncs = 0
        self.requests: list[tuple[float, str, str, Any]] = []
        self.asked: dict[str, float] = {}
        self.callbacks: dict[str, tuple[float, Json]] = {}
        self.answers: dict[str, Json] = {}
        self.mistakes: list[str] = []
        self.faults: list[Fault] = []
        self.close_code: int | None = None
        self.identifies = self.resumes = 0
        self._nonces: dict[str, int] = {}
        self._sessions: dict[str, Session] = {}
        self._news = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=30 * 1024 * 1024)
        app.router.add_get("/gateway{rest:/?}", self._gateway)
        app.router.add_get("/attachments/{path:.+}", self._file)
        app.router.add_route("*", "/api/v10/{path:.+}", self._rest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"

    async def stop(self) -> None:
        """Close everything."""
        await self.drop()
        if self._runner is not None:
            await self._runner.cleanup()

    def fail(self, method: str, path: str, status: int, times: int = 1, **more: Any) -> None:
        """Have the next requests of this kind fail. `path` is a regular expression."""
        self.faults.append(Fault(method, path, status, times, **more))

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what the condition gives, as soon as it is true of it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (found := condition()):
                    self._news.clear()
                    await self._news.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}") from None

    # --- what people do ----------------------------------------------------------------------

    async def slash(self, name: str, *, by: int = payloads.ANN, **options: Any) -> Json:
        """Send a command; return the interaction."""
        command = next(one for one in self.commands if one["name"] == name)
        kinds = {one["name"]: one["type"] for one in command["options"]}
        given = [{"name": k, "type": kinds[k], "value": v} for k, v in options.items()]
        data = {"id": command["id"], "name": name, "type": 1, "options": given}
        return await self._interact(payloads.interaction(2, data, by=by))

    async def press(self, message: Json, label: str) -> Json:
        """Press a button of a message; return the interaction."""
        found = [one for one in _walk(message["components"]) if one.get("label") == label]
        data = {"component_type": 2, "custom_id": found[0]["custom_id"], "id": found[0]["id"]}
        return await self._interact(payloads.interaction(3, data, message=message))

    async def submit(self, form: Json, value: str) -> Json:
        """Fill and send a form with one field; return the interaction."""
        field = form["components"][0]["component"]
        filled = {"type": 4, "id": 2, "custom_id": field["custom_id"], "value": value}
        data = {
            "custom_id": form["custom_id"],
            "components": [{"type": 18, "id": 1, "component": filled}],
        }
        return await self._interact(payloads.interaction(5, data))

    async def callback(self, interaction: Json) -> Json:
        """Return how an interaction was acknowledged."""
        told: tuple[float, Json] = await self.until(
            lambda: self.callbacks.get(interaction["id"]), "an acknowledgement"
        )
        return told[1]

    async def answer(self, interaction: Json) -> str:
        """Return the sentence that an interaction was answered with."""
        token = interaction["token"]
        body: Json = await self.until(lambda: self.answers.get(token), "an answer")
        return str(body["content"])

    async def drop(self) -> None:
        """Cut every gateway connection, as a bad network does."""
        for session in self._sessions.values():
            if session.socket is not None and not session.socket.closed:
                transport = session.socket._req.transport if session.socket._req else None
                if transport is not None:
                    transport.abort()
                session.socket = None

    @property
    def connected(self) -> bool:
        """Whether a session has a socket."""
        return any(session.socket is not None for session in self._sessions.values())

    def cards(self) -> list[Json]:
        """Return the messages that are there, oldest first."""
        return [self.messages[key] for key in sorted(self.messages)]

    def sent(self, method: str, path: str) -> list[float]:
        """Return when requests of a kind were made."""
        return [at for at, m, p, _ in self.requests if m == method and re.fullmatch(path, p)]

    async def _interact(self, interaction: Json) -> Json:
        self.asked[interaction["id"]] = time.monotonic()
        await self.dispatch("INTERACTION_CREATE", interaction)
        return interaction

    # --- the gateway -------------------------------------------------------------------------

    async def dispatch(self, name: str, data: Json) -> None:
        """Tell the newest session of an event; it is kept for who resumes."""
        self.mistakes += [f"the event {name}: {one}" for one in oracle.event_faults(name, data)]
        session = list(self._sessions.values())[-1]
        event = {"op": 0, "t": name, "s": len(session.events) + 1, "d": data}
        session.events.append(event)
        await self._send(session, event)

    async def _send(self, session: Session, payload: Json) -> None:
        if session.socket is not None and not session.socket.closed:
            data = session.deflate.compress(json.dumps(payload).encode())
            await session.socket.send_bytes(data + session.deflate.flush(zlib.Z_SYNC_FLUSH))

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        assert request.query["compress"] == "zlib-stream"
        assert request.query["v"] == "10"
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session = Session(socket=socket, deflate=zlib.compressobj())
        await self._send(session, {"op": 10, "d": {"heartbeat_interval": 41_250}})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            session = await self._heard(session, json.loads(frame.data))
        if session.socket is socket:
            session.socket = None
        return socket

    async def _heard(self, session: Session, payload: Json) -> Session:
        match payload["op"]:
            case 1:
                await self._send(session, {"op": 11})
            case 2 | 6 if self.close_code is not None:
                assert session.socket is not None
                await session.socket.close(code=self.close_code)
            case 2:
                self.identifies += 1
                if payload["d"]["intents"] & ((1 << 1) | (1 << 8) | (1 << 15)):
                    self.mistakes.append("a privileged intent was asked for")
                first = payloads.ready(self.address)
                self._sessions[first["session_id"]] = session
                await self.dispatch("READY", first)
                await self.dispatch("GUILD_CREATE", payloads.guild())
            case 6:
                self.resumes += 1
                known = self._sessions[payload["d"]["session_id"]]
                known.socket, known.deflate = session.socket, session.deflate
                for event in known.events[payload["d"]["seq"] :]:
                    await self._send(known, event)
                await self._send(known, {"op": 0, "t": "RESUMED", "s": None, "d": {}})
                session = known
        self._news.set()
        return session

    # --- REST --------------------------------------------------------------------------------

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path, method = "/" + request.match_info["path"], request.method
        body, files = await _body(request)
        self.requests.append((time.monotonic(), method, path, body))
        self.mistakes += [f"{method} {path}: {one}" for one in oracle.faults(method, path, body)]
        fault = self._fault(method, path)
        if fault is not None and not fault.after:
            return _json(fault.status, fault.body)
        by_token = path.startswith(("/interactions/", "/webhooks/"))
        if not by_token and request.headers.get("Authorization") != f"Bot {self.token}":
            return _json(401, {"message": "401: Unauthorized", "code": 0})
        status, answer = self._carry_out(method, path, body, files)
        self._news.set()
        if fault is not None:
            return _json(fault.status, fault.body)
        self.mistakes += [
            f"the answer to {method} {path}: {one}"
            for one in oracle.answer_faults(method, path, status, answer)
        ]
        return _json(status, answer) if status != 204 else web.Response(status=204)

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.fullmatch(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _carry_out(
        self, method: str, path: str, body: Any, files: dict[int, bytes]
    ) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "GET", ["users", "@me"]:
                return 200, payloads.bot_user()
            case "GET", [*_, "applications", "@me"]:
                return 200, payloads.application()
            case "GET", ["gateway", "bot"]:
                limit = {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1}
                url = f"ws://{self.address}/gateway"
                return 200, {"url": url, "shards": 1, "session_start_limit": limit}
            case "PUT", ["applications", _, "commands"]:
                self.syncs += 1
                self.commands = [_registered(one) for one in body]
                return 200, self.commands
            case "POST", ["interactions", number, token, "callback"]:
                self.callbacks[number] = (time.monotonic(), body)
                if body["type"] == 4:
                    self.answers[token] = body["data"]
                return 200, {"interaction": {"id": number, "type": 2}}
            case "PATCH", ["webhooks", _, token, "messages", "@original"]:
                self.answers[token] = body
                return 200, payloads.message(
                    snowflake(), payloads.CHANNEL, body, self._attach(body, files)
                )
            case "POST", ["channels", channel, "messages"]:
                known = self._nonces.get(body["nonce"])
                if known is not None:
                    return 200, self.messages[known]
                number_ = snowflake()
                self._nonces[body["nonce"]] = number_
                attachments = self._attach(body, files)
                self.messages[number_] = payloads.message(number_, int(channel), body, attachments)
                return 200, self.messages[number_]
            case "PATCH", ["channels", channel, "messages", number]:
                if int(number) not in self.messages:
                    return 404, {"message": "Unknown Message", "code": 10008}
                attachments = self._attach(body, files)
                self.messages[int(number)] = payloads.message(
                    int(number), int(channel), body, attachments
                ) | {"edited_timestamp": "2026-01-01T00:00:01.000000+00:00"}
                return 200, self.messages[int(number)]
            case "GET", ["channels", _, "messages"]:
                return 200, self.cards()[::-1]
            case "DELETE", ["channels", _, "messages", number]:
                self.deleted.append(int(number))
                self.messages.pop(int(number), None)
                return 204, None
        self.mistakes.append(f"nobody knows {method} {path}")
        return 404, {"message": "404: Not Found", "code": 0}

    def _attach(self, body: Json, files: dict[int, bytes]) -> list[Json]:
        made = []
        for one in body.get("attachments") or []:
            data, name = files[int(one["id"])], one["filename"]
            number = snowflake()
            path = f"{payloads.CHANNEL}/{number}/{name}"
            self.files[path] = data
            url = f"http://{self.address}/attachments/{path}"
            made.append(
                {
                    "id": str(number),
                    "filename": name,
                    "size": len(data),
                    "url": url,
                    "proxy_url": url,
                }
            )
        return made

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["path"]])


def picture_url(message: Json) -> str | None:
    """Return where a message's picture is to be had."""
    for component in _walk(message["components"]):
        if "items" in component:
            return str(component["items"][0]["media"]["url"])
    return None


def text_of(message: Json) -> str:
    """Return all that is written on a message."""
    return " ".join(one["content"] for one in _walk(message["components"]) if "content" in one)


def _walk(components: list[Json]) -> list[Json]:
    found = []
    for one in components:
        found += [one, *_walk(one.get("components", []))]
    return found


def _registered(command: Json) -> Json:
    return {
        "id": str(snowflake()),
        "application_id": str(payloads.APPLICATION),
        "version": str(snowflake()),
        "default_member_permissions": None,
        "description": "",
        "options": [],
    } | {key: value for key, value in command.items() if value is not None}


async def _body(request: web.Request) -> tuple[Any, dict[int, bytes]]:
    if not request.can_read_body:
        return None, {}
    if not request.content_type.startswith("multipart/"):
        return await request.json(), {}
    body, files = None, {}
    async for part in await request.multipart():
        data = await part.read()  # type: ignore[union-attr]
        if part.name == "payload_json":  # type: ignore[union-attr]
            body = json.loads(data)
        else:
            found = re.fullmatch(r"files\[(\d+)\]", part.name or "")  # type: ignore[union-attr]
            assert found is not None
            files[int(found[1])] = bytes(data)
    return body, files


def _json(status: int, body: Any) -> web.Response:
    headers = {"Via": "1.1 loopback"} if status == 429 else {}
    # Exactly this type: discord.py takes no other for JSON.
    headers["Content-Type"] = "application/json"
    return web.Response(status=status, body=json.dumps(body).encode(), headers=headers)
