"""Requests that no browser sends: answered with a sentence, and never with an error of ours."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from bot.model import DreamState
from tests.bot.drawer import Services, services, until
from tests.bot.test_seeing import Colours
from tests.wall.test_real_services import ask, wall_on

REQUESTS = 400
GETS = (
    "/X",
    "/s/X",
    "/s/X/more",
    "/s/X/watch",
    "/s/open?remix=X",
    "/s/open/more?before=X",
    "/s/open/choices?engine=X&option.rate=X&steps=X",
    "/s/open/search?q=X",
    "/s/X/theme.toml",
    "/d/X",
    "/d/X/like",
    "/d/X/preview.webp?v=X",
    "/i/X.png?d={id}",
    "/i/{sha256}.png?d=X",
    "/t/{sha256}.webp?d={id}&X",
    "/static/X",
)
POSTS = (
    "/s/open/dreams",
    "/s/X/dreams",
    "/s/open/search",
    "/themes",
    "/d/{id}/redo",
    "/d/{id}/upscale",
    "/d/X/cancel",
    "/d/{id}/steer",
)
FIELDS = (
    *("prompt", "engine", "model", "size", "steps", "seed", "count", "guidance", "negative"),
    *("strength", "parent", "name", "option.rate", "option.cutouts", "option.kind", "same_seed"),
)
TYPES = (
    "application/json",
    "application/x-www-form-urlencoded; charset=nosuch",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/plain",
)
ODD = "\0\t\n\r\x1b\u202e\u2028\ud7ff\ue000🦊A<&\"'%/\\"
KNOWN = (
    b"..",
    b"%2e%2e",
    b"9" * 400,
    b"-1",
    b"NaN",
    b"1e999",
    b"{{7*7}}",
    b"\xff\xfe",
    b"a" * 5000,
)


class Dice(random.Random):
    """Makes requests, the same ones for the same seed."""

    def junk(self, length: int) -> bytes:
        kind = self.randrange(3)
        if kind == 0:
            return self.randbytes(self.randrange(length))
        if kind == 1:
            return "".join(self.choices(ODD, k=self.randrange(length))).encode()
        return self.choice(KNOWN)

    def path(self, routes: tuple[str, ...], names: dict[str, str]) -> str:
        path = self.choice(routes).format(**names)
        return path.replace("X", "".join(f"%{byte:02X}" for byte in self.junk(30)))

    def form(self) -> tuple[str, bytes]:
        fields = self.choices(FIELDS, k=4)
        kind = self.randrange(3)
        if kind == 0:
            pairs = (f"{name}=" + "".join(f"%{b:02X}" for b in self.junk(80)) for name in fields)
            return "application/x-www-form-urlencoded", "&".join(pairs).encode()
        if kind == 1:
            parts = [
                b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
                % (name.encode(), self.choice((b"", b'; filename="x"')), self.junk(80))
                for name in fields
            ]
            return "multipart/form-data; boundary=b", b"".join(parts) + self.choice((b"--b--", b""))
        return self.choice(TYPES), self.junk(300)

    def request(self, names: dict[str, str]) -> bytes:
        body = b""
        lines = ["Host: localhost", "Connection: close"]
        if self.random() < 0.5:
            first = f"GET {self.path(GETS, names)} HTTP/1.1"
        else:
            first = f"POST {self.path(POSTS, names)} HTTP/1.1"
            kind, body = self.form()
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        for line in (
            "HX-Request: true",
            "Accept: text/html",
            "Cookie: dreamer=%00; dreamer-name=%",
        ):
            if self.random() < 0.4:
                lines.append(line)
        return "\r\n".join([first, *lines, "", ""]).encode() + body


async def answer(port: int, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(20):
        line = await reader.readline()
        rest = await reader.read()
    writer.close()
    return int(line.split()[1]), rest


async def drawn(parts: Services) -> dict[str, str]:
    [dream] = await parts.dreams.unfinished(None)
    await parts.draw(dream.id)
    dream = await parts.dreams.wait(dream.id)
    assert dream.state is DreamState.DONE
    assert dream.image is not None
    return {"id": dream.id, "sha256": dream.image.sha256}


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_request_finds_an_error_of_ours(tmp_path: Path, seed: int) -> None:
    dice = Dice(seed)
    async with services(tmp_path) as parts, wall_on(parts) as visitor:
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        await parts.looker.start()
        await until(lambda: parts.looker.complete)
        await ask(visitor, "a fox")
        names = await drawn(parts)
        async with visitor.get("/healthz") as response:
            port = response.url.port
        assert port is not None
        for _ in range(REQUESTS):
            request = dice.request(names)
            status, rest = await answer(port, request)
            assert status < 500, request
            assert b"Traceback" not in rest
