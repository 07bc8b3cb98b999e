"""Looking at games: what they are at this moment, how entries stand, and what may be told of them.

Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from bot.dreams import Dreams
from bot.errors import ForbiddenError, NotFoundError
from bot.feed import Feed
from bot.games import rules
from bot.games.judging import Judge
from bot.games.model import SOMEBODY, Entry, Game, GameKind, Standing
from bot.gate import Asker, Gate
from bot.ids import is_id, now_ms
from bot.library import Library
from bot.model import Person, Theme, Visibility
from bot.parties.acting import NOT_THERE
from bot.parties.service import Parties
from bot.rights import Actor
from bot.seeing import Seeing
from bot.store import Store, game_entries, games
from bot.themes import Themes

MOST_RECENT = 100
NO_GAME = "There is no such game."


class Reading:
    """The games there are. `clock` gives milliseconds since 1970."""

    def __init__(
        self,
        store: Store,
        library: Library,
        feed: Feed,
        themes: Themes,
        dreams: Dreams,
        seeing: Seeing,
        gate: Gate,
        parties: Parties,
        *,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._store = store
        self._library = library
        self._feed = feed
        self._themes = themes
        self._dreams = dreams
        self._judge = Judge(seeing, library)
        self._gate = gate
        self._parties = parties
        self._clock = clock

    async def get(self, game_id: str) -> Game:
        """Return a game as it is at this moment.

        Raises:
            NotFoundError: there is none with this id.
        """
        game = await games.by_id(self._store, game_id) if is_id(game_id) else None
        if game is None:
            raise NotFoundError(NO_GAME)
        return game

    async def entry(self, entry_id: str) -> Entry:
        """Return an entry that was not withdrawn, with all that is known of it.

        Raises:
            NotFoundError: there is none with this id.
        """
        entry = await game_entries.by_id(self._store, entry_id) if is_id(entry_id) else None
        if entry is None:
            raise NotFoundError("This entry is not there any more.")
        return entry

    async def entry_of(self, game_id: str, person_id: str) -> Entry | None:
        """Return what somebody has entered in a game, with all that is known of it."""
        return await game_entries.of_person(self._store, game_id, person_id)

    async def played_as(self, game_id: str, known_as: Iterable[Person]) -> Person | None:
        """Return the first of those that somebody is known as who has tried in a game.

        So has who took back what they entered, and who waits for their score.
        """
        for one in known_as:
            played = await game_entries.played_as(self._store, game_id, one.id)
            if played is not None:
                return played
        return None

    async def theme_of(self, game: Game) -> Theme:
        """Return the theme in whose stream a game is played."""
        return await self._themes.by_id(game.theme_id)

    async def open_in(self, channel_id: int) -> Game | None:
        """Return the game that is going on in a channel of Discord, if there is one."""
        return await games.open_in(self._store, channel_id)

    async def recent(self, theme_id: int, *, limit: int = 20) -> list[Game]:
        """Return a theme's games that have a result and are published, newest first."""
        return await games.recent(self._store, theme_id, max(1, min(limit, MOST_RECENT)))

    async def running(self, theme_id: int) -> list[Game]:
        """Return a theme's games that are going on and are published, newest first."""
        return await games.running(self._store, theme_id)

    async def players(self, game_id: str) -> int:
        """Return how many have entered a game."""
        return await game_entries.count(self._store, game_id)

    async def tries_left(self, game: Game, person: Person) -> int:
        """Return how often somebody may still try in a game."""
        if not game.open:
            return 0
        tried = await game_entries.tries(self._store, game.id, person.id)
        return max(0, rules.TRIES[game.kind] - tried)

    def may_show(self, game: Game, theme: Theme) -> bool:
        """Say whether a game may be shown outside the channel in which it is played."""
        return game.published and theme.visibility is not Visibility.PRIVATE

    async def standings(
        self, game_id: str, viewer: Person | None = None, *, outside: bool = False
    ) -> tuple[Standing, ...]:
        """Return how entries stand; of equal scores the place is shared.

        While the game is open others' words, pictures and scores are left out, so that nobody
        copies the leader; of a guess there is only the viewer's own, without its score. With a
        result there are only those that were scored. `outside` the place where it is played,
        those who do not publish are `SOMEBODY`, with nothing of theirs.

        Raises:
            NotFoundError: there is no such game.
        """
        game = await self.get(game_id)
        entries = await game_entries.of_game(self._store, game.id)
        own_id = None if viewer is None else viewer.id
        if game.open and game.kind is GameKind.GUESS:
            entries = [
                msgspec.structs.replace(entry, score=None)
                for entry in entries
                if entry.person.id == own_id
            ]
        if not game.open:
            entries = [entry for entry in entries if entry.score is not None]
        return tuple(
            msgspec.structs.replace(one, entry=_told(one.entry, game, own_id, outside=outside))
            for one in rules.standings(entries)
        )

    async def to_moderate(
        self, game_id: str, actor: Actor, *, outside: bool = False
    ) -> list[Entry]:
        """Return all that is entered in a game for who moderates there, the oldest first.

        `outside` the place where it is played, those who do not publish are `SOMEBODY`.

        Raises:
            NotFoundError: there is no such game.
            ForbiddenError: they do not moderate there.
        """
        game = await self.get(game_id)
        if not moderates(game, actor):
            raise ForbiddenError("Only a moderator can do that.")
        return [
            _hidden(entry) if outside and not entry.published else entry
            for entry in await game_entries.of_game(self._store, game.id)
        ]

    async def _check_here(self, game: Game, actor: Actor) -> Asker:
        """Return who acts as the game's place judges them.

        Raises:
            NotFoundError: the game may not be seen there; that it is there is not told.
            ForbiddenError: they may not ask there, or are not at the party. Who is no member of the
                server may play, unless blocked, what was begun elsewhere than in its channel.
        """
        theme = await self.theme_of(game)
        channel_id = actor.channel_id if isinstance(actor, Asker) else None
        here = channel_id is not None and channel_id == game.channel_id
        if not (here or actor.at_machine or self.may_show(game, theme)):
            raise NotFoundError(NO_GAME)
        await self._check_party(theme, actor)
        asker = self._asker(game, actor)
        if game.carded or asker is actor:
            self._gate.check_person(asker)
        else:  # a guest of the wall, who has no roles, and no moderator to ask for them
            self._gate.check_not_blocked(asker)
        return asker

    async def _check_party(self, theme: Theme, actor: Actor) -> None:
        """Let only people who are there play in a party's stream."""
        party = await self._parties.of_theme(theme.id)
        if party is None or actor.at_machine:
            return
        member = await self._parties.member(party, actor.person.id)
        if member is None or not member.present:
            raise ForbiddenError(NOT_THERE)

    def _asker(self, game: Game, actor: Actor) -> Asker:
        if isinstance(actor, Asker) and actor.guild_id == game.guild_id:
            return actor
        return Asker(
            actor.person,
            guild_id=game.guild_id,
            at_machine=actor.at_machine,
            channel_id=game.channel_id,
            parent_id=game.parent_id,
            age_restricted=game.age_restricted,
        )


def leads(game: Game, actor: Actor) -> bool:
    """Say whether somebody may end a game: its host, or who moderates where it is played."""
    return actor.person.id == game.host.id or moderates(game, actor)


def moderates(game: Game, actor: Actor) -> bool:
    """Say whether somebody moderates where a game is played."""
    if actor.at_machine:
        return True
    return actor.moderates and actor.guild_id is not None and actor.guild_id == game.guild_id


def _told(entry: Entry, game: Game, own_id: str | None, *, outside: bool) -> Entry:
    """Return an entry as far as somebody may see it."""
    if entry.person.id == own_id:
        return entry
    if outside and not entry.published:
        entry = _hidden(entry)
    if game.open:
        entry = msgspec.structs.replace(entry, text="", image=None, score=None, writing=False)
    return entry


def _hidden(entry: Entry) -> Entry:
    """Return an entry of who does not publish, as it is seen elsewhere."""
    return msgspec.structs.replace(entry, person=SOMEBODY, text="", image=None, dream_id=None)
