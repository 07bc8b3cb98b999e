"""A small S3 over real HTTP: one bucket in memory, and the ways in which one fails.

It speaks what `obstore` asks of a store: PUT, GET, HEAD and DELETE of an object, and ListObjectsV2
in pages. Every request must be signed with the one key, which is worked out here once more; bytes
that do not have the checksum that came with them are refused.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web

KEY, SECRET, REGION, BUCKET = "AKIAFAKE", "a secret of the tests", "eu-test-1", "dreams"
PAGE = 3
"""How many objects a page of a listing has."""
_AUTHORISATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/s3/aws4_request, "
    r"SignedHeaders=(?P<signed>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


class FakeS3:
    """The bucket. Requests may be made to `fail` with a status, to hang, or to do it unsaid."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.requests: list[tuple[str, str]] = []
        self.fail: dict[str, int] = {}
        """Answered with a status instead, by method."""
        self.unsaid = False
        """Puts are done, and answered with 500."""
        self.archived: set[str] = set()
        """Objects that a rule of the bucket has moved to where they are not read from."""
        self.withheld: set[str] = set()
        """Objects that this key may not read, such as for a rule of their own."""
        self.conditions = True
        """It knows puts that are to make an object, and replace none."""
        self.hang = asyncio.Event()
        self.hanging = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request as S3 does."""
        body = await request.read()
        self.requests.append((request.method, request.path))
        if self.hanging:
            await self.hang.wait()
        if (wrong := _wrong_signature(request, body)) is not None:
            return _error(403, "SignatureDoesNotMatch", wrong)
        if (status := self.fail.get(request.method)) is not None:
            return _error(status, "AccessDenied" if status == 403 else "InternalError", "as asked")
        bucket, _, key = request.path.lstrip("/").partition("/")
        if bucket != BUCKET:
            return _error(404, "NoSuchBucket", bucket)
        if not key:
            return self._list(request)
        if request.method == "PUT":
            return self._put(request, key, body)
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if key not in self.objects:
            return _error(404, "NoSuchKey", key)
        if key in self.archived and request.method == "GET":
            return _error(403, "InvalidObjectState", "not valid for the object's storage class")
        if key in self.withheld and request.method == "GET":
            return _error(403, "AccessDenied", "not this one")
        data, at = self.objects[key]
        headers = {"Last-Modified": format_datetime(at, usegmt=True), "ETag": f'"{len(data)}"'}
        return web.Response(body=data, headers=headers)

    def _put(self, request: web.Request, key: str, body: bytes) -> web.Response:
        checksum = request.headers.get("x-amz-checksum-sha256")
        if checksum != base64.b64encode(hashlib.sha256(body).digest()).decode():
            return _error(400, "BadDigest", "the checksum is missing, or another")
        if "If-None-Match" in request.headers:
            if not self.conditions:
                return _error(501, "NotImplemented", "If-None-Match")
            if key in self.objects:
                return _error(412, "PreconditionFailed", key)
        self.objects[key] = body, datetime.now(UTC).replace(microsecond=0)
        if self.unsaid:
            return _error(500, "InternalError", "kept, and not said")
        return web.Response(headers={"ETag": f'"{len(body)}"'})

    def _list(self, request: web.Request) -> web.Response:
        if request.method != "GET" or request.query.get("list-type") != "2":
            return _error(501, "NotImplemented", request.method)
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page, more = keys[:PAGE], len(keys) > PAGE
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key][0])}</Size>"
            f"<LastModified>{self.objects[key][1]:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f'<ETag>"1"</ETag></Contents>'
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )


@contextmanager
def fake_s3() -> Iterator[FakeS3]:
    """Serve a bucket on a free port of this machine, from a thread of its own."""
    loop, fake, up = asyncio.new_event_loop(), FakeS3(), threading.Event()

    async def serve() -> web.AppRunner:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/{path:.*}", fake.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        fake.url = f"http://{host}:{port}"
        return runner

    def live() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        up.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=live, name="fake S3")
    thread.start()
    assert up.wait(10)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(fake.hang.set)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _wrong_signature(request: web.Request, body: bytes) -> str | None:
    """Return what is wrong with a request's signature; None where it is right."""
    found = _AUTHORISATION.fullmatch(request.headers.get("Authorization", ""))
    if found is None or found["key"] != KEY or found["region"] != REGION:
        return "it is not signed with our key, for our region"
    told = request.headers.get("x-amz-content-sha256", "")
    if told not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        return "the body is not what was signed"
    signed = found["signed"].split(";")
    query = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in request.query.items())
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{key}={value}" for key, value in query),
            *(f"{name}:{request.headers.get(name, '').strip()}" for name in signed),
            "",
            found["signed"],
            told,
        )
    )
    scope = f"{found['day']}/{REGION}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{request.headers.get('x-amz-date')}\n{scope}\n{digest}"
    key = f"AWS4{SECRET}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return None if hmac.compare_digest(key.hex(), found["signature"]) else f"of\n{canonical}"


def _error(status: int, code: str, message: str) -> web.Response:
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return _xml(body, status)


def _xml(body: str, status: int = 200) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>{body}'
    return web.Response(status=status, text=text, content_type="application/xml")
