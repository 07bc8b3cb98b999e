"""The pages one looks at: the streams, a stream, its big screen, a dream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from bot.errors import DreamstreamError, NotFoundError
from bot.ids import now_ms
from bot.journeys import described
from bot.model import AskedBy, Dream, Theme, Visibility
from bot.recipes import parameters
from bot.rights import may_look_behind, moderates
from bot.studies import split_words
from bot.styles import with_style
from bot.text import clean
from bot.wall.choices import choices_for, counts_of
from bot.wall.forming import Forming
from bot.wall.guests import guest_of
from bot.wall.here import actor_of
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.server_rules import ServerRules
from bot.wall.services import Services, sees
from bot.wall.settings import WallSettings
from bot.wall.words import RELATIONS

PAGE = 48
WATCHED = 36
SHOWN_OF_A_STREAM = 5
FAILURES_MS = 24 * 3600 * 1000
SHOWN_FAILURES = 6


class Pages:
    """What is read only. Asking, and changing a dream, is in ``asking``."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        rules: ServerRules | None = None,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._services = services
        self._renderer = renderer
        # What guests in the room type to get here; empty where nobody but this machine can.
        self.address = ""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/", self.streams),
            web.get("/machine", self.machine),
            web.get("/s/{slug}", self.stream),
            web.get("/s/{slug}/more", self.more),
            web.get("/s/{slug}/choices", self.choices),
            web.get("/s/{slug}/watch", self.watch),
            web.get("/d/{dream_id}", self.dream),
        ]

    async def streams(self, request: web.Request) -> web.StreamResponse:
        """List the public streams, and a member's own; a single one is gone to straight away."""
        themes = [
            theme
            for theme in await self._services.themes.list()
            if theme.visibility is Visibility.PUBLIC
        ]
        own = await self._services.own_themes()
        if len(themes) == 1 and not own:
            raise web.HTTPFound(f"/s/{themes[0].slug}")
        newest = {
            theme.id: await self._services.dreams.recent(theme.id, limit=SHOWN_OF_A_STREAM)
            for theme in (*own, *themes)
        }
        shelves = [("Of your servers", own), ("Streams", themes)] if own else [("Streams", themes)]
        return self._renderer.page(
            request, "streams.html", themes=[*own, *themes], shelves=shelves, newest=newest
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Show a stream: the prompt box, what is forming, what is finished."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        typed: dict[str, str] = {}
        parent_id = request.query.get("remix")
        if parent_id:
            parent, parents_theme = await self._services.visible_dream(parent_id)
            if parents_theme.id != theme.id:
                raise NotFoundError("That dream belongs to another stream.")
            typed = {"prompt": parent.prompt, "parent": parent.id}
        elif said := _with_words(request):
            typed = {"prompt": said}
        return await self.stream_page(request, theme, typed)

    async def stream_page(
        self,
        request: web.Request,
        theme: Theme,
        typed: dict[str, str],
        error: DreamstreamError | None = None,
        status: int = 200,
    ) -> web.Response:
        """Return a stream's page with what a person typed, and what was wrong with it."""
        context = await self._stream(request, theme, PAGE, request.query.get("before"))
        return self._renderer.page(
            request,
            "stream.html",
            status=status,
            themes=[theme],
            choices=choices_for(self._services.drawer.engines, theme, typed),
            counts=counts_of(theme),
            typed="",
            drawer=self._services.drawer,
            error=error,
            taken=await self._takes_dreams(request, theme),
            **context,
        )

    async def _takes_dreams(self, request: web.Request, theme: Theme) -> bool:
        """Say whether a theme takes dreams of whoever looks, by whom it takes any of."""
        if theme.asked_by is AskedBy.HOSTS and self._rules is not None:
            return await self._rules.is_host(theme)
        members = theme.asked_by is AskedBy.MEMBERS and guest_of(request).account is not None
        return members or theme.asked_by is AskedBy.EVERYBODY

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Show a stream on the big screen."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        context = await self._stream(request, theme, WATCHED, None)
        return self._renderer.page(
            request, "watch.html", themes=[theme], address=self.address, **context
        )

    async def more(self, request: web.Request) -> web.StreamResponse:
        """Return the next older pictures, for the end of the mosaic."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        before = request.query.get("before")
        older = await self._services.dreams.recent(theme.id, before=before, limit=PAGE)
        return self._renderer.fragment(
            "more.html", base=_base(theme), theme=theme, finished=older, more=len(older) == PAGE
        )

    async def choices(self, request: web.Request) -> web.StreamResponse:
        """Return the prompt box's folded part for the engine that was chosen."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        typed = {name: value for name, value in request.query.items() if name != "model"}
        return self._renderer.fragment(
            "choices.html",
            theme=theme,
            counts=counts_of(theme),
            choices=choices_for(self._services.drawer.engines, theme, typed),
        )

    async def machine(self, request: web.Request) -> web.StreamResponse:
        """Say whether anything draws; asked again and again while nothing does."""
        return self._renderer.fragment("machine.html", drawer=self._services.drawer)

    async def dream(self, request: web.Request) -> web.StreamResponse:
        """Show a dream: its picture, its recipe, what it came of and what came of it."""
        # Read first: what happens meanwhile is then sent by the event stream.
        after = await self._services.feed.last_id()
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        engines = {info.name: info for info in self._services.drawer.engines}
        actor = actor_of(request, self._settings, dream)
        context = {
            "theme": theme,
            "after": after,
            "relations": RELATIONS,
            "parameters": parameters(dream.recipe),
            "journey": described(journey) if (journey := dream.recipe.journey) else [],
            "engine": engines.get(dream.recipe.engine),
            "can": self._services.offspring.can(dream),
            "heart": await self._services.heart(dream, guest_of(request).persons),
            "replaces": False,
            "of_somebody": await self._services.of_somebody(dream),
            "at_machine": actor.at_machine,
            "moderates": moderates(dream, actor),
            "may_look_behind": may_look_behind(dream, actor),
            **self._renderer.standing(dream, self._services.dreams.live(dream.id)),
        }
        if is_htmx(request):
            return self._renderer.fragment("whole.html", guest=guest_of(request), **context)
        ancestors, children = await self._services.dreams.lineage(dream.id)
        return self._renderer.page(
            request,
            "dream.html",
            themes=[theme],
            # Ids rise with time.
            ancestors=sorted(_shown_with(theme, ancestors), key=lambda other: other.id),
            children=_shown_with(theme, children),
            dream_has_picture=dream.image is not None,
            **context,
        )

    async def _stream(
        self, request: web.Request, theme: Theme, limit: int, before: str | None
    ) -> dict[str, Any]:
        # In this order: an event that is written meanwhile is sent again and changes nothing,
        # and a dream that ends meanwhile is found in at least one of the lists.
        after = await self._services.feed.last_id()
        unfinished = [] if before else await self._services.unfinished(theme.id)
        finished = await self._services.dreams.recent(theme.id, before=before, limit=limit)
        failures = [] if before else await self._failures(request, theme)
        done = {dream.id for dream in (*finished, *failures)}
        unfinished = [dream for dream in unfinished if dream.id not in done]
        forming = Forming(guest_of(request).persons, unfinished)
        return {
            "base": _base(theme),
            "theme": theme,
            "after": after,
            "cards": [self._card(dream) for dream in unfinished if dream.id in forming.cards],
            "hidden": forming.hidden,
            "failures": failures,
            "finished": finished,
            "more": len(finished) == limit,
            "paged": before is not None,
        }

    async def _failures(self, request: web.Request, theme: Theme) -> list[Dream]:
        """Return the visitor's own dreams that failed of late: who was away is to learn why."""
        guest = guest_of(request)
        if guest.new:
            return []
        since_ms = now_ms() - FAILURES_MS
        return await self._services.dreams.failures(
            theme.id, guest.persons, since_ms=since_ms, limit=SHOWN_FAILURES
        )

    def _card(self, dream: Dream) -> dict[str, Any]:
        return self._renderer.standing(dream, self._services.dreams.live(dream.id))


def _with_words(request: web.Request) -> str:
    """Return what the page of words hands on: a prompt with the words that were ticked."""
    words = [*request.query.getall("with", []), *split_words(request.query.get("own", ""))]
    prompt, style = clean(request.query.get("prompt", "")), ", ".join(words)
    return with_style(prompt, style) if prompt else style


def _base(theme: Theme) -> str:
    return f"/s/{theme.slug}"


def _shown_with(theme: Theme, others: Iterable[Dream]) -> list[Dream]:
    """Return those that may be seen: another stream may be one that is not to be."""
    if not sees(theme):  # one dream of it is shown, by a link to it alone
        return []
    return [other for other in others if other.theme_id == theme.id and other.published]
