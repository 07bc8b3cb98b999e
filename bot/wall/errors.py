"""What a person is told when something cannot be done: a sentence, never a traceback."""

from __future__ import annotations

import logging
import math

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from bot.discord_oauth import DiscordTroubleError
from bot.errors import (
    DiskError,
    DreamstreamError,
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    OutOfReachError,
    RequestError,
    SchedulerError,
)
from bot.subject import FarFromSubjectError
from bot.wall.buckets import TooFastError
from bot.wall.forms import SlowRequestError
from bot.wall.guard import MisdirectedError
from bot.wall.places import NoPlaceError
from bot.wall.rendering import Renderer, is_htmx

log = logging.getLogger(__name__)

_STATUSES: tuple[tuple[type[DreamstreamError], int], ...] = (
    (InvalidRequestError, 422),
    (GoneError, 410),
    (NotFoundError, 404),
    (ForbiddenError, 403),
    (LimitError, 429),
    (MisdirectedError, 421),
    (DiscordTroubleError, 502),
    (SlowRequestError, 408),
    (RequestError, 400),
    (SchedulerError, 503),
    (OutOfReachError, 503),
    (DiskError, 507),
)
_FLOODS = (TooFastError, NoPlaceError)
"""What an address that asks too much is told over and over, before it is known who asks."""
_SENTENCES = {
    400: "That request could not be read.",
    404: "There is nothing here.",
    405: "That cannot be done here.",
    413: "That is too large to be sent here. Choose a smaller picture.",
}
UNEXPECTED = "Something went wrong on our side. It is in the log; please try again."


def status_of(error: DreamstreamError) -> int:
    """Return the HTTP status that says what kind of error it is."""
    if isinstance(error, NoPlaceError):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def tell_errors(renderer: Renderer) -> Middleware:
    """Return the middleware that tells every error as it is wanted.

    A page, a fragment, an object of JSON, or a line of text.
    """

    @web.middleware
    async def tell(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except DreamstreamError as error:
            status, sentence = status_of(error), str(error)
            if status >= 500 and not isinstance(error, NoPlaceError):
                log.warning("%s %s: %s", request.method, request.path, error)
            response = _answer(renderer, request, status, sentence, error)
            if isinstance(error, LimitError) and error.retry_after_s is not None:
                response.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
            return response
        except web.HTTPException as error:
            if error.status < 400:
                raise
            sentence = _SENTENCES.get(error.status, _SENTENCES[400])
            return _answer(renderer, request, error.status, sentence)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return _answer(renderer, request, 500, UNEXPECTED)

    return tell


def _answer(
    renderer: Renderer,
    request: web.Request,
    status: int,
    sentence: str,
    error: DreamstreamError | None = None,
) -> web.Response:
    accepted = request.headers.get("Accept", "")
    part = is_htmx(request)
    if isinstance(error, _FLOODS) and (part or "text/html" in accepted):
        body = renderer.refusal(sentence, part=part)
        return web.Response(body=body, status=status, content_type="text/html", charset="utf-8")
    if part:
        if isinstance(error, FarFromSubjectError):
            return renderer.fragment("far.html", status=status, error=error)
        field = error.field if isinstance(error, InvalidRequestError) else ""
        return renderer.fragment("notice.html", status=status, sentence=sentence, field=field)
    if "text/html" in accepted:
        return renderer.page(request, "error.html", status=status, sentence=sentence)
    if "application/json" in accepted:
        return web.json_response({"error": sentence}, status=status)
    return web.Response(text=f"{sentence}\n", status=status)
