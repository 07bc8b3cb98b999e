"""What stands between the bot and the loopback Discord's routes: rate limits and ordered faults."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.discord_front.payloads import Json

_GLOBAL_PER_S = 50
_NEVER_S = 1e6


@dataclass
class Fault:
    """How matching requests fail: with a status before, or after, they were carried out.

    A body that is text comes as a proxy's page; a 429 without `via` as Cloudflare's.
    """

    method: str
    path: str
    status: int
    times: int
    after: bool = False
    body: Json | str = field(default_factory=lambda: {"message": "ordered", "code": 0})
    via: bool = True

    def response(self) -> web.Response:
        """Return the answer."""
        headers = {"Via": "1.1 google"} if self.via else {}
        if self.status == 429 and isinstance(self.body, dict):
            headers["Retry-After"] = str(self.body.get("retry_after", 1))
            if self.body.get("global"):
                headers["X-RateLimit-Global"] = "true"
        if isinstance(self.body, str):
            return web.Response(
                status=self.status, text=self.body, content_type="text/html", headers=headers
            )
        return as_json(self.status, self.body, headers)


@dataclass
class Slow:
    """How long answers take, by `chance`: from `least_s` to `most_s`, or none comes for `never`.

    It is waited for before a request is carried out, or after that; of those that match `path`.
    """

    path: str
    least_s: float
    most_s: float
    never: float = 0.0
    chance: random.Random = field(default_factory=random.Random)

    def of(self, path: str) -> tuple[float, float]:
        """Return how many seconds to wait before carrying a request out, and after it."""
        if not re.fullmatch(self.path, path):
            return 0.0, 0.0
        if self.chance.random() < self.never:
            delay_s = _NEVER_S
        else:
            delay_s = self.chance.uniform(self.least_s, self.most_s)
        return (delay_s, 0.0) if self.chance.random() < 0.5 else (0.0, delay_s)


@dataclass
class _Bucket:
    limit: int
    window_s: float
    used: int = 0
    ends_s: float = 0.0


class Limits:
    """Discord's rate limits, with their headers: what is over them is answered with 429."""

    def __init__(self) -> None:
        self.exceeded: list[str] = []
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._global = _Bucket(_GLOBAL_PER_S, 1.0)

    def take(self, method: str, path: str) -> tuple[dict[str, str], web.Response | None]:
        """Count a request; return the headers of its answer, or the answer that refuses it."""
        found = _limit_of(method, path)
        if found is None:
            return {}, None
        kind, major, limit, window_s = found
        bucket = self._buckets.setdefault((kind, major), _Bucket(limit, window_s))
        by_token = path.startswith("/webhooks/")  # not under the bot's own limit
        for one in (bucket,) if by_token else (bucket, self._global):
            now_s = time.monotonic()
            if now_s >= one.ends_s:
                one.used, one.ends_s = 0, now_s + one.window_s
            one.used += 1
            if one.used > one.limit:
                self.exceeded.append(f"{method} {path}")
                return {}, _refused(one.ends_s - now_s, is_global=one is self._global)
        return _headers(bucket, kind), None


def as_json(status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON answer. Exactly this type: discord.py takes no other for JSON."""
    told = {"Via": "1.1 google", **(headers or {}), "Content-Type": "application/json"}
    return web.Response(status=status, body=json.dumps(body).encode(), headers=told)


def _limit_of(method: str, path: str) -> tuple[str, str, int, float] | None:
    """Return a request's kind, major parameter, and how many there may be in how many seconds."""
    if path.startswith("/interactions/"):
        return None
    if found := re.fullmatch(r"/channels/(\d+)/messages", path):
        return f"{method}-messages", found[1], 5, 5.0
    if found := re.fullmatch(r"/channels/(\d+)/messages/\d+", path):
        return f"{method}-message", found[1], 5, 5.0
    if found := re.fullmatch(r"/webhooks/\d+/([^/]+)(/.*)?", path):
        return f"{method}-webhook", found[1], 5, 2.0
    return f"{method} {path}", "", 10, 1.0


def _headers(bucket: _Bucket, kind: str) -> dict[str, str]:
    after_s = max(0.0, bucket.ends_s - time.monotonic())
    return {
        "X-RateLimit-Limit": str(bucket.limit),
        "X-RateLimit-Remaining": str(bucket.limit - bucket.used),
        "X-RateLimit-Reset": f"{time.time() + after_s:.3f}",
        "X-RateLimit-Reset-After": f"{after_s:.3f}",
        "X-RateLimit-Bucket": f"{hash(kind) & 0xFFFFFFFF:08x}",
    }


def _refused(retry_after_s: float, *, is_global: bool) -> web.Response:
    body = {"message": "You are being rate limited.", "retry_after": retry_after_s}
    fault = Fault("", "", 429, 0, body=body | {"global": is_global})
    return fault.response()
