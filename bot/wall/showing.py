"""A day of a stream, its best, or what was found in it: picture by picture, or as a slow show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from bot.ids import now_ms, time_of
from bot.model import Dream, Theme
from bot.search import Found
from bot.wall import words
from bot.wall.guests import guest_of
from bot.wall.rendering import Renderer, picture_url, thumbnail_url
from bot.wall.searching import Searching
from bot.wall.services import Services
from bot.watching import Part, Watching, day_of, read_day

PART = 100
AROUND = 24
_MOST = 10**9
_Parts = Callable[[int, int], Awaitable[Part]]


class Showing:
    """Serves the days of a stream, its best, and what is found in it by ``?words=``.

    ``?at=`` is a place in the order, 0 the first.
    """

    def __init__(
        self, services: Services, renderer: Renderer, watching: Watching, searching: Searching
    ) -> None:
        self._services = services
        self._renderer = renderer
        self._watching = watching
        self._searching = searching

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/s/{slug}/day", self.last_day),
            web.get("/s/{slug}/day/{day}", self.day),
            web.get("/s/{slug}/day/{day}/part", self.day_part),
            web.get("/s/{slug}/best", self.best),
            web.get("/s/{slug}/best/part", self.best_part),
            web.get("/s/{slug}/found", self.found),
            web.get("/s/{slug}/found/part", self.found_part),
        ]

    async def last_day(self, request: web.Request) -> web.StreamResponse:
        """Lead to the last day that has pictures; to the day named by ``?day=``, from a form."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        day = day_of(now_ms())
        if named := request.query.get("day"):
            day = read_day(named)
        elif newest := await self._services.dreams.recent(theme.id, limit=1):
            day = day_of(time_of(newest[0].id))
        raise web.HTTPFound(f"/s/{theme.slug}/day/{day.isoformat()}")

    async def day(self, request: web.Request) -> web.StreamResponse:
        """Show a day, oldest picture first."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        day = read_day(request.match_info["day"])
        before, after = await self._watching.days_beside(theme.id, day)
        return await self._page(
            request,
            theme,
            lambda offset, limit: self._watching.of_day(theme.id, day, offset=offset, limit=limit),
            path=f"/s/{theme.slug}/day/{day.isoformat()}",
            heading=f"{day:%A}, {day.day} {day:%B %Y}",
            empty="Nothing was dreamt on this day.",
            day=day,
            before=before,
            after=after,
        )

    async def day_part(self, request: web.Request) -> web.StreamResponse:
        """Return some of a day's pictures as JSON, from ``?from=`` on."""
        theme = await self._services.visible_theme(request.match_info["slug"], acts=False)
        day = read_day(request.match_info["day"])
        return await self._json(
            await self._watching.of_day(theme.id, day, offset=_number(request, "from"), limit=PART)
        )

    async def best(self, request: web.Request) -> web.StreamResponse:
        """Show what people like, the most liked first."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        return await self._page(
            request,
            theme,
            lambda offset, limit: self._watching.best(theme.id, offset=offset, limit=limit),
            path=f"/s/{theme.slug}/best",
            heading="What people like best",
            empty="Nobody has liked a picture here yet.",
            day=None,
            before=None,
            after=None,
        )

    async def best_part(self, request: web.Request) -> web.StreamResponse:
        """Return some of them as JSON, from ``?from=`` on."""
        theme = await self._services.visible_theme(request.match_info["slug"], acts=False)
        return await self._json(
            await self._watching.best(theme.id, offset=_number(request, "from"), limit=PART)
        )

    async def found(self, request: web.Request) -> web.StreamResponse:
        """Show what is found by words, the nearest first."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        typed = request.query.get("words", "")
        found = await self._searching.by_text(request, theme, typed)
        return await self._page(
            request,
            theme,
            lambda offset, limit: _part_of(found, offset, limit),
            path=f"/s/{theme.slug}/found",
            heading=f"Found by “{typed.strip()}”",
            empty="There is no picture here yet that could be found.",
            day=None,
            before=None,
            after=None,
            asked={"words": typed},
        )

    async def found_part(self, request: web.Request) -> web.StreamResponse:
        """Return some of what is found as JSON, from ``?from=`` on."""
        theme = await self._services.visible_theme(request.match_info["slug"], acts=False)
        found = await self._searching.by_text(request, theme, request.query.get("words", ""))
        return await self._json(await _part_of(found, _number(request, "from"), PART))

    async def _page(
        self,
        request: web.Request,
        theme: Theme,
        parts: _Parts,
        *,
        asked: Mapping[str, str] | None = None,
        **context: Any,
    ) -> web.Response:
        since = await self._services.feed.last_id()
        at = _number(request, "at")
        first = max(0, at - AROUND // 2)
        part = await parts(first, AROUND)
        if part.total and not part.dreams:  # past the end
            at = part.total - 1
            first = max(0, at - AROUND // 2)
            part = await parts(first, AROUND)
        at = min(at, max(0, first + len(part.dreams) - 1))
        shown = part.dreams[at - first] if part.dreams else None
        visitor = guest_of(request).persons
        origins = await self._watching.origins([shown] if shown else [])
        return self._renderer.page(
            request,
            "show.html",
            dream=shown,
            heart=None if shown is None else await self._services.heart(shown, visitor),
            replaces=False,
            themes=[theme],
            theme=theme,
            at=at,
            total=part.total,
            around=[(first + index, dream) for index, dream in enumerate(part.dreams)],
            shown=shown,
            origin=origins.get(shown.id) if shown else None,
            relations=words.RELATIONS,
            part=PART,
            asked=asked or {},
            query=urlencode(asked or {}),
            since=since,
            **context,
        )

    async def _json(self, part: Part) -> web.Response:
        origins = await self._watching.origins(part.dreams)
        pictures = [_told(dream, origins.get(dream.id)) for dream in part.dreams]
        return web.json_response({"total": part.total, "pictures": pictures})


async def _part_of(found: Found, offset: int, limit: int) -> Part:
    dreams = [hit.dream for hit in found.hits]
    return Part(len(dreams), dreams[offset : offset + limit])


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    return min(int(text), _MOST) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def _told(dream: Dream, origin: Dream | None) -> dict[str, str]:
    told = {
        "id": dream.id,
        "prompt": dream.prompt,
        "who": dream.person.name,
        "when": words.clock(dream.created_ms),
        "picture": picture_url(dream),
        "small": thumbnail_url(dream),
    }
    if origin is not None and dream.relation is not None:
        told |= {
            "became": words.RELATIONS[dream.relation],
            "of": origin.prompt,
            "of_id": origin.id,
        }
    return told
