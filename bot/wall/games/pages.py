"""What is looked at of games: a stream's games, a game's page, parts of it, and its pictures."""

from __future__ import annotations

from aiohttp import web
from markupsafe import Markup

from bot.errors import NotFoundError, RequestError
from bot.games import rules
from bot.games.model import Entry, GameKind, Standing, Tried
from bot.games.reading import leads, moderates
from bot.games.service import Games
from bot.ids import now_ms
from bot.model import Image, Theme
from bot.wall.games.door import Door, Seen
from bot.wall.guard import mark
from bot.wall.guests import guest_of
from bot.wall.here import actor_of
from bot.wall.rendering import Renderer
from bot.wall.services import Services
from bot.wall.settings import WallSettings

SMALL_PX, LARGE_PX = 384, 768
RECENT = 12
NAMES = {GameKind.DRAW: "Draw it", GameKind.SAY: "Say it", GameKind.GUESS: "Guess it"}
_CACHED = {"Cache-Control": "private, no-cache"}
_NO_PICTURE = "There is no such picture here."


class GamePages:
    """Answers what is only read. A board is the same for everybody, what is one's own is not."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        games: Games,
        door: Door,
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._games = games
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/s/{slug}/games", self.listing),
            web.get("/g/{game_id}", self.page),
            web.get("/g/{game_id}/picture.webp", self.picture),
            web.get("/g/{game_id}/entries/{entry_id}.webp", self.entered),
        ]

    async def listing(self, request: web.Request) -> web.StreamResponse:
        """Show what is played in a stream, what was, and how to begin."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        # As the page of a dream leads here: to draw what it was drawn from.
        return await self.form(request, theme, {"prompt": request.query.get("prompt", "")})

    async def form(
        self,
        request: web.Request,
        theme: Theme,
        typed: dict[str, str],
        error: str = "",
        status: int = 200,
    ) -> web.Response:
        """Return a stream's games, with what was typed to begin one and what was wrong with it."""
        running = await self._games.running(theme.id)
        over = await self._games.recent(theme.id, limit=RECENT)
        return self._renderer.page(
            request,
            "games/list.html",
            status=status,
            themes=[theme],
            theme=theme,
            running=[(game, await self._games.players(game.id)) for game in running],
            over=[(game, await self._winners(game.id)) for game in over],
            names=NAMES,
            typed={"prompt": "", "minutes": "", "name": "", **typed},
            minutes=rules.SECONDS[GameKind.DRAW] // 60,
            most_minutes=rules.MAX_SECONDS // 60,
            longest=rules.MAX_PROMPT,
            error=error,
        )

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Show a game."""
        return await self.show(request, await self._door.see(request))

    async def show(
        self, request: web.Request, seen: Seen, error: str = "", status: int = 200
    ) -> web.Response:
        """Return a game's page, with what was wrong with what was sent."""
        game, entries = seen.game, list[Entry]()
        actor = actor_of(request, self._settings, game)
        if moderates(game, actor):
            entries = await self._games.to_moderate(game.id, actor, outside=True)
        return self._renderer.page(
            request,
            "games/page.html",
            status=status,
            themes=[seen.theme],
            theme=seen.theme,
            error=error,
            longest=rules.MAX_TEXT,
            now_ms=now_ms(),
            link=await self._dream_of(seen),
            board=await self.board(seen),
            mine=await self.mine(request, seen),
            leads=leads(game, actor),
            entries=entries,
            at_machine=actor.at_machine,
            names=NAMES,
            game=game,
            base=seen.path,
        )

    async def mine(self, request: web.Request, seen: Seen, tried: Tried | None = None) -> Markup:
        """Return what is told to the visitor alone: their own entry, and how often they may try."""
        own = await self._own(seen, request)
        return self._renderer.part(
            "games/mine.html",
            game=seen.game,
            base=seen.path,
            own=own,
            tried=tried,
            left=await self._games.tries_left(seen.game, await self._door.person(request, seen)),
        )

    async def board(self, seen: Seen) -> Markup:
        """Return how all stand, the same for everybody."""
        standings = await self._games.standings(seen.game.id, outside=True)
        return self._renderer.part(
            "games/board.html",
            game=seen.game,
            base=seen.path,
            standings=standings,
            players=await self._games.players(seen.game.id),
        )

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """Send the picture that a game is about; its dream, and so its words, are not named."""
        seen = await self._door.see(request)
        if seen.game.image is None:
            raise NotFoundError(_NO_PICTURE)
        return await self._send(request, seen.game.image, LARGE_PX)

    async def entered(self, request: web.Request) -> web.StreamResponse:
        """Send a picture that somebody entered, to whom it may be shown now."""
        seen = await self._door.see(request)
        for viewer in guest_of(request).persons:
            for one in await self._games.standings(seen.game.id, viewer, outside=True):
                if one.entry.id == request.match_info["entry_id"] and one.entry.image is not None:
                    return await self._send(request, one.entry.image, SMALL_PX)
        raise NotFoundError(_NO_PICTURE)

    async def _own(self, seen: Seen, request: web.Request) -> Standing | None:
        for viewer in guest_of(request).persons:
            for one in await self._games.standings(seen.game.id, viewer, outside=True):
                if one.entry.person.id == viewer.id:
                    return one
        return None

    async def _winners(self, game_id: str) -> list[Entry]:
        standings = await self._games.standings(game_id, outside=True)
        return [one.entry for one in standings if one.won][:3]

    async def _dream_of(self, seen: Seen) -> str:
        """Return the address of the dream that a game was about, once its words may be told."""
        game = seen.game
        if game.open or game.dream_id is None:
            return ""
        try:
            dream, _ = await self._services.visible_dream(game.dream_id)
        except RequestError:
            return ""
        return f"/d/{dream.id}"

    async def _send(self, request: web.Request, image: Image, side: int) -> web.StreamResponse:
        tag = f"{image.sha256}-{side}.webp"
        if any(kept.value in (tag, "*") for kept in request.if_none_match or ()):
            return web.Response(status=304, headers={**_CACHED, "ETag": f'"{tag}"'})
        path = await self._services.library.make_thumbnail(image.sha256, side)
        mark(request, tag)
        return web.FileResponse(path, headers={**_CACHED, "Content-Type": "image/webp"})
