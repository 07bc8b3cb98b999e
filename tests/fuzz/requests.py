"""Requests that no browser sends, for every address of the wall, from nothing but a seed.

Which addresses there are is asked of the wall, and which fields of the source of what answers
them. Where a request names something that is there, it has a mark (`«dream_id»`) in its place, so
that a seed makes the same request whatever the wall's ids are.
"""

from __future__ import annotations

import ast
import inspect
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.bot.drawer import png
from tests.fuzz.inputs import mutated, text

Random = random.Random
_WORD = re.compile(r"[a-z][a-z_.0-9-]{1,19}")
_SOUND = {
    "prompt": "a fox",
    "words": "fog",
    "q": "fog",
    "topic": "the sea",
    "reach": "self",
    "kind": "draw",
    "choice": "0",
    "stage": "sketch",
    "minutes": "5",
    "count": "2",
    "seed": "7",
    "size": "96x96",
    "side": "left",
    "with": "«dream_id»",
    "parent": "«dream_id»",
    "dream": "«dream_id»",
    "d": "«dream_id»",
    "after": "3",
    "before": "«dream_id»",
    "at": "«dream_id»",
}
_NUMBERS = (
    *("-1", "0", "1", "1e999", "NaN", "-inf", "9" * 400, "0x10", "1_0", "٣", "１", "+5", " 7 "),
    *("99999999999999999999", "-9223372036854775809", "1.5", "1e-400", "٠.٥", "²"),
)
_ODD = (
    *("", "\0", "..", "../../etc/passwd", "%", "%zz", "%00", "a" * 5000, "{{7*7}}", "<script>"),
    *("\u202eabc\u2066", "\ud7ff\ufffe", "'; drop table dreams; --", "https://evil.example/"),
    *("2026-02-30", "0000-00-00", "99999-01-01", "2026-03-09", "on", "null", "[]", "[" * 2000),
    *(
        "1x1",
        "0x0",
        "99999x99999",
        "-5x5",
        "dreamer=x",
        "«slug»",
        "«sha256»",
        "«code»",
        "\r\n a: b",
    ),
)
_HOSTS = (b"localhost", b"127.0.0.1:80", b"[::1]", b"", b"evil.example", b"a b", b"[::1", b"\xff")
_HEADERS = (
    *("Range", "If-None-Match", "If-Match", "If-Range", "If-Modified-Since", "Accept", "Cookie"),
    *("Accept-Encoding", "Accept-Language", "HX-Request", "HX-Target", "HX-Current-URL", "Referer"),
    *("Last-Event-ID", "X-Forwarded-For", "X-Forwarded-Host", "Expect", "Upgrade", "TE", "Via"),
    *("Content-Encoding", "Transfer-Encoding", "Content-Length", "Authorization", "User-Agent"),
)
_VALUES = (
    *("bytes=0-", "bytes=-1", "bytes=5-1", "bytes=0-0,1-1", "bytes=99999999999999999999-", "bytes"),
    *('"x"', 'W/"x"', "*", '"', "Thu, 99 Foo 9999 99:99:99 GMT", "true", "gzip", "br", "identity"),
    *("text/html", "text/html;q=x", "*/*", "dreamer=%00; dreamer-name=%", "dreamer=" + "o" * 32),
    *(
        "100-continue",
        "websocket",
        "h2c",
        "chunked",
        "3",
        "-1",
        "«dream_id»",
        "::1, ,,x",
        "nonsense",
    ),
)
_TYPES = (
    *("application/json", "application/x-www-form-urlencoded; charset=nosuch", "text/plain"),
    *(
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=b",
        "x/y",
    ),
    *("multipart/form-data; boundary=b; charset=utf-16", "application/octet-stream", ";", "a/b/c"),
)
_BODIES = (
    b"",
    b"[" * 9000,
    b'{"a":' * 3000,
    b"--b",
    b"\xff" * 99,
    b"&" * 3000,
    b"=",
    b"a" * 70_000,
)
_METHODS = ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "TRACE", "Ä")
# What would take away what the other requests are about, where it is not refused.
_ENDS = ("delete", "end", "call-off", "revoke", "withdraw", "remove", "finale", "stage", "hide")


_MARK = re.compile("(?:«|%C2%AB)([a-z_0-9]+)(?:»|%C2%BB)".encode())


@dataclass(frozen=True)
class Route:
    """An address of the wall, and the fields that what answers it reads."""

    method: str
    pattern: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """A request, with marks; `forged` means that another site had a browser send it."""

    head: bytes
    body: bytes
    pattern: str
    forged: bool = False
    html: bool = False

    def sent(self, names: dict[str, str]) -> bytes:
        """Return the request as it is sent where things have such names."""
        head, body = (
            _MARK.sub(lambda found: names.get(found[1].decode(), "nosuch").encode(), part)
            for part in (self.head, self.body)
        )
        length = b"" if b"Content-Length" in head else b"Content-Length: %d\r\n" % len(body)
        return head + length + b"\r\n" + body


def routes_of(routes: list[tuple[str, str, Callable[..., Any]]]) -> tuple[Route, ...]:
    """Return the routes with these methods, patterns and handlers, in an order of their own."""
    found = {
        Route(method, pattern, _fields(inspect.unwrap(handler).__module__))
        for method, pattern, handler in routes
    }
    return tuple(sorted(found, key=lambda route: (route.pattern, route.method)))


@cache
def _fields(module: str) -> tuple[str, ...]:
    """Return the words in a module's source that may be fields, and those of every form."""
    words = set(_SOUND)
    for name in {module, "bot.wall.asking", "bot.wall.forms"}:
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[name]))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= {node.value} if _WORD.fullmatch(node.value) else set()
    return tuple(sorted(words))


def request(random: Random, routes: tuple[Route, ...]) -> Given:
    """Make a request."""
    route = random.choice(routes)
    method = random.choice(_METHODS) if random.random() < 0.08 else route.method
    target = _path(random, route)
    if random.random() < (0.7 if method == "GET" else 0.1):
        target += b"?" + _pairs(random, route.fields)
    if random.random() < 0.02:
        target = random.choice((b"http://evil.example", b"http://[::1", b"x:", b"*")) + target
    html = random.random() < 0.5
    host = random.choice(_HOSTS) if random.random() < 0.1 else b"localhost"
    lines = [
        b"%s %s HTTP/1.1" % (method.encode(), target),
        b"Host: " + host,
        b"Connection: close",
        b"X-Forwarded-For: 198.51.%d.%d" % (random.randrange(256), random.randrange(256)),
        b"Accept: text/html" if html else b"Accept: */*",
    ]
    # Who asked for everything may end everything; the others are refused, which is to be seen.
    ends = route.pattern.endswith(_ENDS)
    if random.random() < (0.0 if ends else 0.5):
        lines.append(b"Cookie: dreamer=" + b"o" * 32)
    forged = False
    if random.random() < 0.2:
        forged = method not in ("GET", "HEAD", "OPTIONS")
        lines.append(
            random.choice(
                (
                    b"Origin: https://evil.example",
                    b"Origin: null",
                    b"Sec-Fetch-Site: cross-site",
                    b"Sec-Fetch-Site: same-site",
                )
            )
        )
    lines += [_header(random) for _ in range(random.choice((0, 0, 1, 1, 2, 4)))]
    body = b""
    if method not in ("GET", "HEAD") or random.random() < 0.05:
        kind, body = _form(random, route.fields)
        lines.append(b"Content-Type: " + kind)
    return Given(b"\r\n".join(lines) + b"\r\n", body, route.pattern, forged, html)


def _path(random: Random, route: Route) -> bytes:
    """Return an address of a route: mostly of what is there, or of anything at all."""
    path = route.pattern.encode()
    for name in re.findall(r"\{(\w+)\}", route.pattern):
        if random.random() < 0.75:
            value = f"«{name}»".encode()
        else:
            value = _percent(random, _value(random, name)[:300])
        path = path.replace(b"{%s}" % name.encode(), value)
    if route.pattern.startswith(("/i/", "/t/")):
        path += "?d=«dream_id»".encode()
    if random.random() < 0.06:
        path += random.choice(
            (b"/", b"//", b"/..", b"%2f", b"%", b";x", b"%00", b"/a" * 200, b"#x")
        )
    return path


def _value(random: Random, field: str) -> bytes:
    kind = random.randrange(6)
    if kind == 0 or (kind == 1 and field in _SOUND):
        return _SOUND.get(field, "1").encode()
    if kind <= 2:
        return random.choice(_NUMBERS).encode()
    if kind == 3:
        return random.randbytes(random.randrange(40))
    if kind == 4:
        return text(random, 300).encode("utf-8", "surrogatepass")
    return random.choice(_ODD).encode()


def _percent(random: Random, value: bytes) -> bytes:
    """Escape a value; now and then not, or with mistakes."""
    if b"\xc2\xab" in value:
        return value
    escaped = b"".join(b"%%%02X" % byte for byte in value)
    if random.random() < 0.1:
        place = random.randrange(len(escaped) + 1)
        escaped = escaped[:place] + random.choice((b"%", b"%G1", b"%u0041", b"+")) + escaped[place:]
    return escaped


def _pairs(random: Random, fields: tuple[str, ...]) -> bytes:
    names = random.choices(fields, k=random.choice((1, 2, 4, 12)))
    if random.random() < 0.2:
        names += names
    names += [name for name in ("prompt", "words") if random.random() < 0.5]
    return b"&".join(
        name.encode() + b"=" + _percent(random, _value(random, name)) for name in names
    )


def _header(random: Random) -> bytes:
    value = random.choice(_VALUES) if random.random() < 0.7 else text(random, 60)
    line = f"{random.choice(_HEADERS)}: {value}".encode("utf-8", "surrogatepass")
    return line if random.random() < 0.1 else re.sub(rb"[\r\n\0]", b" ", line)


def _form(random: Random, fields: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Return a content type, and what is posted as such."""
    kind = random.randrange(5)
    if kind <= 1:
        return b"application/x-www-form-urlencoded", _pairs(random, fields)
    if kind == 4:
        return random.choice(_TYPES).encode(), random.choice((*_BODIES, _pairs(random, fields)))
    parts = []
    for name in [*random.choices(fields, k=3), *random.choices(("picture", "init", "mask"), k=2)]:
        file = random.random() < 0.5
        head = f'Content-Disposition: form-data; name="{name}"'
        head += random.choice(('; filename="x.png"', "; filename*=utf-8''%ff", "")) if file else ""
        if random.random() < 0.2:
            head += "\r\n" + random.choice(
                (
                    "Content-Type: image/png",
                    "Content-Type: multipart/form-data; boundary=b",
                    "Content-Transfer-Encoding: base64",
                    "Content-Encoding: gzip",
                    "Content-Length: -1",
                )
            )
        data = mutated(random, [png()]) if file else _value(random, name)
        parts.append(b"--b\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n")
    body = b"".join(parts) + random.choice((b"--b--", b"--b--\r\n", b"", b"--b\r\n", b"--"))
    if random.random() < 0.15:
        body = mutated(random, [body])
    return b"multipart/form-data; boundary=b", body
