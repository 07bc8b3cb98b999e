"""The code that a camera reads: the address by which a party is joined."""

from __future__ import annotations

import io
from functools import lru_cache

import segno
from aiohttp import web

from bot.wall.settings import WallSettings

# A quarter of it may be covered or glare: it hangs on a wall and is read from the side.
_ERROR = "q"


def base_url(request: web.Request, settings: WallSettings, address: str) -> str:
    """Return where phones find this wall.

    `address` is the wall's own in the room, empty where only this machine reaches it: then it is
    the one that the browser used.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    return f"http://{address}" if address else str(request.url.origin())


@lru_cache(maxsize=64)
def qr_svg(text: str) -> bytes:
    """Return the QR code of a text as an SVG that fills its frame, dark on nothing.

    Source: ISO/IEC 18004, made by segno. It takes tens of milliseconds: call it off the loop.
    """
    out = io.BytesIO()
    segno.make(text, error=_ERROR, micro=False).save(
        out, kind="svg", border=2, dark="#0b0a10", light="#ffffff", omitsize=True, xmldecl=False
    )
    return out.getvalue()
