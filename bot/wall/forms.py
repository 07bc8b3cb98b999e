"""Reading what is posted."""

from __future__ import annotations

import asyncio
import math

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bot.errors import InvalidRequestError, RequestError
from bot.journeys import kind_of
from bot.model import JourneyRequest
from bot.wall.multipart import FILES, Fields, Upload, fields_of, type_of
from bot.wall.posted import ROOM, SMALL_BYTES, Held, TooMuchPostedError, held_of
from bot.wall.settings import Patience

PATIENCE = web.AppKey("patience", Patience)
"""How long the wall waits for what is posted: without an end, a trickle holds a place for ever."""
Form = Fields
MOST_BYTES = web.AppKey("most-bytes", int)
"""Of a form that may hold files."""
MOST_TEXT_BYTES = 256 * 1024
"""Of one that may not."""
_UNREADABLE = "What was sent could not be read."


class SlowRequestError(RequestError):
    """What is posted does not come to its end."""


async def read_form(request: web.Request) -> Form:
    """Return the fields of a posted form. Read it once: it is not kept.

    Raises:
        InvalidRequestError: it is not what its type says.
        SlowRequestError: it takes too long to come.
        LimitError: there is no room for it at present.
        web.HTTPRequestEntityTooLarge: it is larger than any form.
    """
    kind = request.headers.get("Content-Type", "")
    # No browser compresses what it sends, and what comes of a few bytes would fill the memory.
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise InvalidRequestError("form", _UNREADABLE)
    held = held_of(request)
    held.reading = reading = asyncio.ensure_future(_read(request, held, kind))
    try:
        async with asyncio.timeout(request.app[PATIENCE].body_s):
            await _keep_up(request, reading)
        if held.gave_way:
            raise TooMuchPostedError
        body = reading.result()
        if len(body) > SMALL_BYTES:  # milliseconds, and megabytes are copied
            return await asyncio.to_thread(fields_of, kind, body)
        return fields_of(kind, body)
    except TimeoutError:
        raise SlowRequestError("Sending took too long. Try a smaller picture.") from None
    except (HttpProcessingError, web.RequestPayloadError, ValueError) as error:
        raise InvalidRequestError("form", _UNREADABLE) from error
    finally:
        reading.cancel()


async def _read(request: web.Request, held: Held, kind: str) -> bytes:
    """Return all of a body."""
    most = request.app[MOST_BYTES] if type_of(kind) == FILES else MOST_TEXT_BYTES
    said, room = request.content_length or 0, request.app[ROOM]
    if said > most:
        raise web.HTTPRequestEntityTooLarge(most, said)
    body = bytearray()
    while piece := await request.content.readany():
        if len(body) + len(piece) > most:
            raise web.HTTPRequestEntityTooLarge(most, len(body) + len(piece))
        room.take(held, len(piece))
        body += piece
    return bytes(body)


async def _keep_up(request: web.Request, reading: asyncio.Future[bytes]) -> None:
    """Wait until a form was read.

    Raises:
        TimeoutError: it comes slower than anybody's connection is.
    """
    patience, content = request.app[PATIENCE], request.content
    while True:
        before = content.total_bytes
        done, _ = await asyncio.wait({reading}, timeout=patience.pause_s)
        if done:
            return
        # What is there and not yet read is not what is waited for.
        if content.total_bytes - before < patience.pause_bytes and not content.is_eof():
            raise TimeoutError


def text_of(form: Form, name: str) -> str:
    """Return what was typed into a field, empty where it is not one of text."""
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def whole_number_of(form: Form, name: str) -> int | None:
    """Return the whole number in a field, None where it is empty.

    Raises:
        InvalidRequestError: it is something else.
    """
    text = text_of(form, name)
    if not text:
        return None
    # Python reads and prints only so many digits, and no setting has more.
    if len(text) <= 30:
        try:
            return int(text)
        except ValueError:
            pass
    raise InvalidRequestError(name, f"{name.capitalize()} must be a whole number.")


def number_of(form: Form, name: str, label: str = "") -> float | None:
    """Return the finite number in a field, None where it is empty.

    Raises:
        InvalidRequestError: it is something else; the sentence speaks of its `label`.
    """
    text = text_of(form, name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidRequestError(name, f"{(label or name).capitalize()} must be a number.")
    return value


def journey_of(form: Form) -> JourneyRequest | None:
    """Return what is said of a journey, None where none is asked for.

    Raises:
        InvalidRequestError: a field is something else than it should be.
    """
    wanted = text_of(form, "journey")
    if not wanted:
        return None
    return JourneyRequest(
        kind=None if wanted == "usual" else kind_of(wanted),
        seconds=number_of(form, "seconds"),
        zoom=text_of(form, "zoom"),
        pan_x=text_of(form, "pan_x"),
        pan_y=text_of(form, "pan_y"),
        rotate=text_of(form, "rotate"),
        loop=text_of(form, "loop") == "yes",
    )


def upload_of(form: Form, name: str) -> bytes | None:
    """Return the bytes of an uploaded file, None where there is none."""
    field = form.get(name)
    return field.data or None if isinstance(field, Upload) else None
