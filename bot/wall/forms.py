"""Reading what is posted."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiDictProxy

from bot.errors import InvalidRequestError

Form = MultiDictProxy[str | bytes | bytearray | web.FileField]


async def read_form(request: web.Request) -> Form:
    """Return the fields of a posted form.

    Raises:
        InvalidRequestError: it is not what its type says.
    """
    try:
        return await request.post()
    except (HttpProcessingError, ValueError, LookupError, AssertionError, RuntimeError) as error:
        # What aiohttp raises for a body that is not what its type says.
        raise InvalidRequestError("form", "What was sent could not be read.") from error
