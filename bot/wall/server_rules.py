"""The rules of servers, for who asks at the wall signed in.

They ask as they would in Discord: in a channel with the theme that they may read and write in, with
its server's rules, limits and words, and it counts there. That channel is chosen before anything of
what they ask for is judged, and wherever dreams are accepted, so that no page lets anything past.
So it is with the games that they begin here, whose machine draws by the rules of that channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aiosqlite

from bot.errors import ForbiddenError
from bot.games.model import Game
from bot.gate import Asker, Gate
from bot.judging import judge
from bot.membership import Place
from bot.model import AskedBy, Dream, Person, Theme, Visibility
from bot.standing import Standing
from bot.store import dreams as rows
from bot.themes import Themes
from bot.wall.passes import shown

NOT_HERE = (
    "You may watch this stream here, and not ask. Dreams are asked for on Discord, in a channel "
    "that you may write in."
)
NOT_WANTED = (
    "You want nothing of yours on the wall, so it would not be shown here. Ask on Discord, or "
    "change that there with /privacy wall."
)
KEPT = (
    "What is asked for in this channel is not shown at the wall. Ask in the channel itself, on "
    "Discord."
)
MUTE_THERE = (
    "You may read where this dream is, and not write there, so you cannot steer it at present."
)
NO_STEER = (
    "It cannot be told at present that you may still read where this dream is. Steer it on Discord."
)


class ServerRules:
    """Judges those who are signed in at a wall, where guests may ask (`guests_ask`) or not.

    Whatever is asked for elsewhere, or by a guest, is none of its business.
    """

    def __init__(self, gate: Gate, themes: Themes, *, guests_ask: bool) -> None:
        self._gate = gate
        self._themes = themes
        self._guests_ask = guests_ask

    async def place(
        self, theme: Theme, person: Person, *, prompt: str, count: int, background: bool
    ) -> Standing | None:
        """Return the channel that somebody asks in from here; None where they do as a guest would.

        That is so where no channel with the theme is for them to ask in, and guests may ask.

        Raises:
            ForbiddenError, LimitError, InvalidRequestError: as `Gate.check` does.
        """
        member = shown().member
        if member is None or person.id != member.person.id:
            return None
        if not shown().knows(theme.id):
            await shown().learn(theme.id, private=theme.visibility is Visibility.PRIVATE)
        seen = shown().places(theme.id)
        asks = [place for place in seen if place.asks]
        if not asks:
            if self._guests_ask and (theme.visibility is not Visibility.PRIVATE or not seen):
                return None
            raise ForbiddenError(NOT_HERE)
        hosts = await self._hosted(theme, asks) if theme.asked_by is AskedBy.HOSTS else []
        askers = [_asker(person, place) for place in sorted(asks, key=lambda one: one not in hosts)]
        asker = self._first_open(askers, prompt, count, background=background)

        async def judge_there(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
            # Who asks for themselves alone, as for a portrait, shows it in no channel or stream.
            alone = (await rows.as_kept_now(connection, dreams))[0].channel_id is None
            if not (alone or dreams[0].published):
                raise ForbiddenError(NOT_WANTED)
            self._check(asker, prompt, count, background=background)  # as it is set by now
            await judge(self._gate, self._themes, asker, connection, dreams)

        return Standing(asker, self._gate.picture_check(asker), judge_there)

    async def is_host(self, theme: Theme) -> bool:
        """Say whether whoever looks is a host of a theme, by what was found out of it."""
        member = shown().member
        if member is None:
            return False
        if await self._themes.is_by(theme, member.person):
            return True
        return bool(await self._hosted(theme, shown().places(theme.id)))

    async def check_steer(self, dream: Dream) -> Callable[[str, Theme], None] | None:
        """Return the check of what a steer's words become, where a server has a say in it.

        It is the place where the dream is that judges, whether or not its theme is there.

        Raises:
            ForbiddenError: as `member_of` says.
        """
        if dream.guild_id is None:
            return None
        asker = await self.member_of(dream) or Asker(
            dream.person, guild_id=dream.guild_id, channel_id=dream.channel_id
        )

        def check(expanded: str, theme: Theme) -> None:
            self._gate.check_person(asker)
            self._gate.check_words(asker, [expanded], [theme.template, theme.modifiers])

        return check

    async def member_of(self, dream: Dream) -> Asker | None:
        """Return who asked for a dream in a server, as its channel judges them now.

        None where whoever looks is not signed in as its author, or it is in no server.

        Raises:
            ForbiddenError: they may not read there and write, or that cannot be told.
        """
        member = shown().member
        if dream.guild_id is None or member is None or member.person.id != dream.person.id:
            return None
        place = None
        if dream.channel_id is not None:
            place = await member.place(dream.guild_id, dream.channel_id)
        if place is None:
            raise ForbiddenError(NO_STEER)
        if not place.asks:  # what a dream is steered to stands on its card, for all to read
            raise ForbiddenError(MUTE_THERE)
        return _asker(member.person, place)

    async def player(self, game: Game) -> Asker | None:
        """Return who plays a game of a server, as its channel judges them now, with their roles.

        None where whoever looks is not signed in, or plays as a guest does: in a game of no server,
        where they may not write, and where that cannot be told.
        """
        member = shown().member
        if member is None or game.guild_id is None or game.channel_id is None:
            return None
        place = await member.place(game.guild_id, game.channel_id)
        return None if place is None or not place.asks else _asker(member.person, place)

    async def _hosted(self, theme: Theme, places: Sequence[Place]) -> list[Place]:
        """Return the places in which somebody asks as a host of a theme."""
        return [
            place
            for place in places
            if place.asks
            and place.moderates
            and await self._themes.is_made_in(theme, place.guild_id)
        ]

    def _first_open(
        self, askers: Sequence[Asker], prompt: str, count: int, *, background: bool
    ) -> Asker:
        """Return who asks in the first place that takes it; raise what the very first one says.

        In a place that another stands in for nobody is told of a refusal: there was none.
        """
        for asker in askers:
            refuses = self._gate.refuses(asker, prompt=prompt, count=count, background=background)
            if not (refuses or self._gate.keeps(asker)):
                return asker
        self._check(askers[0], prompt, count, background=background)
        raise AssertionError("one of them takes it after all")

    def _check(self, asker: Asker, prompt: str, count: int, *, background: bool) -> None:
        """Refuse what may not be asked for in a place, or would not be seen here."""
        self._gate.check(asker, prompt=prompt, count=count, background=background)
        if self._gate.keeps(asker):
            raise ForbiddenError(KEPT)


def _asker(person: Person, place: Place) -> Asker:
    return Asker(
        person,
        guild_id=place.guild_id,
        moderates=place.moderates,
        channel_id=place.channel_id,
        parent_id=place.parent_id,
        role_ids=place.role_ids,
        age_restricted=place.age_restricted,
    )
