"""Reading what is posted."""

from __future__ import annotations

import asyncio
import math
import warnings

from aiohttp import BadContentDispositionHeader, BadContentDispositionParam, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiDictProxy

from bot.errors import InvalidRequestError, RequestError
from bot.journeys import kind_of
from bot.model import JourneyRequest
from bot.wall.settings import Patience

PATIENCE = web.AppKey("patience", Patience)
"""How long the wall waits for what is posted: without an end, a trickle holds a place for ever."""
Form = MultiDictProxy[str | bytes | bytearray | web.FileField]


# What aiohttp raises for a body that is not what its type, its encoding or its chunks say.
_UNREADABLE = (
    *(HttpProcessingError, web.RequestPayloadError),
    *(ValueError, LookupError, AssertionError, RuntimeError),
)


# Python would print each that is unlike those before, and keep its text for good.
for _category in (BadContentDispositionHeader, BadContentDispositionParam):
    warnings.simplefilter("ignore", _category)


class SlowRequestError(RequestError):
    """What is posted does not come to its end."""


async def read_form(request: web.Request) -> Form:
    """Return the fields of a posted form.

    Raises:
        InvalidRequestError: it is not what its type says.
        SlowRequestError: it takes too long to come.
    """
    reading = asyncio.ensure_future(request.post())
    try:
        async with asyncio.timeout(request.app[PATIENCE].body_s):
            await _keep_up(request, reading)
        return reading.result()
    except TimeoutError:
        raise SlowRequestError("Sending took too long. Try a smaller picture.") from None
    except _UNREADABLE as error:
        raise InvalidRequestError("form", "What was sent could not be read.") from error
    finally:
        reading.cancel()


async def _keep_up(request: web.Request, reading: asyncio.Future[Form]) -> None:
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


async def upload_of(form: Form, name: str) -> bytes | None:
    """Return the bytes of an uploaded file, None where there is none."""
    field = form.get(name)
    if not isinstance(field, web.FileField):
        return None
    return await asyncio.to_thread(field.file.read) or None
