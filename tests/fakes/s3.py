"""A small S3 over real HTTP: one bucket in memory, and the ways in which one fails.

It speaks what `obstore` asks of a store: PUT, GET (also of a range), HEAD and DELETE of an object,
and ListObjectsV2 in pages. Every request must be signed with the one key, which is worked out here
once more; bytes that do not have the checksum that came with them are refused, and so are bytes
whose own hash was not signed: Ceph 16 proves them by that alone, and passes
`x-amz-checksum-sha256` by.

`tests/bot/test_stores.py` asks this one and a real one the same.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from aiohttp import web

from tests.fakes.http import serving

KEY, SECRET, REGION, BUCKET = "AKIAFAKE", "a secret of the tests", "eu-test-1", "dreams"
PAGE = 3
"""How many objects a page of a listing has."""
BROKEN, DENIED = (500, "InternalError"), (403, "AccessDenied")
FULL, SKEWED = (403, "QuotaExceeded"), (403, "RequestTimeTooSkewed")  # as Ceph 16 says it
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
        self.fail: dict[str, tuple[int, str]] = {}
        """Answered with a status and a code instead, by method; `LIST` is one as well."""
        self.listing = True
        """The key may list; else nobody is told what is missing."""
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
        told = request.headers.get("x-amz-content-sha256", "")
        if (wrong := _wrong_signature(request, told)) is not None:
            return _error(403, "SignatureDoesNotMatch", wrong)
        if told != hashlib.sha256(body).hexdigest():
            return _error(400, "XAmzContentSHA256Mismatch", "the body is not what was signed")
        bucket, _, key = request.path.lstrip("/").partition("/")
        method = request.method if key else "LIST"
        if (failure := self.fail.get(method)) is not None:
            return _error(*failure, "as asked")
        if bucket != BUCKET:
            return _error(404, "NoSuchBucket", bucket)
        if not key:
            return self._list(request) if self.listing else _error(*DENIED, "it may not list")
        if request.method == "PUT":
            return self._put(request, key, body)
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if key not in self.objects:
            return _error(404, "NoSuchKey", key) if self.listing else _error(*DENIED, "who asks?")
        if key in self.archived and request.method == "GET":
            return _error(403, "InvalidObjectState", "not valid for the object's storage class")
        if key in self.withheld and request.method == "GET":
            return _error(403, "AccessDenied", "not this one")
        data, at = self.objects[key]
        headers = {"Last-Modified": format_datetime(at, usegmt=True), "ETag": _tag(data)}
        if request.headers.get("If-Match", _tag(data)) != _tag(data):
            return _error(412, "PreconditionFailed", key)
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(data))})
        if (part := request.headers.get("Range")) is None:
            return web.Response(body=data, headers=headers)
        # What was cut off is asked for from there on.
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", part)
        if found is None or (begin := int(found[1])) >= len(data):
            return _error(416, "InvalidRange", part)
        end = min(int(found[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {begin}-{end}/{len(data)}"
        return web.Response(status=206, body=data[begin : end + 1], headers=headers)

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
        return web.Response(headers={"ETag": _tag(body)})

    def _list(self, request: web.Request) -> web.Response:
        if request.method != "GET" or request.query.get("list-type") != "2":
            return _error(501, "NotImplemented", request.method)
        prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page, more = keys[:PAGE], len(keys) > PAGE
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key][0])}</Size>"
            f"<LastModified>{self.objects[key][1]:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f"<ETag>{_tag(self.objects[key][0])}</ETag></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )


@contextmanager
def fake_s3(tls: ssl.SSLContext | None = None) -> Iterator[FakeS3]:
    """Serve a bucket on a free port of this machine, from a thread of its own."""
    fake = FakeS3()
    with serving(fake.answer, tls) as (url, loop):
        fake.url = url
        try:
            yield fake
        finally:
            loop.call_soon_threadsafe(fake.hang.set)


def _wrong_signature(request: web.Request, told: str) -> str | None:
    """Return what is wrong with a request's signature; None where it is right."""
    found = _AUTHORISATION.fullmatch(request.headers.get("Authorization", ""))
    if found is None or found["key"] != KEY or found["region"] != REGION:
        return "it is not signed with our key, for our region"
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


def _tag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _error(status: int, code: str, message: str) -> web.Response:
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return _xml(body, status)


def _xml(body: str, status: int = 200) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>{body}'
    return web.Response(status=status, text=text, content_type="application/xml")
