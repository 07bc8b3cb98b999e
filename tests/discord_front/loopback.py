"""A Discord on loopback: REST and gateway of API v10, the CDN, and the people.

There are two guilds with one channel each; of two shards each has one. `people` says what one can
do there. What the bot asks is
judged by `oracle`, and so is all that it is told, but only at the end (`mistakes_made`): judging
takes longer than answering, and would spread out what people do at once. Faults are ordered with
`fail`, `gateway` and `out`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from yarl import URL

from tests.discord_front import oracle, payloads
from tests.discord_front.gateway import Gateway
from tests.discord_front.payloads import CHANNEL, GUILD, GUILD_B, Json
from tests.discord_front.people import People
from tests.discord_front.rest import Refused, Rest
from tests.discord_front.traffic import Fault, Limits, Slow, as_json
from tests.wall.fake_oauth import FakeOAuth

PATIENCE_S = 120.0
_LOOK_S = 0.2
_MOST_JUDGED = 4000
_MAX_REQUEST = 26 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    """A request of the bot's, and how it was answered."""

    at_s: float
    method: str
    path: str
    body: Any
    status: int


class Discord(People):
    """The server. `start` it, give the bot its `address`, `stop` it.

    `host` is what the bot knows it by, where that is not its address.
    """

    def __init__(self, token: str, *, shards: int = 1, limits: bool = True) -> None:
        self.token = token
        self.address = ""
        self.mistakes: list[str] = []
        self.requests: list[Request] = []
        self.refused = 0  # requests during an outage
        self.faults: list[Fault] = []
        self.slow: Slow | None = None
        self.limits = Limits() if limits else None
        self.rest = Rest("", self.mistakes)
        self.rest.shards = shards
        self.may = {}
        self.speaks = {}
        self.gateway = Gateway(token, self._first, self.mistakes, self._judge_event)
        self.gateway.shards = shards
        self.oauth = FakeOAuth(application=str(payloads.APPLICATION))
        self._to_judge: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._runner: web.AppRunner | None = None
        self._news = self.gateway.news

    async def start(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen, on loopback only; with `tls` as Discord's own three hosts."""
        app = web.Application(client_max_size=_MAX_REQUEST)
        app.router.add_get("/gateway{rest:/?}", self.gateway.handle)
        app.router.add_get("/", self.gateway.handle)
        app.router.add_get("/attachments/{path:.+}", self._file)
        self.oauth.join(app)
        app.router.add_route("*", "/api/v10/{path:.+}", self._rest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        self.oauth.url = URL(f"http://{self.address}")
        if tls is None:
            self.rest.base = f"http://{self.address}"
            self.rest.gateway_url = f"ws://{self.address}/gateway"
        else:
            self.rest.base = "https://cdn.discordapp.com"
            self.rest.gateway_url = "wss://gateway.discord.gg"

    async def stop(self) -> None:
        """Close everything."""
        await self.gateway.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def fail(self, method: str, path: str, status: int, times: int = 1, **more: Any) -> None:
        """Have the next requests of this kind fail. `path` is a regular expression."""
        self.faults.append(Fault(method, path, status, times, **more))

    async def out(self, seconds: float) -> None:
        """Be gone for so long: connections are cut, and new ones refused."""
        self.gateway.is_out = True
        await self.gateway.cut()
        await asyncio.sleep(seconds)
        self.gateway.is_out = False

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what the condition gives, as soon as it is true of it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (found := condition()):
                    self._news.clear()
                    with suppress(TimeoutError):  # what is no news here is looked at now and then
                        await asyncio.wait_for(self._news.wait(), _LOOK_S)
                return found
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}") from None

    def mistakes_made(self) -> list[str]:
        """Judge what was said since the last time; return every mistake there was, once.

        After a long time it is a choice of it: each takes some 10 ms.
        """
        waiting, self._to_judge = self._to_judge, []
        if len(waiting) > _MOST_JUDGED:
            waiting = random.Random(len(waiting)).sample(waiting, _MOST_JUDGED)
        for judge, said in waiting:
            self.mistakes += judge(*said)
        return list(dict.fromkeys(self.mistakes))

    async def tell(self, name: str, data: Json) -> None:
        """Tell the shard whose guild an event is of."""
        guild_id = data.get("guild_id")  # what is of no server comes over the first shard
        shard = self._shard(int(guild_id)) if guild_id is not None else 0
        await self.gateway.dispatch(name, data, shard)

    def cards(self, place: int = CHANNEL) -> list[Json]:
        """Return a channel's messages that are there, oldest first."""
        found = [self.rest.messages[key] for key in sorted(self.rest.messages)]
        return [one for one in found if one["channel_id"] == str(place)]

    def sent(self, method: str, path: str, *, status: int | None = None) -> list[float]:
        """Return when requests of a kind were made, or those answered with a status."""
        return [
            one.at_s
            for one in self.requests
            if one.method == method
            and re.fullmatch(path, one.path)
            and status in (None, one.status)
        ]

    # --- the wires ---------------------------------------------------------------------------

    def _shard(self, guild_id: int) -> int:
        return (guild_id >> 22) % self.rest.shards

    def _first(self, shard: list[int]) -> list[tuple[str, Json]]:
        here = [one for one in (GUILD, GUILD_B) if self._shard(one) == shard[0]]
        events = [("READY", payloads.ready(self.rest.gateway_url, here, shard))]
        for guild_id in here:
            channels = [
                one for one in self.rest.channels.values() if one.get("guild_id") == str(guild_id)
            ]
            guild = payloads.guild(guild_id, self.rest.roles[guild_id], channels)
            events.append(("GUILD_CREATE", guild))
        return events

    def _judge_event(self, name: str, data: Json) -> None:
        self._judge(f"the event {name}", oracle.event_faults, name, json.loads(json.dumps(data)))

    def _judge(self, what: str, judge: Callable[..., Any], *said: Any) -> None:
        def named() -> list[str]:
            return [f"{what}: {one}" for one in judge(*said)]

        self._to_judge.append((named, ()))

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path, method = "/" + request.match_info["path"], request.method
        if self.gateway.is_out:
            assert request.transport is not None
            request.transport.abort()
            self.refused += 1
            self._news.set()
            return web.Response(status=503)
        if request.headers.get("Authorization", "").startswith("Bearer "):
            return await self._of_somebody(request, method, path)
        at_s = time.monotonic()
        body, files = await self._body(request)
        before_s, after_s = (0.0, 0.0) if self.slow is None else self.slow.of(path)
        if before_s:
            await asyncio.sleep(before_s)
        response = self._respond(request, method, path, body, files)
        if after_s:
            self._news.set()
            await asyncio.sleep(after_s)
        self.requests.append(Request(at_s, method, path, body, response.status))
        self._news.set()
        return response

    async def _of_somebody(
        self, request: web.Request, method: str, path: str
    ) -> web.StreamResponse:
        """Answer whoever asks in a person's name; who signs in is all that may be asked for."""
        if (method, path) != ("GET", "/users/@me"):
            self.mistakes.append(f"{method} {path} in a person's name")
        if not request.headers.get("User-Agent", "").startswith("DiscordBot ("):
            self.mistakes.append("a request of nobody in a person's name")
        answer = await self.oauth.me(request)
        assert isinstance(answer, web.Response) and answer.text is not None
        told = json.loads(answer.text)
        self._judge("who signs in", oracle.answer_faults, method, path, answer.status, told)
        return answer

    def _respond(
        self,
        request: web.Request,
        method: str,
        path: str,
        body: Any,
        files: dict[int, tuple[str, bytes]],
    ) -> web.Response:
        self._judge(f"{method} {path}", oracle.faults, method, path, body)
        by_token = path.startswith(("/interactions/", "/webhooks/"))
        agent = request.headers.get("User-Agent", "")
        # discord.py names itself in all requests but those that an interaction's token opens.
        if not by_token and not agent.startswith("DiscordBot ("):
            self.mistakes.append(f"a request of {agent or 'nobody'}")
        headers: dict[str, str] = {}
        if self.limits is not None:
            headers, refused = self.limits.take(method, path)
            if refused is not None:
                return refused
        fault = self._fault(method, path)
        if fault is not None and not fault.after:
            return fault.response()
        if not by_token and request.headers.get("Authorization") != f"Bot {self.token}":
            return as_json(401, {"message": "401: Unauthorized", "code": 0})
        try:
            status, answer = self.rest.handle(method, path, dict(request.query), body, files)
        except Refused as refusal:
            status, answer = refusal.status, refusal.body
        if fault is not None:
            return fault.response()
        self._judge(
            f"the answer to {method} {path}", oracle.answer_faults, method, path, status, answer
        )
        if status == 204:
            return web.Response(status=204, headers=headers)
        return as_json(status, answer, headers)

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.fullmatch(fault.path, path):
                fault.times -= 1
                return fault
        return None

    async def _body(self, request: web.Request) -> tuple[Any, dict[int, tuple[str, bytes]]]:
        if not request.can_read_body:
            return None, {}
        if not request.content_type.startswith("multipart/"):
            if request.headers["Content-Type"] != "application/json":
                self.mistakes.append(f"a body of type {request.headers['Content-Type']}")
            return await request.json(), {}
        body, files = None, {}
        async for part in await request.multipart():
            data = bytes(await part.read())  # type: ignore[union-attr]
            name = part.name or ""  # type: ignore[union-attr]
            if name == "payload_json":
                body = json.loads(data)
            elif found := re.fullmatch(r"files\[(\d+)\]", name):
                files[int(found[1])] = (part.filename or "", data)  # type: ignore[union-attr]
            else:
                self.mistakes.append(f"a part called {name}")
        return body, files

    async def _file(self, request: web.Request) -> web.Response:
        found = self.rest.files.get(request.match_info["path"])
        return web.Response(status=404) if found is None else web.Response(body=found)
