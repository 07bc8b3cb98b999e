"""The rules of servers, for who asks at the wall signed in.

They ask as they would in Discord: in a channel with the theme that they may read and write in, with
its server's rules, limits and words, and it counts there. It is judged by a guard, in the
transaction that accepts any dream, so that no page lets anything past.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import aiosqlite

from bot.errors import ForbiddenError, RequestError
from bot.gate import Asker, Gate
from bot.judging import judge
from bot.membership import Place
from bot.model import Dream, Person, Theme, Visibility
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


class ServerRules:
    """Judges those who are signed in at a wall, where guests may ask (`guests_ask`) or not.

    Whatever is asked for elsewhere, or by a guest, is none of its business.
    """

    def __init__(self, gate: Gate, themes: Themes, *, guests_ask: bool) -> None:
        self._gate = gate
        self._themes = themes
        self._guests_ask = guests_ask

    async def guard(
        self, connection: aiosqlite.Connection, theme: Theme, dreams: Sequence[Dream]
    ) -> None:
        """Refuse dreams that may not be asked for in Discord either; say where they were asked for.

        Where no channel with the theme is for them to ask in, they ask as a guest would.

        Raises:
            ForbiddenError, LimitError, InvalidRequestError: as `Gate.check` and `judge` do.
        """
        member = shown().member
        if member is None or dreams[0].person.id != member.person.id:
            return
        if dreams[0].guild_id is not None:  # of a party in Discord, which judges by itself
            return
        if not dreams[0].published:
            raise ForbiddenError(NOT_WANTED)
        seen = shown().places(theme.id)
        if not any(place.asks for place in seen):
            if self._guests_ask and (theme.visibility is not Visibility.PRIVATE or not seen):
                return
            raise ForbiddenError(NOT_HERE)
        place = self._first_open(member.person, seen, dreams)
        ids = [dream.id for dream in dreams]
        await rows.put_in_place(connection, ids, place.guild_id, place.channel_id)
        asker = _asker(member.person, place)
        await judge(self._gate, self._themes, asker, connection, dreams)

    def check_steer(self, dream: Dream, theme: Theme) -> Callable[[str, Theme], None] | None:
        """Return the check of what a steer's words become, where a server has a say in it."""
        member = shown().member
        here = [one for one in shown().places(theme.id) if one.channel_id == dream.channel_id]
        if member is None or not here:
            return None
        asker = _asker(member.person, here[0])

        def check(expanded: str, theme: Theme) -> None:
            self._gate.check_person(asker)
            self._gate.check_words(asker, [expanded], [theme.template, theme.modifiers])

        return check

    def _first_open(
        self, person: Person, places: Sequence[Place], dreams: Sequence[Dream]
    ) -> Place:
        """Return the first place that takes dreams; raise what the first that does not says."""
        refused: RequestError | None = None
        for place in places:
            if place.asks:
                try:
                    self._check(_asker(person, place), dreams)
                except RequestError as error:
                    refused = refused or error
                else:
                    return place
        assert refused is not None, "there is a place to ask in"
        raise refused

    def _check(self, asker: Asker, dreams: Sequence[Dream]) -> None:
        """Refuse what may not be asked for in a place, or would not be seen here."""
        first = dreams[0]
        self._gate.check(asker, prompt=first.prompt, count=len(dreams), background=first.background)
        if asker.age_restricted or not self._gate.here(asker).published:
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
