"""What visitors send to games: beginning one, what they enter, and taking it back."""

from __future__ import annotations

from aiohttp import web

from bot.errors import DreamstreamError, InvalidRequestError, NotFoundError
from bot.games import rules
from bot.games.model import Entry, Game, GameKind, Tried
from bot.games.service import Games
from bot.model import Theme
from bot.rights import Actor
from bot.wall.errors import status_of
from bot.wall.forms import Form, number_of, read_form, text_of, upload_of
from bot.wall.games.door import Door, Seen
from bot.wall.games.pages import GamePages
from bot.wall.guard import address_of
from bot.wall.guests import guest_of, rename
from bot.wall.here import actor_of
from bot.wall.rates import Rates
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.services import Services
from bot.wall.settings import WallSettings

# Of a room full of people behind one address.
TRIES, TRIES_S = 120, 300.0
BEGUN, BEGUN_S = 24, 3600.0
HEARTS, HEARTS_S = 240, 3600.0
_NO_ENTRY = "There is no such entry in this game."


class Acts:
    """Takes it, counts it by address, and hands it to the games."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        games: Games,
        door: Door,
        pages: GamePages,
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._games = games
        self._door = door
        self._pages = pages
        self._tried = Rates(
            TRIES, TRIES_S, "That was a lot from your address just now. Try again in a minute."
        )
        self._begun = Rates(
            BEGUN, BEGUN_S, "Many games were begun from your address. Play one of them first."
        )
        self._hearts = Rates(
            HEARTS, HEARTS_S, "That were many hearts from your address. Try again a little later."
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.post("/s/{slug}/games", self.begin),
            web.post("/d/{dream_id}/play", self.play),
            web.post("/g/{game_id}/picture", self.enter_picture),
            web.post("/g/{game_id}/words", self.enter_text),
            web.post("/g/{game_id}/choice", self.choose),
            web.post("/g/{game_id}/entries/{entry_id}/withdraw", self.withdraw),
            web.post("/g/{game_id}/entries/{entry_id}/heart", self.like),
            web.post("/g/{game_id}/end", self.end),
            web.post("/g/{game_id}/call-off", self.call_off),
        ]

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Begin a game in a stream: of drawing, or about a picture by chance."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        known = not guest_of(request).new
        form = await read_form(request)
        typed = {name: text_of(form, name) for name in ("prompt", "minutes", "name")}
        try:
            if known:
                rename(request, typed["name"])
            game = await self._open(request, theme, form, _kind(form), known=known)
        except DreamstreamError as error:
            return await self._pages.form(request, theme, typed, str(error), status_of(error))
        raise web.HTTPSeeOther(f"/g/{game.id}")

    async def play(self, request: web.Request) -> web.StreamResponse:
        """Begin a game about one picture."""
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        known = not guest_of(request).new
        form = await read_form(request)
        game = await self._open(request, theme, form, _kind(form), dream.id, known=known)
        return self._lead(request, f"/g/{game.id}")

    async def _open(
        self,
        request: web.Request,
        theme: Theme,
        form: Form,
        kind: GameKind,
        dream_id: str | None = None,
        *,
        known: bool,
    ) -> Game:
        self._door.check_may_begin(theme)
        if not known:  # a name that was just typed makes nobody a stranger
            self._door.check_known(request)
        host = await self._door.host(request, theme)
        minutes = number_of(form, "minutes")
        seconds = rules.SECONDS[kind] if minutes is None else 60 * minutes
        self._begun.take(address_of(request, self._settings))
        match kind:
            case GameKind.DRAW:
                game = await self._games.start_draw(
                    theme, host, text_of(form, "prompt"), seconds=seconds
                )
            case GameKind.SAY:
                game = await self._games.start_say(theme, host, dream_id, seconds=seconds)
            case GameKind.GUESS:
                game = await self._games.start_guess(theme, host, dream_id, seconds=seconds)
        return game

    async def enter_picture(self, request: web.Request) -> web.StreamResponse:
        """Take a picture that was painted or uploaded."""
        seen, actor, form = await self._playing(request)
        try:
            data = upload_of(form, "picture")
            if data is None:
                raise InvalidRequestError("picture", "Paint something first, or choose a picture.")
            tried = await self._games.enter_picture(seen.game.id, actor, data)
        except DreamstreamError as error:
            return await self._refused(request, seen, error)
        return await self._entered(request, seen, tried)

    async def enter_text(self, request: web.Request) -> web.StreamResponse:
        """Take words for a picture."""
        seen, actor, form = await self._playing(request)
        try:
            tried = await self._games.enter_text(seen.game.id, actor, text_of(form, "words"))
        except DreamstreamError as error:
            return await self._refused(request, seen, error)
        return await self._entered(request, seen, tried)

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """Take which prompt somebody thinks it was."""
        seen, actor, form = await self._playing(request)
        chosen = text_of(form, "choice")
        try:
            if not (chosen.isascii() and chosen.isdigit() and len(chosen) <= 2):
                raise InvalidRequestError("choice", "Choose one of them first.")
            tried = await self._games.choose(
                seen.game.id, actor, int(chosen), known_as=guest_of(request).persons
            )
        except DreamstreamError as error:
            return await self._refused(request, seen, error)
        return await self._entered(request, seen, tried)

    async def withdraw(self, request: web.Request) -> web.StreamResponse:
        """Take an entry away for good: one's own, or by who moderates there anybody's.

        Also where visitors only watch.
        """
        seen, entry = await self._entry(request)
        actor = actor_of(request, self._settings, seen.game, whose=entry.person)
        await self._games.withdraw(entry.id, actor)
        return self._lead(request, seen.path)

    async def like(self, request: web.Request) -> web.StreamResponse:
        """Like an entry of a game that is over, or no more; the board comes as an event."""
        seen, entry = await self._entry(request)
        self._door.check_known(request)
        self._hearts.take(address_of(request, self._settings))
        player = await self._door.player(request, seen)
        await self._games.heart(entry.id, player, known_as=guest_of(request).persons)
        if is_htmx(request):
            return web.Response(status=204)
        raise web.HTTPSeeOther(seen.path)

    async def end(self, request: web.Request) -> web.StreamResponse:
        """End a game before its time, by who began it or moderates there."""
        seen = await self._door.see(request)
        await self._games.end(seen.game.id, actor_of(request, self._settings, seen.game))
        return self._lead(request, seen.path)

    async def call_off(self, request: web.Request) -> web.StreamResponse:
        """Take a game away with all that was entered, by who began it or moderates there."""
        seen = await self._door.see(request)
        actor = actor_of(request, self._settings, seen.game)
        await self._games.call_off(seen.game.id, actor)
        return self._lead(request, f"/s/{seen.theme.slug}/games")

    async def _entry(self, request: web.Request) -> tuple[Seen, Entry]:
        """Return the game that a request names, and an entry of it."""
        seen = await self._door.see(request)
        try:
            entry = await self._games.entry(request.match_info["entry_id"])
        except NotFoundError:
            raise NotFoundError(_NO_ENTRY) from None
        if entry.game_id != seen.game.id:  # which may be one that is not to be seen
            raise NotFoundError(_NO_ENTRY)
        return seen, entry

    async def _playing(self, request: web.Request) -> tuple[Seen, Actor, Form]:
        """Return what every try needs: the game, who plays, and what they sent."""
        seen = await self._door.see(request)
        self._door.check_known(request)
        self._tried.take(address_of(request, self._settings))
        form = await read_form(request)
        rename(request, text_of(form, "name"))
        return seen, await self._door.player(request, seen), form

    async def _entered(self, request: web.Request, seen: Seen, tried: Tried) -> web.StreamResponse:
        if not is_htmx(request):
            raise web.HTTPSeeOther(seen.path)
        mine = await self._pages.mine(request, seen, tried)
        return web.Response(text=mine, content_type="text/html")

    async def _refused(
        self, request: web.Request, seen: Seen, error: DreamstreamError
    ) -> web.StreamResponse:
        """Say what was wrong: in its place, or on the page where there is no script."""
        if is_htmx(request):
            raise error
        return await self._pages.show(request, seen, str(error), status_of(error))

    def _lead(self, request: web.Request, path: str) -> web.StreamResponse:
        if is_htmx(request):
            return web.Response(headers={"HX-Redirect": path})
        raise web.HTTPSeeOther(path)


def _kind(form: Form) -> GameKind:
    typed = text_of(form, "kind")
    if typed not in set(GameKind):
        raise InvalidRequestError("kind", "Choose what is to be played: draw, say or guess.")
    return GameKind(typed)
