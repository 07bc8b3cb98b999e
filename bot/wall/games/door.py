"""Which games are seen at the wall, and who may play there."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from bot.errors import ForbiddenError, NotFoundError
from bot.games.model import Game, GameState
from bot.games.service import Games
from bot.model import Person, Theme, Visibility
from bot.parties.service import Parties
from bot.rights import Actor
from bot.wall.guests import guest_of
from bot.wall.party.door import person_at
from bot.wall.server_rules import ServerRules
from bot.wall.services import looks_at
from bot.wall.settings import WallSettings

NO_GAME = "There is no such game here."
WATCH_ONLY = "This wall is for watching. Games are played on Discord."
NOT_PRIVATE = "In a private stream games are played on Discord, in a channel that it is in."
NO_COOKIE = (
    "Your browser keeps no cookie of this wall, so nobody would know what you entered. Allow "
    "cookies here, and try again."
)


@dataclass(frozen=True)
class Seen:
    """A game that may be seen at the wall, and its theme."""

    game: Game
    theme: Theme

    @property
    def path(self) -> str:
        """Its page's address."""
        return f"/g/{self.game.id}"


class Door:
    """Lets visitors see what is published, and play where this wall's guests may ask.

    Whoever is signed in begins games and plays by the rules of the server that they would ask in
    (`rules`), and at one of the `parties` as whom they are there. Where guests may ask for nothing
    members play on Discord: nobody else could play with them here.
    """

    def __init__(
        self,
        settings: WallSettings,
        games: Games,
        rules: ServerRules | None = None,
        parties: Parties | None = None,
    ) -> None:
        self._settings = settings
        self._games = games
        self._rules = rules
        self._parties = parties

    async def see(self, request: web.Request) -> Seen:
        """Return the game that a request names; raises as `look_up` does."""
        return await self.look_up(request.match_info["game_id"])

    async def look_up(self, game_id: str) -> Seen:
        """Return a game that may be seen at the wall.

        Raises:
            NotFoundError: there is none, it was called off, or it is kept to its channel or to a
                private theme; which of these is not told.
        """
        try:
            game = await self._games.get(game_id)
        except NotFoundError:
            raise NotFoundError(NO_GAME) from None
        theme = await self._games.theme_of(game)
        if game.state is GameState.CALLED_OFF or not (game.published and await looks_at(theme)):
            raise NotFoundError(NO_GAME)
        return Seen(game, theme)

    def check_may_play(self) -> None:
        """Refuse where guests only watch; raises `ForbiddenError`."""
        if not self._settings.guests_ask:
            raise ForbiddenError(WATCH_ONLY)

    def check_may_begin(self, theme: Theme) -> None:
        """Refuse games where guests only watch, and of a private theme.

        Raises:
            ForbiddenError: none is begun there.
        """
        self.check_may_play()
        if theme.visibility is Visibility.PRIVATE:
            raise ForbiddenError(NOT_PRIVATE)

    def check_known(self, request: web.Request) -> None:
        """Refuse who does not play.

        Raises:
            ForbiddenError: guests of this wall only watch, or nobody would know them again.
        """
        self.check_may_play()
        if guest_of(request).new:
            raise ForbiddenError(NO_COOKIE)

    async def host(self, request: web.Request, theme: Theme) -> Actor:
        """Return who begins a game in a theme."""
        return Actor(await person_at(request, self._parties, theme))

    async def person(self, request: web.Request, seen: Seen) -> Person:
        """Return as whom a visitor plays a game.

        Where they are themselves, and nobody else at a party, they go on as whom they tried: who
        signs in has no more tries for it, nor by taking away what they had entered.
        """
        guest = guest_of(request)
        person = await person_at(request, self._parties, seen.theme)
        if len(guest.persons) == 1 or person.id != guest.person.id:
            return person
        return await self._games.played_as(seen.game.id, guest.persons) or person

    async def player(self, request: web.Request, seen: Seen) -> Actor:
        """Return who plays a game, by what they are in its server, if it has one.

        At a party they are who they are there, and everywhere who they have played as: who came in
        as a guest plays as that guest.
        """
        person = await self.person(request, seen)
        member = None if self._rules is None else await self._rules.player(seen.game)
        return member if member is not None and member.person.id == person.id else Actor(person)
